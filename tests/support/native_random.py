"""Random programs and those of the catalogue as losses, lowered, and judged by autograd."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from catalogue import DISTINCT, Cataloged
from gradninja.algebra import fuse
from gradninja.derive import derive
from gradninja.native import Specialised, compile
from native_plain import run
from random_writer import SIZES, RandomProgram

TOLERANCE = 1e-8
Inputs = dict[str, Tensor]


def with_loss(text: str, name: str, inputs: Inputs, outputs: Any) -> tuple[str, Inputs]:
    """A text whose function's outputs, weighted, are added up to one number; and all inputs."""
    several = outputs if isinstance(outputs, tuple | list) else (outputs,)
    terms, weights = [], {}
    generator = torch.Generator().manual_seed(2)
    for place, value in enumerate(several):
        if isinstance(value, Tensor) and value.is_floating_point():
            weights[f"c{place}"] = torch.randn(value.shape, generator=generator).double()
            part = "out" if isinstance(outputs, Tensor) else f"out[{place}]"
            terms.append(f"({part} * c{place}).sum()")
    given = ", ".join(f"{n}={n}" for n in inputs)
    text += f"\n\ndef total({', '.join([*inputs, *weights])}):\n"
    text += f"    out = {name}({given})\n    return {' + '.join(terms)}\n"
    return text.replace("def forward(", "def inner(").replace("def total(", "def forward("), {
        **inputs,
        **weights,
    }


def of_random(program: RandomProgram) -> tuple[str, Inputs, list[str]]:
    """The text, the inputs, and those that gradients are wanted for."""
    inputs = program.inputs(1, SIZES)
    text, given = with_loss(program.text, "inner", inputs, program.function()(**inputs))
    return text, given, [name for name in program.shapes if name not in program.bounds]


def of_cataloged(program: Cataloged) -> tuple[str, Inputs, list[str]]:
    """The same for a program of the catalogue."""
    inputs = program.draw(DISTINCT, 1)
    outputs = program.function(**{name: value.clone() for name, value in inputs.items()})
    module = sys.modules[program.function.__module__]
    name = program.function.__name__
    text, given = with_loss(inspect.getsource(module), name, inputs, outputs)
    return text, given, program.float_inputs


def specialised(text: str, inputs: Inputs, wrt: list[str], fused: bool) -> Specialised:
    """What is compiled for the loss and its fused, or derived, gradients."""
    back = (fuse if fused else derive)(text, inputs, wrt)
    return compile(text, wrt=wrt)._with(back, inputs, "fused" if fused else "derived")


def truth(text: str, inputs: Inputs, wrt: list[str]) -> dict[str, np.ndarray]:
    """Autograd's."""
    scope: dict[str, Any] = {"torch": torch, "F": F}
    exec(text, scope)
    leaves = {n: v.clone().requires_grad_() if n in wrt else v for n, v in inputs.items()}
    loss = scope["forward"](**leaves)
    wanted = [leaves[n] for n in wrt]
    found = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    return {"loss": loss.detach().numpy()} | {
        f"d{name}": gradient.numpy() for name, gradient in zip(wrt, found, strict=True)
    }


def judge(text: str, inputs: Inputs, wrt: list[str], fused: bool, machine: bool = False) -> str:
    """The word "right", or what is wrong. Raises what is said of a line that is not compiled.

    `machine`: the text is compiled; else it is run as it is.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        made = specialised(text, inputs, wrt, fused)
        arrays = {name: value.numpy() for name, value in inputs.items()}
        found = made(arrays) if machine else run(made, arrays)
        for name, true in truth(text, inputs, wrt).items():
            allowed = TOLERANCE * max(1, np.abs(true[np.isfinite(true)]).max(initial=0))
            if not np.allclose(found[name], true, rtol=0, atol=allowed, equal_nan=True):
                return f"wrong: {name}\n{text}\n{made.source}"
        return "right"
    finally:
        torch.set_default_dtype(before)
