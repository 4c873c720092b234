"""Lines that write in place, and what they write through."""
