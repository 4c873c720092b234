"""A diagnosis as it is told: in words, with what else it mends, or by clues."""
