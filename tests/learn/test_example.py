"""The notebook in `examples/` runs from its first cell to its last, in a kernel of its own."""

from __future__ import annotations

import nbformat
from nbclient import NotebookClient

from paths import ROOT

NOTEBOOK = ROOT / "examples" / "backprop_ninja.ipynb"


def test_the_notebook_goes_the_whole_way() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    texts = [
        "".join(out.get("text", "") + str(out.get("data", {}).get("text/plain", ""))
                for out in cell.get("outputs", ()))
        for cell in notebook.cells
    ]  # fmt: skip
    said = "\n".join(texts)
    right = [row for row in said.splitlines() if "| approximate: True " in row]
    assert len({row.split()[0] for row in right}) == 26
    wrong = [row for row in said.splitlines() if "| approximate: False" in row]
    assert [row.split()[0] for row in wrong] == ["counts_sum_inv"]
    assert "wrong shape (no sum over the broadcast axis)" in said
    assert "what answers a broadcast on the way back?" in said
    assert "8 of 26 right, next: dW2" in said and "26 of 26 right" in texts[-2]
    assert "dbndiff = bnvar_inv * dbnraw" in texts[-1]
