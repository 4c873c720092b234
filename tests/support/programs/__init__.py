"""Forwards as people write them, grouped by theme; `tests/test_catalogue.py` runs them all.

Every public function of a module here is a program. Its annotations give the shapes to draw. What
they cannot say stands at the end of a module: `BOUNDS` (an index tensor stays below this axis, or
this number), `DOMAINS` (a float input is drawn uniformly between two numbers).
"""
