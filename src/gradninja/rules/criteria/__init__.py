"""Rows for what a forward ends in: losses."""
