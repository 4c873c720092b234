"""Words, vocabulary, splits and contexts, against the lecture's slow way."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradninja.data import EMBEDDED, Vocabulary, load_words

USUAL = (0.8, 0.1, 0.1)

# Any alphabet: no surrogates (not in UTF-8), no NUL (binary), no line ends.
symbols = st.characters(exclude_categories=["Cs"], exclude_characters="\0\n\r")
words = st.text(symbols, min_size=1, max_size=12).map(str.strip)
word_lists = st.lists(words.filter(lambda w: w and not w.startswith("\ufeff")), min_size=6)
file_settings = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def write(folder: Path, content: bytes | str) -> Path:
    path = folder / "words.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def slow_way(words: list[str], seed: int, context: int) -> list[tuple[list, list]]:
    """The lecture's: lists, one letter at a time."""
    stoi = {symbol: place + 1 for place, symbol in enumerate(sorted(set("".join(words))))}
    shuffled = list(words)
    random.Random(seed).shuffle(shuffled)
    n1, n2 = int(0.8 * len(words)), int(0.9 * len(words))
    splits = []
    for part in (shuffled[:n1], shuffled[n1:n2], shuffled[n2:]):
        X, Y = [], []
        for word in part:
            window = [0] * context
            for token in [*(stoi[symbol] for symbol in word), 0]:
                X.append(window)
                Y.append(token)
                window = [*window, token][1:]
        splits.append((X, Y))
    return splits


@file_settings
@given(word_lists, st.integers(0, 2**40), st.integers(1, 6))
def test_examples_are_the_slow_ways(tmp_path, listed, seed, context):
    dataset = load_words(write(tmp_path, "\n".join(listed)), seed=seed)
    parts = (dataset.train, dataset.validation, dataset.test)
    for split, (X, Y) in zip(parts, slow_way(listed, seed, context), strict=True):
        ours_X, ours_Y = split.contexts(np.arange(len(split)), context)
        assert ours_X.tolist() == X
        assert ours_Y.tolist() == Y
        assert ours_X.dtype == ours_Y.dtype == np.int64


@file_settings
@given(word_lists, st.integers(0, 99), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_words_come_back_in_the_order_of_the_shuffle(tmp_path, listed, seed, end, mark):
    text = ("\ufeff" if mark else "") + f"{end}  {end}".join(f" {word}\t" for word in listed)
    dataset = load_words(write(tmp_path, text), seed=seed)
    back = [
        word
        for split in (dataset.train, dataset.validation, dataset.test)
        for word in dataset.vocabulary.spell(split.stream)
    ]
    random.Random(seed).shuffle(listed)
    assert back == listed
    counts = [split.words for split in (dataset.train, dataset.validation, dataset.test)]
    n1, n2 = int(0.8 * len(listed)), int(0.9 * len(listed))
    assert counts == [n1, n2 - n1, len(listed) - n2]


@given(st.lists(words.filter(bool), min_size=1))
def test_vocabulary_round_trip(listed):
    vocabulary = Vocabulary((".", *sorted(set("".join(listed)))))
    for word in listed:
        tokens = vocabulary.encode(word)
        assert tokens.min() > 0
        assert tokens.dtype == vocabulary.dtype
        assert vocabulary.decode(tokens) == word
        assert vocabulary.decode([*tokens, 0, *tokens]) == word


def test_a_dot_in_a_word_is_not_the_end_mark(tmp_path):
    listed = [".", "a.b", "..", "b.", ".a", "ab", "a", "b"]
    dataset = load_words(write(tmp_path, "\n".join(listed)))
    assert dataset.vocabulary.symbols == (".", ".", "a", "b")
    assert dataset.vocabulary.encode("a.b").tolist() == [2, 1, 3]
    assert dataset.vocabulary.decode([2, 1, 3]) == "a.b"
    assert sum(dataset.train.contains(word) for word in listed) == dataset.train.words == 6


@pytest.mark.parametrize(
    ("size", "dtype"), [(200, np.uint8), (255, np.uint8), (256, np.uint16), (70_000, np.uint32)]
)
def test_tokens_take_the_smallest_type(tmp_path, size, dtype):
    alphabet = [chr(code) for code in range(0x4E00, 0x4E00 + size) if not 0xD800 <= code < 0xE000]
    alphabet += [chr(0x20000 + code) for code in range(size - len(alphabet))]
    dataset = load_words(write(tmp_path, "\n".join(alphabet)))
    assert dataset.vocabulary.size == size + 1
    assert dataset.train.stream.dtype == dtype
    assert set(dataset.vocabulary.symbols[1:]) == set(alphabet)


def test_a_file_of_many_blocks_reads_as_one(tmp_path):
    generator = random.Random(0)
    alphabet = "abcdefghijklmnopqrstuvwxyz-'"
    listed = [
        "".join(generator.choices(alphabet, k=generator.randint(1, 14))) for _ in range(300_000)
    ]
    listed[-1] = "ünïcödé"
    path = write(tmp_path, "\r\n".join(listed))
    dataset = load_words(path, seed=7)
    random.Random(7).shuffle(listed)
    assert list(dataset.vocabulary.spell(dataset.train.stream)) == listed[:240_000]
    assert list(dataset.vocabulary.spell(dataset.test.stream)) == listed[270_000:]
    assert dataset.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_embedded_list():
    dataset = load_words()
    listed = EMBEDDED.read_text().split()
    assert (dataset.name, len(listed), dataset.vocabulary.size) == ("names", 32257, 27)
    assert dataset.sha256 == hashlib.sha256(EMBEDDED.read_bytes()).hexdigest()
    random.Random(42).shuffle(listed)
    lengths = np.cumsum([len(word) + 1 for word in listed])
    assert len(dataset.train) == lengths[25804]
    assert len(dataset.train) + len(dataset.validation) == lengths[29030]
    assert dataset.train.contains(listed[0])
    assert not dataset.train.contains("gradninja")
    assert (EMBEDDED.parent / "names.README").read_text().count("Social Security") == 1


def test_a_context_longer_than_everything(tmp_path):
    dataset = load_words(write(tmp_path, "ab\ncd\nef\ngh\nij\nkl"))
    split = dataset.test
    X, Y = split.contexts(np.arange(len(split)), 20)
    assert X.shape == (3, 20)
    assert np.count_nonzero(X, axis=1).tolist() == [0, 1, 2]
    assert Y.tolist()[:2] == X[2, -2:].tolist()


def test_a_split_with_nothing_to_hold_may_stay_empty(tmp_path):
    dataset = load_words(write(tmp_path, "only"), fractions=(1.0, 0.0, 0.0))
    assert (dataset.train.words, len(dataset.train)) == (1, 5)
    X, Y = dataset.test.contexts(np.arange(0), 3)
    assert (len(dataset.test), X.shape, Y.shape) == (0, (0, 3), (0,))


def test_a_trained_vocabulary_can_be_kept(tmp_path):
    old = Vocabulary((".", "a", "b", "z"))
    dataset = load_words(write(tmp_path, "ba\nab\n" * 5), vocabulary=old)
    assert dataset.vocabulary is old
    assert set(dataset.train.stream.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.2), (1.2, -0.1, -0.1)])
def test_fractions_must_be_shares(fractions):
    with pytest.raises(ValueError, match="shares"):
        load_words(fractions=fractions)


def test_reading_words_imports_no_torch():
    code = "import sys, gradninja.data as d; d.load_words(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
