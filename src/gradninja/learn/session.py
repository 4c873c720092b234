"""What a person has run: the statements of a notebook's cells, or of the script that calls."""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import FrameType
from typing import Any

from gradninja.check.given.plan import bound, written


def _as_it_is(node: ast.stmt) -> ast.stmt:
    return node


COMPOUND = ast.For | ast.While | ast.If | ast.With | ast.Try


@dataclass(frozen=True, eq=False)
class Statement:
    """One simple statement. `place`: the cell or file that it stands in; `line`: in there.

    `loops`: the loops around it, the outermost first. `words`: what gives it in torch's words.
    """

    node: ast.stmt
    text: str
    place: str
    line: int
    loops: tuple[ast.stmt, ...] = ()
    words: Callable[[ast.stmt], ast.stmt] = _as_it_is

    def whole(self, apart: Collection[ast.stmt]) -> Statement:
        """The outermost loop around it that has none of these statements in it; else itself."""
        for loop in self.loops:
            if not any(node in apart for node in ast.walk(loop)):
                text = ast.unparse(loop)
                return Statement(loop, text, self.place, loop.lineno, words=self.words)
        return self

    @property
    def where(self) -> str:
        return f"{self.place}, line {self.line}"

    @cached_property
    def said(self) -> ast.stmt:
        """The statement in torch's words."""
        return self.words(self.node)

    @cached_property
    def binds(self) -> frozenset[str]:
        """The names that it gives a new value, not counting what it writes in place."""
        return frozenset(bound(self.said))

    @cached_property
    def writes(self) -> frozenset[str]:
        return self.binds | frozenset(written(self.said))

    @cached_property
    def reads(self) -> frozenset[str]:
        """The names whose values it needs."""
        return frozenset(
            node.id
            for node in ast.walk(self.said)
            if isinstance(node, ast.Name)
            and (isinstance(node.ctx, ast.Load) or isinstance(self.said, ast.AugAssign))
        )


@dataclass(frozen=True, eq=False)
class Session:
    """Statements in the order in which they ran, and the values that the names have now."""

    statements: tuple[Statement, ...]
    namespace: Mapping[str, Any]
    notebook: bool

    def handed(self, label: str, position: int) -> tuple[ast.expr, Statement] | None:
        """What stands at a place in the last call `cmp(label, ...)`, and the statement of it."""
        for statement in reversed(self.statements):
            for node in ast.walk(statement.node):
                if isinstance(node, ast.Call) and len(node.args) > position:
                    name = getattr(node.func, "attr", getattr(node.func, "id", None))
                    first = node.args[0]
                    if (
                        name in {"cmp", "compare"}
                        and isinstance(first, ast.Constant)
                        and first.value == label
                    ):
                        return node.args[position], statement
        return None


def session(frame: FrameType) -> Session:
    """The session that a frame belongs to: of a notebook all its cells, of a script its text."""
    while frame.f_back is not None and frame.f_code.co_name in {"<listcomp>", "<genexpr>"}:
        frame = frame.f_back
    namespace = {**frame.f_globals, **frame.f_locals}
    shell = _shell(frame.f_globals)
    if shell is not None:
        here = frame.f_lineno if frame.f_code.co_name == "<module>" else None
        return notebook(shell, here, namespace)
    lines = linecache.getlines(frame.f_code.co_filename, frame.f_globals)
    place = frame.f_code.co_filename.rpartition("/")[2]
    found = statements("".join(lines), place, frame.f_lineno, within=_scopes(frame))
    return Session(tuple(found), namespace, False)


def notebook(
    shell: Any, here: int | None = None, namespace: Mapping[str, Any] | None = None
) -> Session:
    """The session of an IPython shell: its cells down to line `here` of the one that runs."""
    texts = list(shell.history_manager.input_hist_parsed)
    return Session(tuple(cells(texts, here)), namespace or shell.user_ns, True)


def cells(texts: Sequence[str], here: int | None = None) -> Iterator[Statement]:
    """The statements of a notebook's cells, by execution count; the last is the one that runs.

    A cell that ran more than once is taken at its last time. `here`: the line of the last cell
    that runs now; None for the whole of it.
    """
    last = {text: count for count, text in enumerate(texts)}
    for count, text in enumerate(texts):
        if last[text] == count:
            stop = here if count == len(texts) - 1 else None
            yield from statements(text, f"cell {count}", stop)


def statements(
    text: str, place: str, stop: int | None = None, within: Sequence[str] = ()
) -> Iterator[Statement]:
    """The simple statements of a text down to a line, those of loops and conditions in their order.

    `within`: the functions whose bodies count as well, the outermost first.
    """
    try:
        tree = ast.parse(text)
        text = _inner(tree) or text
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    rows = text.splitlines()
    for node, loops in _flat(tree.body, within):
        if stop is None or node.lineno <= stop:
            if node.end_lineno == node.lineno:
                row = rows[node.lineno - 1].encode()[node.col_offset : node.end_col_offset]
                said = row.decode(errors="ignore")
            else:
                said = ast.unparse(node)
            yield Statement(node, said, place, node.lineno, loops)


CELLS = frozenset({"forward", "backward", "time", "capture"})  # magics that run their cell here


def _inner(tree: ast.Module) -> str | None:
    """The cell below `%%forward`, `%%backward` or `%%time`, one line further down."""
    call = (
        tree.body[0].value if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr) else None
    )
    if not (isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "run_cell_magic"):
        return None
    name, _, body = [str(getattr(node, "value", "")) for node in call.args]
    return f"\n{body}" if name in CELLS else None


def _flat(
    body: Sequence[ast.stmt], within: Sequence[str], loops: tuple[ast.stmt, ...] = ()
) -> Iterator[tuple[ast.stmt, tuple[ast.stmt, ...]]]:
    """The simple statements of a body, each with the loops around it."""
    for node in body:
        if isinstance(node, COMPOUND):
            around = (*loops, node) if isinstance(node, ast.For | ast.While) else loops
            for part in ("body", "handlers", "orelse", "finalbody"):
                for inner in getattr(node, part, ()):
                    yield from _flat(inner.body if part == "handlers" else [inner], within, around)
        elif isinstance(node, ast.FunctionDef) and within and node.name == within[0]:
            yield from _flat(node.body, within[1:])
        else:
            yield node, loops


def _scopes(frame: FrameType) -> list[str]:
    """`outer`, `inner` of a frame of `outer.<locals>.inner`."""
    name = frame.f_code.co_qualname if frame.f_code.co_name != "<module>" else ""
    return [part for part in name.split(".") if part not in {"", "<locals>"}]


def _shell(namespace: Mapping[str, Any]) -> Any:
    """The IPython shell whose cells these names are of; None outside of one."""
    get = namespace.get("get_ipython")
    shell = get() if inspect.ismethod(get) or inspect.isfunction(get) else None
    return shell if shell is not None and shell.user_ns is namespace else None
