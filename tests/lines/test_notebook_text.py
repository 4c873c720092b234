"""Cells of a notebook, pasted as they are: IPython's own commands are no mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gradninja as gn
from gradninja.errors import ReadError
from gradninja.lines.given.notebook_cells import without_magics

CELLS = """%load_ext autoreload
%autoreload 2
!pip install -q torch
import torch
import torch.nn.functional as F  # for later
%matplotlib inline
files = !ls

torch.tanh?


def forward(x, w):
    h = torch.tanh(x * w)
    loss = (h
            % 3.5).sum()
    return loss


%%time
t = 100 \\
    % 7
if t:
    %timeit t
dloss = 1.0
dh = torch.ones_like(h)
dx = DX
dw = (1 - h**2) * dh * x
?dw


def inputs():
    return {"x": torch.rand(3), "w": torch.rand(3)}
"""
RIGHT = CELLS.replace("DX", "(1 - h**2) * dh * w")


def test_only_commands_of_ipython_are_left_out() -> None:
    before, after = CELLS.split("\n"), without_magics(CELLS).split("\n")
    changed = {i: new for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new}
    assert [before[i].split()[0] for i in changed] == [
        "%load_ext",
        "%autoreload",
        "!pip",
        "%matplotlib",
        "files",
        "torch.tanh?",
        "%%time",
        "%timeit",
        "?dw",
    ]
    assert set(changed.values()) == {"", "    pass"}


def test_pasted_cells_are_checked_by_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "cells.py"
    file.write_text(CELLS.replace("DX", "(1 - h**2) * dh"))
    (row,) = gn.check(file).wrong
    assert (row.name, row.line) == ("dx", CELLS[: CELLS.index("dx = ")].count("\n") + 1)
    assert gn.check(RIGHT).ok
    file.write_text(RIGHT)
    assert gn.check(file).ok


def test_they_are_derived(tmp_path: Path) -> None:
    file = tmp_path / "cells.py"
    file.write_text(CELLS.replace("% 3.5", "* 3.5").partition("%%time")[0])
    given = {"x": torch.rand(3), "w": torch.rand(3)}
    assert "dh" in gn.derive(file, given).source


@pytest.mark.parametrize("line", ["x = = 3", "x + % 3", "def f(:", "print 'x'"])
def test_what_python_does_not_take_is_told_all_the_same(line: str) -> None:
    with pytest.raises(ReadError, match="this is not Python"):
        gn.check(f"%time\n{line}\n{RIGHT}")
