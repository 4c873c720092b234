"""The notebook of the tutorial prints what it shows, which is what the site's page shows."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

import docsite
from paths import ROOT

NOTEBOOK = ROOT / "examples" / "first_backward.ipynb"


def test_it_prints_what_it_shows() -> None:
    kept = nbformat.read(NOTEBOOK, as_version=4)
    run = copy.deepcopy(kept)
    NotebookClient(run, timeout=120, kernel_name="python3").execute()
    assert [_said(cell) for cell in run.cells] == [_said(cell) for cell in kept.cells]
    told = "\n".join(_said(cell) for cell in kept.cells)
    assert told.count("approximate: False") == 1
    assert "wrong shape (no sum over the broadcast axis)" in told
    assert "dx += 2 * x * dsquares" in told and "answered in one go" in told


def _said(cell: Any) -> str:
    """What a cell prints, without what rounding decides."""
    outputs = cell.get("outputs", ())
    text = "".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in outputs)
    text = re.sub(
        r"exact: (True|False) *\| approximate: True.*(\n  exact: False .*)?", "right", text
    )
    return text.strip()


def test_the_page_holds_every_cell() -> None:
    page = docsite.notebook(Path(NOTEBOOK))
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert all(cell.source in page for cell in cells[1:])
    assert page.count("```python\n") == sum(cell.cell_type == "code" for cell in cells)
    assert page.count("```text\n") == sum(bool(cell.get("outputs")) for cell in cells)
