"""What a person hands in: the text of a forward, its signature, what it is read with."""
