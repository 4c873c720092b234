"""Where the project's files lie, whichever folder a test stands in."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "tests" / "published"  # forwards in the forms in which people publish them
