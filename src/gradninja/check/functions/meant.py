"""Other forwards that a Function may mean: gradients that differ from its own on purpose.

A straight-through estimator rounds on the way there and lets the gradient through on the way back;
a reversal has the identity as its forward. What is meant is a plain forward with `.detach()`, and
the Function is judged on that.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from gradninja.check.functions.function_text import Text
from gradninja.check.functions.held import elements
from gradninja.check.tell.findings import Report, Verdict

STEPS = frozenset("round floor ceil trunc sign sgn heaviside".split())
BOUNDS = frozenset("clamp clip".split())
CASTS = frozenset("float double to type_as type".split())
WINDOW = "clamp(-1, 1)"
OTHERWISE = "where something else is meant, a plain forward beside it says so"
COPIES = frozenset("clone view_as view reshape new detach contiguous alias".split())


@dataclass(frozen=True)
class Meaning:
    """A forward that may be meant, as a change of the plain one, and how that is told.

    `through`: an input whose gradient is right if that is what is meant.
    """

    change: Callable[[ast.FunctionDef], ast.FunctionDef]
    told: str
    through: str | None = None


def meanings(
    text: Text, moved_by: Callable[[str], Collection[str]], stepped: Sequence[str]
) -> Iterator[Meaning]:
    """The forwards that may be meant, the likeliest first.

    Args:
        moved_by: the inputs whose gradients depend on one, by its name.
        stepped: the inputs that move the outputs by steps alone.
    """
    yield from _across_steps(text, moved_by)
    value = _value(text)
    for name in stepped:
        for kept in (name, f"{name}.{WINDOW}"):
            window = " with a window" if kept != name else ""
            told = (
                f"judged as a straight-through estimator{window}: its forward takes steps in "
                f"`{name}`, and is taken as `{kept} + ({value} - {kept}).detach()`; {OTHERWISE}"
            )
            yield Meaning(_Through(kept), told, name)


def _across_steps(text: Text, moved_by: Callable[[str], Collection[str]]) -> Iterator[Meaning]:
    """The gradient goes through what is rounded, or what a sign is taken of."""
    found = steps(text)
    if not found:
        return
    first = ast.unparse(found[-1])
    inner = ast.unparse(_step(found[-1]) or found[-1])
    unused = sorted(_unused(text))
    scales = [(n, tuple(sorted(moved_by(n)))) for n in unused]
    scales = [scale for scale in scales if scale[1]] or [("", ())]

    def told(what: str, kept: str) -> str:
        return (
            f"judged as {what}: its forward is taken as `{kept} + ({first} - {kept}).detach()`; "
            f"{OTHERWISE}"
        )

    what = "a straight-through estimator"
    bounded = [node for node in ast.walk(text.forward) if _bounded_step(node) is not None]
    for bounds in [False, True] if bounded else [False]:
        said = told(what, inner)
        if bounds:
            before = ast.unparse(_Before().visit(copy.deepcopy(bounded[0])))
            said = (
                f"judged as {what} with bounds: `{before}` stands for `{ast.unparse(bounded[0])}`, "
                f"and its bounds for what the gradient goes through; {OTHERWISE}"
            )
        for number, scaled in scales:
            listed = " and ".join(f"d{name}" for name in scaled)
            times = f"; {listed} is taken times `{number}`" if scaled else ""
            yield Meaning(_Change(number, scaled, bounds=bounds), said + times)
    window = f"({inner}).{WINDOW}"
    yield Meaning(_Change(window=True), told(f"{what} with a window", window))


def steps(text: Text) -> list[ast.AST]:
    """The parts of its forward that round, or take a sign."""
    return [node for node in ast.walk(text.forward) if _step(node) is not None]


def has_bounds(text: Text) -> bool:
    """Whether its forward bounds something, outside of which there is no gradient."""
    parts = [n.attr for n in ast.walk(text.forward) if isinstance(n, ast.Attribute)]
    return not BOUNDS.isdisjoint(parts)


def on_purpose(report: Report, text: Text) -> Report | None:
    """A report on what cannot but be meant otherwise: nobody writes the identity's backward.

    None where the forward is no identity.
    """
    last = text.forward.body[-1]
    value = last.value if isinstance(last, ast.Return) else None
    listed = [] if value is None else elements(value) or [value]
    values = {n for part in listed for n in [_copied(part, text)] if n is not None}
    if len(values) != len(listed) or not values <= set(text.inputs):
        return None
    why = f"its forward is the identity of `{min(values, default='')}`"
    return meant(report, why, "k * {x} + ({x} - k * {x}).detach()")


def across(text: Text) -> str:
    """How a gradient goes through what a forward returns, with `{x}` for the input."""
    return f"{{x}} + ({_value(text)} - {{x}}).detach()"


def meant(report: Report, why: str, how: str = "", names: Collection[str] | None = None) -> Report:
    """The same with what is wrong taken as meant, and told as not looked at.

    Args:
        how: what a plain forward returns that says so, with `{x}` for the input.
        names: the inputs whose gradients are; by default all that are wrong.
    """
    mine = [
        row
        for row in report.lines
        if row.verdict in (Verdict.WRONG, Verdict.MISSING)
        and (names is None or row.name.removeprefix("d") in names)
    ]
    if not mine:
        return report
    listed = ", ".join(row.name for row in mine)
    said = f"{why}, so {listed} differs on purpose, and is not judged"
    if how:
        how = how.replace("{x}", mine[0].name.removeprefix("d"))
        said += f"; a plain forward beside it says what is meant, as `return {how}`"
    rows = tuple(
        replace(
            row, verdict=Verdict.MEANT, kind=None, diagnosis=None, fix=None, place=None, notes=()
        )
        if row in mine
        else row
        for row in report.lines
    )
    looked = (*report.not_looked_at, f"whether {listed} is what is meant")
    return replace(report, lines=rows, notes=(*report.notes, said), not_looked_at=looked)


def _value(text: Text) -> str:
    """What its forward returns, as it is written there."""
    last = text.forward.body[-1]
    value = last.value if isinstance(last, ast.Return) else None
    return "y" if value is None or isinstance(value, ast.Tuple) else ast.unparse(value)


def _copied(node: ast.expr, text: Text) -> str | None:
    """The input that an expression is a copy of."""
    while True:
        if isinstance(node, ast.Name):
            bound = [
                s.value
                for s in text.forward.body
                if isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) == node.id
            ]
            if not bound or node.id in text.inputs:
                return node.id
            if len(bound) > 1:
                return None
            node = bound[0]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr not in COPIES:
                return None
            node = node.func.value
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            if not (isinstance(node.right, ast.Constant) and node.right.value == 1):
                return None
            node = node.left
        else:
            return None


def _unused(text: Text) -> set[str]:
    """The inputs that the forward does nothing with but keep them."""
    used: set[str] = set()
    for statement in text.forward.body:
        kept = isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Attribute)
        saved = "save_for_backward" in ast.unparse(statement) or isinstance(statement, ast.Assert)
        if not (kept or saved):
            used |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)}
    return set(text.inputs) - used


def _step(node: ast.AST) -> ast.expr | None:
    """What a step is taken of: `x` of `x.round()`, `torch.sign(x)`, `(x > 0).float()`."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    owner, name = node.func.value, node.func.attr
    if name in STEPS:
        library = isinstance(owner, ast.Name) and owner.id in {"torch", "F"}
        return (node.args[0] if node.args else None) if library else owner
    if not (name in CASTS and isinstance(owner, ast.Compare) and len(owner.ops) == 1):
        return None
    return owner.left if isinstance(owner.ops[0], ast.Gt | ast.GtE) else None


def _bounded_step(node: ast.AST) -> ast.Call | None:
    """The step that bounds are put on: `x.round()` of `x.round().clamp(low, high)`."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    inner = node.func.value
    if node.func.attr not in BOUNDS or not isinstance(inner, ast.Call) or inner.args:
        return None
    return inner if _step(inner) is not None else None


class _Before(ast.NodeTransformer):
    """`x.round().clamp(low, high)` as `x.clamp(low, high).round()`: whole bounds bound the same."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        step = _bounded_step(node)
        if step is None:
            return node
        assert isinstance(step.func, ast.Attribute)
        assert isinstance(node.func, ast.Attribute)
        clamp = ast.Attribute(step.func.value, node.func.attr, ast.Load())
        bounded = ast.Call(clamp, node.args, node.keywords)
        stepped = ast.Attribute(bounded, step.func.attr, ast.Load())
        return _at(ast.Call(stepped, [], []), node)


class _Change(ast.NodeTransformer):
    """Steps that the gradient goes through, and inputs whose gradient is times a number.

    `window`: only near to zero; `bounds`: through what is not rounded yet.
    """

    def __init__(
        self,
        number: str = "",
        scaled: Sequence[str] = (),
        *,
        window: bool = False,
        bounds: bool = False,
    ) -> None:
        self.number, self.scaled, self.window, self.bounds = number, scaled, window, bounds

    def __call__(self, function: ast.FunctionDef) -> ast.FunctionDef:
        found: ast.FunctionDef = copy.deepcopy(function)
        found = self.visit(_Before().visit(found) if self.bounds else found)
        first = found.body[0]
        for name in self.scaled:
            for node in ast.walk(ast.Module(found.body, [])):
                if isinstance(node, ast.Name) and node.id == name:
                    node.id = f"{name}_scaled"
            times = f"({self.number} * {name})"
            text = f"{name}_scaled = {times} + ({name} - {times}).detach()"
            found.body.insert(0, _at(ast.parse(text).body[0], first))
        return ast.fix_missing_locations(found)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        inside = _step(node)
        if inside is None:
            return node
        x = ast.unparse(inside)
        kept = f"({x}).{WINDOW}" if self.window else f"({x})"
        text = f"{kept} + ({ast.unparse(node)} - {kept}).detach()"
        return _at(ast.parse(text, mode="eval").body, node)


class _Through:
    """The gradient of what is returned goes through to an expression as well."""

    def __init__(self, kept: str) -> None:
        self.kept = kept

    def __call__(self, function: ast.FunctionDef) -> ast.FunctionDef:
        found: ast.FunctionDef = copy.deepcopy(function)
        last = found.body[-1]
        assert isinstance(last, ast.Return)
        assert last.value is not None
        first = last.value.elts[0] if isinstance(last.value, ast.Tuple) else last.value
        through = f"{ast.unparse(first)} + ({self.kept} - {self.kept}.detach())"
        new = _at(ast.parse(through, mode="eval").body, first)
        if isinstance(last.value, ast.Tuple):
            last.value.elts[0] = new
        else:
            last.value = new
        return ast.fix_missing_locations(found)


Node = TypeVar("Node", bound=ast.AST)


def _at(new: Node, old: ast.AST) -> Node:
    for part in ast.walk(new):
        ast.copy_location(part, old)
    return new
