"""Rows for products of vectors and matrices, and linear algebra."""
