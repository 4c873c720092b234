"""The conditions that a Function is called under: layouts, values at the border, sizes, types.

Each is tried against the plain forward under autograd in the same condition, and the first that
fails is told, with the lines that show it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any

import torch

from gradninja.check.functions.conditions.condition import (
    WIDE,
    Call,
    Condition,
    Values,
    as_it_is,
    as_type,
    gradients_under,
)
from gradninja.check.given.execution import counted, quiet
from gradninja.check.given.module import told
from gradninja.check.reference.tolerance import comparable, distance
from gradninja.check.reference.truth import gapped, size

SINGLE_OFF = 1e-9  # relative, in float64: what lines in another order may differ by
WORSE = 32.0  # times what the plain forward's own backward loses in a type
NOTHING = 1e-13  # beside the other gradients, in float64
UNITS = 32.0  # in the last place, of a type
FEW = 4  # inputs of which all subsets are tried
REFUSALS = (NotImplementedError, AssertionError, ValueError)  # as a body raises them
NEAR = 1e-6  # to both sides of a bend


@dataclass(frozen=True)
class Usual:
    """A gradient where nothing is special: its size, and how far it is off, as rounding has it."""

    size: float
    off: float


@dataclass
class Tried:
    """`failed`: the first condition that something is wrong under, of which input, and how."""

    failed: Condition | None = None
    variable: str = ""
    said: str = ""
    passed: list[str] = field(default_factory=list)
    not_looked_at: list[str] = field(default_factory=list)


def tried(
    call: Callable[..., Any],
    plain: Callable[..., Any],
    given: Values,
    wanted: Sequence[str],
    choices: Mapping[str, Sequence[Any]],
    besides: Iterable[Condition] = (),
) -> Tried:
    """Call a Function's `apply` under every condition, up to the first that fails.

    Args:
        plain: its forward as a plain function of the same inputs.
        given: the inputs in the order of the forward, floats in float64.
        wanted: the inputs that have a gradient.
        choices: what else an input may be.
        besides: conditions that are asked for; one that cannot be looked at is told as such.
    """
    found = Tried()
    found.not_looked_at += [f"`{n}` other than None" for n, v in given.items() if v is None]
    usual, mine = (gradients_under(f, given, wanted, Condition("", "")) for f in (plain, call))
    if isinstance(usual, Exception) or isinstance(mine, Exception):
        found.not_looked_at.append("other conditions")
        return found
    usually = {n: Usual(size(g), distance(mine[n], g)) for n, g in usual.items()}
    usual_ones = [*_conditions(given, wanted, _outputs(plain, given)), *_chosen(given, choices)]
    every = [*usual_ones, *besides]
    for condition in every:
        # What traces a person's calls makes many of its own.
        counting = counted() if condition.mine is as_it_is else nullcontext()
        with quiet(), counting:
            said = _judged(condition, call, plain, given, wanted, usually)
        if said is None:
            found.not_looked_at.append(condition.name)
        elif said == ("", ""):
            found.passed.append(condition.name)
        else:
            found.failed, (found.variable, found.said) = condition, said
            return found
    return found


def _outputs(plain: Callable[..., Any], given: Values) -> int:
    with torch.no_grad(), quiet(), counted():
        found = plain(**{name: _copy(value) for name, value in given.items()})
    return len(found) if isinstance(found, tuple) else 1


def _conditions(given: Values, wanted: Sequence[str], outputs: int) -> Iterator[Condition]:
    def each(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Values], Values]:
        return lambda v: {n: change(x) if n in wanted else x for n, x in v.items()}

    yield Condition("a cotangent of zeros", "g = torch.zeros_like(g)", cotangent=torch.zeros_like)
    yield Condition(
        "an expanded cotangent (stride 0), as `y.sum().backward()` gives",
        "g = torch.ones(()).expand_as(g)",
        cotangent=lambda g: torch.ones((), dtype=g.dtype).expand_as(g),
    )
    yield Condition(
        "a cotangent with gaps in memory", "g = torch.stack([g, g], -1)[..., 0]", cotangent=gapped
    )
    yield Condition("a transposed cotangent", "g = g.mT.contiguous().mT", cotangent=_transposed)
    if outputs > 1:
        for place in range(outputs):
            yield Condition(
                f"no gradient for output {place}: only the others are used",
                f"the loss uses all outputs but number {place}",
                silent=place,
            )
    for few in _subsets(wanted):
        told = " and ".join(f"`{name}`" for name in few)
        yield Condition(
            f"only {told} ask{'s' if len(few) == 1 else ''} for a gradient",
            f"{'; '.join(f'{name}.requires_grad_()' for name in few)}, the other inputs not",
            wants=few,
        )
    yield Condition(
        "inputs that are not contiguous", "x = x.mT.contiguous().mT", values=each(gapped)
    )
    for name, value in given.items():
        whole = isinstance(value, torch.Tensor) and value.dtype in (torch.int64, torch.int32)
        if whole and value.numel() > 1:
            yield from _of_ids(name, value)
    yield Condition("inputs at zero", "x = torch.zeros_like(x)", each(torch.zeros_like), bends=True)
    yield Condition(
        "inputs that are all equal (ties)",
        "x = torch.full_like(x, 0.5)",
        each(lambda x: torch.full_like(x, 0.5)),
        bends=True,
    )
    yield Condition("tiny inputs", "x = x * 1e-6", each(lambda x: x * 1e-6), bends=True)
    yield Condition("huge inputs (saturated)", "x = x * 1e3", each(lambda x: x * 1e3), bends=True)
    for count in (1, 0):
        yield Condition(
            f"a batch of size {count}", f"x = x[:{count}]", partial(first_rows, count=count)
        )
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        told = str(dtype).removeprefix("torch.")
        yield Condition(f"inputs in {told}", f"x = x.to({dtype})", dtype=dtype)


def _transposed(cotangent: torch.Tensor) -> torch.Tensor:
    return cotangent.mT.contiguous().mT if cotangent.ndim > 1 else cotangent.clone()


def _of_ids(name: str, value: torch.Tensor) -> Iterator[Condition]:
    """One id everywhere, one most of the time, and the least and the largest in turn."""
    first, low, high = int(value.flatten()[0]), int(value.min()), int(value.max())
    place = torch.arange(value.numel()).reshape(value.shape)
    changes = {
        f"`{name}` is the same id everywhere": (
            torch.full_like(value, first),
            f"torch.full_like({name}, {first})",
        ),
        f"`{name}` is one id most of the time": (
            torch.where(place % 4 == 3, value, first).to(value.dtype),
            f"torch.where(torch.arange({name}.numel()).view_as({name}) % 4 == 3, {name}, {first})",
        ),
        f"`{name}` is its least and its largest id in turn": (
            torch.where(place % 2 == 0, low, high).to(value.dtype),
            f"torch.where(torch.arange({name}.numel()).view_as({name}) % 2 == 0, {low}, {high})",
        ),
    }
    for which, (changed, text) in changes.items():
        yield Condition(which, f"{name} = {text}", partial(_with, name=name, value=changed))


def _subsets(wanted: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """All parts of the inputs, each alone first; of many only these."""
    most = len(wanted) if len(wanted) <= FEW else 2
    for count in range(1, most):
        yield from combinations(wanted, count)


def _chosen(given: Values, choices: Mapping[str, Sequence[Any]]) -> Iterator[Condition]:
    """Flags turned, words that a parameter is compared with, and what may be left out."""
    for name, value in given.items():
        others: list[Any] = []
        if isinstance(value, bool):
            others = [not value]
        elif isinstance(value, str):
            others = [other for other in choices.get(name, ()) if isinstance(other, str)]
        elif None in choices.get(name, ()):
            others = [None]
        for other in others:
            if other != value or other is None:
                change = partial(_with, name=name, value=other)
                yield Condition(f"`{name}` is {other!r}", f"{name} = {other!r}", change)


def _with(values: Values, name: str, value: Any) -> Values:
    return {**values, name: value}


def first_rows(values: Values, count: int) -> Values:
    """The first rows of every tensor that has as many as the first one."""
    tensors = [v for v in values.values() if isinstance(v, torch.Tensor) and v.ndim]
    rows = tensors[0].shape[0] if tensors else 0

    def cut(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.ndim and value.shape[0] == rows:
            return value[:count]
        return value

    return {name: cut(value) for name, value in values.items()}


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _judged(
    condition: Condition,
    call: Callable[..., Any],
    plain: Callable[..., Any],
    given: Values,
    wanted: Sequence[str],
    usually: Mapping[str, Usual],
) -> tuple[str, str] | None:
    """What is wrong, as (input, words), both empty where nothing is; None where it is not seen."""
    values = condition.values(dict(given))
    wanted = condition.wants if condition.wants is not None else wanted
    wanted = [name for name in wanted if values[name] is not None]
    call, plain = condition.mine(call), condition.true(plain)
    true = gradients_under(plain, values, wanted, condition)
    if isinstance(true, Exception) or any(g is None or not _finite(g) for g in true.values()):
        return None
    got = gradients_under(call, values, wanted, condition)
    if isinstance(got, Exception):
        half = condition.dtype in (torch.bfloat16, torch.float16)
        if half or not _numel(values) or isinstance(got, REFUSALS):
            return None  # it does not claim that type, an empty batch, or what it refuses
        return wanted[0], f"it raises {told(got)}"
    exact = true
    if condition.dtype != WIDE:
        low = {n: as_type(v, condition.dtype) for n, v in values.items()}
        wide = gradients_under(
            plain, {n: as_type(v, WIDE) for n, v in low.items()}, wanted, condition, WIDE
        )
        if isinstance(wide, Exception):
            return None
        exact = wide
    for name in wanted:
        mine, right = got.get(name), true[name]
        if mine is None:
            if size(right) > 0 and condition.silent is None:
                return name, "it gives no gradient"
            continue
        if not comparable(mine, right):
            return name, f"the gradient is of shape {tuple(mine.shape)}, and not {_shape(right)}"
        # What cancels here is rounded as what does not.
        usual = usually[name]
        if max(size(right), usual.size) <= NOTHING * max(u.size for u in usually.values()):
            continue  # zero but for rounding, and nothing is relative to it
        scale = max(size(exact[name]), usual.size)
        allowed = _allowed(condition, right, exact[name], scale)
        allowed += WORSE * usual.off * (scale / usual.size if usual.size else 1.0)
        off = distance(mine.to(WIDE), exact[name].to(WIDE))
        if off <= allowed or (condition.bends and _between(mine, plain, values, name, condition)):
            continue
        if off <= allowed + _rounding(call, values, name, condition, right, scale):
            continue
        far = f"{off / scale:.1e} of the largest element" if scale else f"{off:.1e}"
        return name, f"the gradient is off by {far}" if _finite(mine) else "the gradient is nan"
    return "", ""


def _numel(values: Mapping[str, Any]) -> bool:
    return all(v.numel() for v in values.values() if isinstance(v, torch.Tensor))


def _shape(tensor: torch.Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _allowed(condition: Condition, true: torch.Tensor, exact: torch.Tensor, scale: float) -> float:
    """In a low type, what the plain forward's own backward is off by, and some."""
    if condition.dtype == WIDE:
        return SINGLE_OFF * scale + 1e-300
    own = distance(true.to(WIDE), exact.to(WIDE))
    return WORSE * own + UNITS * torch.finfo(condition.dtype).eps * scale


def _rounding(
    call: Call,
    values: Values,
    name: str,
    condition: Condition,
    right: torch.Tensor,
    scale: float,
) -> float:
    """What rounding in float64 explains on these values: what it is in float32, so much finer.

    A mistake in a formula is as large in both.
    """
    single = torch.float32
    low = gradients_under(call, values, [name], condition, single)
    if condition.dtype != WIDE or isinstance(low, Exception) or low[name] is None:
        return 0.0
    own = min(distance(low[name].to(WIDE), right), scale)
    return WORSE * own * torch.finfo(WIDE).eps / torch.finfo(single).eps


def _between(
    mine: torch.Tensor, plain: Callable[..., Any], values: Values, name: str, condition: Condition
) -> bool:
    """Whether a gradient is one of those that the forward has to both sides of its bend."""
    sides = []
    for step in (NEAR, -NEAR):
        moved = {**values, name: values[name] + step * max(size(values[name]), 1.0)}
        found = gradients_under(plain, moved, [name], condition)
        if isinstance(found, Exception) or found[name] is None:
            return False
        sides.append(found[name])
    low, high = torch.minimum(*sides), torch.maximum(*sides)
    room = 1e-4 * max(size(high), size(low), 1e-12)
    return bool(((mine >= low - room) & (mine <= high + room)).all())


def _finite(value: torch.Tensor) -> bool:
    return bool(torch.isfinite(value).all())
