"""Values for a Function that come with none: guessed, from names and from what its lines take."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from gradninja.check.given.run import quiet

MOST = 600  # guesses that are tried
SHAPES = ((4, 6), (6,), (5, 6), (6, 5), (2, 4, 6), ())
VECTORS = frozenset("bias b beta shift weight gamma scale".split())
MATRICES = frozenset("weight w kernel".split())
IDS = frozenset("target targets label labels index indices idx ids token tokens".split())
FLAGS = frozenset("training inplace affine causal is_causal".split())
AXES = frozenset("dim axis".split())
COUNTS = frozenset("chunks block block_size num_chunks groups bits".split())
SMALL = frozenset("eps epsilon".split())


def guessed(
    plain: Callable[..., Any], node: ast.FunctionDef, given: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Values that a plain forward runs on; None where no guess does.

    Args:
        node: its `def`, whose parameters without a default are guessed.
        given: those that are known.
    """
    arguments = [*node.args.posonlyargs, *node.args.args]
    free = [a.arg for a in arguments[: len(arguments) - len(node.args.defaults)]]
    free = [name for name in free if name not in given]
    choices = [list(_choices(name)) for name in free]
    for several in itertools.islice(_near_first(choices), MOST):
        values = {**given, **dict(zip(free, several, strict=True))}
        if _runs(plain, values):
            return values
    return None


def told(values: Mapping[str, Any]) -> str:
    """What was guessed, in words."""
    shown = (
        f"{name} {tuple(value.shape)}" if isinstance(value, torch.Tensor) else f"{name} {value!r}"
        for name, value in values.items()
    )
    return f"no values are given, these are guessed: {', '.join(shown)}; a function inputs() says"


def _choices(name: str) -> Iterator[Any]:
    generator = torch.Generator().manual_seed(len(name))
    bare = name.rstrip("0123456789_").lower()
    if bare in IDS:
        yield torch.tensor([0, 2, 2, 1])
        yield torch.tensor([[0, 2], [2, 1]])
    elif bare in FLAGS:
        yield True
    elif bare in AXES:
        yield -1
    elif bare in COUNTS:
        yield 2
    elif bare in SMALL:
        yield 1e-5
    first: list[tuple[int, ...]] = [(6,)] if bare in VECTORS else []
    first += [(6, 5), (5, 6)] if bare in MATRICES else []
    for shape in dict.fromkeys((*first, *SHAPES)):
        yield torch.randn(shape, generator=generator)
    yield 0.5
    yield 2


def _near_first(choices: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    """Every way to choose, those with likely choices first."""
    longest = max(map(len, choices), default=1)
    for most in range(longest):
        for places in itertools.product(*(range(min(len(c), most + 1)) for c in choices)):
            if most in places or not places:
                yield tuple(c[at] for c, at in zip(choices, places, strict=True))


def _runs(plain: Callable[..., Any], values: Mapping[str, Any]) -> bool:
    """Whether every float goes into a finite result that is more than a broadcast made it."""
    taken = {
        n: v.clone().requires_grad_(v.is_floating_point()) if isinstance(v, torch.Tensor) else v
        for n, v in values.items()
    }
    try:
        with torch.enable_grad(), quiet():
            found = plain(**taken)
    except Exception:  # a guess that does not fit
        return False
    several = found if isinstance(found, tuple) else (found,)
    floats = [o for o in several if isinstance(o, torch.Tensor) and o.is_floating_point()]
    return bool(floats) and all(bool(torch.isfinite(o).all()) for o in floats)
