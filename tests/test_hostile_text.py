"""Reading what nobody should send: our own error, soon, and nothing eaten."""

from __future__ import annotations

import random
import resource
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from gradninja.derive import derive, read_program
from gradninja.errors import GradninjaError
from hostile_texts import mangled, programs, refused_texts

TEXTS = 10_000
PARTS = 10
SECONDS = 10  # the bound on one text; the slowest takes a small part of it
BYTES = 2_000_000_000  # what reading may add to the process at its peak


class TooLong(BaseException):
    """Not an Exception, so that nothing that catches those can swallow it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def outcome(text: str, whole: bool) -> str:
    """The word "read" or "refused", or what happened that must not, in words."""
    try:
        with time_limit(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if whole:
                derive(text)
            else:
                read_program(text)
    except GradninjaError as error:
        assert str(error).strip()
        return "wrong gradient" if "not autograd's" in error.message else "refused"
    except TooLong:
        return f"more than {SECONDS} s"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "read"


@pytest.mark.parametrize("part", range(PARTS))
def test_mangled_programs(part: int) -> None:
    """Read, and one in ten derived: our own error or a program, each soon and in little memory."""
    rng = random.Random(part)
    texts = programs()
    before = peak_bytes()
    refused = 0
    for number in range(TEXTS // PARTS):
        text = mangled(rng, texts)
        found = outcome(text, whole=number % 10 == 0)
        assert found in ("read", "refused"), f"{text!r}\n{text}\n{found}"
        refused += found == "refused"
    assert refused > TEXTS // PARTS // 3  # the mangling does mangle
    assert peak_bytes() - before < BYTES


REFUSED = refused_texts()


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside the fence, wrong or too large: refused with words, leaving nothing behind."""
    monkeypatch.chdir(tmp_path)
    before = peak_bytes()
    assert outcome(text, whole=True) == "refused"
    assert peak_bytes() - before < BYTES
    assert not list(tmp_path.iterdir())


def test_the_limits_bite() -> None:
    """The net itself: a hang and a foreign error are seen."""
    with pytest.raises(TooLong), time_limit(0.05):
        while True:
            pass
