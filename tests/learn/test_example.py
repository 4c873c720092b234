"""The notebooks in `examples/` run from the first cell to the last, each in a kernel of its own."""

from __future__ import annotations

import nbformat
from nbclient import NotebookClient

from paths import ROOT


def told_by(name: str) -> list[str]:
    """What each cell of a notebook says."""
    notebook = nbformat.read(ROOT / "examples" / name, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [
        "".join(out.get("text", "") + str(out.get("data", {}).get("text/plain", ""))
                for out in cell.get("outputs", ()))
        for cell in notebook.cells
    ]  # fmt: skip


def test_the_notebook_goes_the_whole_way() -> None:
    texts = told_by("backprop_ninja.ipynb")
    said = "\n".join(texts)
    right = [row for row in said.splitlines() if "| approximate: True " in row]
    assert len({row.split()[0] for row in right}) == 26
    wrong = [row for row in said.splitlines() if "| approximate: False" in row]
    assert [row.split()[0] for row in wrong] == ["counts_sum_inv"]
    assert "wrong shape (no sum over the broadcast axis)" in said
    assert "what answers a broadcast on the way back?" in said
    assert "8 of 26 right, next: dW2" in said and "26 of 26 right" in texts[-2]
    assert "dbndiff = bnvar_inv * dbnraw" in texts[-1]


def test_the_same_in_numpy() -> None:
    texts = told_by("two_layer_net_numpy.ipynb")
    said = "\n".join(texts)
    right = [row.split()[0] for row in said.splitlines() if "| approximate: True " in row]
    assert right[0] == "scores" and right.count("a") == 2
    assert set(right) == set("scores W2 h b2 out gamma beta xhat std var xc mu a W1 b1".split())
    wrong = [row.split()[0] for row in said.splitlines() if "| approximate: False" in row]
    assert wrong == ["scores", "b2"]
    assert "dscores: wrong (missing 1/n)" in said
    assert "db2: wrong shape (no sum over the broadcast axis)" in said
    assert "the true gradient of `b1` is zero" in said
    assert (
        "da = gamma / std * (dout - dgamma / a.shape[0] * xhat - dbeta / a.shape[0])" in texts[-1]
    )
