"""NumPy as a dialect: its lines are read as the torch lines that they mean, and written back.

There is one engine. A text that speaks NumPy is turned, statement by statement, into torch's words
for the same thing before it is read; what is derived from it is turned back before it is shown.
Every node keeps its place, so that carets, line numbers and quoted lines are the person's own.
"""

from gradninja.lines.ndarray.arrays import (
    as_arrays,
    as_float64,
    as_tensor,
    as_tensors,
    holds_arrays,
    is_array,
)
from gradninja.lines.ndarray.dialect import NUMPY, TORCH, dialect_of
from gradninja.lines.ndarray.forms import (
    GRADIENTS,
    backward_within,
    beside_of,
    forward_of,
    gradients_beside,
    is_gradient,
    meant_by,
    names_of,
)
from gradninja.lines.ndarray.numpy_draws import drawers
from gradninja.lines.ndarray.numpy_text import said
from gradninja.lines.ndarray.phrases import HELPERS
from gradninja.lines.ndarray.reading import lines_translated, translated

__all__ = [
    "GRADIENTS",
    "HELPERS",
    "NUMPY",
    "TORCH",
    "as_arrays",
    "as_float64",
    "as_tensor",
    "as_tensors",
    "backward_within",
    "beside_of",
    "dialect_of",
    "drawers",
    "forward_of",
    "gradients_beside",
    "holds_arrays",
    "is_array",
    "is_gradient",
    "lines_translated",
    "meant_by",
    "names_of",
    "said",
    "translated",
]
