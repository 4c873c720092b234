"""From values to one row a gradient."""
