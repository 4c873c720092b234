"""Rows for what is done element by element."""
