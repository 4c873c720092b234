"""What is handed in for a function's text: a name of a file, a text, and what is neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import gradninja as gn
from gradninja.errors import GradninjaError
from gradninja.files import file_and_name, is_named, is_text

X = {"x": torch.tensor([0.5, -2.0, 3.0])}
ONE_LINE = "def forward(x): return x * x"
ANNOTATED = 'def forward(x: Float[Tensor, "n"]): return x * x'
NO_FORWARD = [X, [X["x"]], X["x"], 3, None, b"def forward(x): return x", (ONE_LINE,)]


@pytest.mark.parametrize("given", NO_FORWARD, ids=lambda given: type(given).__name__)
@pytest.mark.parametrize("verb", [gn.derive, gn.fuse, gn.explain, gn.compile, gn.shard, gn.check])
def test_what_is_no_forward_is_told_by_its_type_and_not_shown(verb: Any, given: Any) -> None:
    with pytest.raises(GradninjaError) as told:
        verb(given)
    assert f"expected, and not `{type(given).__name__}`" in str(told.value)
    assert "tensor(" not in str(told.value)


def test_values_in_the_place_of_the_backward_are_told() -> None:
    with pytest.raises(GradninjaError, match=r"and not `dict`\n  .*inputs=\{"):
        gn.shard(ANNOTATED, X, split={"x.0": "data"})


def test_a_text_of_one_line_is_a_text() -> None:
    assert torch.equal(gn.derive(ONE_LINE, X)(X, torch.ones(3))["dx"], 2 * X["x"])
    assert gn.check(ONE_LINE, "def backward(x, dout): return 2 * x * dout", X).ok
    assert not gn.check(ONE_LINE, "def backward(x, dout): return x * dout", X).ok


def test_a_name_of_a_file_is_no_text() -> None:
    for name in ("forward.py", "a b.py:net", "default.py", Path("def forward.py")):
        assert is_named(name) and not is_text(name)
    assert file_and_name("nets/a.py:Net") == (Path("nets/a.py"), "Net")
    assert file_and_name("nets/a.py") == (Path("nets/a.py"), "")
