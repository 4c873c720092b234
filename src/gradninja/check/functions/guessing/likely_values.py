"""The values that a parameter may have, by its name and beside those that are known."""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from gradninja.check.functions.guessing.told_shapes import IDS, Told

SHAPES = ((4, 6), (6,), (5, 6), (6, 5), (2, 4, 6), (2, 4, 6, 5), (1,), ())
WINDOW = 3  # of a convolution's weights, along each axis that it goes along
NEW = (5, 3, 7, 8)  # sizes that no axis has yet
VECTORS = frozenset("bias b beta shift weight gamma scale running_mean running_var".split())
MATRIX = re.compile(r"(w|weights?|kernel)(_\w+)?|\w+_(w|weight|kernel)|w[a-z]?")
MASKS = frozenset("mask masks keep".split())
POSITIVE = frozenset("var variance running_var std sigma rstd invstd scale alpha tau".split())
NUMBERS: dict[str, Any] = dict.fromkeys("training inplace affine causal is_causal".split(), True)
NUMBERS |= dict.fromkeys("dim axis".split(), -1)
NUMBERS |= dict.fromkeys("chunks block block_size num_chunks groups bits stride".split(), 2)
NUMBERS |= dict.fromkeys("padding dilation".split(), 1)
NUMBERS |= dict.fromkeys("padding_idx batch_size".split(), 2)
NUMBERS |= dict.fromkeys("eps epsilon".split(), 1e-5)
NUMBERS |= dict.fromkeys("qn qmin quant_min thd_neg min_val lower".split(), -4)
NUMBERS |= dict.fromkeys("qp qmax quant_max thd_pos max_val upper".split(), 3)
SMALL = frozenset("eps epsilon".split())
SETTING = 0.7  # no number that texts have often: a mend must not write it for the name
KNOWN = IDS | MASKS | set(NUMBERS)

Shape = tuple[int, ...]


def likeliest(
    name: str, known: Mapping[str, Any], told: Told, *, constant: bool = False
) -> Iterator[Any]:
    """What a parameter may be beside those that are known, the likeliest first.

    Args:
        constant: whether the backward gives None for it.
    """
    bare = _bare(name)
    if constant and bare not in KNOWN | VECTORS:
        yield from () if name in told.saved else (SETTING, 2, torch.tensor(SETTING))
    alone = bare == "b" and "a" in known  # `a, b`: two of a kind, and `b` no bias
    shapes = _of_rank(name, _shapes(name, bare, known, told, alone), known, told)
    shapes = [shape for shape in shapes if told.single or shape != (1,)]  # what hides a sum
    yield from choices("x" if alone else name, shapes, name)


def before(
    name: str | None, known: Mapping[str, Any], free: Sequence[str], told: Told
) -> str | None:
    """What is chosen before one: the first of the data, whose axes a vector is as long as."""
    if known or not name or not _is_vector(name, told):
        return name
    return next((n for n in free if not _is_vector(n, told) and _bare(n) not in KNOWN), name)


def _is_vector(name: str, told: Told) -> bool:
    return told.ranks.get(name, 1 if _bare(name) in VECTORS else 2) == 1


def choices(name: str, shapes: Sequence[Shape] = SHAPES, seed: str | None = None) -> Iterator[Any]:
    """What one of a name may be, in each of several shapes."""
    generator = torch.Generator().manual_seed(zlib.crc32((seed or name).encode()))
    bare = _bare(name)
    if bare in MASKS or bare.endswith("_mask"):
        for shape in shapes:
            yield torch.rand(shape, generator=generator) > 0.4
    if bare in IDS:
        yield torch.tensor([0, 2, 2, 1])
        yield torch.tensor([[0, 2], [2, 1]])
    elif bare in NUMBERS:
        yield NUMBERS[bare]
        yield torch.tensor(NUMBERS[bare])
        return
    for shape in dict.fromkeys(shapes):
        drawn = torch.randn(shape, generator=generator)
        if bare in IDS:  # one of two, where no id is taken
            drawn = (drawn > 0).to(drawn.dtype)
        yield drawn.abs() + 0.1 if bare in POSITIVE else drawn
    yield SETTING
    yield 2


def _bare(name: str) -> str:
    return name.rstrip("0123456789_").lower()


def _shapes(name: str, bare: str, known: Mapping[str, Any], told: Told, alone: bool) -> list[Shape]:
    """The shapes that a parameter may have beside those that are known, the likeliest first."""
    shapes = [tuple(v.shape) for v in known.values() if isinstance(v, torch.Tensor) and v.ndim]
    vector, matrix = bare in VECTORS and not alone, MATRIX.fullmatch(bare)
    first = [(6,)] if bare in VECTORS else [(6, 5), (5, 6)] if matrix else []
    if not shapes:
        own = [(n, size) for size in told.sizes for n in (4, 6)]
        return [*first, *SHAPES, *own]
    sizes = list(dict.fromkeys(size for shape in reversed(shapes) for size in reversed(shape)))
    new = next(size for size in NEW if size not in sizes)
    vectors: list[Shape] = [(size,) for size in sizes]
    matrices: list[Shape] = [pair for size in sizes for pair in ((size, new), (new, size))]
    known_pairs: list[Shape] = list(itertools.permutations(sizes, 2))
    wide = list(dict.fromkeys([*told.sizes, *told.lasts.values()]))
    known_pairs += [(size, other) for size in sizes for other in wide]
    gates = [count * size for count in told.parts for size in sizes]
    known_pairs += list(itertools.product(gates, _joined(shapes, told)))
    vectors += [(size,) for size in gates]
    if told.window:
        channels = [shape[1] for shape in shapes if len(shape) == told.window + 2]
        matrices = [(new, size, *[WINDOW] * told.window) for size in channels] + matrices
    if vector:
        first = [*((shape[1],) for shape in shapes if len(shape) > 2), *first]
        return [*first, *vectors, (), *matrices, *known_pairs, *shapes, *SHAPES]
    if matrix:
        tensors = (v for v in known.values() if isinstance(v, torch.Tensor))
        ids = [tuple(v.shape) for v in tensors if not v.is_floating_point()]  # weights of picks
        return [*first, *ids, *matrices, *vectors, *known_pairs, *shapes, *SHAPES]
    if all(MATRIX.fullmatch(_bare(n)) for n, v in known.items() if isinstance(v, torch.Tensor)):
        return [*matrices[1::2], *shapes, *SHAPES]  # rows of data beside weights
    return [*shapes, *SHAPES[:4], *matrices, *known_pairs, *vectors, *SHAPES]


def _joined(shapes: Sequence[Shape], told: Told) -> list[int]:
    """The lengths of rows, and of two that stand side by side."""
    lasts = list(dict.fromkeys(shape[-1] for shape in shapes))
    pairs = itertools.combinations([shape[-1] for shape in shapes], 2)
    return [*(sum(pair) for pair in pairs), *lasts] if told.joined else lasts


def _of_rank(
    name: str, shapes: Sequence[Shape], known: Mapping[str, Any], told: Told
) -> list[Shape]:
    """The same, with those first that have as many axes as the text tells."""
    bare = _bare(name)
    small = bare in VECTORS or MATRIX.fullmatch(bare) is not None
    rank = told.ranks.get(name, 0 if small else told.usual)
    last = told.lasts.get(name)
    if last is not None:
        rows = [v.shape[0] for v in known.values() if isinstance(v, torch.Tensor) and v.ndim]
        return [*((n, last) for n in [*rows, 4, 6]), *shapes]
    return sorted(shapes, key=lambda shape: bool(rank) and len(shape) != rank)
