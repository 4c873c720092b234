"""Other sizes than those that a forward was read with.

A backward's lines sum what was broadcast when the forward was read, and a fused line knows two axes
for one: at other sizes they may give other numbers than autograd's. So before a gradient is handed
out at sizes that are new, the lines are held to autograd's gradients at them, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from gradninja.derive.holding.against_autograd import cotangents_of, differs, truth
from gradninja.derive.holes import empty_of
from gradninja.errors import DeriveError, Spot
from gradninja.lines import NAME, Program
from gradninja.lines.scope import LIBRARY, value_of

if TYPE_CHECKING:
    from gradninja.derive.backward import Backward

BESIDE = 1e-2  # how far off a zero
HINT = "derive again with inputs of these shapes"
FAILURES = (RuntimeError, ArithmeticError, IndexError, TypeError, ValueError, NotImplementedError)


class Sizes(TorchFunctionMode):
    """Notes the size of everything that PyTorch's functions give, for as long as it lasts."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        several = found if isinstance(found, tuple | list) else (found,)
        self.seen += [tuple(each.shape) for each in several if isinstance(each, torch.Tensor)]
        return found


def hold(back: Backward, values: Mapping[str, Any], sizes: tuple[Any, ...]) -> None:
    """Compare what a backward's lines give with autograd's gradients, at sizes that are new.

    Args:
        values: every name's value at these sizes.
        sizes: those of all that the forward makes on the way.

    Raises:
        DeriveError: the lines do not give autograd's gradients at these sizes; or it cannot be told
            (autograd does not go through a function that has a rule of its own, or finds no finite
            gradient), and they broadcast otherwise than when the forward was read.
    """
    own = {
        given.name: _beside_zero(_like(values[given.name], given.value))
        for given in back.program.inputs
    }
    wrong = difference(back, (*points(back.program, values), own), sizes)
    if wrong == "":
        return
    for otherwise, spot in _otherwise(back.program, values):
        raise DeriveError(
            f"{otherwise} when the forward was read: it broadcasts otherwise", spot=spot, hint=HINT
        )
    if wrong is not None:
        raise DeriveError(
            f"at these sizes the lines do not give the gradient of `{wrong}`, which they do at "
            "those that the forward was read with",
            hint=HINT,
        )


def points(program: Program, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Inputs of these values' shapes: normal numbers, and elements of what was read.

    Those are within the forward's domain, these are on both sides of each relu; and none are zero
    where a person begins with zeros.
    """
    generator = torch.Generator().manual_seed(3)
    for normal in (True, False):
        found: dict[str, Any] = {}
        for given in program.inputs:
            now, then = values[given.name], given.value
            found[given.name] = _like(now, then)
            if not isinstance(now, torch.Tensor):
                continue
            at = torch.randint(0, max(then.numel(), 1), tuple(now.shape), generator=generator)
            device = then.device if now.is_meta else now.device
            if normal and then.is_floating_point():
                drawn = torch.randn(now.shape, generator=generator, dtype=then.dtype)
                found[given.name] = drawn.to(device)
            elif then.numel():
                found[given.name] = then.flatten()[at.to(then.device)].to(device)
        yield found


def _like(now: Any, then: Any) -> Any:
    return now.to(then.dtype) if isinstance(then, torch.Tensor) else now


def _beside_zero(value: Any) -> Any:
    """The value, moved off the zeros: at a corner autograd takes a side, whatever the sizes are."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.masked_fill(value == 0, BESIDE)
    return value


def difference(
    back: Backward, points: Iterable[dict[str, Any]], sizes: tuple[Any, ...] | None = None
) -> str | None:
    """Whose gradient is not autograd's at some point; empty where all are, None if untold.

    Args:
        points: inputs; those on which the forward does not run, or is not finite, tell nothing.
        sizes: points of other ones tell nothing, either.

    Raises:
        DeriveError: the lines do not run.
    """
    found = None
    for inputs in points:
        with back.as_read():
            try:
                values, seen = back.forward(inputs)
            except (DeriveError, *FAILURES):
                continue
            if sizes in (None, seen):
                told = _difference(back, values)
                found = found if told is None else told
        if found:
            break
    return found


def _difference(back: Backward, values: Mapping[str, Any]) -> str | None:
    program = back.program
    outputs = [values[name] for name in back.outputs]
    cotangents = cotangents_of(program, values, seed=4)
    try:
        through = truth(program, cotangents, values, on_the_way=True)
    except FAILURES:
        return None
    true = {name: through[name] for name in program.differentiable}
    blank = any(t.numel() and not bool(t.isfinite().any()) for t in true.values())
    # A mean of nothing is no number, and its gradients are 0.
    finite = empty_of(values) or all(bool(output.isfinite().all()) for output in outputs)
    if blank or not finite:
        return None
    ours = back.run(values, cotangents)
    for name, mine in ours.items():
        if mine.shape == true[name].shape:
            true[name] = torch.where(true[name].isfinite(), true[name], mine)
    return differs(program, values, ours, true, through.values())


def _otherwise(program: Program, values: Mapping[str, Any]) -> Iterator[tuple[str, Spot | None]]:
    """What has an axis of size 1 now and had not when the forward was read, or the reverse."""
    scope = {**LIBRARY, **program.namespace, **values}
    named = [(name, then, None) for name, then in program.values.items()]
    parts = [
        (str(part), part.value, part.spot)
        for line in program.lines
        for part in line.expr.walk()
        if part is not line.expr and part.op != NAME and not part.random
    ]
    for text, then, spot in [*named, *parts]:
        if isinstance(then, torch.Tensor):
            now = tuple(value_of(text, scope).shape)
            if [size == 1 for size in now] != [size == 1 for size in then.shape]:
                yield f"`{text}` has shape {now} and had {tuple(then.shape)}", spot
