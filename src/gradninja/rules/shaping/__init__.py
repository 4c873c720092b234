"""Rows for what moves, picks, joins or writes elements."""
