"""Backwards judged by what they give: Functions, pairs, and what a caller gets."""
