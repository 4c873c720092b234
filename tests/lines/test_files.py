"""A file that a person names is a plain one, or is refused at once, wherever it is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gradninja import files, models
from gradninja.check import check
from gradninja.data import load_words
from gradninja.derive import derive
from gradninja.errors import GradninjaError
from gradninja.training import checkpoint
from gradninja.training.config import Config
from gradninja.training.metrics import read as read_metrics
from limits import time_limit

READERS: dict[str, Callable[[Path], object]] = {
    "words": load_words,
    "model": models.load,
    "derive": lambda path: derive(str(path)),
    "check": lambda path: check(str(path)),
    "config": Config.read,
    "metrics": read_metrics,
    "weights": checkpoint.read,
}


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.py")
    return folder / "pipe.py"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "folder", "dangling", "loop"])
def test_what_is_no_plain_file_is_refused_at_once(kind: str, reader: str, tmp_path: Path) -> None:
    if kind == "pipe":
        path = pipe(tmp_path)
    elif kind == "folder":
        path = tmp_path
    elif kind in ("dangling", "loop"):
        path = tmp_path / "a.py"
        path.symlink_to(tmp_path / ("none.py" if kind == "dangling" else "a.py"))
    else:
        path = Path(kind)
    if reader == "metrics" and kind == "dangling":
        assert read_metrics(path) == []  # none yet
        return
    with time_limit(10), pytest.raises(GradninjaError) as caught:
        READERS[reader](path)
    assert str(path) in str(caught.value) or str(path.parent) in str(caught.value)


def test_a_text_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.py"
    with path.open("wb") as file:
        file.truncate(files.MOST_TEXT + 1)
    with pytest.raises(OSError, match="larger than"):
        files.read_text(path)


def test_a_text_is_read_as_python_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "text.py"
    path.write_bytes("\ufeffa = 1\r\nb = 2\rc = '\u00eb'\n".encode())
    assert files.read_text(path) == path.read_text(encoding="utf-8-sig")
