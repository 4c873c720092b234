"""Words drawn, and losses summed, from a table of all contexts: as the network itself says."""

from collections import Counter

import numpy as np
import pytest
import torch

from gradninja.native.calls import streams
from gradninja.training import Network, go, load_dataset, load_network, sample
from gradninja.training import network as network_module
from gradninja.training.sampling import LONGEST
from small_runs import small_run

MANY = 30_000  # more than there are contexts: 22**3 for the small list


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Network:
    folder = tmp_path_factory.mktemp("table")
    go(small_run(folder, steps=300))
    network = load_network(folder / "run")
    assert network.contexts() < MANY
    return network


def chance(network: Network, word: str, start: str, temperature: float) -> float:
    """The probability of a word, given how it starts, by `predict` alone."""
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
@pytest.mark.parametrize("prefix", ["", "a", "avali"])
def test_words_come_as_often_as_the_network_says(network, prefix, temperature):
    words = sample(network, MANY, seed=1, temperature=temperature, prefix=prefix)
    assert len(words) == MANY
    assert all(word.text and word.text.startswith(prefix) for word in words)
    for text, times in Counter(word.text for word in words).most_common(12):
        p = chance(network, text, prefix, temperature)
        assert abs(times - MANY * p) < 5 * (MANY * p * (1 - p)) ** 0.5, text


def test_the_seed_decides(network):
    assert sample(network, MANY, seed=3) == sample(network, MANY, seed=3)
    assert sample(network, MANY, seed=3) != sample(network, MANY, seed=4)


def test_new_words_and_marks(network):
    seen = {word.text for word in sample(network, 500, seed=5)}
    marked = sample(network, MANY, seed=6, contains=seen.__contains__)
    assert {word.seen for word in marked} == {True, False}
    new = sample(network, MANY, seed=6, contains=seen.__contains__, new_only=True)
    assert len(new) == MANY
    assert not any(word.text in seen for word in new)


def test_a_word_that_never_ends_is_cut_off():
    always = np.array([[0.0], [0.0]])  # letter 1 after every context
    generator = np.random.default_rng(0)
    stream = streams.draw(generator, always, always[0], 0, 2, 5, np.uint8)
    assert stream.tolist() == [1, 1, 1, 1, 1, 0] * 2
    stream = streams.draw(generator, always, always[0], 0, 2, 0, np.uint8)
    assert stream.tolist() == [0, 0]


def test_a_prefix_as_long_as_a_word_may_be(network):
    prefix = "a" * (LONGEST + 2)
    assert {word.text for word in sample(network, MANY, seed=7, prefix=prefix)} == {prefix}


def test_the_table_has_the_logits_of_every_context(network):
    logits = network.table()
    vocab = len(network.config.vocabulary)
    assert logits.shape == (vocab**3, vocab)
    for context in ([0, 0, 0], [0, 0, 5], [1, 2, 3], [vocab - 1] * 3):
        code = (context[0] * vocab + context[1]) * vocab + context[2]
        alone = network.logits(torch.tensor([context]))[0].double()
        assert torch.allclose(logits[code], alone, rtol=1e-5, atol=1e-5)


def test_losses_are_those_of_predict(tmp_path, monkeypatch):
    go(small_run(tmp_path, steps=50, context=1))
    network = load_network(tmp_path / "run")
    dataset = load_dataset(network.config)
    assert network.contexts() <= len(dataset.train)
    natively = network.loss(dataset.train)
    monkeypatch.setattr(network_module, "_TABLE", 0)
    assert natively == pytest.approx(network.loss(dataset.train), rel=1e-6, abs=0)
    assert natively != pytest.approx(network.loss(dataset.validation), rel=1e-3)
