"""What `load_words` says of a file that it cannot use."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradninja.data import Vocabulary, load_words
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

    monkeypatch.setattr(Path, "open", refuse)
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


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf_16_is_named(tmp_path, encoding):
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    error = refusal(write(tmp_path, (mark + "emma\nolivia\n").encode(encoding)))
    assert "UTF-16" in error.message
    assert "UTF-8" in error.hint


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
