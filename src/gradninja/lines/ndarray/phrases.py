"""How NumPy says it: phrases with operands in their places, and what takes more than a phrase."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from gradninja.errors import GradninjaError
from gradninja.lines.ndarray.syntax import method_of

# What takes more than an expression: written above the text that uses it.
HELPERS = {
    "with_part": """\
def with_part(x, index, value):
    x = x.copy()
    x[index] = value
    return x
""",
    "add_along_axis": """\
def add_along_axis(x, index, value, axis):
    places = list(np.ogrid[tuple(map(slice, index.shape))])
    places[axis] = index
    np.add.at(x, tuple(places), value)
""",
}


class Unsayable(GradninjaError):
    """NumPy has no words for a line."""


def np_call(path: str, args: Sequence[ast.expr], **keywords: ast.expr | None) -> ast.Call:
    func: ast.expr = ast.Name("np", ast.Load())
    for part in path.split("."):
        func = ast.Attribute(func, part, ast.Load())
    named = [ast.keyword(name, value) for name, value in keywords.items() if value is not None]
    return ast.Call(func, list(args), named)


def tuple_of(parts: Sequence[ast.expr]) -> ast.expr:
    if len(parts) == 1:
        return parts[0]
    return ast.Tuple(list(parts), ast.Load())


def phrase(text: str, **parts: ast.expr) -> ast.expr:
    """Python text with syntax in place of its names."""

    class Put(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:
            return parts.get(node.id, node)

    found = Put().visit(ast.parse(text, mode="eval").body)
    assert isinstance(found, ast.expr)
    return found


# Methods and functions that are an expression of NumPy's: their operands by name, and the text.
TEXTS: dict[str, tuple[str, str]] = {
    "relu": ("x", "np.maximum(0, x)"),
    "sigmoid": ("x", "1 / (1 + np.exp(-x))"),
    "expand_as": ("x y", "np.broadcast_to(x, y.shape)"),
    "view_as": ("x y", "x.reshape(y.shape)"),
    "reshape_as": ("x y", "x.reshape(y.shape)"),
    "type_as": ("x y", "x.astype(y.dtype)"),
    "unsqueeze": ("x dim", "np.expand_dims(x, dim)"),
    "transpose": ("x dim0 dim1", "x.swapaxes(dim0, dim1)"),
    "swapaxes": ("x dim0 dim1", "x.swapaxes(dim0, dim1)"),
    "movedim": ("x source destination", "np.moveaxis(x, source, destination)"),
    "gather": ("x dim index", "np.take_along_axis(x, index, dim)"),
    "take_along_dim": ("x index dim", "np.take_along_axis(x, index, dim)"),
    "index_select": ("x dim index", "np.take(x, index, axis=dim)"),
    "masked_fill": ("x mask value", "np.where(mask, value, x)"),
    "mul": ("x y", "x * y"),
    "add": ("x y", "x + y"),
    "sub": ("x y", "x - y"),
    "div": ("x y", "x / y"),
    "matmul": ("x y", "x @ y"),
    "mm": ("x y", "x @ y"),
    "bmm": ("x y", "x @ y"),
    "mv": ("x y", "x @ y"),
    "pow": ("x y", "x ** y"),
    "rsqrt": ("x", "1 / np.sqrt(x)"),
    "clone": ("x", "x.copy()"),
    "contiguous": ("x", "x"),
    "detach": ("x", "x"),
    "double": ("x", "x.astype(np.float64)"),
    "float": ("x", "x.astype(np.float32)"),
    "long": ("x", "x.astype(np.int64)"),
    "bool": ("x", "x.astype(bool)"),
    "numel": ("x", "x.size"),
    "dim": ("x", "x.ndim"),
    "fill_": ("x value", "x.fill(value)"),
    "one_hot": ("x n", "np.eye(n)[x]"),
    "logsumexp": ("x dim", "np.log(np.exp(x).sum(axis=dim))"),
    "erf": ("x", ""),
}


class Phrases(ast.NodeTransformer):
    """What is said otherwise altogether: a method `_name` for torch's `name`."""

    def _clamp(self, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr | None:
        names = dict(zip(("x", "min", "max"), args, strict=False)) | keywords
        low, high = names.get("min"), names.get("max")
        if low is None or high is None:
            bound = high if low is None else low
            return bound and np_call("minimum" if low is None else "maximum", [names["x"], bound])
        return np_call("clip", [names["x"], low, high])

    def _view(self, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr:
        return method_of(args[0], "reshape", [*args[1:], *keywords.values()])

    _reshape = _view

    def _ravel(self, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr:
        return method_of(args[0], "ravel")

    def _unflatten(self, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr | None:
        array, dim, sizes = args
        if not isinstance(sizes, ast.Tuple):
            return None
        if ast.unparse(dim) == "-1":
            return method_of(array, "reshape", [phrase("x.shape[:-1] + s", x=array, s=sizes)])
        if is_zero(dim):
            return method_of(array, "reshape", [phrase("s + x.shape[1:]", x=array, s=sizes)])
        after = ast.BinOp(dim, ast.Add(), ast.Constant(1))
        text = "x.shape[:d] + s + x.shape[e:]"
        return method_of(array, "reshape", [phrase(text, x=array, s=sizes, d=dim, e=after)])

    def _select_scatter(
        self, args: list[ast.expr], keywords: dict[str, ast.expr]
    ) -> ast.expr | None:
        array, value, dim, index = args
        return phrase("with_part(x, i, v)", x=array, i=index_value(dim, index), v=value)

    def _slice_scatter(
        self, args: list[ast.expr], keywords: dict[str, ast.expr]
    ) -> ast.expr | None:
        array, value, *dims = args
        none: ast.expr = ast.Constant(None)
        parts = [keywords.get(word, none) for word in ("start", "end", "step")]
        while len(parts) > 2 and isinstance(parts[-1], ast.Constant) and parts[-1].value is None:
            parts.pop()
        cut = ast.Call(ast.Name("slice", ast.Load()), parts, [])
        index = index_value(dims[0] if dims else ast.Constant(0), cut)
        return phrase("with_part(x, i, v)", x=array, i=index, v=value)

    def _index_copy(self, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr:
        array, dim, index, value = args
        return phrase("with_part(x, i, v)", x=array, i=index_value(dim, index), v=value)

    def _flatten(self, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr | None:
        array, *ends = args
        if not ends and not keywords:
            return method_of(array, "ravel")
        numbers = [ast.literal_eval(end) for end in ends]
        first, last = numbers if len(numbers) == 2 else (*numbers, -1)
        before = f"x.shape[:{first}] + " if first else ""
        after = f" + x.shape[{last + 1}:]" if last != -1 else ""
        return method_of(array, "reshape", [phrase(f"{before}(-1,){after}", x=array)])

    def _select(self, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr:
        array, dim, index = args
        return ast.Subscript(array, index_along(dim, index), ast.Load())

    def _narrow(self, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr:
        array, dim, start, length = args
        cut = ast.Slice(start, ast.BinOp(start, ast.Add(), length))
        return ast.Subscript(array, index_along(dim, cut), ast.Load())

    def _squeeze(self, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr:
        return np_call("squeeze", args[:1], axis=first(args[1:]) or keywords.get("dim"))

    def _permute(self, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr:
        return method_of(args[0], "transpose", args[1:])

    def _expand(self, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr | None:
        shape = tuple_of(args[1:])
        parts = shape.elts if isinstance(shape, ast.Tuple) else [shape]
        if any(isinstance(part, ast.UnaryOp) for part in parts):  # -1: as it is
            return None
        return np_call("broadcast_to", [args[0], shape])

    def _to(self, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr | None:
        kind = first(args[1:]) or keywords.get("dtype")
        return kind and method_of(args[0], "astype", [kind])

    def _flip(self, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr:
        return np_call("flip", [args[0], tuple_of([*args[1:], *keywords.values()])])

    def _new_zeros(self, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr:
        return np_call("zeros", [tuple_of(args[1:])])

    def _index_put(self, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr | None:
        if keywords:
            return None
        return phrase("with_part(x, i, v)", x=args[0], i=args[1], v=args[2])

    def _pad(self, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr | None:
        """Widths from the last axis to the first; negative ones cut off."""
        array, widths = args[:2]
        if not isinstance(widths, ast.Tuple) or len(args) > 2 or set(keywords) - {"value"}:
            return None
        flat = widths.elts
        pairs = [(flat[at], flat[at + 1]) for at in reversed(range(0, len(flat), 2))]
        if any(is_negative(width) for width in flat):
            cuts = [_cut(array, at - len(pairs), pair) for at, pair in enumerate(pairs)]
            if any(cut is None for cut in cuts):
                return None
            index = ast.Tuple([ast.Constant(...), *(c for c in cuts if c)], ast.Load())
            return ast.Subscript(array, index, ast.Load())
        told = ast.List([ast.Tuple(list(pair), ast.Load()) for pair in pairs], ast.Load())
        text = f"[(0, 0)] * (x.ndim - {len(pairs)}) + told"
        more = {"constant_values": keywords["value"]} if "value" in keywords else {}
        return np_call("pad", [array, phrase(text, x=array, told=told)], **more)

    def _softmax(self, args: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr | None:
        axis = first(args[1:]) or keywords.get("dim")
        text = "np.exp(x) / np.exp(x).sum(axis=d, keepdims=True)"
        return axis and phrase(text, x=args[0], d=axis)


def dotted(node: ast.expr) -> str:
    """`torch.linalg.norm`; empty where it is no plain path."""
    if isinstance(node, ast.Name):
        return node.id
    inner = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner and isinstance(node, ast.Attribute) else ""


def index_along(dim: ast.expr, index: ast.expr) -> ast.expr:
    """What picks along an axis: `:, :, index`, counted from the first or from the last."""
    axis = ast.literal_eval(dim)
    every: list[ast.expr] = [ast.Slice() for _ in range(axis if axis >= 0 else -axis - 1)]
    if axis >= 0:
        return tuple_of([*every, index])
    return tuple_of([ast.Constant(...), index, *every])


def index_value(dim: ast.expr, index: ast.expr) -> ast.expr:
    """The same as a value: `(slice(None), index)`."""
    parts = index_along(dim, index)
    several = parts.elts if isinstance(parts, ast.Tuple) else [parts]
    return tuple_of([phrase("slice(None)") if isinstance(p, ast.Slice) else p for p in several])


def is_zero(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == 0


def is_negative(node: ast.expr) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)


def _cut(array: ast.expr, axis: int, pair: tuple[ast.expr, ast.expr]) -> ast.expr | None:
    """What is left of an axis, counted from the last, where widths are cut off."""
    if all(is_zero(width) for width in pair):
        return ast.Slice()
    if not all(is_negative(width) or is_zero(width) for width in pair):
        return None
    before, after = (width.operand if isinstance(width, ast.UnaryOp) else width for width in pair)
    if isinstance(after, ast.Constant) and after.value:
        return ast.Slice(before, ast.UnaryOp(ast.USub(), after))
    return ast.Slice(before, phrase(f"x.shape[{axis}] - after", x=array, after=after))


def first(parts: Sequence[ast.expr]) -> ast.expr | None:
    return parts[0] if parts else None


def unsayable(node: ast.AST) -> Unsayable:
    return Unsayable(
        f"NumPy has no words for `{ast.unparse(node)}`, which this line's gradient needs",
        hint="write the forward line with other operations of NumPy's",
    )
