"""A person's text -> straight lines in which nothing is changed."""
