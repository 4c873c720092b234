"""A forward's signature: named axes from jaxtyping annotations, and inputs drawn to fit them."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from gradninja.errors import ReadError
from gradninja.lines.given.source import Source
from gradninja.lines.scope import value_of

# Sizes for named axes: distinct, small, and no product or sum of two is another's size by accident.
AXIS_SIZES = (5, 7, 4, 11, 6, 13, 9, 17, 19, 8, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61)

FLOATS = {"Float", "Float32", "Float64", "Num", "Inexact", "Shaped", "Real", "Tensor"}
INTS = {"Int", "Int64", "Int32", "Integer", "UInt8", "UInt"}
BOOLS = {"Bool"}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a forward: its annotation's kind and axes, and its plain default."""

    name: str
    kind: str | None  # "float", "int", "bool"; None where no tensor annotation is given
    axes: tuple[str, ...] | None
    default: ast.expr | None
    node: ast.arg


def parameters(
    source: Source, function: ast.FunctionDef, stars: bool = False
) -> tuple[Parameter, ...]:
    """The parameters of a function, annotations read from the text; `stars`: but for those.

    Raises:
        ReadError: `*args`, `**kwargs`, or an annotation that is not understood.
    """
    arguments = function.args
    for star in (arguments.vararg, arguments.kwarg):
        if star is not None and not stars:
            raise ReadError(
                f"`{star.arg}` stands for any number of inputs",
                spot=source.spot(star),
                hint="name every input of the forward",
            )
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = [
        *zip(positional, [*defaults, *arguments.defaults], strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return tuple(_parameter(source, node, default) for node, default in pairs)


def _parameter(source: Source, node: ast.arg, default: ast.expr | None) -> Parameter:
    annotation = node.annotation
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            annotation = None
    if not isinstance(annotation, ast.Subscript):
        return Parameter(node.arg, None, None, default, node)
    head = ast.unparse(annotation.value).rpartition(".")[2]
    kind = (
        "float" if head in FLOATS else "int" if head in INTS else "bool" if head in BOOLS else None
    )
    inner = annotation.slice
    dims = inner.elts[-1] if isinstance(inner, ast.Tuple) and inner.elts else None
    if kind is None or not (isinstance(dims, ast.Constant) and isinstance(dims.value, str)):
        return Parameter(node.arg, None, None, default, node)
    axes = tuple(dims.value.split())
    for axis in axes:
        if axis == "..." or axis.startswith("*") or axis == "_":
            raise ReadError(
                f"`{node.arg}` has an axis `{axis}` of no fixed number or name",
                spot=source.spot(node),
                hint='name every axis, as in Float[Tensor, "batch time channels"]',
            )
    return Parameter(node.arg, kind, axes, default, node)


def axis_sizes(parameters: tuple[Parameter, ...], factor: int = 1) -> dict[str, int]:
    """A size of its own for every named axis of a signature, in order of appearance.

    All are multiples of `factor`, for a forward that splits axes into equal parts.
    """
    names: dict[str, None] = {}
    for parameter in parameters:
        for axis in parameter.axes or ():
            for name in re.findall(r"[A-Za-z_]\w*", axis.partition("=")[2] or axis):
                names.setdefault(name)
    if factor > 1:
        return {name: factor * (place + 2) for place, name in enumerate(names)}
    sizes = dict(zip(names, AXIS_SIZES, strict=False))
    for extra, name in enumerate(list(names)[len(AXIS_SIZES) :]):
        sizes[name] = 67 + 2 * extra
    return sizes


def shape_of(source: Source, parameter: Parameter, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The shape that an annotation asks for, expressions such as `context*embedding` included."""
    shape = []
    for axis in parameter.axes or ():
        text = (axis.partition("=")[2] or axis).lstrip("#")
        try:
            if len(text) > 200:
                raise ValueError("it is too long")
            tree = ast.parse(text, mode="eval")
            if any(isinstance(node, ast.Call | ast.Attribute | ast.Pow) for node in ast.walk(tree)):
                raise ValueError("only names, numbers, + - * //")
            size = int(value_of(tree.body, {"__builtins__": {}, **sizes}))
        except (SyntaxError, NameError, ValueError, TypeError, ZeroDivisionError) as error:
            raise ReadError(
                f"the axis `{axis}` of `{parameter.name}` is not understood: {error}",
                spot=source.spot(parameter.node),
            ) from None
        if not 0 <= size <= 10_000:
            raise ReadError(
                f"the axis `{axis}` of `{parameter.name}` has size {size}",
                spot=source.spot(parameter.node),
                hint="write sizes between 0 and 10,000, or leave the axis a name",
            )
        shape.append(size)
    return tuple(shape)


def draw(
    kind: str,
    shape: tuple[int, ...],
    generator: torch.Generator,
    *,
    bound: int | None = None,
    positive: bool = False,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """A tensor to try a forward with: normal floats (or uniform, 0.1..0.9), ints below `bound`."""
    if kind == "float":
        if positive:
            return torch.rand(shape, generator=generator, dtype=dtype) * 0.8 + 0.1
        return torch.randn(shape, generator=generator, dtype=dtype)
    if kind == "bool":
        return torch.rand(shape, generator=generator) < 0.5
    return torch.randint(0, bound or 1, shape, generator=generator)
