"""The rule book's rows as maps, by family."""
