"""The cheapest form of a gradient: what folds, what factors, what gets a name."""
