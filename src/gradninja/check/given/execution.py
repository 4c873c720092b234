"""Running a person's statements: compiled once, cast to the precision that is judged in."""

from __future__ import annotations

import ast
import contextlib
import io
import linecache
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import count
from types import CodeType, FrameType
from typing import Any

import torch

from gradninja.check.tell.findings import CheckError
from gradninja.errors import Spot
from gradninja.lines.scope import run_code

MOST_CALLS = 1_000_000  # of functions, in one run of a person's lines
LOWER = frozenset({"float32", "float", "float16", "half", "bfloat16"})


class _Widen(ast.NodeTransformer):
    """Casts to a lower precision become casts to float64, so that float64 stays float64."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id == "torch" and node.attr in LOWER:
            node.attr = "float64"
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        func = node.func
        if isinstance(func, ast.Attribute) and func.attr in {"float", "half", "bfloat16"}:
            func.attr = "double"
        return node


def compiled(statements: Sequence[ast.stmt], file: str, *, widen: bool) -> CodeType:
    """The statements as code of `file`; `widen`: for a run in float64.

    Raises:
        SyntaxError, ValueError: Python does not take them.
    """
    lower = [_located(statement) for statement in statements]
    body = [
        _Widen().visit(deepcopy(statement)) if widen and low else statement
        for statement, low in zip(statements, lower, strict=True)
    ]
    return compile(ast.Module(body, []), file, "exec")


def _located(statement: ast.stmt) -> bool:
    """Put places where new parts have none; whether something is cast to a lower precision.

    As `ast.fix_missing_locations`, in the one walk that a search for mends can pay.
    """
    lower = False
    todo: list[tuple[Any, int, int]] = [(statement, 1, 0)]
    while todo:
        node, line, column = todo.pop()
        if "lineno" in node._attributes:
            if not hasattr(node, "lineno"):
                node.lineno = line
            if not hasattr(node, "col_offset"):
                node.col_offset = column
            if getattr(node, "end_lineno", None) is None:
                node.end_lineno, node.end_col_offset = node.lineno, node.col_offset
            line, column = node.lineno, node.col_offset
            lower = lower or (type(node) is ast.Attribute and node.attr in LOWER)
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                if value._fields or value._attributes:
                    todo.append((value, line, column))
            elif type(value) is list:
                todo += [(part, line, column) for part in value if isinstance(part, ast.AST)]
    return lower


class Reached(Exception):
    """A `return` inside of a compound statement was reached."""


class Endless(CheckError):
    """A person's lines call functions without an end in sight."""


@contextlib.contextmanager
def counted() -> Iterator[None]:
    """Counts calls of functions, and refuses the one after `MOST_CALLS`.

    Helpers that call each other twice, 25 deep, take minutes without an endless loop; the count
    is the same on every machine, and a clock is not. It traces and does not profile: a profile is
    told of each operation of PyTorch's as well, and of what every call comes back with.
    """
    if sys.gettrace() is not None:  # a debugger, or the count that this is a part of
        yield
        return
    left = count(MOST_CALLS, -1)

    def counts(frame: FrameType, event: str, _: object) -> None:
        if next(left) <= 0:
            path, number = frame.f_code.co_filename, frame.f_code.co_firstlineno
            text = linecache.getline(path, number).rstrip("\n")
            raise Endless(
                f"this calls functions, `{frame.f_code.co_name}` among them, more than "
                f"{MOST_CALLS:,} times",
                spot=Spot(path, number, text, len(text) - len(text.lstrip())),
                hint="call it fewer times, or say the same with operations on whole tensors",
            )

    sys.settrace(counts)  # it is called as a function begins, and asks for nothing inside of it
    try:
        yield
    finally:
        sys.settrace(None)


def run(code: CodeType, scope: dict[str, Any]) -> None:
    """Run a person's statements, their calls counted: ours around them take longer to count."""
    with counted():
        run_code(code, scope)


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    """What a person's lines print goes aside, and warnings with it."""
    import warnings

    said, depth = io.StringIO(), sys.getrecursionlimit()
    with (
        contextlib.redirect_stdout(said),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            yield said
        finally:
            if sys.getrecursionlimit() < depth:
                sys.setrecursionlimit(depth)  # a file may not take what judging it needs


@contextlib.contextmanager
def precision(dtype: torch.dtype, seed: int = 0) -> Iterator[None]:
    """`torch.zeros(3)` is of this dtype here, and random numbers come from this seed."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(devices=[]):
            if torch.accelerator.is_available():
                torch.manual_seed(seed)
            else:  # which would note down where it was called from, for each device that is none
                torch.default_generator.manual_seed(seed)
            yield
    finally:
        torch.set_default_dtype(before)


def copy_of(value: Any, memo: dict[int, Any] | None = None) -> Any:
    """A copy that shares no memory, tensors inside of lists, tuples and dicts included.

    `memo`: share among the copies made with it what the originals share among each other.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().clone() if memo is None else deepcopy(value, memo)
    if type(value) in (list, tuple):
        return type(value)(copy_of(element, memo) for element in value)
    if type(value) is dict:
        return {key: copy_of(element, memo) for key, element in value.items()}
    return value


def tensors_of(scope: Mapping[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in scope.items():
        if isinstance(value, torch.Tensor):
            yield name, value
