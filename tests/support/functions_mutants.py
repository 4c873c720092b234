"""Random single mutations of the backwards of tests/functions, judged as a user judges a file."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from functions_trial import judged, mended, texts
from mutants import Mutant, mutants


@dataclass(frozen=True)
class Judged:
    """What `gradninja.check` said of one mutant, and whether its mend mends."""

    name: str
    mutant: Mutant
    flagged: bool
    right_line: bool
    mended: bool


def campaign(count: int, seed: int, folder: Path) -> Iterator[Judged | Mutant]:
    """`count` mutants that are wrong, one Function after another.

    A mutant whose gradients are equal is given back itself, and not counted.
    """
    generator = random.Random(seed)
    bodies = {name: text[: text.index("#! ")] for name, text in texts().items()}
    true = {name: _gradients(body) for name, body in bodies.items()}
    streams = {
        name: mutants(body, "backward", generator)
        for name, body in bodies.items()
        if true[name] and body.count("def backward(") == 1
    }
    made = 0
    while streams and made < count:
        for name in list(streams):
            mutant = next(streams[name], None)
            if mutant is None:
                del streams[name]
            elif _equal(_gradients(mutant.text), true[name]):
                yield mutant
            elif made < count:
                made += 1
                yield _judged(name, mutant, true[name], folder)


def _judged(name: str, mutant: Mutant, true: list[Any], folder: Path) -> Judged:
    report = judged(mutant.text, folder)
    lines = [row.line for row in report.wrong]
    right = not report.ok and _equal(_gradients(mended(mutant.text, report)), true)
    return Judged(name, mutant, not report.ok, mutant.line in lines, right)


def _gradients(text: str) -> list[Any]:
    """What autograd gets of a text's Function, on two sets of values; empty where it fails."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        scope: dict[str, Any] = {"__name__": "mutant"}
        exec(compile(text, "<mutant>", "exec"), scope)
        kind = torch.autograd.Function
        (function,) = (
            v for v in scope.values() if isinstance(v, type) and issubclass(v, kind) and v != kind
        )
        found = []
        for factor in (1.0, 0.7):
            given = [_taken(value, factor) for value in scope["inputs"]().values()]
            outputs = function.apply(*given)
            several = outputs if isinstance(outputs, tuple) else (outputs,)
            flowing = [o for o in several if isinstance(o, torch.Tensor) and o.requires_grad]
            generator = torch.Generator().manual_seed(5)
            loss = sum(
                (o * torch.randn(o.shape, generator=generator, dtype=torch.float64)).sum()
                for o in flowing
            )
            leaves = [v for v in given if isinstance(v, torch.Tensor) and v.requires_grad]
            found += torch.autograd.grad(loss, leaves, allow_unused=True)
    except Exception:  # a mutant may raise anything
        return []
    finally:
        torch.set_default_dtype(before)
    return found


def _taken(value: Any, factor: float) -> Any:
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return value
    wide = value.detach().double()
    labels = bool(((wide == 0) | (wide == 1)).all())
    return (wide if labels else wide * factor).requires_grad_(not labels)


def _equal(found: list[Any], true: list[Any]) -> bool:
    if len(found) != len(true):
        return False
    for mine, right in zip(found, true, strict=True):
        if (mine is None) != (right is None):
            return False
        if mine is None:
            continue
        if not ((mine - right).abs() <= 1e-8 * (1e-3 + right.abs().max())).all():
            return False
    return True
