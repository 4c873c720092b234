"""Memory does not grow with the vocabulary times a fixed number of examples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gradninja.data import load_words
from gradninja.training import go, load_network, sample
from gradninja.training.network import Network
from gradninja.training.steps.batches import Examples, rows_at_once
from small_runs import small_run


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    folder = tmp_path_factory.mktemp("memory")
    go(small_run(folder, steps=100))
    return load_network(folder / "run")


def test_few_letters_are_taken_in_blocks_as_long_as_ever() -> None:
    split = load_words().train
    for width in (27, 200):
        assert len(next(Examples(split, 3).blocks(width))[1]) == 2**15


@pytest.mark.parametrize("letters", [100, 8_000, 60_000, 1_000_000])
def test_the_numbers_of_a_block_are_bounded(letters: int) -> None:
    assert 1 <= rows_at_once(letters) * letters <= 2**23


def test_shorter_blocks_give_the_same(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    split = load_words(Path(str(network.config.words))).train
    monkeypatch.setattr(Network, "has_table", lambda self: False)
    loss = network.loss(split)
    statistics = network.calibrated(split).statistics
    words = sample(network, 50, seed=3)
    asked = []
    plain = Network.logits

    def logits(self: Network, contexts: torch.Tensor) -> torch.Tensor:
        asked.append(len(contexts))
        return plain(self, contexts)

    monkeypatch.setattr(Network, "logits", logits)
    vocab = len(network.config.vocabulary)
    monkeypatch.setattr(
        "gradninja.training.steps.batches._BUDGET", 32 * 7 * vocab
    )  # seven rows at once
    assert network.loss(split) == pytest.approx(loss, rel=1e-6)
    assert max(asked) <= 7
    for name, value in network.calibrated(split).statistics.items():
        torch.testing.assert_close(value, statistics[name], rtol=1e-4, atol=1e-6)
    asked.clear()
    assert [word.text for word in sample(network, 50, seed=3)] == [word.text for word in words]
    assert 1 <= max(asked) <= 7
