"""What is kept in memory, in which order, in which loops; and their text."""
