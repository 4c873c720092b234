"""A module's gradients are held to autograd on the module itself, in a double copy."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from gradninja.derive.holding.against_autograd import SUSPECTS, largest_of
from gradninja.errors import DeriveError
from gradninja.lines import Program
from gradninja.lines.given.packed import leaves as leaves_of
from gradninja.lines.given.packed import put_together
from gradninja.lines.modules.layers import DRAWN
from gradninja.lines.modules.live import Live
from gradninja.lines.modules.surroundings import standing
from gradninja.lines.ndarray import TORCH
from gradninja.lines.plain import continuous, parts_of, wide
from gradninja.lines.reading.calls.objects import HOOKS
from gradninja.lines.scope import vjp

TOLERANCE = 1e-9  # relative to the largest element: both are float64
SINGLE = 1e-3  # where the module casts to float32 itself


def hold(
    program: Program, derived: Mapping[str, torch.Tensor], cotangents: Mapping[str, torch.Tensor]
) -> None:
    """Compare what was read and derived of an object with what autograd makes of the object.

    Raises:
        DeriveError: the outputs or the gradients differ, or the object itself does not run.
    """
    live = program.live
    assert live is not None
    outputs, found = truth(program, live, cotangents)
    values = program.values
    floats = [values[name] for name in program.outputs if continuous(values[name])]
    tolerance = SINGLE if _single(program) else TOLERANCE
    if len(floats) != len(outputs) or not all(
        _close(mine, true, tolerance) for mine, true in zip(floats, outputs, strict=True)
    ):
        raise DeriveError(
            f"the lines that were read do not give what {live.name} gives, so nothing is derived",
            hint=_why(program, live),
        )
    scale = largest_of(found.values())
    for name, true in found.items():
        if not _close(derived[name], true, tolerance, scale):
            raise DeriveError(
                f"the gradient derived for `{name}` is not autograd's on {live.name} itself, so it "
                "is not given",
                hint=SUSPECTS,
            )


def _why(program: Program, live: Live) -> str:
    """What to do where an object gives something else than its lines."""
    if any(getattr(live.instance, hooks, None) for hooks in HOOKS):
        return (
            "remove its hooks, which run beside its forward, or write what they do in the forward"
        )
    if any(part.random for line in program.lines for part in line.expr.walk()):
        return "it draws random numbers in an order of its own: derive it after `.eval()`"
    return "please report the forward; until then, write it as a plain function"


def suffices(program: Program) -> bool:
    """Whether the object alone is truth enough: all is in float64, and what it gives is finite."""
    if program.live is None or program.dialect != TORCH or _single(program):
        return False
    values = program.values
    return all(bool(torch.isfinite(values[name]).all()) for name in program.outputs)


def _single(program: Program) -> bool:
    return any(
        isinstance(v, torch.Tensor) and v.is_floating_point() and v.dtype != torch.float64
        for v in program.values.values()
    )


def truth(
    program: Program, live: Live, cotangents: Mapping[str, torch.Tensor]
) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """The object's own float outputs, and autograd's gradients of what is wanted."""
    values = program.values
    leaves = {n: values[n].detach().clone().requires_grad_() for n in program.differentiable}
    held = {}
    for name, tensor in live.tensors.items():
        if name in leaves:
            value = leaves[name]
        else:
            value = tensor.detach()
            value = (wide(value) if program.default == torch.float64 else value).clone()
        if isinstance(tensor, nn.Parameter):
            value = nn.Parameter(value, requires_grad=name in leaves)
            if name in leaves:
                leaves[name] = value
        held[name] = value
    twin = live.copied(held)
    # What the forward writes into is no leaf: `+ 0` of an input may be changed in place.
    given = {
        i.name: leaves[i.name].clone() if i.name in leaves else values[i.name]
        for i in program.inputs
        if i.name not in live.tensors
    }
    for name, structure in program.packed.items():
        parts = {part: given.pop(part) for part, _ in leaves_of(structure, structure)}
        given[name] = put_together(structure, parts)
    around = {place: held[name] for name, place in live.places.items()}
    with _eager(), torch.enable_grad(), _masks_drawn_alike(), standing(around):
        try:
            returned = twin(**given)
        except Exception as error:  # whatever the person's own module raises
            first = str(error).strip().partition("\n")[0] or type(error).__name__
            raise DeriveError(f"{live.name} itself does not run: {first}") from None
        outputs = [o for o in parts_of(returned) if isinstance(o, torch.Tensor) and continuous(o)]
        floats = [name for name in program.outputs if continuous(values[name])]
        pairs = [(o, cotangents.get(name)) for o, name in zip(outputs, floats, strict=False)]
        flowing = [
            (o, g) for o, g in pairs if g is not None and o.requires_grad and o.shape == g.shape
        ]
        try:
            found = vjp([o for o, _ in flowing], list(leaves.values()), [g for _, g in flowing])
        except Exception as error:  # autograd's, or what hooks of the person's own raise
            first = str(error).strip().partition("\n")[0].partition(" Hint: ")[0]
            first = first or type(error).__name__
            raise DeriveError(f"autograd refuses {live.name} itself: {first}") from None
    gradients = {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }
    return [o.detach() for o in outputs], gradients


def _eager() -> AbstractContextManager[Any]:
    """What the object compiles would take long; where nothing was, torch's compiler stays out."""
    compiles = "torch._dynamo" in sys.modules
    return torch.compiler.set_stance("force_eager") if compiles else nullcontext()


@contextmanager
def _masks_drawn_alike() -> Iterator[None]:
    """Dropout draws the masks that the lines draw."""
    before = {name: getattr(nn.functional, name) for name in DRAWN}
    for name, function in DRAWN.items():
        setattr(nn.functional, name, function)
    torch.manual_seed(0)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(nn.functional, name, function)


def _close(mine: torch.Tensor, true: torch.Tensor, tolerance: float, scale: float = 0.0) -> bool:
    if mine.shape != true.shape:
        return False
    if mine.dtype == true.dtype == torch.float64 and true.numel():
        # As most are, and quicker seen: no element is off, and none is a nan or infinite.
        least, most = (mine - true).aminmax()
        if float(most) <= tolerance * 1e-3 and -float(least) <= tolerance * 1e-3:
            return True
    largest = float(true.abs().nan_to_num(0, 0, 0).amax()) if true.numel() else 0.0
    bound = tolerance * (largest + 1e-3 * max(scale, 1.0))
    return bool(torch.isclose(mine.to(true.dtype), true, 0, bound, equal_nan=True).all())
