"""Calls: of a library, of Python itself, of what the person wrote, of an object."""
