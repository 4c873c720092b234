"""`--verify`: the one place where autograd runs, on detached copies, as a judge."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gradninja.errors import RunError
from gradninja.models import Step

# A gradient is wrong when it is off by more than RELATIVE of its own largest element, and by more
# than ABSOLUTE of the largest gradient of any parameter. Rounding in float32 stays an order below
# the first; the second is for gradients that are zero in truth, such as db1 before BatchNorm.
RELATIVE = 1e-5
ABSOLUTE = 1e-6


def verifier(
    step: Step, parameters: Mapping[str, Tensor]
) -> Callable[[int, Mapping[str, object], Mapping[str, object]], None]:
    """A judge of steps: called with the step's number, its values and what was found from them.

    It compares every `d<name>` with autograd's, in the order in which the backward pass completes
    them, so that the first wrong one is where to look. A name that a loop binds again and again is
    left out: at the end it stands for one of many values. Raises RunError there.
    """
    done = _last_lines(step.source)
    loops = _bound_in_loops(step.source)

    def verify(number: int, values: Mapping[str, object], found: Mapping[str, object]) -> None:
        truth = _autograd(number, step, values, parameters, loops)
        scale = max(truth[f"d{name}"].abs().max().item() for name in parameters)
        for name, true in sorted(truth.items(), key=lambda item: done.get(item[0], 0)):
            if message := wrong(found.get(name), true, scale):
                raise RunError(
                    f"step {number}: {name} {message}",
                    hint="It is the first wrong one in the order of the backward's lines.",
                )

    return verify


def wrong(given: object, true: Tensor, scale: float, judge: str = "autograd") -> str | None:
    """What is wrong with a gradient, beside the `judge`'s true one; None if nothing.

    `scale` is the largest element of any parameter's gradient.
    """
    if not isinstance(given, Tensor) or given.shape != true.shape:
        what = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        return f"is {what}, not {tuple(true.shape)}"
    largest = true.abs().max().item()
    difference = (given - true).abs().max().item()
    if difference <= max(RELATIVE * largest, ABSOLUTE * scale):
        return None
    return f"differs from {judge} by {difference:.3g} (its largest element is {largest:.3g})"


def _autograd(
    number: int,
    step: Step,
    values: Mapping[str, object],
    parameters: Mapping[str, Tensor],
    left_out: set[str],
) -> dict[str, Tensor]:
    """Autograd's gradient of every name that the step has a gradient of."""
    with torch.inference_mode(False), torch.enable_grad():
        copies = {
            name: value.clone() if isinstance(value, Tensor) else value
            for name, value in values.items()
        }
        for name in parameters:
            copies[name] = parameters[name].clone().requires_grad_()
        found = {**copies, **step(copies)}
        names = [
            name[1:]
            for name in found
            if name.startswith("d")
            and name[1:] not in left_out
            and _differentiable(found.get(name[1:]))
        ]
        names += [name for name in parameters if name not in names]
        loss, *wanted = (_tensor(found[name]) for name in ["loss", *names])
        try:
            gradients = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
        except RuntimeError as error:
            raise RunError(
                f"step {number}: autograd cannot judge this model: {error}",
                hint="A backward pass must not change the forward's values in place.",
            ) from None
    return {f"d{name}": gradient for name, gradient in zip(names, gradients, strict=True)}


def _last_lines(source: str) -> dict[str, int]:
    """The last line that sets a name or adds to it: `dx = `, `dx += `, `dx[i] = `, `dx.add_(`."""
    lines: dict[str, int] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            targets = [node.value.func]
        else:
            continue
        for part in (part for target in targets for part in ast.walk(target)):
            if isinstance(part, ast.Name):
                lines[part.id] = max(lines.get(part.id, 0), node.lineno)
    return lines


def _bound_in_loops(source: str) -> set[str]:
    """The names that are assigned to inside a loop."""
    loops = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.For | ast.While)]
    return {
        node.id
        for loop in loops
        for node in ast.walk(loop)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _tensor(value: object) -> Tensor:
    assert isinstance(value, Tensor)
    return value


def _differentiable(value: object) -> bool:
    return isinstance(value, Tensor) and value.requires_grad
