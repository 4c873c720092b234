"""Reading what nobody should send: our own error, soon, and nothing eaten."""

from __future__ import annotations

import random
import resource
import warnings
from pathlib import Path

import pytest
import torch
from hostile_texts import mangled, programs, refused_texts

import gradninja as gn
from gradninja import memory
from gradninja.derive import derive, read_program
from gradninja.errors import GradninjaError
from limits import TooLong, time_limit

TEXTS = 10_000
PARTS = 10
SECONDS = 10  # the bound on one text; the slowest takes a small part of it
BYTES = 2_000_000_000  # what reading may add to the process at its peak


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


HEAD = "from jaxtyping import Float\nfrom torch import Tensor\n\n\n"
SIGNATURE = 'def forward(x: Float[Tensor, "n d"]):\n'


def loops(depth: int, body: str) -> str:
    lines = [f"{'    ' * (k + 1)}for i{k} in range(99):\n" for k in range(depth)]
    return HEAD + SIGNATURE + "".join(lines) + "    " * (depth + 1) + body + "\n    return x * 2\n"


def helpers(depth: int, call: str) -> str:
    text = HEAD + "def f0(x):\n    return x * 0.5\n\n\n"
    for k in range(1, depth + 1):
        text += f"def f{k}(x):\n    return {call.replace('f', f'f{k - 1}')}\n\n\n"
    return text + SIGNATURE + f"    y = f{depth}(x)\n    return y\n"


def comprehensions(depth: int) -> str:
    inner = "k"
    for _ in range(depth):
        inner = f"sum([{inner} for k in range(99)])"
    return HEAD + SIGNATURE + f"    y = {inner.replace('[k for', '[1 for')} * x\n    return y\n"


UNROLLED = {
    "loops": loops(3, "x = x * 1.5"),
    "empty loops": loops(3, "pass"),
    "a loop in a helper": HEAD + "def f(x):\n    for i in range(9000):\n        x = x * 1.5\n"
    "    return x\n\n\n"
    + SIGNATURE
    + "    for i in range(9000):\n        x = f(x)\n    return x\n",
    "helpers": helpers(25, "f(x) + f(x)"),
    "helpers of themselves": helpers(25, "f(f(x))"),
    "helpers of helpers in a loop": helpers(12, "f(x) * f(x)").replace(
        "    y = f12(x)", "    for i in range(99):\n        y = f12(x)"
    ),
    "comprehensions": comprehensions(3),
    "lists of lists": HEAD
    + SIGNATURE
    + "    held = [x, x]\n    for i in range(30):\n        held = [held, held]\n    return x * 2\n",
}


@pytest.mark.parametrize("kind", UNROLLED)
def test_unrolling_is_bounded_and_refused_in_words(kind: str) -> None:
    before = peak_bytes()
    with time_limit(6 * SECONDS), pytest.raises(GradninjaError, match="unrolls to") as caught:
        read_program(UNROLLED[kind])
    spot = caught.value.spot
    assert spot is not None  # the forward's own statement, wherever it leads
    first = UNROLLED[kind][: UNROLLED[kind].index("def forward")].count("\n") + 1
    assert spot.line > first
    assert peak_bytes() - before < BYTES


def test_a_loop_of_as_many_steps_as_are_allowed_is_read() -> None:
    text = HEAD + SIGNATURE + "    for i in range(10_000):\n        x = x * 1.5\n    return x\n"
    with time_limit(6 * SECONDS):
        assert len(read_program(text).lines) == 10_000


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if 200 MB were free on this machine."""
    ours = memory._kilobytes

    def told(path: str, name: str) -> int:
        return 200_000 if name == "MemAvailable" else ours(path, name)

    monkeypatch.setattr(memory, "_kilobytes", told)


GROWS = HEAD + SIGNATURE + "    y = x.reshape(-1)\n" + "    y = torch.outer(y, y).reshape(-1)\n" * 2
WIDE = torch.ones(1, 1).expand(9, 10**10)
SHORT = {
    "a line": (f"{GROWS}    return y.sum()\n", torch.ones(100, 2), "it wants more memory than"),
    "an input": (f"{HEAD}{SIGNATURE}    return x * 2\n", WIDE, "there is not enough memory"),
}


@pytest.mark.parametrize("verb", [gn.derive, gn.fuse])
@pytest.mark.parametrize("text, x, said", SHORT.values(), ids=SHORT)
def test_lack_of_memory_is_told(verb, text: str, x, said: str, little_memory) -> None:
    """In words, by the verbs themselves; and the process may take as much afterwards as before."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(GradninjaError, match=said):
        verb(text, {"x": x})
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_a_limit_of_the_persons_own_is_not_raised(little_memory) -> None:
    """Several at once, the first to begin the first to end: the limit is as it was."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    first, second = memory.within_what_is_there(), memory.within_what_is_there()
    first.__enter__()
    held = resource.getrlimit(resource.RLIMIT_DATA)
    second.__enter__()
    first.__exit__(None, None, None)
    assert resource.getrlimit(resource.RLIMIT_DATA) == held != before
    memory.limit(10**12)  # more than it may take now
    assert resource.getrlimit(resource.RLIMIT_DATA) == held
    second.__exit__(None, None, None)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
