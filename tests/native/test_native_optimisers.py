"""Whole words and optimisers in compiled code: the same run as PyTorch's, whole or in pieces."""

from __future__ import annotations

import pytest
import torch

from gradninja.training import Interrupted, go, resume
from gradninja.training import run as run_module
from gradninja.training.pictures import plots
from small_runs import small_run, stopping_after

ADAM = {"optimizer": "adamw", "decay": 0.1, "clip": 0.5, "rate": 0.01, "warmup": 3}
RUNS = {
    "adamw": {"model": "mlp", **ADAM},
    "momentum, whole words": {"model": "bow", "optimizer": "momentum", "decay": 0.01, "rate": 0.02},
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GRADNINJA_CACHE", str(tmp_path_factory.getbasetemp() / "compiled"))
    monkeypatch.setattr(plots, "draw", lambda *args: [])


@pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)
def test_a_run_ends_where_pytorchs_ends(tmp_path, monkeypatch, settings) -> None:
    settings = {"steps": 30, "schedule": "cosine", **settings}
    ends = []
    for engine in ("torch", "native"):
        run = small_run(tmp_path, engine, engine=engine, **settings)
        assert (run.engine is not None) == (engine == "native")
        go(run, verify_every=10)  # holds the compiled gradients to autograd's
        ends.append({**run.state.parameters, **run.state.moments})
    plain, native = ends
    for name, value in plain.items():
        torch.testing.assert_close(native[name], value, rtol=1e-4, atol=1e-5)
    pieces = small_run(tmp_path, "pieces", engine="native", **settings)
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "stop_signals", lambda **asked: stopping_after(4))
        with pytest.raises(Interrupted):
            go(pieces)
    pieces = resume(pieces.folder.path)
    assert 0 < pieces.state.step < 30
    go(pieces)
    for name in ("weights.safetensors", "metrics.jsonl", "config.json"):
        whole = tmp_path / "native" / name
        assert (tmp_path / "pieces" / name).read_bytes() == whole.read_bytes(), name
