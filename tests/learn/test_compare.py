"""The lecture's `cmp` in a live session: numbers, what is found, and what cannot be known."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from gradninja.learn.compare import Comparison, Desk
from gradninja.learn.session import Session, cells
from gradninja.learn.workbook.chapters import CROSS_ENTROPY, NEURON
from gradninja.learn.workbook.exercise import Exercise
from lecture import FORWARD, LINES, SETUP, exercise, run


def compared(texts: list[str], name: str, desk: Desk | None = None, **more: Any) -> Comparison:
    names = run(texts)
    here = Session(tuple(cells(texts)), {**names, **more}, True)
    return (desk or Desk()).compare(here, name, names.get(f"d{name}"), names[name])


@pytest.fixture(scope="module")
def all_right() -> dict[str, Comparison]:
    texts, desk = exercise(), Desk()
    names = run(texts)
    here = Session(tuple(cells(texts)), names, True)
    return {n: desk.compare(here, n, names[f"d{n}"], names[n]) for n in LINES}


def test_the_26_gradients_of_the_lecture(all_right: dict[str, Comparison]) -> None:
    assert len(all_right) == 26
    assert all(found.ok for found in all_right.values()), all_right
    said = all_right["logprobs"].text()  # as the lecture prints it
    assert said == "logprobs        | exact: True  | approximate: True  | maxdiff: 0.0"


def test_the_numbers_are_those_of_autograd(all_right: dict[str, Comparison]) -> None:
    """The lecture's own formula, on its own `.grad`."""
    names = run([*exercise(), "for t in (hpreact, W1): t.retain_grad()\nloss.backward()"])
    for name in ("hpreact", "W1"):
        found, true = all_right[name], names[name].grad
        assert found.exact == torch.all(names[f"d{name}"] == true).item()
        assert found.maxdiff == (names[f"d{name}"] - true).abs().max().item()


def test_rounding_is_explained_once_and_a_zero_gradient_by_what_it_is(
    all_right: dict[str, Comparison],
) -> None:
    said = [found for found in all_right.values() if "other last bits" in found.text()]
    assert len(said) == 1 and not said[0].exact
    zero = [n for n, found in all_right.items() if "true gradient of" in found.text()]
    assert zero == ["logit_maxes", "b1"]


def test_cells_in_any_order_and_twice() -> None:
    first, *rest = [LINES["logprobs"], LINES["probs"], LINES["counts"].splitlines()[0]]
    texts = ["", SETUP, FORWARD, first, FORWARD, *rest, FORWARD, rest[0]]
    assert compared(texts, "probs").ok
    twice = ["", SETUP, FORWARD, *rest[:0], *exercise()[3:8], LINES["counts"].splitlines()[1]]
    found = compared(twice, "counts")
    assert not found.ok


def test_what_was_added_twice_is_told_as_that() -> None:
    """The lines are right, what the name holds is not: a cell with `+=` ran twice."""
    *before, counts = exercise()[:8]
    one, two = counts.splitlines()
    found = compared([*before, one, two, two], "counts")
    assert found.verdict == "wrong" and found.kind is None
    assert "written in another order, or twice" in found.text()


def test_a_forward_that_has_changed_since_is_told() -> None:
    texts = [*exercise()[:5], "W2.data += 1"]
    found = compared(texts, "probs")
    assert "Run the forward's cells again" in found.text()
    assert "`logits` is not what its line gives" in found.text()


def test_an_attempt_that_was_mended_counts_no_more() -> None:
    texts = [*exercise()[:4], "dprobs = dlogprobs * probs", LINES["probs"]]
    assert compared(texts, "probs").ok
    texts = [*exercise()[:4], LINES["probs"], "dprobs = dlogprobs * probs"]
    found = compared(texts, "probs")
    assert (found.line.text if found.line else "") == "dprobs = dlogprobs * probs"


def test_without_autograd_and_under_another_name() -> None:
    """In the lecture's last cells nothing is tracked, and `cmp` gets a shape for a name."""
    quiet = [text.replace("p.requires_grad = True", "pass") for text in exercise()]
    names = run(quiet)
    here = Session(tuple(cells(quiet)), names, True)
    found = Desk().compare(here, str(tuple(names["W2"].shape)), names["dW2"], names["W2"])
    assert found.ok and found.name == "W2" and found.head.startswith("(64, 27)")


def test_what_cannot_be_known_is_said() -> None:
    names = run(["", SETUP, FORWARD, LINES["logprobs"]])
    nothing = Session((), names, True)
    found = Desk().compare(nothing, "logprobs", names["dlogprobs"], names["logprobs"])
    assert found.verdict == "unknown" and "cannot be found" in found.text()
    names["loss"].backward()
    found = Desk().compare(nothing, "C", torch.zeros_like(names["C"]), names["C"])
    assert found.verdict == "wrong" and "`C.grad`" in found.text()
    texts = ["", SETUP, FORWARD.partition("loss =")[0], LINES["logprobs"]]
    assert "what is the loss?" in compared(texts, "logprobs").text()


def test_a_loop_is_one_line_of_the_backward() -> None:
    """The lecture's own `dC`, and a training loop's, whose last round is what the names hold."""
    wrong = LINES["C"].replace("dC[ix] += demb[k,j]", "dC[ix] += 2 * demb[k,j]")
    found = compared(exercise(C=wrong), "C")
    assert found.kind == "extra factor" and found.line is not None
    assert found.mend is not None and "2 *" not in found.mend
    cells_of = exercise(C="dC = torch.zeros_like(C)\ndC[Xb] += demb")[2:]
    body = "".join(f"  {line}\n" for cell in cells_of for line in cell.splitlines())
    texts = ["", SETUP, f"for step in range(2):\n{body}"]
    assert compared(texts, "W1").ok
    assert compared(texts, "C").kind == "lost repeats"


def test_what_the_forward_calls_may_change_and_so_may_the_names_around() -> None:
    """The forward is read anew where what it calls is another, and the mend is that of today."""
    forward = "y = act(x)\nloss = (y * y).sum()"
    start = "import torch\nx = torch.linspace(1, 2, 3, requires_grad=True)\n"
    for function, slope in (("sin", "cos"), ("exp", "exp")):
        helper = f"act = torch.{function}\n"
        written = f"dy = 2 * y\ndx = -dy * x.{slope}()"
        found = compared([start + helper, forward, written], "x")
        assert found.kind == "sign" and found.mend == f"dx = dy * x.{slope}()"


def test_what_is_not_written_is_to_do_and_what_is_no_tensor_is_told() -> None:
    names = run(exercise()[:4])
    here = Session(tuple(cells(exercise()[:4])), names, True)
    assert Desk().compare(here, "h", None, names["h"]).verdict == "to do"
    assert "of type list" in Desk().compare(here, "h", [1.0], names["h"]).text()


def test_in_a_script_and_in_a_function(tmp_path: Path, capsys: Any) -> None:
    wrong = "dprobs = dlogprobs * probs\n"
    body = FORWARD + LINES["logprobs"] + "\n" + wrong
    inner = "".join(f"    {line}\n" for line in body.splitlines())
    file = tmp_path / "script.py"
    file.write_text(
        f"import gradninja as gn\n{SETUP}\n{body}gn.cmp('probs', dprobs, probs)\n"
        f"def main():\n{inner}    gn.cmp('logprobs', dlogprobs, logprobs)\n"
        "    gn.cmp('probs', dprobs, probs, mend=True)\nmain()\n",
        encoding="utf-8",
    )
    runpy.run_path(str(file))
    first, second = capsys.readouterr().out.split("logprobs        |")
    assert "wrong (wrong operator)" in first and "your line (script.py" in first
    assert "dprobs = dlogprobs / probs" not in first and "exact: True" in second
    assert "write: dprobs = dlogprobs / probs" in second


def test_two_forwards_in_one_process_do_not_share_their_lines() -> None:
    """Each is derived from its own text, whichever was read last."""
    one, two = Exercise(NEURON), Exercise(CROSS_ENTROPY)
    assert two.reading.function is not one.reading.function
    assert one.hint("w", 5)[-1] == "dw = (x * dz).sum(0, keepdim=True)"
    assert "dlogits" in two.hint("logits", 5)[-1]
