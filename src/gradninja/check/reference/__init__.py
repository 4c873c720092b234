"""The truth, and how far from it a right value may be."""
