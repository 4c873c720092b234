"""What was read broadcasts as it did: an axis of size 1 stays one, and no other becomes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gradninja.errors import DeriveError
from gradninja.lines import NAME, Expr, Program


def hold_broadcasting(program: Program, values: Mapping[str, Any]) -> None:
    """Raise where a size is 1 now and was not when the forward was read, or the reverse.

    What was broadcast then is summed in the backward, and nothing else; an axis may only
    become 1 together with all others that had its name, or else its size.
    """
    now_of: dict[str | int, tuple[str, int]] = {}
    axes = {given.name: given.axes for given in program.inputs}
    for name, then in program.values.items():
        if not isinstance(then, torch.Tensor):
            continue
        now = tuple(values[name].shape)
        if len(now) != then.ndim or any(
            was == 1 != size for was, size in zip(then.shape, now, strict=True)
        ):
            raise DeriveError(
                f"`{name}` has shape {now} and had {tuple(then.shape)} when the forward was "
                "read: it broadcasts otherwise",
                hint="derive again with inputs of these shapes",
            )
        if name not in axes:
            continue
        keys: Sequence[str | int] = axes[name] or tuple(then.shape)
        for key, was, size in zip(keys, then.shape, now, strict=True):
            other, seen = now_of.setdefault(key, (name, size))
            if was != 1 and size != seen and 1 in (size, seen):
                raise DeriveError(
                    f"`{name}` has shape {now}, which broadcasts otherwise with `{other}` than "
                    "when the forward was read",
                    hint="derive again with inputs of these shapes",
                )


def narrow_parts(program: Program) -> tuple[tuple[Expr, Any], ...]:
    """The parts of lines without names that had an axis of size 1, each with its code.

    Only those count that an operation broadcasts, or might: its operands, where it has
    several tensors, and its result. What lines name is held without evaluating it again.
    """
    found: dict[int, Expr] = {}
    for line in program.lines:
        for expr in line.expr.walk() if line.expr.differentiable else ():
            if sum(operand.is_tensor for operand in expr.operands) > 1:
                near = (expr, *expr.operands)
                found.update({id(part): part for part in near if part is not line.expr})
    narrow = [
        part
        for part in found.values()
        if part.is_tensor and part.op != NAME and 1 in part.shape and not part.random
    ]
    return tuple((part, compile(str(part), "<forward>", "eval")) for part in narrow)


def hold_parts(parts: tuple[tuple[Expr, Any], ...], scope: Mapping[str, Any]) -> None:
    """The same for the parts of lines that have no name."""
    for part, code in parts:
        with torch.no_grad():
            now = tuple(eval(code, dict(scope)).shape)
        if tuple(size == 1 for size in now) != tuple(size == 1 for size in part.shape):
            raise DeriveError(
                f"`{part}` has shape {now} and had {part.shape} when the forward was read: it "
                "broadcasts otherwise",
                spot=part.spot,
                hint="derive again with inputs of these shapes",
            )
