"""Index notation: terms, the graph of a forward in them, their normal form."""
