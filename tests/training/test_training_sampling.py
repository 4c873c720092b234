"""Sampled words against the probabilities that the network gives them."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from gradninja.errors import DataError, RunError
from gradninja.training import go, load_network, sample
from gradninja.training.network import Network
from gradninja.training.sampling import LONGEST, _distinct
from small_runs import WORDS, small_run


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Network:
    folder = tmp_path_factory.mktemp("sampling")
    go(small_run(folder, steps=300))
    return load_network(folder / "run")


def chance(network: Network, word: str, start: str = "", temperature: float = 1.0) -> float:
    """The probability of a word, given how it starts, one letter at a time, never empty."""
    tokens = [network.config.vocabulary.index(letter) for letter in word] + [0]
    total = 1.0
    for place in range(len(start), len(tokens)):
        context = ([0] * 3 + tokens[:place])[-3:]
        logits = network.logits(torch.tensor([context]))[0].double() / temperature
        if place == 0:
            logits[0] = -torch.inf
        total *= logits.softmax(0)[tokens[place]].item()
    return total


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("prefix", ["", "a", "ava"])
def test_words_come_as_often_as_the_network_says(network, prefix, temperature):
    count = 6_000
    words = sample(network, count, seed=1, temperature=temperature, prefix=prefix)
    assert len(words) == count
    assert all(word.text.startswith(prefix) and word.seen is None for word in words)
    for text, times in Counter(word.text for word in words).most_common(12):
        p = chance(network, text, prefix, temperature)
        assert abs(times - count * p) < 5 * (count * p * (1 - p)) ** 0.5, text


def test_no_word_is_empty_unless_it_has_begun(network):
    assert all(word.text for word in sample(network, 4_000, seed=2))
    assert any(word.text == "mia" for word in sample(network, 4_000, seed=2, prefix="mia"))


def test_the_seed_decides(network):
    assert sample(network, 30, seed=3) == sample(network, 30, seed=3)
    assert sample(network, 30, seed=3) != sample(network, 30, seed=4)
    assert sample(network, 0, seed=3) == []


def test_more_words_than_are_drawn_at_once(network, monkeypatch):
    monkeypatch.setattr("gradninja.training.sampling._AT_ONCE", 16)
    words = sample(network, 100, seed=5)
    assert len(words) == 100
    assert len({word.text for word in words}) > 50


def test_training_words_are_marked_or_left_out(network):
    seen = set(WORDS[:10])
    marked = sample(network, 5000, seed=6, temperature=0.5, contains=seen.__contains__)
    assert {word.seen for word in marked} == {True, False}
    assert all(word.seen == (word.text in seen) for word in marked)
    new = sample(network, 500, seed=6, temperature=0.5, contains=seen.__contains__, new_only=True)
    assert len({word.text for word in new}) == 500  # none twice
    assert not any(word.seen or word.text in seen for word in new)
    usual = {word.text for word in marked if not word.seen}
    assert sum(word.text in usual for word in new) > 150


def test_new_words_that_never_come_are_told(network, monkeypatch):
    monkeypatch.setattr("gradninja.training.sampling._PATIENCE", 1)
    with pytest.raises(RunError, match="no word of 1000"):
        sample(network, 3, seed=7, contains=lambda word: True, new_only=True)


def test_a_prefix_outside_of_the_vocabulary_is_told(network):
    with pytest.raises(DataError, match="'ß'"):
        sample(network, 3, seed=8, prefix="aß")


def test_a_network_that_never_ends_a_word_is_cut_off(network):
    p = {**network.parameters, "b2": network.parameters["b2"].clone()}
    p["b2"][0] = -1e9
    endless = Network(network.model, network.config, p, network.statistics)
    assert [len(word.text) for word in sample(endless, 3, seed=9)] == [LONGEST] * 3
    # What it begins with counts, in words drawn one by one and in those of a table.
    for count in (3, endless.contexts()):
        for length in (LONGEST - 1, LONGEST, LONGEST + 1):
            words = sample(endless, count, seed=9, prefix="a" * length)
            assert {len(word.text) for word in words} == {max(length, LONGEST)}


@pytest.mark.parametrize(("vocab", "context"), [(3, 2), (27, 3), (60_000, 40)])
def test_distinct_contexts_without_overflow(vocab, context):
    generator = torch.Generator().manual_seed(1)
    pool = torch.randint(0, vocab, (7, context), generator=generator)
    rows = pool[torch.randint(0, 7, (100,), generator=generator)]
    distinct, which = _distinct(rows, vocab)
    assert torch.equal(distinct[which], rows)
    assert len(distinct) == len({tuple(row) for row in rows.tolist()})


def test_a_run_that_has_not_ended_is_calibrated_when_it_is_read(tmp_path):
    run = small_run(tmp_path)
    assert run.state.statistics == {}
    network = load_network(run.folder.path)
    assert network.statistics.keys() == {"bnmean", "bnvar"}
    wanted = replace(network, statistics={}).calibrated(run.dataset.train).statistics
    assert all(torch.equal(network.statistics[name], wanted[name]) for name in wanted)
