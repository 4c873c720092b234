"""Reading the parts of a forward: expressions, calls, helpers, what writes in place."""
