"""What `load_words` says of a file that it cannot use."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradninja.data import Vocabulary, load_words, loading
from gradninja.errors import DataError


def refusal(path: Path, **options: object) -> DataError:
    with pytest.raises(DataError) as caught:
        load_words(path, **options)
    assert str(path) in str(caught.value)
    assert caught.value.hint
    return caught.value


def write(folder: Path, content: bytes) -> Path:
    path = folder / "words.txt"
    path.write_bytes(content)
    return path


def test_missing_file(tmp_path):
    assert "no file" in refusal(tmp_path / "none.txt").message


def test_folder(tmp_path):
    assert "is a folder" in refusal(tmp_path).message


def test_unreadable_file(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert "cannot be read: Permission denied" in refusal(tmp_path / "words.txt").message


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b" \r\n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"]
)
def test_no_words(tmp_path, content):
    assert "no words" in refusal(write(tmp_path, content)).message


def test_binary_file_names_the_line(tmp_path):
    error = refusal(write(tmp_path, b"emma\r\nolivia\nav\0a\n"))
    assert "binary" in error.message
    assert "line 3" in error.message


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("order", ["le", "be"])
@pytest.mark.parametrize("bits", [16, 32])
def test_utf_16_and_utf_32_are_named(tmp_path, bits, order, marked):
    mark = "\ufeff" if marked else ""
    error = refusal(write(tmp_path, f"{mark}emma\nolivia\n".encode(f"utf-{bits}-{order}")))
    assert f"UTF-{bits}" in error.message
    assert "UTF-8" in error.hint


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("words.txt", "emma\nolivia\n")
    return file.getvalue()


PEOPLE = [{"name": f"emma{number}", "tags": ["a", 1, None]} for number in range(20_000)]
TABLE = 'name,sex,count\nMary,F,7065\nAnna,F,2604\n"O""Neil",M,12\n'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (json.dumps(PEOPLE[:2]).encode(), "JSON"),
        (json.dumps(PEOPLE).encode(), "JSON"),  # longer than what is looked at
        (json.dumps(PEOPLE, indent=2).encode(), "JSON"),
        ("\n".join(map(json.dumps, PEOPLE)).encode(), "JSON"),
        (json.dumps({"names": ["emma"]}).encode(), "JSON"),
        (codecs.BOM_UTF8 + b"[1]", "JSON"),
        (b"[" * 60_000, "JSON"),
        (TABLE.encode(), "commas"),
        (TABLE.encode().replace(b",", b";") * 9_000, "semicolons"),
        (TABLE.encode().replace(b",", b"\t").replace(b"\n", b"\r\n"), "tabs"),
        (gzip.compress(b"emma\n" * 100), "gzip"),
        (zipped(), "zip"),
        (b"<!DOCTYPE html>\n<html>", "web page"),
        (b"%PDF-1.7\n", "PDF"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_of_another_format_is_told(tmp_path, content, told):
    assert told in refusal(write(tmp_path, content)).message


def test_a_python_file_is_told(tmp_path):
    path = tmp_path / "model.py"
    path.write_text("def forward(x):\n    return x\n")
    assert "--model" in refusal(path).hint


@pytest.mark.parametrize(
    "words",
    [
        ["[PAD]", "[unused0]", "{x}", "the"],
        ["Lovelace, Ada", "Turing, Alan", "Hopper, Grace"],
        ["a,b", "c", "d"],
        ["BZhanna", "PARIS", "PAR1S", "%PDF"],
        ["<s>", "</s>", "\ufeffa"],
        ["{", "}", "(", ")", "[", "]"],
    ],
)
def test_words_that_look_odd_are_words(tmp_path, words):
    path = write(tmp_path, "\n".join(words * 4).encode())
    assert load_words(path).train.words == int(0.8 * 4 * len(words))


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_lines_that_cross_the_blocks_are_read_whole(tmp_path, end, monkeypatch):
    words = ["emma", "zo\u00eb", "x" * 23, "y"] * 10
    whole = load_words(write(tmp_path, end.join(words).encode()))
    for size in (24, 25, 31, 64):
        monkeypatch.setattr(loading, "PIECE", size)
        pieces = load_words(write(tmp_path, end.join(words).encode()))
        assert pieces.sha256 == whole.sha256
        assert np.array_equal(pieces.train.stream, whole.train.stream)


def test_a_line_that_does_not_end(tmp_path):
    path = write(tmp_path, b"emma\nava\n" + b"x" * (3 << 20))
    assert "line 3" in refusal(path).message


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("before", [0, 3, 400_000])
def test_undecodable_byte_names_its_line_and_column(tmp_path, end, before):
    """Also beyond the first block of the file, which is read in pieces."""
    path = write(tmp_path, (b"emma" + end) * before + "zo\u00eb ".encode() + b"\xe9mile" + end)
    spot = refusal(path).spot
    assert (spot.line, spot.column) == (before + 1, 4)
    assert spot.text == "zo\u00eb \ufffdmile"


@pytest.mark.parametrize(("count", "enough"), [(1, False), (2, False), (5, False), (6, True)])
def test_fewer_words_than_the_splits_need(tmp_path, count, enough):
    path = write(tmp_path, b"emma\n" * count)
    if enough:
        dataset = load_words(path)
        assert min(dataset.train.words, dataset.validation.words, dataset.test.words) == 1
    else:
        message = refusal(path).message
        assert f"holds {count} word" in message
        assert "would be empty" in message


def test_a_symbol_that_a_trained_vocabulary_has_not(tmp_path):
    path = write(tmp_path, "\ufeffab\n\n  b\u00e9b\n".encode())
    error = refusal(path, vocabulary=Vocabulary((".", "a", "b")))
    assert "'\u00e9'" in error.message
    assert (error.spot.line, error.spot.text, error.spot.column) == (3, "b\u00e9b", 1)


def test_encoding_an_unknown_symbol():
    with pytest.raises(DataError, match="'x'") as caught:
        Vocabulary((".", "a", "b")).encode("abx")
    assert "ab" in caught.value.hint


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_any_bytes_load_or_are_refused(tmp_path, content):
    path = write(tmp_path, content)
    try:
        dataset = load_words(path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert len(dataset.train) > 0
