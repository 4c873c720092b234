"""Small runs for the tests of training: a short word list, small sizes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from gradninja import models
from gradninja.training import Config, Run, begin

WORDS = [
    *("emma", "olivia", "ava", "isabella", "sophia", "charlotte", "mia", "amelia", "harper"),
    *("evelyn", "abigail", "emily", "ella", "elizabeth", "camila", "luna", "sofia", "avery"),
    *("mila", "aria", "scarlett", "penelope", "layla", "chloe", "victoria", "madison", "grace"),
]
LECTURES = ("bigram", "mlp", "mlp_batchnorm")  # the models of a letter after a short context
SMALL = Config(
    model="mlp_batchnorm",
    words=None,
    sha256="",
    vocabulary=(),
    embedding=4,
    hidden=12,
    steps=40,
    batch=8,
    width=8,
    heads=2,
)


def word_file(folder: Path) -> Path:
    """The words above as a file."""
    path = folder / "words.txt"
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return path


def small_run(folder: Path, name: str = "run", **settings: object) -> Run:
    """A new small run in `folder / name`."""
    if settings.get("model") == "wavenet":
        settings = {"context": 4, **settings}
    config = replace(SMALL, words=str(word_file(folder)), **settings)  # type: ignore[arg-type]
    return begin(config, out=folder / name)


def edited_model(folder: Path, old: str, new: str, head: str = "") -> str:
    """The path of a copy of mlp_batchnorm with a text replaced wherever it stands."""
    text = models.load("mlp_batchnorm").text
    assert old in text, old
    path = folder / "edited.py"
    path.write_text(head + text.replace(old, new), encoding="utf-8")
    return str(path)


@contextlib.contextmanager
def stopping_after(looks: int) -> Iterator[Callable[[], bool]]:
    """In place of `stop_signals`: a person who asks to stop at the so-manieth look."""
    left = iter(range(looks))
    yield lambda: next(left, None) is None
