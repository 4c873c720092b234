"""Conditions that a Function is called under: what they are, tried, and told."""
