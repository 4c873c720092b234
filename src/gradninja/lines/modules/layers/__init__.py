"""torch.nn's layers by what they mean: each is a short text that the reader puts in its place.

`self` is the person's own layer, so that what does not depend on data (`self.training`, a missing
bias) is decided as the layer stands. A line that comes of such a text counts as the person's line
that calls the layer.
"""

from gradninja.lines.modules.layers import (  # noqa: F401 - they fill the table
    activations,
    cells,
    losses,
    norms,
    pools,
    products,
    recurrent,
    shapes,
)
from gradninja.lines.modules.layers.shapes import dropped_out
from gradninja.lines.modules.layers.table import FUNCTIONS, LAYERS, meaning

__all__ = ["FUNCTIONS", "LAYERS", "dropped_out", "meaning"]
