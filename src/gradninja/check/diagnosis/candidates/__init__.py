"""The edits that a mistake may be, and how an edited line is written."""
