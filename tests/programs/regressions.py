"""Programs that once came out wrong or were refused for no reason, kept as they were found."""
