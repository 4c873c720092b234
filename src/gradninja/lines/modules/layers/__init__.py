"""torch.nn's layers by what they mean: each is a short text that the reader puts in its place.

`self` is the person's own layer, so that what does not depend on data (`self.training`, a missing
bias) is decided as the layer stands. A line that comes of such a text counts as the person's line
that calls the layer.
"""

from collections.abc import Callable
from typing import Any

from gradninja.lines.modules.layers import (  # noqa: F401 - they fill the table
    activations,
    cells,
    composites,
    distributions,
    losses,
    norms,
    patterns,
    pools,
    products,
    recurrent,
    reparametrised,
    shapes,
)
from gradninja.lines.modules.layers.products import attention_drawn
from gradninja.lines.modules.layers.registry import (
    ASKED,
    COMPUTED,
    FUNCTIONS,
    LAYERS,
    PREPARED,
    STANDING,
    meaning,
    trimmed,
)
from gradninja.lines.modules.layers.shapes import dropped_channels, dropped_out

__all__ = [
    "ASKED",
    "COMPUTED",
    "DRAWN",
    "FUNCTIONS",
    "LAYERS",
    "PREPARED",
    "STANDING",
    "meaning",
    "trimmed",
]


def _in_order(drops: Callable[..., Any]) -> Callable[..., Any]:
    """Numbers are drawn in the order of the memory: a transposed tensor would have others."""
    return lambda input, *rest, **named: drops(input.contiguous(), *rest, **named)


# What draws in torch.nn.functional, and what draws the same numbers as the lines that are read.
DRAWN = {
    "dropout": _in_order(dropped_out),
    "dropout1d": _in_order(dropped_channels),
    "dropout2d": _in_order(dropped_channels),
    "dropout3d": _in_order(dropped_channels),
    "scaled_dot_product_attention": attention_drawn,
}
