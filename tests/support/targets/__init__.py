"""Forwards whose short backward is known, each with that backward as a person would write it."""
