"""What a Function does on its values, whatever its lines are: what moves what."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from gradninja.check.functions.function_text import Text
from gradninja.check.functions.played.running import Played, same
from gradninja.check.given.execution import counted, precision, quiet

MOVED = 1e-7  # relative: what an input is moved by
NOISE = 1e-13  # relative: an output that is moved by less is the same
JUMP = 1e-4  # relative: one that is moved by more took a step
LEVEL = 1e-9  # relative: slopes that differ by less are one

Given = Mapping[str, Any]


class Behaviour:
    """A Function on one set of values, by the names of its inputs."""

    def __init__(self, text: Text, given: Given) -> None:
        self.text = text
        self.given = {name: _wide(given.get(name)) for name in text.inputs}
        self.floats = [name for name, value in self.given.items() if _floats(value)]

    def constant_in(self) -> frozenset[str]:
        """The inputs that move the outputs by steps alone."""
        generator = torch.Generator().manual_seed(3)
        found = set()
        for name in self.floats:
            value = self.given[name]
            sign = torch.randn(value.shape, generator=generator, dtype=value.dtype).sgn()
            pair = self._outputs({}), self._outputs({name: value * (1 + MOVED * sign)})
            if all(pair) and all(map(_only_steps, *pair)):
                found.add(name)
        return frozenset(found)

    def moved_by(self, name: str) -> frozenset[str]:
        """The inputs whose gradients depend on a number that is given."""
        value = self.given[name]
        if isinstance(value, bool) or not isinstance(value, int | float | torch.Tensor):
            return frozenset()
        pair = self._gradients({}), self._gradients({name: value * 1.5})
        return self._named(lambda one, other: not same(one, other), *pair)

    def moved_by_no_output(self) -> frozenset[str]:
        """The inputs whose gradients are the same whatever the outputs' are, where others' are not.

        They are no gradients, but what someone has an update of his own for.
        """
        pair = self._gradients({}), self._gradients({}, times=1.5)
        still = self._named(lambda one, other: bool((one != 0).any()) and same(one, other), *pair)
        moved = self._named(lambda one, other: not same(one, other), *pair)
        return still if moved else frozenset()

    def own_slopes(self, *, windows: bool) -> frozenset[str]:
        """The inputs whose gradient is the output's times one that differs from place to place.

        So is the surrogate of a step's slope. Nowhere is it turned around.

        Args:
            windows: it may be one number here, and 0 there.
        """
        slopes = [self._gradients({}, turned=turned, over=True) for turned in (False, True)]
        return self._named(lambda a, b: _is_own_slope(a, b, 2 if windows else 3), *slopes)

    def turned_around(self) -> frozenset[str]:
        """The inputs that raise the output over its steps, and whose gradient lowers it throughout.

        Nobody means that: a surrogate of a step's slope has its sign.
        """
        found = set()
        for name, slope in zip(self.text.inputs, self._gradients({}, over=True), strict=False):
            if not _floats(slope) or slope.is_complex() or not bool((slope <= 0).all()):
                continue
            far = 1 + 4 * float(self.given[name].abs().max())
            high, low = (self._outputs({name: self.given[name] + by}) for by in (far, -far))
            rises = high[0] - low[0] if len(high) == len(low) == 1 else -slope.abs()
            if bool((slope < 0).any()) and bool((rises >= 0).all()) and bool((rises > 0).any()):
                found.add(name)
        return frozenset(found)

    # -- runs ----------------------------------------------------------------------------------

    def _named(self, test: Callable[[Any, Any], bool], one: Any, other: Any) -> frozenset[str]:
        """The inputs with two tensors for gradients, of which something is true."""
        pairs = zip(self.text.inputs, one, other, strict=False)
        return frozenset(
            name
            for name, a, b in pairs
            if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and test(a, b)
        )

    def _outputs(self, changed: Given) -> list[Any]:
        with _tried() as found, _seeded():
            found += self._played(changed).outputs
        return found

    def _gradients(
        self, changed: Given, *, times: float = 1.0, turned: bool = False, over: bool = False
    ) -> list[Any]:
        """By place; none where it does not run.

        Args:
            times: what the outputs' gradients are multiplied by.
            turned: they are taken from the other end.
            over: the gradients are divided by that of the output, element by element.
        """
        with _tried() as found, _seeded():
            played = self._played(changed)
            given = [c * times if _floats(c) else c for c in played.cotangents]
            if turned:
                given = [c.flatten().flip(0).view_as(c) if _floats(c) else c for c in given]
            played.cotangents = given
            found += played.ran()
            if over:
                only = given[0] if len(given) == 1 and _floats(given[0]) else None
                found[:] = [
                    g / only if only is not None and _floats(g) and g.shape == only.shape else None
                    for g in found
                ]
        return found

    def _played(self, changed: Given) -> Played:
        values = list({**self.given, **changed}.values())
        return Played(self.text, values, [self.text.inputs.index(name) for name in self.floats])


def _is_own_slope(one: torch.Tensor, other: torch.Tensor, fewest: int) -> bool:
    if one.is_complex():
        return False
    size = float(one.abs().max()) if one.numel() else 0.0
    level = LEVEL * size
    if not size > 0 or not bool(((one - other).abs() <= level).all()):
        return False
    several = len(set((one / size).round(decimals=9).flatten().tolist())) >= fewest
    return bool((one >= -level).all()) and several


def _only_steps(one: Any, other: Any) -> bool:
    """Whether an output is the same, but for elements that took a step."""
    if not _floats(one):
        return True
    if not _floats(other) or one.shape != other.shape:
        return False
    size = float(torch.maximum(one.abs(), other.abs()).max()) if one.numel() else 0.0
    off = (one - other).abs()
    return bool(((off <= NOISE * size) | (off >= JUMP * size)).all())


def _floats(value: Any) -> bool:
    """Whether it is what gradients are of, complex numbers included."""
    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())


def _wide(value: Any) -> Any:
    if not _floats(value):
        return value
    return value.detach().to(torch.complex128 if value.is_complex() else torch.float64)


@contextmanager
def _tried() -> Iterator[list[Any]]:
    """What is found; nothing where the person's lines raise."""
    found: list[Any] = []
    try:
        yield found
    except Exception:
        found.clear()


@contextmanager
def _seeded() -> Iterator[None]:
    with warnings.catch_warnings(), precision(torch.float64), quiet(), counted():
        warnings.simplefilter("ignore")
        yield
