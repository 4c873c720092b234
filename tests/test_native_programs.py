"""Random programs and all models, lowered, against autograd."""

from __future__ import annotations

import random
import re
import zlib
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gradninja import models
from gradninja.derive import derive
from gradninja.native import compile, compile_training
from native_plain import plainly, run
from random_programs import write
from random_writer import SIZES, RandomProgram

PROGRAMS = 200
TOLERANCE = 1e-8
# What is not compiled, in the words of the programs that are written.
REFUSED = re.compile(
    r"einsum|cumsum|normalize|roll|repeat|pad\(|rms_norm|torch\.tensor|\[.*[<>].*\]"
)


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADNINJA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def _with_loss(program: RandomProgram) -> tuple[str, dict[str, Tensor]]:
    """The text with its outputs, weighted, added up to one number; and all inputs."""
    inputs = program.inputs(1, SIZES)
    out = program.function()(**inputs)
    several = out if isinstance(out, tuple) else (out,)
    terms, weights = [], {}
    generator = torch.Generator().manual_seed(2)
    for place, value in enumerate(several):
        if value.is_floating_point():
            weights[f"c{place}"] = torch.randn(value.shape, generator=generator).double()
            part = f"out[{place}]" if isinstance(out, tuple) else "out"
            terms.append(f"({part} * c{place}).sum()")
    text = program.text.replace("def forward(", "def inner(")
    text += f"\n\ndef forward({', '.join([*inputs, *weights])}):\n"
    text += f"    out = inner({', '.join(inputs)})\n    return {' + '.join(terms)}\n"
    return text, {**inputs, **weights}


def _truth(text: str, inputs: dict[str, Tensor], wrt: list[str]) -> dict[str, np.ndarray]:
    scope: dict[str, Any] = {"torch": torch, "F": F}
    exec(text, scope)
    leaves = {n: v.clone().requires_grad_() if n in wrt else v for n, v in inputs.items()}
    loss = scope["forward"](**leaves)
    wanted = [leaves[n] for n in wrt]
    found = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    return {"loss": loss.detach().numpy()} | {
        f"d{name}": gradient.numpy() for name, gradient in zip(wrt, found, strict=True)
    }


def _judge(program: RandomProgram) -> str:
    text, inputs = _with_loss(program)
    wrt = [name for name in program.shapes if name not in program.bounds]
    made = compile(text, wrt=wrt).specialised(**inputs)
    found = run(made, {name: value.numpy() for name, value in inputs.items()})
    for name, true in _truth(text, inputs, wrt).items():
        allowed = TOLERANCE * max(1, np.abs(true).max())
        if not np.abs(found[name] - true).max() <= allowed:
            return f"wrong: {name}\n{text}\n{made.source}"
    return "right"


def test_random_programs_have_autograds_gradients() -> None:
    rng, judged = random.Random(20), 0
    while judged < PROGRAMS:
        program = write(rng)
        if not REFUSED.search(program.text):
            judged += 1
            assert _judge(program) == "right", program.text


def test_machine_code_of_random_programs_is_what_the_text_says() -> None:
    rng, judged = random.Random(21), 0
    while judged < 3:
        program = write(rng)
        if not REFUSED.search(program.text):
            judged += 1
            text, inputs = _with_loss(program)
            wrt = [name for name in program.shapes if name not in program.bounds]
            step = compile(text, wrt=wrt)
            plain = run(step.specialised(**inputs), {n: v.numpy() for n, v in inputs.items()})
            for name, value in step(**inputs).items():
                np.testing.assert_allclose(value.numpy(), plain[name], rtol=1e-11, atol=1e-11)


# -- models -----------------------------------------------------------------------------------

MODELS = [(name, back) for name in models.BUILTIN for back in ("backward", "backward_fused", None)]
SMALL = {"vocab": 7, "context": 2, "embedding": 3, "hidden": 5}
BATCH = 6
Values = dict[str, Any]


def _values(model: models.Model, dtype: torch.dtype, sizes: dict[str, int], n: int) -> Values:
    generator = torch.Generator().manual_seed(zlib.crc32(model.name.encode()))
    made = model.call("parameters", {**sizes, "generator": generator})
    assert isinstance(made, dict)
    found: Values = {name: value.to(dtype).contiguous() for name, value in made.items()}
    shape = (n, sizes["context"])
    found["Xb"] = torch.randint(0, sizes["vocab"], shape, generator=generator)
    found["Yb"] = torch.randint(0, sizes["vocab"], (n,), generator=generator)
    _close_gaps(found["Xb"])
    return found


def _step(model: models.Model, backward: str | None, values: Values) -> models.Step:
    if backward is not None:
        return model.step(backward)
    back = derive(model.path, {**values, **model.options})
    return model.step(source=f"{back.whole_forward}\n\n{back.source}")


def _autograd(model: models.Model, values: Values) -> dict[str, Tensor]:
    """The loss and the gradients in float64."""
    wide = {
        n: v.double().requires_grad_() if v.is_floating_point() else v for n, v in values.items()
    }
    loss = model.call("forward", {**wide, **model.options})
    assert isinstance(loss, Tensor)
    names = [name for name, value in wide.items() if value.is_floating_point()]
    found = torch.autograd.grad(loss, [wide[name] for name in names])
    return {"loss": loss.detach()} | {f"d{n}": g for n, g in zip(names, found, strict=True)}


def _one_step(
    model: models.Model, backward: str | None, values: Values, sizes: dict[str, int], plain: bool
) -> dict[str, Tensor]:
    """The loss, and the gradients that a step of a huge rate leaves in the parameters."""
    arrays = {name: value.numpy() for name, value in values.items()}
    before = {n: arrays[n] for n, value in values.items() if value.is_floating_point()}
    text = _step(model, backward, values).source
    kernel = compile_training(text, {**sizes, **model.options, **arrays}, tuple(before))
    stream: list[int] = []  # in which each example stands: the end mark, its context, its target
    positions = []
    for context, target in zip(arrays["Xb"].tolist(), arrays["Yb"].tolist(), strict=True):
        stream += [0, *np.trim_zeros(context, "f"), target]
        positions.append(len(stream) - 1)
    after = {name: value.copy() for name, value in before.items()}
    rate, losses = np.array([2.0**20]), np.zeros(1, kernel.dtype)
    kernel = plainly(kernel) if plain else kernel
    kernel.run(after, np.array(stream, np.uint8), np.array([positions]), rate, losses)
    found = {f"d{n}": (v.astype(float) - after[n]) / rate for n, v in before.items()}
    return {"loss": torch.tensor(losses[0])} | {n: torch.from_numpy(v) for n, v in found.items()}


def _hold(found: dict[str, Tensor], truth: dict[str, Tensor], tolerance: float) -> None:
    """Norm by norm; what is 0 but for rounding (b1 before BatchNorm) by the largest gradient."""
    scale = max(float(value.norm()) for name, value in truth.items() if name != "loss")
    for name, true in truth.items():
        off = float((found[name].double() - true).norm())
        assert off <= tolerance * max(float(true.norm()), 1e-2 * scale), name


def _close_gaps(contexts: Tensor) -> None:
    """End marks stand at the beginning of a context alone, as in a stream of words."""
    for row in contexts:
        for place in range(1, len(row)):
            if row[place] == 0:
                row[:place] = 0


@pytest.mark.parametrize(("name", "backward"), MODELS)
def test_a_models_step_has_autograds_gradients(name: str, backward: str | None) -> None:
    model = models.load(name)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-6)):
        values = _values(model, dtype, SMALL, BATCH)
        found = _one_step(model, backward, values, SMALL, plain=True)
        _hold(found, _autograd(model, values), tolerance)


def test_machine_code_gives_what_the_text_says() -> None:
    """In float32, compiled: within 1e-6 of float64 truth; and the same bits again."""
    model = models.load("mlp_batchnorm")
    sizes = {"vocab": 27, "context": 3, "embedding": 10, "hidden": 64}
    values = _values(model, torch.float32, sizes, 32)
    found = _one_step(model, "backward_fused", values, sizes, plain=False)
    _hold(found, _autograd(model, values), 1e-6)
    again = _one_step(model, "backward_fused", values, sizes, plain=False)
    assert all(torch.equal(found[name], again[name]) for name in found)
