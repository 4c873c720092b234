"""Hard points, where short forms tend to break: zeros, ties, tiny, huge and saturated values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gradninja.algebra.measure.precision import held, lower
from gradninja.algebra.widened import as_valued
from gradninja.derive import Backward
from gradninja.derive.holding.dtypes import default_dtype
from gradninja.derive.statement import Statement
from gradninja.lines.scope import LIBRARY, run

Values = dict[str, Any]


def one_zero(value: Tensor) -> Tensor:
    """The first element 0, the others as they are."""
    return value.flatten().index_fill(0, torch.arange(min(value.numel(), 1)), 0.0).view_as(value)


POINTS: dict[str, Callable[[Tensor], Tensor]] = {
    "zeros": torch.zeros_like,
    "one zero": one_zero,
    "ties": lambda value: torch.full_like(value, 0.5),
    "small values": lambda value: 1e-12 * value,
    "tiny values": lambda value: 1e-30 * value.sign(),
    "large values": lambda value: 10 * value,  # all at once: products of them are huge
    "far values": lambda value: 1e10 * value,
    "saturated values": lambda value: 40 * value.sign(),
    "negative values": lambda value: -value.abs(),
    "positive values": torch.abs,
}
DOUBLE = "tiny values"  # their squares are 0 in float32, whoever computes
ALONE: dict[str, Callable[[Tensor], Tensor]] = {  # an input is moved to by itself
    **{word: POINTS[word] for word in ("zeros", "small values", "tiny values")},
    "huge values": lambda value: 100 * value,
}
# A cube is a float32 there, a fifth power is not. Rounding is too much for values to be compared: a
# form is to overflow no sooner than the derived lines.
FAR = "far values"
BESIDE = 1e-3  # how far from a 0 both sides are looked at, where autograd takes one of them
WORK = 1500  # lines that run at hard points, so that a long text is tried at fewer of them
FEWEST = 8  # points that any text is tried at
WORSE = 10.0  # how much further from the truth than the derived form a fused one may be, beside
SHARE = 1e-3  # this share of the largest gradient on the way, of which both may live
# Where all is saturated true gradients cancel to 0, and what rounding leaves is multiplied by all
# that follows: attention's rowsum(dO * O) is then off by some thousandths in float32.
LARGE, LARGE_SHARE = ("large", "huge"), 1e-2


def broken_at(
    forms: Sequence[Sequence[Statement]], fused: Backward, derived: Backward
) -> tuple[str, str] | None:
    """Whose gradient a fused form gives wrong where the derived one is right, and at which point.

    `forms`: the fused statements, without and with a seed, on the values of `fused`'s forward. They
    are computed in float32, where it breaks first; the derived lines in float64 are the truth.
    """
    gradients = [derived.gradient_names[name] for name in derived.program.differentiable]
    mine = [fused.gradient_names[name] for name in derived.program.differentiable]
    truth, texts = _text(derived.statements), [_text(form) for form in forms]
    for point, inputs in _some(list(_points(fused)), len(derived.statements)):
        double = point.startswith(DOUBLE)
        as_low = held if double else lower(fused.program)
        dtype = torch.float64 if double else torch.float32
        try:
            with as_valued(fused.program):
                true = _values(fused, inputs, held)
                want = _run(truth, true)
            with default_dtype(dtype):
                low = _values(fused, inputs, as_low)
                near = _run(truth, low)
        except Exception:  # a forward that does not run on these: nothing to compare
            continue
        if all(low[name].isnan().all() for name in fused.outputs):
            continue  # what it has come to is no number: nor is any gradient of it
        for text in texts:
            with default_dtype(dtype):
                found = _run(text, low)
            for name, gradient in zip(mine, gradients, strict=True):
                of = found[name], near[gradient], want[gradient]
                if point == FAR:
                    if _overflows(*of):
                        return gradient, point
                    continue
                share = LARGE_SHARE if point.startswith(LARGE) else SHARE
                if _holds(*of, share) or _holds(*of, share, _on_the_way(derived, want)):
                    continue
                if "zero" in point and _holds_between(found[name], fused, truth, inputs, gradient):
                    continue
                return gradient, point
    return None


def _holds_between(mine: Tensor, back: Backward, truth: str, inputs: Values, gradient: str) -> bool:
    """Whether a gradient at a 0 is what lies between those on its two sides.

    Of `clamp(x, 0) + log(1 + exp(-|x|))`, which is smooth, autograd gives 1 at 0, a side of the
    clamp; the sigmoid that it comes to is 0.5 there, as central differences are.
    """
    sides = []
    for step in (BESIDE, -BESIDE):
        moved = {
            name: value.masked_fill(value == 0, step)
            if isinstance(value, Tensor) and value.is_floating_point()
            else value
            for name, value in inputs.items()
        }
        sides.append(_run(truth, _values(back, moved, held))[gradient])
    between = (sides[0] + sides[1]) / 2
    smooth = (sides[0] - sides[1]).abs() <= 2 * BESIDE * (1 + between.abs())
    off = (mine.double() - between).abs() <= BESIDE * (1 + between.abs())
    return bool((smooth & off).all())


def _points(back: Backward) -> Iterator[tuple[str, Values]]:
    """The inputs moved to hard points, all together and each in turn, and a word for it."""
    given = {one.name: one.value for one in back.program.inputs}
    floats = {
        name: value
        for name, value in given.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    for word, moved in POINTS.items():
        yield word, {**given, **{name: moved(value) for name, value in floats.items()}}
    for name, value in floats.items() if len(floats) > 1 else ():
        for word, moved in ALONE.items():
            yield f"{word} in {name}", {**given, name: moved(value)}


def _some(points: list[tuple[str, Values]], lines: int) -> list[tuple[str, Values]]:
    """As many of the points as there is work to spend, drawn anew for each length of text."""
    most = max(FEWEST, WORK // max(lines, 1))
    drawn = torch.randperm(len(points), generator=torch.Generator().manual_seed(lines))[:most]
    return [points[at] for at in sorted(drawn.tolist())]


def _values(back: Backward, inputs: Mapping[str, Any], as_: Callable[[Any], Any]) -> Values:
    """All that the statements may name, cotangents too: that of a loss is 1."""
    values = back.forward_values({name: as_(value) for name, value in inputs.items()})
    generator = torch.Generator().manual_seed(6)
    for name, seed in zip(back.outputs, back.cotangents, strict=True):
        like = values[name]
        drawn = torch.randn(like.shape, generator=generator, dtype=torch.float64)
        values[seed] = torch.ones_like(like) if back.scalar else drawn.to(like)
    return {**LIBRARY, **back.program.namespace, **values}


def _text(statements: Sequence[Statement]) -> str:
    return "\n".join(map(str, statements))


def _run(text: str, values: Values) -> Values:
    scope = dict(values)
    run([text], scope)
    return scope


def _on_the_way(derived: Backward, values: Values) -> float:
    """The largest of all gradients, those of intermediates among them."""
    return max((_largest(values[s.target]) for s in derived.statements), default=0.0)


def _overflows(mine: Tensor, near: Tensor, want: Tensor) -> bool:
    """Whether a gradient is no number where the derived one is, and the right one."""
    right = (near - want).abs() <= SHARE * want.abs()
    return not bool(mine[right].isfinite().all())


def _holds(mine: Tensor, near: Tensor, want: Tensor, part: float, largest: float = 0.0) -> bool:
    """Whether a gradient is right wherever the derived one is in the same precision."""
    mine, near = mine.double(), near.double()
    share = part * max(largest, _largest(want))
    off = (near - want).abs()
    right = off <= share  # False where it is not finite
    if not right.any():
        return True
    allowed = WORSE * float(off[right].max()) + share
    return bool(((mine - want)[right].abs() <= allowed).all())


def _largest(value: Tensor) -> float:
    finite = value[value.isfinite()].abs()
    return float(finite.max()) if finite.numel() else 0.0
