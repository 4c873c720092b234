"""Edits that mend what people get wrong in a backward over ranks, each with its kind."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from gradninja.derive.template import rebuild

MISSING = "a missing all_reduce"
TOO_MANY = "one all_reduce too many"
MEAN = "a mean for a sum"
OWN = "a rank's own length for the whole's"

WORDS = {
    MISSING: "`{name}` is only this rank's part of a sum: it is summed over the ranks before it is "
    "used whole",
    TOO_MANY: "`{name}` is the same on every rank already, or belongs to its share: summed, it "
    "counts as often as there are ranks",
    MEAN: "each rank's part counts in full: the loss is divided by the whole length already, so "
    "parts are summed and not averaged",
    OWN: "`{name}` is the length of this rank's share; the mean is over all ranks together",
}


@dataclass(frozen=True)
class Edit:
    """One statement changed, taken out, or with one after it.

    `at` is the statement, `new` what stands in its place (nothing where it is taken out), `after`
    whether it stays and `new` follows it.
    """

    kind: str
    name: str
    at: ast.stmt
    new: ast.stmt | None
    after: bool = False

    def applied(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """The body with the edit."""
        found: list[ast.stmt] = []
        for node in body:
            if node is not self.at:
                found.append(node)
                continue
            found += [node] if self.after else []
            found += [] if self.new is None else [self.new]
        return found

    @property
    def words(self) -> str:
        return WORDS[self.kind].format(name=self.name)


def edits(
    body: list[ast.stmt], lengths: Mapping[str, str], group: str, in_place: str
) -> Iterator[Edit]:
    """The edits of a straight backward, the likeliest first.

    Args:
        lengths: text that is the length of a share (`n`, `x.shape[0]`), and how the whole's is
            written.
        group: how the ranks are named in a call.
        in_place: the module by which the text calls `all_reduce` in place; empty where it does not.
    """
    for node in body:
        yield from _mean(node)
    for node in body:
        yield from _one_less(node)
    for node in body:
        yield from _own_lengths(node, lengths)
    for node in reversed(body):
        for name in _written(node):
            if in_place:
                text = f"{in_place}.all_reduce({name}, group={group})"
            else:
                text = f'{name} = fc.all_reduce({name}, "sum", {group})'
            new = ast.parse(text).body[0]
            yield Edit(MISSING, name, node, new, after=True)


def _written(node: ast.stmt) -> Iterator[str]:
    """The gradients that a line writes."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AugAssign):
        targets = [node.target]
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        func = node.value.func
        if isinstance(func, ast.Attribute) and not is_collective(node.value):
            targets = [func.value]
    for target in targets:
        while isinstance(target, ast.Subscript):
            target = target.value
        if isinstance(target, ast.Name):
            yield target.id


def is_collective(node: ast.AST) -> bool:
    """Whether this is a call of an all_reduce, or one of several."""
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func).rpartition(".")[2]
    return name.startswith("all_reduce")


def _one_less(node: ast.stmt) -> Iterator[Edit]:
    """An all_reduce taken out; of several tensors in one call, each of them."""
    value = node.value if isinstance(node, ast.Assign | ast.Expr) else None
    if value is None or not isinstance(value, ast.Call) or not is_collective(value):
        return
    if not value.args:
        return
    handed = value.args[0]
    if isinstance(node, ast.Expr):
        yield Edit(TOO_MANY, ast.unparse(handed), node, None)
        return
    assert isinstance(node, ast.Assign)
    into = node.targets[0]
    if isinstance(handed, ast.List) and isinstance(into, ast.Tuple | ast.List):
        for at, part in enumerate(handed.elts):
            kept = [e for i, e in enumerate(handed.elts) if i != at]
            bound = [e for i, e in enumerate(into.elts) if i != at]
            call = ast.Call(
                value.func, [ast.List(kept, ast.Load()), *value.args[1:]], value.keywords
            )
            new = ast.Assign([ast.Tuple(bound, ast.Store())], call, lineno=0) if kept else None
            yield Edit(TOO_MANY, ast.unparse(part), node, new)
        return
    same = ast.unparse(into) == ast.unparse(handed)
    new = None if same else ast.Assign([into], handed, lineno=0)
    yield Edit(TOO_MANY, ast.unparse(handed), node, new)


def _mean(node: ast.stmt) -> Iterator[Edit]:
    """A sum in place of an average, and no division by the number of ranks."""

    def summed(part: ast.AST) -> ast.AST | None:
        if isinstance(part, ast.Constant) and part.value == "avg":
            return ast.Constant("sum")
        if isinstance(part, ast.Attribute) and part.attr == "AVG":
            return ast.Attribute(part.value, "SUM", part.ctx)
        return None

    def whole(part: ast.AST) -> ast.AST | None:
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Div):
            said = ast.unparse(part.right)
            if "world_size" in said or said in {"ranks", "nranks", "num_ranks"}:
                return part.left
        return None

    names = [*_written(node), "the gradient"]
    for change in (summed, whole):
        new = rebuild(node, change)
        if new is not node:
            yield Edit(MEAN, names[0], node, new)
    divides = isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Div)
    if divides and "world_size" in ast.unparse(node.value):  # type: ignore[attr-defined]
        yield Edit(MEAN, names[0], node, None)


def _own_lengths(node: ast.stmt, lengths: Mapping[str, str]) -> Iterator[Edit]:
    """The whole's length in place of the share's, at one place."""
    places = [
        part
        for part in ast.walk(node)
        if isinstance(part, ast.expr)
        and ast.unparse(part) in lengths
        and isinstance(getattr(part, "ctx", ast.Load()), ast.Load)
    ]
    for place in places:
        said = ast.unparse(place)
        new = ast.parse(lengths[said], mode="eval").body
        yield Edit(OWN, said, node, rebuild(node, _swap(place, new)))
    for part in ast.walk(node):
        if isinstance(part, ast.Call) and ast.unparse(part.func).endswith(".mean"):
            share, whole = next(iter(lengths.items()))
            text = f"{ast.unparse(part)} * ({share} / {whole})"
            new = ast.parse(text, mode="eval").body
            yield Edit(OWN, share, node, rebuild(node, _swap(part, new)))


def _swap(old: ast.AST, new: ast.AST) -> Callable[[ast.AST], ast.AST | None]:
    return lambda node: new if node is old else None
