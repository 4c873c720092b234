"""The command line as a person uses it: what it prints, what it refuses, how it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calling import call
from gradninja.training.pictures import plots

WORDS = (
    "emma\nolivia\nava\nisabella\nsophia\nmia\namelia\nharper\nevelyn\nabigail\nella\nluna\n" * 5
)
SMALL = ["--steps", "20", "--batch", "4", "--hidden", "8", "--quiet"]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "words.txt"
    path.write_text(WORDS)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, words: Path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert call("train", str(words), "--out", str(out), *SMALL) == 0
    return out


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second a run."""
    monkeypatch.setattr(plots, "draw", lambda *args: [])


def test_training_prints_losses_and_twenty_words(words: Path, tmp_path: Path, capsys) -> None:
    assert call("train", str(words), "--out", str(tmp_path / "r"), *SMALL) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("train loss ") and told[1].startswith("validation loss ")
    assert len(told[3:-2]) == 20
    assert told[-1].endswith(str(tmp_path / "r"))
    for name in ("config.json", "metrics.jsonl", "weights.safetensors", "model.py"):
        assert (tmp_path / "r" / name).stat().st_size > 0
    for picture in ("loss.png", "activations.png", "ratios.png", "dlogits.png"):
        assert (tmp_path / "r" / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("without_pictures")
def test_training_as_json(words: Path, tmp_path: Path, capsys) -> None:
    assert call("train", str(words), "--out", str(tmp_path / "r"), "--json", *SMALL) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["steps"] == 20 and row["train_loss"] > 0 and len(row["words"]) == 20


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("model", ["bigram", "mlp", "mlp_batchnorm"])
def test_every_model_trains_and_verifies(model: str, words: Path, tmp_path: Path, capsys) -> None:
    out = ["--out", str(tmp_path / "r"), "--model", model, "--verify", "5"]
    assert call("train", str(words), *out, *SMALL) == 0
    assert "validation loss" in capsys.readouterr().out


@pytest.mark.usefixtures("without_pictures")
def test_counting_is_one_pass(words: Path, tmp_path: Path, capsys) -> None:
    out = ["--out", str(tmp_path / "r"), "--model", "bigram", "--fit", "--quiet"]
    assert call("train", str(words), *out) == 0
    assert "validation loss" in capsys.readouterr().out


def test_sampling(run: Path, capsys) -> None:
    assert call("sample", str(run), "--count", "7", "--prefix", "em") == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 7 and all(line.startswith("em") for line in told)
    assert call("sample", str(run), "--count", "7", "--seed", "1", "--json") == 0
    first = capsys.readouterr().out
    assert call("sample", str(run), "--count", "7", "--seed", "1", "--json") == 0
    assert capsys.readouterr().out == first
    assert len(json.loads(first)["words"]) == 7


def test_sampling_new_words_only(run: Path, capsys) -> None:
    assert call("sample", str(run), "--count", "50", "--new-only", "--json") == 0
    words = json.loads(capsys.readouterr().out)["words"]
    assert not {word["text"] for word in words} & set(WORDS.split())
    assert not any(word["training_word"] for word in words)


@pytest.mark.usefixtures("without_pictures")
def test_sampling_when_the_words_are_gone(words: Path, tmp_path: Path, capsys) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_bytes(words.read_bytes())
    run = str(tmp_path / "r")
    assert call("train", str(mine), "--out", run, *SMALL) == 0
    mine.unlink()
    capsys.readouterr()
    assert call("sample", run, "--count", "3", "--json") == 0
    told = capsys.readouterr()
    assert [word["training_word"] for word in json.loads(told.out)["words"]] == [None] * 3
    assert "not marked: there is no file" in told.err
    assert call("sample", run, "--new-only") == 2
    assert call("train", str(words), "--resume", run, "--quiet") == 0  # they have only moved


def test_evaluating(run: Path, words: Path, capsys) -> None:
    assert call("evaluate", str(run), "--json") == 0
    losses = json.loads(capsys.readouterr().out)["losses"]
    assert set(losses) == {"train", "validation", "test"}
    assert call("evaluate", str(run), str(words), "--json") == 0
    assert set(json.loads(capsys.readouterr().out)["losses"]) == {"words.txt"}


@pytest.mark.usefixtures("without_pictures")
def test_no_bessel_reaches_training_and_calibration(words: Path, tmp_path: Path) -> None:
    args = ["train", str(words), "--out", str(tmp_path / "r"), "--no-bessel", *SMALL]
    assert call(*args) == 0
    assert json.loads((tmp_path / "r" / "config.json").read_text())["options"] == {"correction": 0}


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["train", "nowhere.txt"], "nowhere.txt"),
        (["train", "{words}", "--model", "gpt"], "gpt"),
        (["train", "{words}", "--batch", "1"], "a batch of 1 is too small"),
        (["train", "{words}", "--model", "mlp", "--no-bessel"], "correction"),
        (["train", "{words}", "--backward", "backwards"], "backwards"),
        (["train", "{words}", "--model", "mlp", "--fit"], "fit"),
        (["train", "{words}", "--steps", "0"], "--steps"),
        (["train", "{words}", "--out", "{run}"], "holds a run already"),
        (["train", "--resume", "nowhere"], "nowhere"),
        (["train", "--resume", "{run}", "--hidden", "9", "--no-bessel"], "--hidden, --bessel"),
        (["sample", "nowhere"], "no run folder"),
        (["sample", "{run}", "--count", "0"], "--count"),
        (["sample", "{run}", "--temperature", "0"], "--temperature"),
        (["sample", "{run}", "--prefix", "é"], "é"),
        (["evaluate", "{run}", "{other}"], "vocabulary"),
        (["no-such-verb"], "no-such-verb"),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, list) else "",
)
def test_bad_input_is_told_and_leaves_with_2(
    args: list[str], told: str, run: Path, words: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other.txt"
    other.write_text("straße\nzoë\n")
    names = {"{run}": str(run), "{words}": str(words), "{other}": str(other)}
    before = sorted(path.name for path in run.iterdir())
    assert call(*(names.get(arg, arg) for arg in args)) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
    assert sorted(path.name for path in run.iterdir()) == before
