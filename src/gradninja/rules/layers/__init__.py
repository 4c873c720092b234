"""Rows for what networks are built of: attention, normalisation, images."""
