"""Looking up along a split axis: each rank looks up what lies in its share, and has 0 for the rest.

The whole is then the ranks' sum. Adding to looked-up places is the reverse: a rank adds what falls
in its share. So an embedding or a cross-entropy over a split vocabulary needs no rank to have more
of it than its share (Megatron-LM's VocabParallelEmbedding and vocab_parallel_cross_entropy).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True)
class Lookup:
    """`index`, a place of an operation, along a dim of `table` that is split over a mesh axis.

    `behind`: how many axes what is looked up has behind those of the index. `added`: what is added
    there, where nothing is given back; `number`: that is no tensor.
    """

    tree: ast.Subscript
    table: str
    index: str
    axis: int
    behind: int
    added: ast.expr | None
    number: bool

    def on_share(self, here: str, mine: str) -> ast.expr | ast.stmt:
        """The same on a rank's share, by two more places: whether the index is there, and where."""
        shown = f"{here}[(..., {'None, ' * self.behind})]" if self.behind else here
        parts = [
            mine if part == self.index else part for part in map(ast.unparse, _parts(self.tree))
        ]
        text = f"torch.where({shown}, {self.table}[{', '.join(parts)}], 0.0)"
        if self.added is None:
            return ast.parse(text, mode="eval").body
        part = f"torch.where({shown}, {ast.unparse(self.added)}, 0.0)"
        if self.number:
            part = f"({shown}).to({self.table}.dtype) * ({ast.unparse(self.added)})"
        return ast.parse(
            f"{self.table}.index_put_(({', '.join(parts)},), {part}, accumulate=True)"
        ).body[0]


def lookup_of(
    operation: Operation, operands: Sequence[Value], into: Value | None, split: Split
) -> Lookup | None:
    """What is looked up along a split axis; None where nothing is, or not by ints in whole axes."""
    tree, added = _looked_up(operation)
    values = {f"_{at}": value for at, value in enumerate(operands)}
    if into is not None:
        values[TARGET] = into
    table = values.get(ast.unparse(tree.value)) if tree is not None else None
    if tree is None or table is None or table.types is None:
        return None
    parts = _parts(tree)
    picked = [at for at, part in enumerate(parts) if not isinstance(part, ast.Slice)]
    whole = not any(isinstance(part, ast.Constant) for part in parts)  # no None, no ...
    if not whole or not picked or picked != list(range(picked[0], picked[-1] + 1)):
        return None  # or the index's axes would come first
    for axis, kind in enumerate(table.types):
        if kind.dim in picked:
            lengths = [split.lengths(axis)[at[axis]] for at in split.mesh.ranks]
            if [held.shape[kind.dim] for held in table.held] != lengths:
                continue
            index = ast.unparse(parts[kind.dim])
            value = values.get(index)
            if value is None or value.types is None or value.whole.dtype != torch.int64:
                continue
            if not value.types[axis].varies:  # else each rank looks up something else
                behind = table.whole.ndim - picked[-1] - 1
                number = added is not None and not _tensors(added, values)
                return Lookup(tree, ast.unparse(tree.value), index, axis, behind, added, number)
    return None


def _looked_up(operation: Operation) -> tuple[ast.Subscript | None, ast.expr | None]:
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


def _number(part: ast.expr) -> int:
    """The number of an operand's place; -1 of anything else."""
    text = ast.unparse(part).removeprefix("_")
    return int(text) if text.isdecimal() else -1


def _parts(tree: ast.Subscript) -> list[ast.expr]:
    return list(tree.slice.elts) if isinstance(tree.slice, ast.Tuple) else [tree.slice]
