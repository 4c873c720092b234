"""What an index tensor indexes: how large its ints may be when it is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from gradninja.lines.program import TUPLE, Expr

# (what is indexed, along which axis, by what): arguments by position and keyword. An axis that is
# an int is meant as it is; one that is a pair names the argument that tells it.
Argument = tuple[int, str]
INDEXING: dict[str, tuple[Argument, int | Argument, Argument]] = {
    "F.embedding": ((1, "weight"), 0, (0, "input")),
    "F.cross_entropy": ((0, "input"), 1, (1, "target")),
    "F.nll_loss": ((0, "input"), 1, (1, "target")),
    "gather": ((0, "input"), (1, "dim"), (2, "index")),
    "index_select": ((0, "input"), (1, "dim"), (2, "index")),
    "scatter": ((0, "input"), (1, "dim"), (2, "index")),
    "scatter_add": ((0, "input"), (1, "dim"), (2, "index")),
    "index_add": ((0, "input"), (1, "dim"), (2, "index")),
    "take_along_dim": ((0, "input"), (2, "dim"), (1, "indices")),
}


def bounds(
    op: str, args: tuple[Expr, ...], kwargs: Mapping[str, Expr]
) -> Iterator[tuple[Expr, int]]:
    """The index tensors of an operation, each with the size of the axis that it indexes."""
    if op == "[]":
        yield from _subscript(args[0], args[1].args if args[1].op == TUPLE else (args[1],))
    elif op == "F.one_hot":
        classes = args[1] if len(args) > 1 else kwargs.get("num_classes")
        if classes is not None and isinstance(classes.value, int) and classes.value > 0:
            yield args[0], classes.value
    else:
        row = INDEXING.get(op) or INDEXING.get(op.rpartition(".")[2])
        if row is None:
            return
        of, by = _argument(row[0], args, kwargs), _argument(row[2], args, kwargs)
        axis = row[1]
        if not isinstance(axis, int):
            told = _argument(axis, args, kwargs)
            axis = told.value if told is not None and isinstance(told.value, int) else 0
        if of is not None and by is not None and of.is_tensor and of.value.ndim:
            yield by, of.shape[min(axis, of.value.ndim - 1)]


def _argument(which: Argument, args: Sequence[Expr], kwargs: Mapping[str, Expr]) -> Expr | None:
    position, name = which
    return args[position] if len(args) > position else kwargs.get(name)


def _subscript(of: Expr, index: Sequence[Expr]) -> Iterator[tuple[Expr, int]]:
    taken = sum(_axes(part) for part in index if part.value is not ...)
    axis = 0
    for part in index:
        if part.is_tensor and part.value.dtype == torch.int64:
            yield part, of.shape[axis]
        axis += of.value.ndim - taken if part.value is ... else _axes(part)


def _axes(part: Expr) -> int:
    """How many axes of the indexed tensor one part of an index takes."""
    if part.is_tensor and part.value.dtype == torch.bool:
        return int(part.value.ndim)
    return 0 if part.value is None else 1
