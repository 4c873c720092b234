"""The native engine's loop around a kernel: the same run as PyTorch's, whole or in pieces.

The kernel here takes its steps by PyTorch, so that nothing is compiled; what is compiled has tests
of its own.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
import torch

from gradninja import models, native
from gradninja.errors import RunError
from gradninja.native.reading.refusal import NativeError
from gradninja.training import Interrupted, begin, go, resume
from gradninja.training import native as engine_module
from gradninja.training import run as run_module
from gradninja.training.checkpoint import read
from gradninja.training.pictures import plots
from small_runs import small_run


class Kernel:
    """What `compile_training` gives, but by the model's own step."""

    source = "by PyTorch"

    def __init__(self, text, values, parameters, spoil=0.0):
        self.step = models.load("mlp_batchnorm").step()
        assert text == self.step.source
        self.sizes = {name: value for name, value in values.items() if isinstance(value, int)}
        self.context = values["Xb"].shape[1]
        self.names, self.spoil, self.calls = parameters, spoil, []

    def run(self, parameters, stream, positions, rates, losses):
        self.calls.append(len(positions))
        tensors = {name: torch.from_numpy(value) for name, value in parameters.items()}
        for number, (row, rate) in enumerate(zip(positions, rates, strict=True)):
            Xb = torch.zeros((len(row), self.context), dtype=torch.int64)
            for i, position in enumerate(row):
                for back in range(1, self.context + 1):
                    token = int(stream[position - back]) if position >= back else 0
                    if token == 0:
                        break
                    Xb[i, -back] = token
            Yb = torch.tensor([int(stream[position]) for position in row])
            found = self.step({**self.sizes, **tensors, "Xb": Xb, "Yb": Yb})
            losses[number] = found["loss"].item()
            for name, value in tensors.items():
                value -= float(rate) * (found[f"d{name}"] + self.spoil)


@pytest.fixture(autouse=True)
def kernels(monkeypatch):
    """The kernels made, in place of compiled ones; and no pictures."""
    made = []

    def compile_training(text, values, parameters, say, threads):
        made.append(Kernel(text, values, parameters))
        return made[-1]

    monkeypatch.setattr(native, "compile_training", compile_training, raising=False)
    monkeypatch.setattr(plots, "draw", lambda *args: [])
    return made


def rows(run):
    return [json.loads(line) for line in run.folder.metrics.read_text().splitlines()]


def test_the_run_is_that_of_pytorch(tmp_path, kernels):
    ends = {}
    for engine in ("native", "torch"):
        run = small_run(tmp_path, engine, engine=engine, steps=450)
        assert run.config.engine == engine
        go(run)
        ends[engine] = read(run.folder.weights), rows(run)
    (state, lines), (true, true_lines) = ends["native"], ends["torch"]
    assert sum(kernels[0].calls) == 450 + 1  # and one to compare
    assert max(kernels[0].calls) > 1
    for name, value in true.parameters.items():
        assert torch.allclose(state.parameters[name], value, rtol=1e-5, atol=1e-6)
    assert [line.keys() for line in lines] == [line.keys() for line in true_lines]
    for line, true_line in zip(lines, true_lines, strict=True):
        for key in line.keys() - {"gradient_to_data", "update_to_data"}:
            assert line[key] == pytest.approx(true_line[key], rel=1e-5)


@pytest.mark.parametrize("pieces", [1, 7, 64])
def test_a_run_in_pieces_ends_the_same(tmp_path, monkeypatch, pieces):
    """Stopped after so many looks, again and again; saved each time."""
    settings = {"engine": "native", "steps": 300}
    whole = small_run(tmp_path, "whole", **settings)
    go(whole)
    run = small_run(tmp_path, "run", **settings)
    monkeypatch.setattr(engine_module, "_CALL", 1e-4 * pieces)  # other calls, other sizes
    stops = 0
    while True:
        monkeypatch.setattr(run_module, "stop_signals", lambda **asked: stopping_after(pieces))
        try:
            go(run)
            break
        except Interrupted:
            stops += 1
            run = resume(run.folder.path)
    assert stops > 1
    for name in ("weights", "metrics", "config"):
        assert getattr(run.folder, name).read_bytes() == getattr(whole.folder, name).read_bytes()


@contextlib.contextmanager
def stopping_after(looks):
    """In place of signals: a person who asks to stop at the so-manieth look."""
    left = iter(range(looks))
    yield lambda: next(left, None) is None


def test_verify_judges_the_kernels_gradients(tmp_path, kernels):
    go(small_run(tmp_path, engine="native", steps=60), verify_every=7)
    run = small_run(tmp_path, "spoilt", engine="native", steps=60)
    kernels[-1].spoil = 0.01
    with pytest.raises(RunError, match=r"step 0: d\w+ differs from autograd by 0\.01"):
        go(run, verify_every=7)


def spoilt(text, values, parameters, say, threads):
    return Kernel(text, values, parameters, spoil=0.001)


def refusing(text, values, parameters, say, threads):
    raise NativeError("`h = strange(x)` cannot be compiled")


def broken(text, values, parameters, say, threads):
    raise KeyError("a bug")


@pytest.mark.parametrize(
    ("compile_training", "told_of", "error"),
    [
        (spoilt, "PyTorch", "differs from PyTorch's by 0.001"),
        (refusing, "strange", "strange"),
        (broken, "our mistake, KeyError", "a bug"),
    ],
)
def test_what_cannot_be_trusted_is_not_used(
    tmp_path, monkeypatch, compile_training, told_of, error
):
    monkeypatch.setattr(native, "compile_training", compile_training)
    monkeypatch.setattr(engine_module, "_WORTH_COMPILING", 10)
    told = []
    config = small_run(tmp_path, "plain", engine="torch").config
    run = begin(replace(config, engine="auto"), out=tmp_path / "auto", tell=told.append)
    assert run.engine is None
    assert run.config.engine == "torch"
    assert told_of in told[-1]
    assert "PyTorch" in told[-1]
    go(run)
    with pytest.raises((RunError, NativeError, KeyError), match=error):
        begin(replace(config, engine="native"), out=tmp_path / "native")
    assert not (tmp_path / "native").exists()


def test_short_runs_are_not_compiled_unless_asked(tmp_path, kernels):
    assert small_run(tmp_path, engine="auto").config.engine == "torch"
    assert kernels == []


def test_a_loss_that_is_not_finite_is_told(tmp_path):
    run = small_run(tmp_path, engine="native", rate=1e30)
    with pytest.raises(RunError, match=r"at step \d+ \(rate 1e\+30\)|not finite after step"):
        go(run)
    assert read(run.folder.weights).step == 0  # from before


def test_a_recipe_from_before_there_were_engines(tmp_path):
    run = small_run(tmp_path)
    recipe = json.loads(run.folder.config.read_text())
    assert recipe.pop("engine") == "torch"
    run.folder.config.write_text(json.dumps(recipe))
    assert resume(run.folder.path).config == run.config
