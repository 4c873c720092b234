"""PyTorch's own sample inputs, each turned into the text of a forward."""

from __future__ import annotations

import ast
import importlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gradninja.rules import BOOK
from gradninja.rules.elementwise.complexes import COMPLEXES
from gradninja.rules.products.fourier import FOURIER

OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "**": "pow", "@": "matmul", "%": "mod"}
# op_db hands these their tensor first and their first argument second.
SWAPPED = {"einsum": "torch.einsum", "nn.functional.embedding": "F.embedding"}
REFLECTED = {f"__r{name}__": sign for sign, name in OPERATORS.items()}


@dataclass(frozen=True)
class Sample:
    """One forward made of one sample: its text and the tensors that it takes."""

    text: str
    inputs: dict[str, Tensor]
    wrt: tuple[str, ...]  # the inputs that PyTorch gives gradients for


@cache
def entries() -> dict[str, list[Any]]:
    """Op name (or an alias of it) -> PyTorch's descriptions of it."""
    module = importlib.import_module("torch.testing._internal.common_methods_invocations")
    found: dict[str, list[Any]] = {}
    for op in module.op_db:
        for name in {op.name, *(alias.name for alias in op.aliases or ())}:
            found.setdefault(name, []).append(op)
    return found


def op_names(spelling: str) -> list[str]:
    """Where op_db keeps what a spelling of the rule book calls: `F.gelu(a)` -> nn.functional.gelu.

    An operator is kept twice, plain and reflected (`1 - a`).
    """
    node = ast.parse(spelling, mode="eval").body
    if isinstance(node, ast.BinOp):
        sign = ast.unparse(node).split()[1]
        reflected = [name for name, of in REFLECTED.items() if of == sign]
        return [OPERATORS[sign] if sign != "%" else "remainder", *reflected]
    if isinstance(node, ast.UnaryOp):
        return ["neg"]
    if isinstance(node, ast.Subscript):
        return ["__getitem__"]
    callee = ast.unparse(node.func if isinstance(node, ast.Call) else node)
    owner, _, name = callee.partition(".")
    full = f"nn.functional.{name}"
    return [full if owner == "F" or (name not in entries() and full in entries()) else name]


class _NotText(Exception):
    """A sample holds something that has no text, a generator say."""


def samples(op: Any, ways: Iterable[str], name: str = "") -> Iterator[Sample]:
    """An op's samples, in the ways (`torch`, `F`, `method`, ...) in which the book spells it.

    `name`: the one of its names that is written, its first unless said.
    """
    ways = sorted(ways)
    for dtype in _dtypes(op):
        for index, sample in enumerate(_seeded(op.sample_inputs_func(op, "cpu", dtype, True))):
            # Each way of writing has its turn.
            try:
                yield _as_text(name or op.name, ways[index % len(ways)], sample)
            except _NotText:
                continue


def _seeded(drawn: Iterable[Any]) -> Iterator[Any]:
    """What `op.sample_inputs` gives, which looks for a unittest among all callers, with their text.

    That takes longer than to derive what is drawn.
    """
    from torch.testing._internal.common_utils import SEED, set_rng_seed

    left = iter(drawn)
    while True:
        set_rng_seed(SEED)
        try:
            sample = next(left)
        except StopIteration:
            return
        yield sample


def _dtypes(op: Any) -> Iterator[torch.dtype]:
    """Real numbers, where there are such; complex ones for the rows that are about them."""
    names = {op.name, *(alias.name for alias in op.aliases or ())}
    takes_complex = torch.complex128 in op.dtypes and bool(names & ABOUT_COMPLEX)
    if torch.float64 in op.dtypes or not takes_complex:
        yield torch.float64
    if takes_complex:
        yield torch.complex128


def _as_text(name: str, way: str, sample: Any) -> Sample:
    inputs: dict[str, Tensor] = {}
    first = _printed(sample.input, inputs)
    printed = _printed_index if name == "__getitem__" else _printed
    rest = [printed(value, inputs) for value in sample.args]
    keywords = [f"{key}={_printed(value, inputs)}" for key, value in sample.kwargs.items()]
    if not any(tensor.requires_grad for tensor in inputs.values()):
        raise _NotText
    call = _call(name, way, first, rest, keywords)
    wrt = tuple(name for name, tensor in inputs.items() if tensor.requires_grad)
    given = {name: tensor.detach() for name, tensor in inputs.items()}
    return Sample(_with_return(call, given), given, wrt)


def _call(name: str, way: str, first: str, rest: list[str], keywords: list[str]) -> str:
    if name == "__getitem__":
        return f"{first}[{rest[0]}]"
    if name == "einsum":
        first = first.strip("[]")  # as people write it: the operands one by one
    if name in SWAPPED:
        return f"{SWAPPED[name]}({', '.join([*rest[:1], first, *rest[1:], *keywords])})"
    if name in REFLECTED:
        return f"{rest[0]} {REFLECTED[name]} {first}"
    if way in OPERATORS and len(rest) == 1 and not keywords:
        return f"{first} {way} {rest[0]}"
    if way == "attribute":
        return f"{first}.{name}"
    short = name.rpartition(".")[2]
    callee = f"torch.{name}"
    if name.startswith("nn.functional."):
        callee = f"F.{short}"
    if (way == "method" or not _exists(callee)) and hasattr(Tensor, short):
        return f"{first}.{short}({', '.join([*rest, *keywords])})"
    return f"{callee}({', '.join([first, *rest, *keywords])})"


def _exists(callee: str) -> bool:
    found: Any = {"torch": torch, "F": torch.nn.functional}[callee.partition(".")[0]]
    for part in callee.split(".")[1:]:
        found = getattr(found, part, None)
    return found is not None


def _with_return(call: str, inputs: dict[str, Tensor]) -> str:
    """A forward that returns the float outputs of a call."""
    names = ", ".join(inputs)
    head = f"def forward({names}):\n    out = {call}\n"
    scope = {"torch": torch, "F": torch.nn.functional}
    try:
        exec(head + "    return out\n", scope)
        with torch.no_grad():
            value = scope["forward"](**inputs)
    except Exception:
        raise _NotText from None  # not written this way: a keyword that the method lacks, say
    if isinstance(value, Tensor):
        return head + "    return out\n"
    floats = [i for i, v in enumerate(value) if isinstance(v, Tensor) and v.is_floating_point()]
    if not floats:
        raise _NotText
    return head + f"    return {', '.join(f'out[{i}]' for i in floats)}\n"


def _printed(value: Any, inputs: dict[str, Tensor]) -> str:
    """A value as text; a tensor becomes an input."""
    if isinstance(value, Tensor):
        name = f"x{len(inputs)}"
        inputs[name] = value
        return name
    if isinstance(value, list | tuple):
        parts = [_printed(v, inputs) for v in value]
        if isinstance(value, list):
            return f"[{', '.join(parts)}]"
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if value is Ellipsis:
        return "..."
    if value is None or isinstance(value, bool | int | float | str | torch.dtype):
        return repr(value)
    raise _NotText


def _printed_index(value: Any, inputs: dict[str, Tensor]) -> str:
    """What stands between the brackets of `x[...]`."""
    if isinstance(value, tuple) and value:
        parts = [_printed_index(v, inputs) for v in value]
        return ", ".join(parts) + ("," if len(parts) == 1 else "")
    if isinstance(value, slice):
        bounds = [value.start, value.stop, *([] if value.step is None else [value.step])]
        return ":".join("" if bound is None else repr(bound) for bound in bounds)
    return _printed(value, inputs)


def _way(spelling: str) -> str:
    node = ast.parse(spelling, mode="eval").body
    if isinstance(node, ast.BinOp):
        return ast.unparse(node).split()[1]
    if isinstance(node, ast.Attribute):
        return "attribute"
    if isinstance(node, ast.Call):
        owner = ast.unparse(node.func).partition(".")[0]
        return owner if owner in {"torch", "F"} else "method"
    return "operator"


def _ways() -> dict[str, set[str]]:
    """Name in op_db -> the ways in which the book spells it."""
    found: dict[str, set[str]] = {}
    for row in (row for row in BOOK if not row.constant):
        for spelling in row.spellings:
            for name in op_names(spelling):
                found.setdefault(name, set()).add(_way(spelling))
    return found


WAYS = _ways()
ABOUT_COMPLEX = {
    name
    for row in (*COMPLEXES, *FOURIER)
    for spelling in row.spellings
    for name in op_names(spelling)
}
