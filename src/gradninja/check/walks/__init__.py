"""A backward run statement by statement: with true cotangents, and as it is written."""
