"""A split vocabulary: what is looked up in it is looked up on the rank that has it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import gradninja as gn
from gradninja.errors import DeriveError

pytestmark = pytest.mark.filterwarnings("ignore")

HEAD = """
def forward(ix: Int[Tensor, "n"], C: Float[Tensor, "vocab d"], W: Float[Tensor, "d vocab"],
            y: Int[Tensor, "n"]):
"""
LINES = {
    "a language model": """
    emb = F.embedding(ix, C)
    loss = F.cross_entropy(torch.tanh(emb) @ W, y)
""",
    "rows and log-probabilities that are picked": """
    emb = C[ix]
    logprobs = F.log_softmax(emb @ W, dim=1)
    loss = -logprobs[range(ix.shape[0]), y].mean()
""",
    "tied weights": """
    logits = torch.tanh(C[ix]) @ (C.T + W)
    loss = F.nll_loss(logits.log_softmax(-1), y)
""",
    "several places in a row, behind a whole axis": """
    h = torch.tanh(C)[ix.view(-1, 1), torch.arange(2)]
    loss = (h ** 2).sum() + W[:, y].exp().mean()
""",
    "classes that are gathered": """
    logits = torch.tanh(C[ix]) @ W
    picked = logits.log_softmax(1).gather(1, y.view(-1, 1))
    h = C.gather(0, ix.view(-1, 1).expand(-1, 3)).exp()
    loss = torch.gather(W, -1, y[None]).sum() - picked.mean() + h.mean()
""",
    "rows that are selected, and columns": """
    emb = C.index_select(0, ix)
    loss = (torch.tanh(emb) @ W).mean() + torch.index_select(W, 1, y).exp().mean()
""",
}
VALUES: dict[str, Any] = {
    "ix": torch.tensor([0, 6, 3, 3, 1]),
    "y": torch.tensor([2, 5, 0, 6, 5]),
}


def values() -> dict[str, Any]:
    drawn = torch.Generator().manual_seed(2)
    C, W = (
        torch.randn(shape, generator=drawn, dtype=torch.float64, requires_grad=True)
        for shape in ((7, 3), (3, 7))
    )
    return {**VALUES, "C": C, "W": W}


def true(lines: str, given: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The loss and gradients by autograd."""
    scope = {"torch": torch, "F": F, **given}
    for line in lines.split("\n"):
        exec(line.strip(), scope)
    dC, dW = torch.autograd.grad(scope["loss"], [given["C"], given["W"]])
    return {"loss": scope["loss"].detach(), "dC": dC, "dW": dW}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("split", [{"vocab": "model"}, {"n": "data", "vocab": "model"}])
def test_no_rank_needs_more_of_it_than_its_share(name: str, split: dict[str, str]) -> None:
    text = f"{HEAD}{LINES[name]}    return loss\n"
    given = values()
    inputs = {n: v.detach() for n, v in given.items()}
    for make in (gn.derive, gn.fuse):
        found = gn.shard(text, make(text), split=split)
        calls = found.collectives if "n" not in split else found.forward.collectives
        assert {call.kind for call in calls} == {"all_reduce"}
        for ranks in (1, 2, 3):
            got = found(inputs, ranks=ranks)
            for of, value in true(LINES[name], given).items():
                torch.testing.assert_close(got[of], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["classes that are gathered", "rows that are selected, and columns"]
)
def test_what_is_added_to_looked_up_places_is_added_in_a_share(name: str) -> None:
    text = f"{HEAD}{LINES[name]}    return loss\n"
    found = gn.shard(text, split={"vocab": "model"})
    assert "_add_(" in found.source
    assert "new_zeros((" not in found.source  # which a table on every rank would be


@pytest.mark.parametrize("outside", [7, -1, -100])
def test_a_place_outside_of_the_whole_is_refused(outside: int) -> None:
    text = f"{HEAD}{LINES['a language model']}    return loss\n"
    found = gn.shard(text, split={"vocab": "model"})
    for name in ("ix", "y"):
        inputs = {n: v.detach() for n, v in values().items()}
        inputs[name] = inputs[name].index_fill(0, torch.tensor([2]), outside)
        with pytest.raises(DeriveError, match=r"rank \d stops: IndexError"):
            found(inputs)


def test_what_is_written_twice_to_one_place_stays_as_it_is_on_the_whole() -> None:
    """`d[ix] += v` adds once where `ix` has a place twice: here no rank may add up both."""
    forward = f"{HEAD}    loss = C[ix].sum() + W.sum() + y.sum()\n    return loss\n"
    backward = """
def backward(ix, C, W, dloss):
    dC = torch.zeros_like(C)
    dC[ix] += dloss
    return dC, torch.ones_like(W)
"""
    inputs = {n: v.detach() for n, v in values().items()}
    with pytest.raises(DeriveError, match="`dC` is not what it is on the whole"):
        gn.shard(forward, backward, split={"vocab": "model"}, inputs=inputs)


def test_megatrons_embedding_and_loss() -> None:
    text = f"{HEAD}{LINES['a language model']}    return loss\n"
    found = gn.shard(text, gn.fuse(text), split={"vocab": "model"})
    assert [(call.op, call.shapes) for call in found.forward.collectives] == [
        ("sum", (("n", "d"),)),
        ("max", (("n", "1"),)),
        ("sum", (("n", "1"),)),
        ("sum", ((),)),
    ]
    assert [call.names for call in found.backward.collectives] == [("demb",)]
    assert "C[ix_mine]" in found.forward_source
    assert "dC.index_put_((ix_mine,)" in found.source
