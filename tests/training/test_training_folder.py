"""A run folder is never overwritten untold, never shared, and survives a full disk."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from gradninja.errors import DataError, ModelError, RunError
from gradninja.training import begin, checkpoint, go, resume
from gradninja.training.config import Config
from gradninja.training.metrics import Metrics
from gradninja.training.pictures import plots
from small_runs import SMALL, small_run, word_file


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    """A second a run; `test_training_pictures.py` draws them."""
    monkeypatch.setattr(plots, "draw", lambda *args: [])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def config(folder: Path, **settings) -> Config:
    return replace(SMALL, words=str(word_file(folder)), **settings)


def test_runs_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [begin(config(tmp_path, model=model)) for model in ("mlp", "bigram", "mlp")]
    assert [str(run.folder.path) for run in runs] == ["runs/mlp-1", "runs/bigram-1", "runs/mlp-2"]


def test_a_run_is_replaced_only_when_that_is_said(tmp_path):
    go(small_run(tmp_path))
    before = contents(tmp_path / "run")
    with pytest.raises(RunError, match="holds a run already") as caught:
        small_run(tmp_path)
    assert "--resume" in str(caught.value) and "--overwrite" in str(caught.value)
    assert contents(tmp_path / "run") == before
    begin(config(tmp_path, model="bigram"), out=tmp_path / "run", overwrite=True)
    left = {"config.json", "model.py", "weights.safetensors"}
    assert contents(tmp_path / "run").keys() == left


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"model": "none"}, ModelError), ({"words": "none"}, DataError), ({"batch": 1}, ModelError)],
)
def test_bad_input_leaves_the_run_that_it_would_replace(tmp_path, settings, error):
    go(small_run(tmp_path))
    before = contents(tmp_path / "run")
    with pytest.raises(error):
        begin(replace(config(tmp_path), **settings), out=tmp_path / "run", overwrite=True)
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_something_else_is_never_touched(tmp_path, overwrite):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="not empty and holds no run"):
        begin(config(tmp_path), out=mine, overwrite=overwrite)
    assert contents(mine) == {"thesis.txt": b"years of work"}
    with pytest.raises(RunError, match="is a file"):
        begin(config(tmp_path), out=mine / "thesis.txt", overwrite=overwrite)


def test_two_processes_never_train_in_one_folder(tmp_path):
    run = small_run(tmp_path)
    before = contents(tmp_path / "run")
    with run.folder.locked():
        with pytest.raises(RunError, match="another process"):
            go(resume(tmp_path / "run"))
        with pytest.raises(RunError, match="another process"):
            begin(config(tmp_path), out=tmp_path / "run", overwrite=True)
    assert contents(tmp_path / "run") == before
    go(resume(tmp_path / "run"))


@pytest.mark.parametrize("moment", [1, 3, 8])
def test_a_disk_that_fills_up_leaves_the_last_checkpoint_whole(tmp_path, monkeypatch, moment):
    go(small_run(tmp_path, "unbroken"))
    run = small_run(tmp_path)
    plain, calls = os.fsync, []

    def full(number: int) -> None:
        calls.append(number)
        if len(calls) >= 4 * moment:  # metrics, the file, the folder: three to a checkpoint
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(number)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device") as caught:
        go(run, save_every=0.0)
    assert f"--resume {run.folder.path}" in str(caught.value)
    monkeypatch.undo()
    assert 0 <= checkpoint.read(run.folder.weights).step < run.config.steps
    go(resume(tmp_path / "run"))
    for name in ("weights.safetensors", "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", None, "is not a run folder"),
        ("config.json", "{", "cannot be read"),
        ("config.json", "[]", "is not the recipe of a run"),
        ("config.json", '{"model": "mlp"}', "is not the recipe of a run"),
        ("weights.safetensors", None, "has no weights.safetensors"),
        ("weights.safetensors", "x", "damaged"),
    ],
)
def test_a_damaged_run_is_told(tmp_path, name, text, message):
    run = small_run(tmp_path)
    path = run.folder.path / name
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(RunError, match=message):
        resume(run.folder.path)


def test_a_run_that_has_ended_may_be_resumed_and_stays_as_it_is(tmp_path):
    result = go(small_run(tmp_path))
    before = contents(tmp_path / "run")
    assert go(resume(tmp_path / "run")) == result
    assert contents(tmp_path / "run") == before


def test_metrics_reach_the_disk_before_the_checkpoint_that_knows_of_them(tmp_path, monkeypatch):
    run = small_run(tmp_path)
    order = []
    sync, write = Metrics.sync, checkpoint.write
    monkeypatch.setattr(Metrics, "sync", lambda self: (order.append("metrics"), sync(self)))
    monkeypatch.setattr(checkpoint, "write", lambda *a: (order.append("weights"), write(*a)))
    go(run, save_every=0.0)
    assert order[:6] == ["metrics", "weights"] * 3


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    unbroken = small_run(tmp_path, "unbroken")
    go(unbroken)
    run = small_run(tmp_path)
    start = run.folder.weights.read_bytes()
    go(run)
    run.folder.weights.write_bytes(start)  # as if no later checkpoint had reached the disk
    with run.folder.metrics.open("a") as file:
        file.write('{"step": 41, "lo')  # and a line was cut in two
    go(resume(tmp_path / "run"))
    for name in ("weights.safetensors", "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()
