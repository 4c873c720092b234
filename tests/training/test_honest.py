"""What a run says of words that it was not trained on: its curve, when it stops, what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from gradninja.cli import app
from gradninja.training import Interrupted, go, load_network, resume
from gradninja.training import run as run_module
from gradninja.training.checkpoint import read
from gradninja.training.metrics import read as read_metrics
from gradninja.training.pictures import plots
from gradninja.training.steps import validation
from small_runs import WORDS, small_run, stopping_after

HEART = {"hidden": 40, "rate": 0.3, "batch": 16}  # learns 21 words by heart


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "draw", lambda *args: [])


def curve(run) -> dict[int, float]:
    rows = read_metrics(run.folder.metrics)
    return {row["step"]: row["validation"] for row in rows if "validation" in row}


@pytest.mark.parametrize("model", ["mlp_batchnorm", "gru"])
def test_the_last_look_is_the_loss_at_the_end(tmp_path, model) -> None:
    """Where a look sees all of the validation split and of the training split."""
    run = small_run(tmp_path, model=model, steps=20)
    result = go(run)
    seen = curve(run)
    assert list(seen) == [5, 10, 15, 20]
    assert seen[20] == pytest.approx(result.validation_loss, rel=1e-6)


def test_a_look_takes_a_bounded_time(tmp_path, monkeypatch) -> None:
    run = small_run(tmp_path, steps=5)
    monkeypatch.setattr(validation, "LOOKED_AT", 7)
    asked = []
    plain = type(load_network(run.folder.path)).logits

    def counted(self, contexts):
        asked.append(len(contexts))
        return plain(self, contexts)

    monkeypatch.setattr("gradninja.training.network.Network.logits", counted)
    validation.validator(run.model, run.config, run.dataset)(run.state)
    assert sum(asked) == 7


def test_patience_stops_in_time_and_keeps_the_best(tmp_path, monkeypatch) -> None:
    run = small_run(tmp_path, "run", patience=3, steps=400, **HEART)
    result = go(run)
    seen = curve(run)
    best = min(seen, key=lambda step: (seen[step], step))
    assert result.steps == best + 3 * run.config.diagnostics_every == max(seen) < 400
    assert result.validation_loss == pytest.approx(seen[best], rel=1e-5)
    # The weights are those that a run of so many steps has, but for the schedule.
    assert run.state.best is not None and run.state.best.step == best
    kept = load_network(run.folder.path).parameters
    assert all(torch.equal(kept[n], v) for n, v in run.state.best.parameters.items())
    assert not all(torch.equal(kept[n], v) for n, v in run.state.parameters.items())
    # Resumed when it has ended, it has ended; in pieces, it ends the same.
    again = go(resume(run.folder.path))
    assert (again.steps, again.validation_loss) == (result.steps, result.validation_loss)
    pieces = small_run(tmp_path, "pieces", patience=3, steps=400, **HEART)
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "stop_signals", lambda **asked: stopping_after(best + 2))
        with pytest.raises(Interrupted):
            go(pieces)
    go(resume(pieces.folder.path))
    for name in ("weights", "metrics", "config"):
        assert getattr(run.folder, name).read_bytes() == getattr(pieces.folder, name).read_bytes()
    assert read(pieces.folder.weights).best is not None


def test_without_patience_the_last_weights_are_kept(tmp_path) -> None:
    run = small_run(tmp_path, steps=100, **HEART)
    assert go(run).steps == 100
    assert run.state.best is None


def test_what_a_small_list_cannot_tell_is_told(tmp_path) -> None:
    result = go(small_run(tmp_path, "heart", steps=400, **HEART))
    small, heart = result.notes
    assert small.startswith("the validation set has 3 words: its loss is ")
    assert heart.startswith("it overfits: the validation loss was ")
    result = go(small_run(tmp_path, "patient", steps=400, patience=2, **HEART))
    assert not any("--patience" in note for note in result.notes)


def test_a_run_that_learns_says_nothing(tmp_path) -> None:
    run = small_run(tmp_path, steps=5)
    network = load_network(run.folder.path)
    rows = [{"step": 5, "validation": 2.4}, {"step": 10, "validation": 2.2}]
    whole = replace(run.dataset, validation=run.dataset.train)
    wide = replace(whole, validation=type(whole.train)(
        whole.train.stream.repeat(60), 60, whole.vocabulary))  # fmt: skip
    assert validation.notes(network, wide, rows, 2.1, 2.2) == []
    assert "by heart" in validation.notes(network, wide, rows, 1.2, 2.2)[0]
    rows.append({"step": 15, "validation": 2.6})
    assert "after step 10 and is 2.60" in validation.notes(network, wide, rows, 2.1, 2.6)[0]


def test_new_words_are_none_of_the_file(tmp_path) -> None:
    run = small_run(tmp_path, steps=300, **HEART)
    go(run)
    ask = ["sample", str(run.folder.path), "--count", "200", "--temperature", "0.8"]
    every = CliRunner().invoke(app, ask).stdout.splitlines()
    held = set(run.dataset.validation.vocabulary.spell(run.dataset.validation.stream))
    assert held & set(WORDS)
    new = CliRunner().invoke(app, [*ask, "--new-only"]).stdout.splitlines()
    assert len(new) == len(set(new)) == 200
    assert not set(new) & set(WORDS)
    assert {word.split()[0] for word in every} & set(WORDS)
