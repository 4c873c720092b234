"""A verdict rests on nothing that the checked file reaches, by patches or by what is in memory."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from gradninja.check import CheckError, check
from gradninja.check.reference import tolerance
from gradninja.check.reference.guard import untouched
from gradninja.check.worker import check_apart

HEAD = """
import gc, json, math, sys
from pathlib import Path

import torch

{above}

def forward(x, w):
    y = x * w
    return y


def backward(x, w, dy):
{inside}
    return {returned}


def inputs():
    torch.manual_seed(0)
    return {{"x": torch.randn(3), "w": torch.randn(3)}}
"""
WRONG = "dy + w, dy * x"
TORCH = torch.__path__[0]


def text(above: str = "", inside: str = "    pass", returned: str = WRONG) -> str:
    return HEAD.format(above=above, inside=inside, returned=returned)


@pytest.mark.parametrize(
    "patch",
    [
        "m.SAFETY = 1e30",
        "m.ROUNDOFF = 1.0",
        "torch.float64 = torch.float32",
        "math.inf = 0.0",
        "m.tolerance.__defaults__ = (1e9,)",
        "m.distance.__kwdefaults__ = {'by': 0}",
    ],
)
def test_constants_and_defaults_are_held(patch: str) -> None:
    before = tolerance.SAFETY, tolerance.ROUNDOFF, tolerance.tolerance.__defaults__
    module = "m = sys.modules['gradninja.check.reference.tolerance']\n"
    with pytest.raises(CheckError, match="the file replaces"):
        check(text(above=module + patch))
    assert before == (tolerance.SAFETY, tolerance.ROUNDOFF, tolerance.tolerance.__defaults__)
    assert tolerance.distance.__kwdefaults__ is None


FROM_FRAMES = """    frame, found = sys._getframe(), {}
    while frame is not None:
        for value in list(frame.f_locals.values()):
            truth = getattr(value, "wide" if x.dtype == torch.float64 else "single", None)
            for name, gradient in getattr(truth, "gradients", {}).items():
                found[name] = gradient
        frame = frame.f_back
    if "x" in found:
        return found["x"].clone(), found["w"].clone()"""
FROM_MEMORY = """    seen, found = x.dtype == torch.float64, []
    for value in gc.get_objects() if not seen else []:
        if type(value).__name__ == "Truth" and value.dtype == x.dtype:
            found += [value.gradients] if "x" in value.gradients else []
    for known in found:
        if known["w"].shape == x.shape and torch.allclose(known["w"], dy * x):
            return known["x"].clone(), known["w"].clone()"""


@pytest.mark.parametrize("look", [FROM_FRAMES, FROM_MEMORY], ids=["frames", "memory"])
def test_the_truth_is_not_there_to_be_looked_up(look: str) -> None:
    assert not check(text(inside=look)).ok


def test_the_truth_is_not_written_into() -> None:
    lines = """    for value in gc.get_objects():
        if type(value).__name__ == "Truth":
            for name in ("x", "w"):
                if name in value.gradients:
                    value.gradients[name].fill_(7.0)
    dx = torch.full_like(x, 7.0)
    dw = torch.full_like(w, 7.0)"""
    with pytest.raises(CheckError, match="changes the values that it is compared with"):
        check(text(inside=lines, returned="dx, dw"))


def test_a_report_is_not_forged(tmp_path: Path) -> None:
    file = tmp_path / "forged.py"
    right = check(text(returned="dy * w, dy * x")).to_dict()
    forge = f"""import os, tempfile
for folder in Path(tempfile.gettempdir()).glob("gradninja-*"):
    (folder / "answer.json").write_text(json.dumps({{"report": {right!r}}}))
os._exit(0)"""
    file.write_text(text(above=forge))
    with pytest.raises(CheckError, match=r"writes its own report|ended with code 0"):
        check_apart(str(file), None, 60.0)


def test_what_is_checked_leaves_no_trace() -> None:
    before = dict(vars(sys.modules["gradninja.check.reference.tolerance"]))
    assert check(text(returned="dy * w, dy * x")).ok
    assert dict(vars(sys.modules["gradninja.check.reference.tolerance"])) == before


@pytest.mark.parametrize(
    ("folder", "wraps", "held"),
    [(TORCH, True, False), (TORCH, False, True), ("/home/me", True, True)],
    ids=["torch's own", "another function of torch's", "somebody else's wrapper"],
)
def test_only_torch_may_wrap_what_is_its_own(
    folder: str, wraps: bool, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As compiling does when it is loaded."""
    scope: dict[str, Any] = {}
    exec(compile("def wrapper(*given): return 0", f"{folder}/wrapped.py", "exec"), scope)
    wrapper, original = scope["wrapper"], torch.relu
    wrapper.__wrapped__ = original if wraps else torch.tanh
    monkeypatch.setattr(torch, "relu", original)  # as it was, whatever is left there
    told = pytest.raises(CheckError, match=r"replaces `?torch.relu") if held else nullcontext()
    with told, untouched():
        torch.relu = wrapper
    assert torch.relu is (original if held else wrapper)
