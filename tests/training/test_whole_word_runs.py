"""Runs of models that read whole words, and of the tree: from the words to new ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gradninja.cli import app
from gradninja.data import load_words
from gradninja.errors import DataError, ModelError
from gradninja.training import go, load_network, resume, sample
from gradninja.training import run as run_module
from gradninja.training.pictures import plots
from gradninja.training.run import Interrupted
from gradninja.training.steps.batches import Examples
from small_runs import WORDS, small_run, stopping_after, word_file

WHOLE = ("bow", "rnn", "gru", "lstm", "transformer", "microgpt")


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "draw", lambda *args: [])


def test_an_example_is_a_word(tmp_path) -> None:
    split = load_words(word_file(tmp_path)).train
    words = list(split.vocabulary.spell(split.stream))
    assert split.longest == max(map(len, words))
    X, Y = split.whole(split.starts, 12)
    for word, x, y in zip(words, X, Y, strict=True):
        letters, rest = split.vocabulary.encode(word).tolist(), 11 - len(word)
        assert x.tolist() == [0, *letters, *[0] * rest]
        assert y.tolist() == [*letters, 0, *[-1] * rest]
    X, Y = split.whole(split.starts[:3], 2)  # cut off
    assert Y.tolist() == [split.vocabulary.encode(word)[:2].tolist() for word in words[:3]]


def test_batches_are_words_and_the_padding_is_cut(tmp_path) -> None:
    split = load_words(word_file(tmp_path)).train
    examples = Examples(split, 12, whole=True)
    wide, narrow = (examples.batches(batch=3, seed=1, padded=p) for p in (True, False))
    for _ in range(20):
        (X, Y), (x, y) = next(wide), next(narrow)
        length = int((Y >= 0).sum(1).max())
        assert X.shape == (3, 12) and x.shape == (3, length)
        assert torch.equal(X[:, :length], x) and torch.equal(Y[:, :length], y)
    found = [word for _, Y in examples.blocks() for word in Y.tolist()]
    assert len(found) == split.words
    assert sorted(split.vocabulary.decode(word) for word in found) == sorted(
        split.vocabulary.spell(split.stream)
    )


@pytest.mark.parametrize("model", [*WHOLE, "wavenet"])
def test_a_run_from_its_words_to_new_ones(tmp_path, model) -> None:
    """Losses are those of all letters, sampling follows the network's own probabilities."""
    run = small_run(tmp_path, model=model, steps=2, optimizer="adam", rate=0.01)
    result = go(run, verify_every=1)
    network = load_network(run.folder.path)
    vocabulary, split = run.dataset.vocabulary, run.dataset.validation
    total, count = 0.0, 0
    for word in vocabulary.spell(split.stream):
        letters = [*vocabulary.encode(word).tolist(), 0]
        for k, letter in enumerate(letters):
            logits = network.after(torch.tensor([[0, *letters[:k]]]))
            total -= logits.double().log_softmax(1)[0, letter].item()
            count += 1
    assert result.validation_loss == pytest.approx(total / count, rel=1e-5)
    assert network.loss(split) == pytest.approx(total / count, rel=1e-5)
    drawn = [word.text for word in sample(network, 3000, seed=1)]
    first = np.bincount([ord(word[0]) for word in drawn], minlength=128)
    logits = network.after(torch.zeros((1, 1), dtype=torch.int64)).double()
    logits[0, 0] = -torch.inf
    for letter, share in zip(vocabulary.symbols, logits.softmax(1)[0].tolist(), strict=True):
        assert first[ord(letter)] / 3000 == pytest.approx(share, abs=0.04)
    assert all(w.text.startswith("em") for w in sample(network, 20, seed=1, prefix="em"))


def test_the_same_batch_gives_the_same_steps_padded_or_not(tmp_path) -> None:
    ends = []
    for name in ("backward", "derived"):  # what is derived is derived for all columns
        run = small_run(tmp_path, name, model="bow", steps=10, backward=name)
        go(run, verify_every=5)
        ends.append(run.state.parameters)
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-4, atol=1e-6)


def test_a_run_in_pieces_is_the_same_bit_for_bit(tmp_path, monkeypatch) -> None:
    settings = {"model": "rnn", "steps": 20}
    whole = small_run(tmp_path, "whole", **settings)
    go(whole)
    run = small_run(tmp_path, "run", **settings)
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "stop_signals", lambda **asked: stopping_after(7))
        with pytest.raises(Interrupted):
            go(run)
    go(resume(run.folder.path))
    assert run.folder.weights.read_bytes() == whole.folder.weights.read_bytes()


def test_room_for_the_longest_word(tmp_path) -> None:
    longest = max(map(len, WORDS))
    run = small_run(tmp_path, model="rnn", steps=1)
    assert run.config.context == longest + 1
    with pytest.raises(ModelError, match=f"the longest has {longest} letters"):
        small_run(tmp_path, "short", model="rnn", context=longest)
    go(run)
    network = load_network(run.folder.path)
    assert max(len(word.text) for word in sample(network, 300, seed=2)) <= longest + 1
    with pytest.raises(DataError, match=f"no word has more than {longest + 1}"):
        sample(network, 1, seed=2, prefix="a" * (longest + 1))


def test_sizes_of_a_models_own(tmp_path) -> None:
    words = str(word_file(tmp_path))
    train = ["train", words, "--quiet", "--steps", "1", "--batch", "2", "--engine", "torch"]

    def told(*more: str):
        return CliRunner().invoke(app, [*train, *more])

    done = told("--model", "microgpt", "--width", "12", "--heads", "3", "--layers", "2",
                "--out", str(tmp_path / "a"))  # fmt: skip
    assert done.exit_code == 0, done.output
    weights = load_network(tmp_path / "a").parameters
    assert weights["Wqkv"].shape == (2, 12, 36)
    done = told("--model", "microgpt", "--width", "10", "--out", str(tmp_path / "b"))
    assert "4 heads cannot share a width of 10" in str(done.exception)
    done = told("--model", "wavenet", "--context", "6", "--out", str(tmp_path / "b"))
    assert "a context of 6 is not halved to one" in str(done.exception)
    assert not (tmp_path / "b").exists()
