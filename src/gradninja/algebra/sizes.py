"""Other sizes than those that a forward was read with: what was fused must hold there, too."""

from __future__ import annotations

import ast
import re
from typing import Any

import torch

from gradninja.derive import Backward
from gradninja.lines import Program

NEAR = 1e-9  # relative, in float64


def other_inputs(program: Program) -> dict[str, Any] | None:
    """Inputs of other sizes, where the annotations name every axis; None where they do not."""
    sizes: dict[str, int] = {}
    for given in program.inputs:
        if not isinstance(given.value, torch.Tensor):
            continue
        if given.axes is None or len(given.axes) != given.value.ndim:
            return None
        for axis, size in zip(given.axes, given.value.shape, strict=True):
            if axis.isidentifier():
                sizes.setdefault(axis, size)
    # All grow by one, but 1 stays: what is broadcast is broadcast again.
    sizes = {axis: size + (size > 1) for axis, size in sizes.items()}
    generator = torch.Generator().manual_seed(3)
    found: dict[str, Any] = {}
    for given in program.inputs:
        value = given.value
        if not isinstance(value, torch.Tensor):
            found[given.name] = value
            continue
        shape = []
        for axis in given.axes or ():
            if not re.fullmatch(r"[\w\s*+\-/]+", axis):
                return None
            shape.append(int(eval(compile(ast.parse(axis, mode="eval"), "", "eval"), {}, sizes)))
        # Elements of the value itself stay within the domain, and within what they index.
        flat = value.flatten()
        at = torch.randint(0, max(len(flat), 1), tuple(shape), generator=generator)
        found[given.name] = flat[at]
    return found


def differs(fused: Backward, derived: Backward) -> str:
    """Which gradient is another one on other sizes; empty where none is, or none can be told."""
    try:
        inputs = other_inputs(derived.program)
        if inputs is None:
            return ""
        values = derived.forward_values(inputs)
        generator = torch.Generator().manual_seed(4)
        seeds = tuple(
            torch.randn(values[name].shape, generator=generator, dtype=values[name].dtype)
            for name in derived.outputs
        )
        want = derived(inputs, seeds)
    except Exception:  # the forward does not run on these sizes: nothing to compare
        return ""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in want.values()):
        return ""
    try:
        got = fused(inputs, seeds)
    except Exception:  # it was written for one size
        return next(iter(want))
    largest = max((float(t.abs().max()) for t in want.values() if t.numel()), default=0.0)
    for name, tensor in want.items():
        if not torch.allclose(got[name], tensor, rtol=NEAR, atol=NEAR * (1e-3 + largest)):
            return name
    return ""
