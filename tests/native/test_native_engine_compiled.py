"""Whole runs by compiled code: as PyTorch's, as themselves, and refused where they must be."""

from __future__ import annotations

import contextlib

import pytest
import torch
from typer.testing import CliRunner

from gradninja.cli import app
from gradninja.training import Interrupted, go, resume
from gradninja.training import native as native_module
from gradninja.training import run as run_module
from gradninja.training.checkpoint import read
from gradninja.training.pictures import plots
from small_runs import LECTURES, edited_model, small_run, word_file


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """One cache for these tests, so that equal texts are compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADNINJA_CACHE", str(tmp_path_factory.mktemp("compiled")))
        patch.setattr(plots, "draw", lambda *args: [])
        yield


@pytest.mark.parametrize("model", LECTURES)
def test_a_run_ends_where_pytorchs_ends(tmp_path, model):
    settings = {"model": model, "steps": 60}
    ends = []
    for engine in ("native", "torch"):
        run = small_run(tmp_path, engine, engine=engine, **settings)
        assert (run.engine is not None) == (engine == "native")
        ends.append((go(run, verify_every=25), read(run.folder.weights).parameters))
    (native, found), (plain, true) = ends
    assert native.train_loss == pytest.approx(plain.train_loss, rel=1e-5)
    assert native.validation_loss == pytest.approx(plain.validation_loss, rel=1e-5)
    for name, value in true.items():
        assert torch.allclose(found[name], value, rtol=1e-4, atol=1e-5), name


def test_a_run_in_pieces_is_the_same_bit_for_bit(tmp_path, monkeypatch):
    whole = small_run(tmp_path, "whole", engine="native", steps=900)
    go(whole)
    run = small_run(tmp_path, "run", engine="native", steps=900)
    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(run_module, "stop_signals", lambda **asked: stopping_after(3))
            with pytest.raises(Interrupted):
                go(run)
        assert 0 < run.state.step < 900
        run = resume(run.folder.path)
    go(run)
    for name in ("weights", "metrics", "config"):
        assert getattr(run.folder, name).read_bytes() == getattr(whole.folder, name).read_bytes()


@contextlib.contextmanager
def stopping_after(looks):
    """In place of signals: a person who asks to stop at the so-manieth look."""
    left = iter(range(looks))
    yield lambda: next(left, None) is None


def test_lines_that_cannot_be_compiled_are_named(tmp_path, monkeypatch):
    model = edited_model(
        tmp_path, "    h = torch.tanh(hpreact)", "    h = torch.fft.fft(hpreact).real.tanh()"
    )
    words = str(word_file(tmp_path))
    sizes = ["--hidden", "8", "--batch", "4", "--embedding", "3", "--steps", "30"]
    train = ["train", words, "--model", model, *sizes, "--quiet"]
    done = CliRunner().invoke(app, [*train, "--engine", "native", "--out", str(tmp_path / "a")])
    assert done.exit_code != 0
    assert "fft" in str(done.exception)
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(native_module, "_WORTH_COMPILING", 1)
    run = small_run(tmp_path, "b", model=model, engine="auto", backward="backward")
    assert run.config.engine == "torch"
    go(run)
