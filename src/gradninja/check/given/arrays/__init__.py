"""NumPy in the forms in which people write a backward there."""
