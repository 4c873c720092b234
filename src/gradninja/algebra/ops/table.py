"""How the rule book's rows are lowered: to import this is to fill the table of `lowering`."""

# isort: off
from gradninja.algebra.ops import (  # noqa: F401 - they register themselves
    arithmetic,
    classes,
    functions,
    indexing,
    lengths,
    losses,
    normalisation,
    spreads,
    # what no function is registered for is tried by these, in this order
    slopes,
    meanings,
)
