"""Looking up along a split axis: each rank looks up what lies in its share, and has 0 for the rest.

The whole is then the ranks' sum. Adding to looked-up places is the reverse: a rank adds what falls
in its share. So an embedding or a cross-entropy over a split vocabulary needs no rank to have more
of it than its share (Megatron-LM's VocabParallelEmbedding and vocab_parallel_cross_entropy).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from gradninja.ranks.operations.taking import TARGET, Operation
from gradninja.ranks.rank_values import Value
from gradninja.ranks.split import Split

EMBEDDING = ("F.embedding", "torch.nn.functional.embedding")
COUNTS = ("range", "torch.arange")  # what names each place once


def _template(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


# Of an index, by a rank's share that begins at `start` and is `length` long: whether it is there,
# and where there. What is none of the whole is refused, as on the whole; so is what is negative.
HERE = _template("(index >= start) & (index < start + length)")
MINE = _template("torch.where(here, index - start, index // whole * 2 * length)")


# Calls that look up along a dim, or add there: what they take, and whether their index names rows.
CALLS = {
    "gather": (3, False),
    "index_select": (3, True),
    "scatter_add_": (4, False),
    "index_add_": (4, True),
}


@dataclass(frozen=True)
class Place:
    """What an operation looks up: places of a table, by the `index` of some of its dims.

    `behind`: how many axes what is looked up has behind those of the index. `said`: the operation
    by the text of the index along a dim, and that of what is `added`, where something is.
    """

    table: ast.expr
    index: Mapping[int, str]
    behind: int
    said: Callable[[int, str, str], str]
    added: ast.expr | None = None


@dataclass(frozen=True)
class Lookup:
    """A `place` whose index along `dim` names places of an axis that is split over a mesh axis.

    `number`: that what is added is no tensor.
    """

    place: Place
    dim: int
    axis: int
    number: bool

    @property
    def index(self) -> str:
        return self.place.index[self.dim]

    def on_share(self, here: str, mine: str) -> ast.expr | ast.stmt:
        """The same on a rank's share, by two more places: whether the index is there, and where."""
        behind, added = self.place.behind, self.place.added
        shown = f"{here}[(..., {'None, ' * behind})]" if behind else here
        if added is None:
            text = f"torch.where({shown}, {self.place.said(self.dim, mine, '')}, 0.0)"
            return ast.parse(text, mode="eval").body
        part = f"torch.where({shown}, {ast.unparse(added)}, 0.0)"
        if self.number:
            table = ast.unparse(self.place.table)
            part = f"({shown}).to({table}.dtype) * ({ast.unparse(added)})"
        return ast.parse(self.place.said(self.dim, mine, part)).body[0]


def lookup_of(
    operation: Operation, operands: Sequence[Value], into: Value | None, split: Split
) -> Lookup | None:
    """What is looked up along a split axis; None where nothing is, or not by ints in whole axes."""
    values = {f"_{at}": value for at, value in enumerate(operands)}
    if into is not None:
        values[TARGET] = into
    tree = operation.syntax
    place = _of_call(tree, values) or _of_subscript(operation, values)
    table = None if place is None else values.get(ast.unparse(place.table))
    if place is None or table is None or table.types is None:
        return None
    for axis, kind in enumerate(table.types):
        if kind.dim is not None and kind.dim in place.index:
            lengths = [split.lengths(axis)[at[axis]] for at in split.mesh.ranks]
            if [held.shape[kind.dim] for held in table.held] != lengths:
                continue
            value = values.get(place.index[kind.dim])
            if value is None or value.types is None or value.whole.dtype != torch.int64:
                continue
            if not value.types[axis].varies:  # else each rank looks up something else
                number = place.added is not None and not _tensors(place.added, values)
                return Lookup(place, kind.dim, axis, number)
    return None


def _of_call(tree: ast.AST, values: Mapping[str, Value]) -> Place | None:
    """By `x.gather(1, ix)` or `x.index_select(0, ix)`, or what adds there."""
    call = tree.value if isinstance(tree, ast.Expr) else tree
    if not isinstance(call, ast.Call) or call.keywords or not isinstance(call.func, ast.Attribute):
        return None
    name, given = call.func.attr, [call.func.value, *call.args]
    if ast.unparse(call.func.value) == "torch":
        given = call.args
    wanted, rows = CALLS.get(name, (0, False))
    table = values.get(ast.unparse(given[0])) if given else None
    if len(given) != wanted or table is None:
        return None
    dim = _int(given[1])
    if dim is None or not -table.whole.ndim <= dim < table.whole.ndim:
        return None
    whole, own = ast.unparse(given[0]), dim % table.whole.ndim

    def said(_: int, mine: str, added: str) -> str:
        return f"{whole}.{name}({dim}, {', '.join([mine, *([added] if added else [])])})"

    behind = table.whole.ndim - own - 1 if rows else 0
    index, added = {own: ast.unparse(given[2])}, given[3] if wanted == 4 else None
    return Place(given[0], index, behind, said, added)


def _of_subscript(operation: Operation, values: Mapping[str, Value]) -> Place | None:
    """By `table[index]`, or what adds there."""
    tree, added = _subscripted(operation)
    table = None if tree is None else values.get(ast.unparse(tree.value))
    if tree is None or table is None:
        return None
    parts, whole = _parts(tree), ast.unparse(tree.value)
    picked = [at for at, part in enumerate(parts) if not isinstance(part, ast.Slice)]
    plain = not any(isinstance(part, ast.Constant) for part in parts)  # no None, no ...
    if not plain or not picked or picked != list(range(picked[0], picked[-1] + 1)):
        return None  # or the index's axes would come first
    index = {at: ast.unparse(parts[at]) for at in picked}

    def said(dim: int, mine: str, added: str) -> str:
        where = ", ".join(mine if part == index[dim] else part for part in map(ast.unparse, parts))
        put = f"{whole}.index_put_(({where},), {added}, accumulate=True)"
        return put if added else f"{whole}[{where}]"

    return Place(tree.value, index, table.whole.ndim - picked[-1] - 1, said, added)


def _subscripted(operation: Operation) -> tuple[ast.Subscript | None, ast.expr | None]:
    """What an operation looks up, as `table[index]`; and what it adds there, if it does."""
    tree = operation.syntax
    if isinstance(tree, ast.Subscript):
        return tree, None
    if isinstance(tree, ast.Call) and ast.unparse(tree.func) in EMBEDDING:
        plain = len(tree.args) == 2 and not tree.keywords
        return (ast.Subscript(tree.args[1], tree.args[0], ast.Load()) if plain else None), None
    if isinstance(tree, ast.AugAssign) and isinstance(tree.target, ast.Subscript):
        # Twice the same place would be written once: no places are, that count rows besides.
        named = dict(enumerate(operation.operands))
        parts = [named.get(_number(part), part) for part in _parts(tree.target)]
        counts = any(isinstance(p, ast.Call) and ast.unparse(p.func) in COUNTS for p in parts)
        added = tree.value if isinstance(tree.op, ast.Add) else ast.UnaryOp(ast.USub(), tree.value)
        if counts and isinstance(tree.op, ast.Add | ast.Sub):
            return tree.target, added
    if isinstance(tree, ast.Expr) and isinstance(tree.value, ast.Call):
        call = tree.value
        told = [f"{k.arg}={ast.unparse(k.value)}" for k in call.keywords]
        adds = ast.unparse(call.func) == f"{TARGET}.index_put_" and told == ["accumulate=True"]
        if adds and len(call.args) == 2 and isinstance(call.args[0], ast.Tuple):
            where, what = call.args
            return ast.Subscript(ast.Name(TARGET), where, ast.Load()), what
    return None, None


def _tensors(tree: ast.expr, values: Mapping[str, Value]) -> bool:
    """Whether a tensor is named in an expression."""
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return any(name in values and values[name].types is not None for name in names)


def _int(tree: ast.expr) -> int | None:
    """A whole number that is written out."""
    try:
        found = ast.literal_eval(tree)
    except ValueError:
        return None
    return found if type(found) is int else None


def _number(part: ast.expr) -> int:
    """The number of an operand's place; -1 of anything else."""
    text = ast.unparse(part).removeprefix("_")
    return int(text) if text.isdecimal() else -1


def _parts(tree: ast.Subscript) -> list[ast.expr]:
    return list(tree.slice.elts) if isinstance(tree.slice, ast.Tuple) else [tree.slice]
