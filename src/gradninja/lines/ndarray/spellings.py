"""NumPy's words and torch's for the same thing."""

from __future__ import annotations

# Functions of one array, element by element: NumPy's name -> torch's.
ELEMENTWISE = {
    **{
        name: name
        for name in "abs ceil cos cosh exp exp2 expm1 floor isfinite isinf isnan log log10 log1p "
        "log2 logical_not negative reciprocal round sign sin sinh sqrt square tan tanh trunc "
        "deg2rad rad2deg".split()
    },
    "absolute": "abs",
    "fabs": "abs",
    "rint": "round",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
    "conj": "conj",
}

# Functions that are operators. NumPy's name -> the operator's sign.
OPERATORS = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "true_divide": "/",
    "floor_divide": "//",
    "power": "**",
    "float_power": "**",
    "mod": "%",
    "remainder": "%",
    "matmul": "@",
    "dot": "@",
    "greater": ">",
    "greater_equal": ">=",
    "less": "<",
    "less_equal": "<=",
    "equal": "==",
    "not_equal": "!=",
    "bitwise_and": "&",
    "bitwise_or": "|",
}

# Functions and methods over axes. NumPy's name -> torch's; `axis` is `dim`, `keepdims` `keepdim`.
ALONG = {
    **{name: name for name in "sum mean prod all any argmax argmin cumsum cumprod".split()},
    "max": "amax",
    "min": "amin",
    "amax": "amax",
    "amin": "amin",
    "var": "var",
    "std": "std",
}

# Functions that take the same arguments in the same places. NumPy's name -> torch's.
ALIKE = {
    **{
        name: f"torch.{name}"
        for name in "where outer inner einsum logical_and logical_or logical_xor isclose trace "
        "kron moveaxis broadcast_to zeros_like ones_like empty_like searchsorted "
        "bincount cross vdot hypot logaddexp tile".split()
    },
    "arctan2": "torch.atan2",
    **{
        f"linalg.{name}": f"torch.linalg.{name}"
        for name in "inv det solve cholesky slogdet pinv eigh matrix_power".split()
    },
}

# Functions and methods of which an axis is named otherwise, or a place is another: the formals that
# NumPy has, in order, and torch's word for each; `-` is left out.
REWORDED = {
    "expand_dims": ("unsqueeze", ("a", "axis=dim")),
    "squeeze": ("squeeze", ("a", "axis=dim")),
    "concatenate": ("cat", ("arrays", "axis=dim")),
    "stack": ("stack", ("arrays", "axis=dim")),
    "vstack": ("vstack", ("arrays",)),
    "hstack": ("hstack", ("arrays",)),
    "column_stack": ("column_stack", ("arrays",)),
    "array_split": ("tensor_split", ("a", "sections", "axis=dim")),
    "split": ("tensor_split", ("a", "sections", "axis=dim")),
    "repeat": ("repeat_interleave", ("a", "repeats", "axis=dim")),
    "roll": ("roll", ("a", "shifts", "axis=dims")),
    "clip": ("clamp", ("a", "a_min=min", "a_max=max")),
    "swapaxes": ("transpose", ("a", "axis1", "axis2")),
    "take_along_axis": ("take_along_dim", ("a", "indices", "axis=dim")),
    "diagonal": ("diagonal", ("a", "offset", "axis1=dim1", "axis2=dim2")),
    "argsort": ("argsort", ("a", "axis=dim")),
    "tril": ("tril", ("a", "k=diagonal")),
    "triu": ("triu", ("a", "k=diagonal")),
    "diag": ("diag", ("a", "k=diagonal")),
    "full_like": ("full_like", ("a", "fill_value")),
    "linalg.norm": ("linalg.norm", ("a", "ord", "axis=dim", "keepdims=keepdim")),
    "tensordot": ("tensordot", ("a", "b", "axes=dims")),
}
# Those whose last argument NumPy takes 0 for where it is left out and torch takes none, or reverse.
LAST_AXIS = frozenset({"argsort"})

METHODS = frozenset(
    {
        *ALONG,
        *"dot copy astype reshape ravel flatten transpose swapaxes squeeze repeat clip".split(),
        *"argsort fill diagonal trace round".split(),
    }
)

DTYPES = {
    "float64": "float64",
    "float32": "float32",
    "float16": "float16",
    "double": "float64",
    "single": "float32",
    "float_": "float64",
    "int64": "int64",
    "int32": "int32",
    "int_": "int64",
    "intp": "int64",
    "uint8": "uint8",
    "bool_": "bool",
    "bool": "bool",
    "float": "float64",
    "int": "int64",
}

CONSTANTS = {"pi": "math.pi", "e": "math.e", "inf": "math.inf", "nan": "math.nan"}

# What NumPy makes of plain numbers, in Python's own words.
PLAIN = {
    **{
        n: f"math.{n}" for n in "sqrt exp log log2 log10 log1p expm1 floor ceil sin cos tan".split()
    },
    "tanh": "math.tanh",
    "prod": "math.prod",
    "abs": "abs",
    "absolute": "abs",
    "sum": "sum",
    "max": "max",
    "min": "min",
    "maximum": "max",
    "minimum": "min",
    "round": "round",
    "power": "pow",
    "float64": "float",
    "float32": "float",
    "int64": "int",
    "int32": "int",
}

# Functions that make an array of a shape.
MAKES = frozenset({"zeros", "ones", "empty", "full", "eye", "identity", "arange", "linspace"})
