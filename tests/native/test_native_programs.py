"""Random programs and all models, lowered, against autograd."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from catalogue import collect
from gradninja import models
from gradninja.derive import derive
from gradninja.errors import GradninjaError
from gradninja.native import NativeError, compile, compile_training
from native_plain import plainly, run
from native_random import judge, of_cataloged, of_random, specialised, truth
from random_programs import write
from random_writer import RandomProgram
from small_runs import LECTURES

PROGRAMS = 100
FUSED = 8  # one in so many is fused as well
# What is not compiled, in the words of the programs that are written.


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADNINJA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def _programs(seed: int, count: int) -> Iterator[RandomProgram]:
    rng = random.Random(seed)
    for _ in range(count):
        yield write(rng)


def test_random_programs_have_autograds_gradients() -> None:
    empty = 0
    for number, program in enumerate(_programs(20, PROGRAMS)):
        try:
            assert judge(*of_random(program), fused=number % FUSED == 0) == "right", program.text
        except NativeError as error:
            assert "this is empty" in error.message  # a mask that picks nothing
            empty += 1
    assert empty <= PROGRAMS // 50


def test_machine_code_of_random_programs_is_what_the_text_says() -> None:
    for program in _programs(21, 3):
        text, inputs, wrt = of_random(program)
        step = compile(text, wrt=wrt)
        plain = run(step.specialised(**inputs), {n: v.numpy() for n, v in inputs.items()})
        for name, value in step(**inputs).items():
            np.testing.assert_allclose(value.numpy(), plain[name], rtol=1e-11, atol=1e-11)


# Values drawn anew are not compiled.
RANDOM = {"gating.dropout_by_hand", "probability.vae_own_noise"}
PROGRAMS_OF_CATALOGUE = collect()


@pytest.mark.parametrize("theme", sorted({program.theme for program in PROGRAMS_OF_CATALOGUE}))
def test_the_catalogue_has_autograds_gradients(theme: str) -> None:
    programs = [program for program in PROGRAMS_OF_CATALOGUE if program.theme == theme]
    for number, program in enumerate(programs):
        given = of_cataloged(program)
        if program.name in RANDOM:
            with pytest.raises(GradninjaError, match="not compiled"):
                judge(*given, fused=False)
        else:
            assert judge(*given, fused=number % FUSED == 0) == "right", program.name


def test_fused_gradients_of_the_catalogue_in_float32() -> None:
    """Within 1e-6 of float64's, norm by norm."""
    for program in PROGRAMS_OF_CATALOGUE[::10]:
        text, inputs, wrt = of_cataloged(program)
        given = {n: v.float() if v.is_floating_point() else v for n, v in inputs.items()}
        wide = {n: v.double() if v.is_floating_point() else v for n, v in given.items()}
        made = specialised(text, given, wrt, fused=True)
        found = run(made, {n: v.numpy() for n, v in given.items()})
        true = truth(text, wide, wrt)
        scale = max(float(np.linalg.norm(value)) for value in true.values())
        for name in (f"d{name}" for name in wrt):
            off = float(np.linalg.norm(found[name].astype(float) - true[name]))
            size = max(float(np.linalg.norm(true[name])), 1e-2 * scale)
            assert off <= 1e-6 * size, f"{program.name}: {name}"


# -- models -----------------------------------------------------------------------------------

MODELS = [(name, back) for name in LECTURES for back in ("backward", "backward_fused", None)]
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
