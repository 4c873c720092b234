"""What a Function is called under where that is asked for: compile, vmap, autocast."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from gradninja.check.functions.conditions.condition import Condition, Values
from gradninja.choices import Under
from gradninja.lines.scope import run

Call = Callable[..., Any]
ROWS = 3  # calls that vmap makes one of


def asked_for(under: Sequence[Under], given: Values) -> Iterator[Condition]:
    """The conditions of these names."""
    if "compile" in under:
        yield Condition(
            "torch.compile(fullgraph=True)",
            "call it through torch.compile(call, fullgraph=True, backend='aot_eager')",
            mine=_compiled,
        )
    if "vmap" in under:
        yield Condition(
            f"vmap over {ROWS} calls",
            "call it through torch.func.vmap(call), inputs stacked",
            values=_stacked,
            mine=lambda call: _mapped(call, given),
            true=lambda call: _looped(call, given),
        )
    if "autocast" in under:
        yield Condition(
            "autocast to bfloat16",
            "call it within torch.autocast('cpu', torch.bfloat16)",
            dtype=torch.float32,
            mine=_cast,
            true=_cast,
        )


def _compiled(call: Call) -> Call:
    """Traced whole, forward and backward; its operations are run as they are."""
    torch._dynamo.reset()
    # What is traced is kept among the globals of the function, which are its own here.
    scope: dict[str, Any] = {"call": call}
    run(["def called(*values):\n    return call(*values)"], scope)
    compiled: Call = torch.compile(scope["called"], fullgraph=True, backend="aot_eager")
    return compiled


def _cast(call: Call) -> Call:
    def called(*values: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return call(*values)

    return called


def _stacked(values: Values) -> Values:
    """Each tensor several times, floats with other numbers each time."""
    return {
        name: torch.stack([v * (1 + 0.25 * i) if v.is_floating_point() else v for i in range(ROWS)])
        if isinstance(v, torch.Tensor)
        else v
        for name, v in values.items()
    }


def _places(given: Values) -> list[bool]:
    return [isinstance(value, torch.Tensor) for value in given.values()]


def _mapped(call: Call, given: Values) -> Call:
    over = tuple(0 if tensor else None for tensor in _places(given))
    mapped: Call = torch.func.vmap(lambda *values: call(*values), in_dims=over)
    return mapped


def _looped(call: Call, given: Values) -> Call:
    def called(*values: Any) -> Any:
        rows = [
            call(*(v[i] if tensor else v for v, tensor in zip(values, _places(given), strict=True)))
            for i in range(ROWS)
        ]
        if isinstance(rows[0], tuple):
            return tuple(
                torch.stack(one) if isinstance(one[0], torch.Tensor) else one[0]
                for one in zip(*rows, strict=True)
            )
        return torch.stack(rows)

    return called
