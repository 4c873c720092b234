"""The rule book's rows in index notation, by family."""
