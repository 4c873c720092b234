"""Values for a Function that comes with none: told by its text, tried until its backward fits."""
