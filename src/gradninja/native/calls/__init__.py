"""Compiled functions as a person calls them: one call, a step, a whole run of training."""
