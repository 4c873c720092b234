"""Files that are no list of words, told by how they begin."""

from __future__ import annotations

import codecs
import csv
import json
from pathlib import Path

from gradninja.errors import DataError

_HEAD = 2**16  # bytes that are looked at
_ROWS = 50  # lines that must look like a table's rows

_ENCODINGS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_UNPACK = "unpack it first"
_CONVERT = "give a text file in UTF-8 with one word a line"
_FORMATS = (
    (b"\x1f\x8b", "packed by gzip", _UNPACK),
    (b"BZh", "packed by bzip2", _UNPACK),
    (b"\xfd7zXZ\0", "packed by xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "packed by 7-Zip", _UNPACK),
    (b"PK\x03\x04", "a zip archive (as .docx and .xlsx are)", _UNPACK),
    (b"%PDF-", "a PDF document", _CONVERT),
    (b"{\\rtf", "a rich text document", _CONVERT),
    (b"SQLite format 3\0", "a database", _CONVERT),
    (b"PAR1", "a Parquet table", _CONVERT),
    (b"\x93NUMPY", "a NumPy array", _CONVERT),
)
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons"}


def refuse_other_formats(path: Path, start: bytes) -> None:
    """Raise DataError for the start of a file that is something else than a list of words."""
    head = start[:_HEAD]
    whole = len(head) == len(start)
    for mark, name in _ENCODINGS:
        if head.startswith(mark):
            raise DataError(f"{path} is {name}, not UTF-8", hint="save it as UTF-8")
    if guess := _unmarked(head):
        raise DataError(f"{path} seems to be {guess}, not UTF-8", hint="save it as UTF-8")
    for mark, name, hint in _FORMATS:
        if head.startswith(mark) and not (mark.isalnum() and head[:200].isascii()):
            raise DataError(f"{path} is {name}, no list of words", hint=hint)
    if path.suffix == ".py":
        hint = f"a model file is given by --model {path}; words come from a text file"
        raise DataError(f"{path} is a Python file, no list of words", hint=hint)
    text = head.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="ignore").lstrip()
    if text[:200].lower().startswith(("<!doctype", "<html", "<?xml", "<svg")):
        raise DataError(f"{path} is a web page or XML, no list of words", hint=_CONVERT)
    if _is_json(text, whole):
        raise DataError(f"{path} is JSON, no list of words", hint=_CONVERT)
    if delimiter := _table(text, whole):
        hint = f"take one column of it, as `cut -d'{delimiter}' -f1` does"
        if delimiter == "\t":
            hint = "take one column of it, as `cut -f1` does"
        raise DataError(
            f"{path} is a table with {_DELIMITERS[delimiter]} (CSV), no list of words", hint=hint
        )


def _unmarked(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte order mark, told by where its zeros stand."""
    head = head[: len(head) // 4 * 4]
    if len(head) < 8:
        return None
    zeros = [head[place::4].count(0) * 4 / len(head) for place in range(4)]
    for name, empty, full in (
        ("UTF-32", (2, 3), (0,)),
        ("UTF-32", (0, 1), (3,)),
        ("UTF-16", (1, 3), (0, 2)),
        ("UTF-16", (0, 2), (1, 3)),
    ):
        if all(zeros[p] > 0.9 for p in empty) and all(zeros[p] == 0 for p in full):
            return name
    return None


def _is_json(text: str, whole: bool) -> bool:
    """Whether a text begins as a list or an object of JSON does."""
    if not text.startswith(("[", "{")):
        return False
    try:
        found, _ = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        # What is cut off is a string that does not end, or an end where a value should stand.
        return not whole and (error.pos >= len(text) - 8 or error.msg.startswith("Unterminated"))
    except RecursionError:
        return True
    return bool(found)  # brackets alone may be words


def _table(text: str, whole: bool) -> str | None:
    """What separates the columns of a text that is a table; None where it is none."""
    lines = text.splitlines()
    lines = [word for line in (lines if whole else lines[:-1])[:_ROWS] if (word := line.strip())]
    for delimiter in _DELIMITERS:
        try:
            rows = list(csv.reader(lines, delimiter=delimiter))
        except csv.Error:
            continue
        # "Lovelace, Ada" is a name; in a table nothing stands between a comma and what follows.
        spaced = any(cell.startswith(" ") for row in rows for cell in row[1:])
        if len(rows) > 1 and len({len(row) for row in rows}) == 1 < len(rows[0]) and not spaced:
            return delimiter
    return None
