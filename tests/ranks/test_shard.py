"""`gn.shard`: what ranks compute together is what the whole is, and the fewest calls do it."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

import gradninja as gn
from calling import call
from catalogue import Cataloged, collect, differences
from gradninja.errors import DeriveError, GradninjaError
from gradninja.rules import BOOK, Book
from ranks_trial import judge, judge_random, named_axes, random_programs

pytestmark = pytest.mark.filterwarnings("ignore")

LECTURE = Path(gn.__file__).parent / "models" / "mlp_batchnorm.py"

MLP = """
def forward(x: Float[Tensor, "n d"], w1: Float[Tensor, "d hidden"], b1: Float[Tensor, "hidden"],
            w2: Float[Tensor, "hidden k"], y: Float[Tensor, "n k"]):
    h = torch.tanh(x @ w1 + b1)
    out = h @ w2
    loss = ((out - y)**2).mean()
    return loss
"""


# A sample of the catalogue's programs and axes; benchmarks/ranks.py goes through all of them.
PAIRS = [(program, axis) for program in collect() for axis in named_axes(program)][::23]


@pytest.mark.parametrize(("program", "axis"), PAIRS, ids=lambda of: getattr(of, "name", of))
def test_ranks_together_are_the_whole(program: Cataloged, axis: str) -> None:
    said = judge(program, axis)
    assert said == "right" or said.startswith("refused: "), said


@pytest.mark.parametrize("axis", ["n", "d", "k"])
def test_random_programs_on_ranks_are_the_whole(axis: str) -> None:
    having = (
        p for p in random_programs(ord(axis)) if f" {axis} " in f" {' '.join(p.shapes.values())} "
    )
    said = [judge_random(program, axis) for program in islice(having, 6)]
    assert all(word == "right" or word.startswith("refused") for word in said), said
    assert said.count("right") >= 4


def names(found: gn.Sharded) -> list[tuple[str, ...]]:
    return [call.names for call in found.collectives]


def test_data_parallel_with_batchnorm_takes_the_fewest_calls() -> None:
    found = gn.shard(LECTURE, f"{LECTURE}:backward_fused", split={"n": "data"})
    forward = [("bnmeani",), ("bnvar",), ("loss",)]
    # The two sums that BatchNorm wants whole, and with them all gradients that are done by then.
    backward = [("dbngain", "dbnbias", "dW2", "db2"), ("dC", "dW1", "db1")]
    assert [sorted(n) for n in names(found)] == [sorted(n) for n in forward + backward]
    assert {call.kind for call in found.collectives} == {"all_reduce"}
    # In one step the loss waits for them.
    step = [sorted(call.names) for call in found.step.collectives]
    assert step == [["bnmeani"], ["bnvar"], sorted(["loss", *backward[0]]), sorted(backward[1])]


def length(x: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(x - x.mean(0))


def test_what_an_operation_means_is_said_by_the_callers_book() -> None:
    book = Book(tuple(BOOK))
    means = "((x - x.sum(0) / x.shape[0]) ** 2).sum() ** 0.5"
    book.rule(length, why="as of a norm", x="g * (x - x.mean(0)) / y", means=means)

    def forward(x, w):
        return length(x @ w)

    inputs = {"x": torch.randn(7, 3).double(), "w": torch.randn(3, 2).double()}
    found = gn.shard(forward, split={"x.0": "data"}, inputs=inputs, book=book)
    assert {call.kind for call in found.collectives} == {"all_reduce"}
    whole = gn.derive(forward, inputs)(inputs)
    torch.testing.assert_close(found(inputs, ranks=3)["dw"], whole["dw"])


def test_column_and_row_parallel_is_one_sum_there_and_one_back() -> None:
    found = gn.shard(MLP, split={"hidden": "model"})
    # Megatron's g in the forward; x is an input, whose gradient is wanted: f in the backward.
    assert names(found) == [("out",), ("dx",)]
    assert "out = fc.all_reduce(out, 'sum', model)" in found.forward_source.replace('"', "'")


def test_a_mesh_of_two_axes() -> None:
    found = gn.shard(MLP, split={"n": "data", "hidden": "model"})
    inputs = {
        "x": torch.randn(7, 3).double(),
        "w1": torch.randn(3, 5).double(),
        "b1": torch.randn(5).double(),
        "w2": torch.randn(5, 4).double(),
        "y": torch.randn(7, 4).double(),
    }
    truth = gn.derive(MLP)(inputs)
    for ranks in ((2, 2), (3, 2), (1, 3)):
        got = found(inputs, ranks=ranks)
        assert differences({n: got[n] for n in truth}, truth, 1e-10) == []


def test_an_axis_is_split_by_where_it_comes_from_and_not_by_its_size() -> None:
    inputs = {"x": torch.randn(6, 6).double(), "w": torch.randn(6, 6).double()}
    text = """
def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d k"]):
    h = x @ w
    loss = (h.sum(0) * h.mean(1)).sum()
    return loss
"""
    for axis, first in (
        ("n", ("all_gather", ("loss_mean",))),
        ("d", ("all_reduce", ("loss_sum",))),
        ("k", ("all_gather", ("loss_sum",))),
    ):
        found = gn.shard(text, split={axis: "data"}, inputs=inputs)
        truth = gn.derive(text, inputs)(inputs)
        got = found(inputs, ranks=4)
        assert differences({n: got[n] for n in truth}, truth, 1e-10) == [], axis
        assert (found.collectives[0].kind, found.collectives[0].names) == first


def test_what_a_mask_takes_away_is_not_zero_by_construction() -> None:
    text = """
def forward(y: Float[Tensor, "n d"]):
    c = y[0]
    loss = ((c > 0).double() * c).mean()
    return loss
"""
    inputs = {"y": -torch.ones(5, 3).double()}  # the mask takes all away here
    found = gn.shard(text, split={"n": "data"}, inputs=inputs)
    assert found({"y": torch.ones(5, 3).double()}, ranks=2)["dy"].sum().item() == pytest.approx(1)


def test_means_are_of_the_whole_however_uneven_the_shares() -> None:
    found = gn.shard(
        "def forward(x: Float[Tensor, 'n']):\n    y = x.mean()\n    return y\n", split={"n": "data"}
    )
    x = torch.arange(7.0, dtype=torch.float64)
    assert found({"x": x}, ranks=4)["y"].item() == pytest.approx(3.0)
    assert "x.mean() * (x.shape[0] / n_all)" in found.forward_source


def test_what_a_mask_picks_nothing_of_when_read_is_not_zero_by_construction() -> None:
    text = """
def forward(x):
    a = torch.cat([x, x]) * 3
    return a[a.abs() < 1].square().sum() + x.sum()
"""
    far, near = (torch.linspace(*ends, 4, dtype=torch.float64) for ends in ((3, 5), (-0.2, 0.3)))
    back = gn.derive(text, {"x": far})
    for ranks in (1, 2, 4):
        found = gn.shard(back, split={"x.0": "data"})({"x": near}, ranks=ranks)
        torch.testing.assert_close(found["dx"], 36 * near + 1)


def test_a_cotangent_for_what_is_detached_is_taken_as_derive_takes_it() -> None:
    text = """
def forward(x: Float[Tensor, "n d"]):
    h = torch.tanh(x)
    return h, h.mean().detach()
"""
    x = {"x": torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)}
    grads = (torch.ones(4, 3, dtype=torch.float64), torch.ones((), dtype=torch.float64))
    back = gn.derive(text)
    found = gn.shard(back, split={"n": "data"})(x, grads)
    torch.testing.assert_close(found["dx"], back(x, grads)["dx"])


def test_what_is_gathered_wants_equal_shares_and_says_so() -> None:
    text = (
        "def forward(x: Float[Tensor, 'n d']):\n    loss = ((x @ x.T)**2).sum()\n    return loss\n"
    )
    found = gn.shard(text, split={"n": "data"})
    assert "all_gather" in {call.kind for call in found.collectives}
    assert "n is gathered: its shares must be equal" in repr(found)
    assert "# n_start: where a rank's share of n begins\n" in repr(found)
    for text in (found.forward_source, found.step_source):
        assert "if n_all % torch.distributed.get_world_size(data):" in text
    got = found({"x": torch.eye(5, 2).double()}, ranks=3)  # threads may have uneven ones
    assert got["loss"].item() == 2


@pytest.mark.parametrize(
    ("text", "split", "said"),
    [
        (MLP, {"m": "data"}, "no input has an axis `m`"),
        (MLP, {}, "nothing is to be split"),
        (MLP, {"n": "data", "hidden": "data"}, "two axes are split over one mesh axis"),
        (
            "def forward(x: Float[Tensor, 'n']):\n    y = x * torch.rand_like(x)\n    return y\n",
            {"n": "data"},
            "draws random numbers",
        ),
    ],
)
def test_refusals(text: str, split: dict[str, str], said: str) -> None:
    with pytest.raises(GradninjaError, match=said):
        gn.shard(text, split=split)


def test_more_ranks_than_rows_are_refused() -> None:
    found = gn.shard(MLP, split={"n": "data"})
    inputs = {
        i.name: i.value[:3] if "n" in (i.axes or ()) else i.value for i in found.program.inputs
    }
    with pytest.raises(DeriveError, match="too short for 4 ranks"):
        found(inputs, ranks=4)


def test_a_text_that_is_not_the_whole_is_never_handed_out(monkeypatch) -> None:
    from gradninja.ranks.operations.trying import Judge

    judged = Judge._whole

    def careless(self: Judge, whole: Any, held: Any, size: float, types: Any) -> bool:
        # Takes a partial value for a replicated one: the text then lacks an all_reduce.
        return types[0].letter == "R" or judged(self, whole, held, size, types)

    monkeypatch.setattr(Judge, "_whole", careless)
    with pytest.raises(DeriveError, match=r"differs between ranks|not what it is on the whole"):
        gn.shard(MLP, split={"n": "data"})


def test_the_command_line(tmp_path: Path, capsys) -> None:
    file = tmp_path / "mlp.py"
    file.write_text(f"import torch\n{MLP}")
    assert call("shard", str(file), "--split", "n=data") == 0
    text = capsys.readouterr().out
    assert "loss = fc.all_reduce(loss" in text and "# n is split over data: x, y" in text
    assert call("shard", str(file), "--split", "hidden=model", "--fused", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["inputs"]["w1"] == ["S(1)"] and row["inputs"]["x"] == ["I"]
    assert call("shard", str(file), "--split", "n") == 2
    assert "--split n=data" in capsys.readouterr().err


NORMS = {
    "batch_norm": (
        """
def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d h"], g: Float[Tensor, "h"],
            b: Float[Tensor, "h"]):
    a = x @ w
    return torch.tanh(F.batch_norm(a, None, None, g, b, training=True))
""",
        "n",
        # mean and variance there; the two sums of the backward in one call, then the weights'
        [1, 1, 2, 3],
    ),
    "batch_norm of images": (
        """
def forward(x: Float[Tensor, "n c h w"], g: Float[Tensor, "c"], b: Float[Tensor, "c"]):
    return F.relu(F.batch_norm(x, None, None, g, b, training=True))
""",
        "n",
        [1, 1, 2, 2],
    ),
    "layer_norm": (
        """
def forward(x: Float[Tensor, "n d"], g: Float[Tensor, "d"], b: Float[Tensor, "d"]):
    return F.layer_norm(x, (x.shape[-1],), g, b)
""",
        "d",
        [1, 1, 2],
    ),
    "rms_norm": (
        """
def forward(x: Float[Tensor, "n d"], g: Float[Tensor, "d"]):
    return F.rms_norm(x, (x.shape[-1],), g)
""",
        "d",
        [1, 2],
    ),
    "var": (
        """
def forward(x: Float[Tensor, "n d"]):
    v = x.var(0, keepdim=True)
    return (x - x.mean(0, keepdim=True)) / (v + 1e-5).sqrt()
""",
        "n",
        [1, 1, 2],
    ),
    "std": ('def forward(x: Float[Tensor, "n d"]):\n    return x.std(0)\n', "n", [1, 1]),
    "softmax": (
        'def forward(x: Float[Tensor, "n v"]):\n    return x.softmax(-1)\n',
        "v",
        [1, 1, 1],
    ),
    "log_softmax": (
        'def forward(x: Float[Tensor, "n v"]):\n    return F.log_softmax(x, 1)\n',
        "v",
        [1, 1, 1],
    ),
    "logsumexp": (
        'def forward(x: Float[Tensor, "n v"]):\n    return torch.logsumexp(x, 1)\n',
        "v",
        [1, 1],
    ),
}


@pytest.mark.parametrize("name", NORMS)
def test_what_a_library_call_means_is_summed_and_not_gathered(name: str) -> None:
    """A mean and a variance over ranks are sums; what a meaning gave once is not summed again."""
    text, axis, sizes = NORMS[name]
    found = gn.shard(text, split={axis: "ranks"})
    assert {call.kind for call in found.collectives} == {"all_reduce"}
    assert [len(call.names) for call in found.collectives] == sizes
    values = found.program.values
    inputs = {i.name: values[i.name] for i in found.program.inputs}
    grad = None if found.scalar else torch.randn(values[found.program.outputs[0]].shape).double()
    truth = gn.derive(text)(inputs, grad)
    for ranks in (1, 2, 3):
        got = found(inputs, grad, ranks=ranks)
        assert differences({n: got[n] for n in truth}, truth, 1e-9) == [], ranks


def test_a_call_waits_for_no_more_than_what_it_takes() -> None:
    """Sums that two lines want go in one call, made as soon as the second of them is there."""
    text = """
def forward(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]):
    a = x.sum(0)
    b = y.sum(0)
    c = y * y
    return c * torch.tanh(a) + torch.tanh(b)
"""
    lines = gn.shard(text, split={"n": "data"}).forward_source.splitlines()
    (call,) = (at for at, line in enumerate(lines) if "fc.all_reduce" in line)
    assert "coalesced([a, b]" in lines[call]
    assert lines[call - 1].strip() == "b = y.sum(0)"


@pytest.mark.parametrize(
    "line",
    ["s + 1e-12", "torch.add(s, 1e-14)", "s.add(1e-16) * 3", "1e-300 - s", "torch.sub(s, eps)"],
)
def test_what_is_too_small_to_be_seen_is_added_once(line: str) -> None:
    """Each rank adding it to its summand would add it as often as there are ranks."""
    text = f"""
def forward(x: Float[Tensor, "n d"], eps: Float[Tensor, "d"]):
    s = (x * x).sum(0)
    return torch.log(abs({line}))
"""
    inputs = {"x": torch.zeros(6, 2).double(), "eps": torch.full((2,), 1e-15).double()}
    drawn = {"x": torch.randn(6, 2).double(), "eps": inputs["eps"]}
    found = gn.shard(text, split={"n": "data"}, inputs=drawn)
    got = found(inputs, torch.ones(2).double(), ranks=3)
    out = found.program.outputs[0]
    truth = gn.derive(text, drawn).forward_values(inputs)[out]
    torch.testing.assert_close(got[out], truth, rtol=1e-9, atol=0)


def test_a_part_of_a_gradient_that_is_written_to_can_be_written_down() -> None:
    forward = """
def forward(x: Float[Tensor, "n t d"], p: Float[Tensor, "m d"]):
    y = x + p[: x.shape[1]]
    return (y**2).sum()
"""
    backward = """
def backward(x, p, y, dout):
    dx = 2 * y * dout
    dp = torch.zeros_like(p)
    dp[: x.shape[1]] = dx.sum(0)
    return dx, dp
"""
    inputs = {"x": torch.randn(5, 3, 2).double(), "p": torch.randn(4, 2).double()}
    found = gn.shard(forward, backward, split={"n": "data"}, inputs=inputs)
    assert "dp[:x.shape[1]] = " in found.source
    truth = gn.derive(forward, inputs)(inputs)
    got = found(inputs, ranks=3)
    assert differences({n: got[n] for n in truth}, truth, 1e-10) == []
