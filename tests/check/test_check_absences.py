"""What a backward reads and nothing gives: one red row each, with the line that is missing."""

from __future__ import annotations

from test_check_locals import SCALAR

from gradninja.check import LineReport, check
from mutation_trial import recorded

HEADER = """
import torch
from jaxtyping import Float
from torch import Tensor


"""
PICK = (
    HEADER.replace("Float", "Float, Int")
    + """def forward(C: Float[Tensor, "v d"], ix: Int[Tensor, "n"]):
    emb = C[ix]
    loss = emb.square().mean()
    return loss


def backward(C, ix, emb, loss):
    demb = 2 * emb / emb.numel()
{lines}
"""
)
DOUBLE = (
    HEADER
    + """def forward(x: Float[Tensor, "n d"]):
    y = x * 2
    return y


def backward(x, dy):
    dx = dy * 2
"""
)
SEVERAL = (
    HEADER
    + """def forward(z: Float[Tensor, "n d"], w: Float[Tensor, "d"], u: Float[Tensor, "n d"]):
    s = z * w
    v = s.exp()
    y = v * u
    return y


def backward(z, w, u, v, dy):
    du = v * dy
    dv = u * dy
    ds = v * dv
    dz = w * ds
    dw = (z * ds).sum(0)
    return dz, dw, du
"""
)


def wrong(text: str) -> tuple[LineReport, ...]:
    """The wrong lines, with as much time for their mends as they need."""
    with recorded():
        return tuple(check(text, complete=True).wrong)


def test_the_output_s_gradient_is_asked_for_or_written() -> None:
    """Of a 0-dim output it is 1, and one red row tells that it is missing or added to nothing."""
    made = "dout = torch.ones_like(out)"
    (row,) = wrong(SCALAR.replace(f"    {made}\n", ""))
    assert (row.name, row.kind, row.fix) == ("dout", "missing line", made)
    (row,) = wrong(SCALAR.replace("dout =", "dout +="))
    assert (row.name, row.kind, row.fix) == ("dout", "wrong operator", made)
    (row,) = wrong(SCALAR.replace("ones_like", "zeros_like"))
    assert (row.name, row.kind, row.fix) == ("dout", "wrong constant", made)
    assert check(SCALAR.replace(made, "dout = 1.0")).ok


def test_a_gradient_that_no_line_writes_is_one_red_row() -> None:
    """Those that are computed from it are judged on the truth."""
    assert check(SEVERAL).ok
    (row,) = wrong(SEVERAL.replace("    ds = v * dv\n", ""))
    assert (row.name, row.line, row.kind, row.fix) == ("ds", None, "missing line", "ds = v * dv")
    assert "which line 17 reads" in (row.diagnosis or "")


def test_a_name_that_no_line_writes_may_be_the_mistake() -> None:
    text = SEVERAL.replace("    dv = u * dy\n    ds = v * dv\n", "    ds = v * u * dy\n")
    assert check(text).ok
    (row,) = wrong(text.replace("dz = w * ds", "dz = w * dv"))
    assert (row.name, row.line, row.fix) == ("dz", 17, "dz = w * ds")


def test_a_cotangent_is_no_input_s_numbers() -> None:
    """Else `x` for `dy` would pass where their shapes are equal."""
    (row,) = wrong(DOUBLE.replace("dy * 2", "x * 2"))
    assert (row.name, row.fix) == ("dx", "dx = dy * 2")
    assert not [note for note in row.notes if "wrong on" in note]  # on all draws


def test_a_line_that_writes_what_it_should_not_is_sent_where_it_belongs() -> None:
    """The forward's value that cannot take it, and the gradient that is spoilt, are no rows."""
    lines = """
    dC = torch.zeros_like(C)
    dC.index_add_(0, ix, demb)
"""
    text = PICK.format(lines=lines)
    assert check(text).ok
    for other in ("loss", "demb"):
        (row,) = wrong(text.replace("dC.index", f"{other}.index"))
        assert (row.name, row.line, row.kind) == ("dC", 17, "wrong name")
        assert row.fix == "dC.index_add_(0, ix, demb)"


def test_a_line_with_another_s_target_is_one_mistake() -> None:
    """`dW2` written twice, where the second should have been `db2`."""
    text = (
        HEADER
        + """def forward(h: Float[Tensor, "n d"], W: Float[Tensor, "d k"], b: Float[Tensor, "k"]):
    y = h @ W + b
    return y


def backward(h, W, dy):
    dh = dy @ W.T
    dW = h.T @ dy
    db = dy.sum(0)
"""
    )
    assert check(text).ok
    (row,) = wrong(text.replace("db =", "dW ="))
    assert (row.name, row.line, row.fix) == ("db", 15, "db = dy.sum(0)")
