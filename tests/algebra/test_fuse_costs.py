"""What the fused backward of a library operation costs is pinned: none may become dearer unseen."""

from __future__ import annotations

import pytest

import gradninja as gn

ROWS = 'x: Float[Tensor, "6 5"], w: Float[Tensor, "5"], b: Float[Tensor, "5"]'
IMAGES = 'x: Float[Tensor, "4 6 3 3"], w: Float[Tensor, "6"], b: Float[Tensor, "6"]'
PAIRS = 'x: Float[Tensor, "6 5"], t: Float[Tensor, "6 5"]'
CLASSES = 'x: Float[Tensor, "6 5"], y: Int[Tensor, "6"]'
# What is fused -> lines, calls and elements moved. Lower them when they fall.
PINNED: dict[tuple[str, str], tuple[int, int, float]] = {
    (ROWS, "F.layer_norm(x, (5,), w, b)"): (5, 18, 763.0),
    (ROWS, "F.rms_norm(x, (5,), w)"): (5, 14, 734.0),
    (IMAGES, "F.batch_norm(x, None, None, w, b, True)"): (4, 18, 3822.0),
    (ROWS, "F.batch_norm(x, None, None, w, b, True)"): (4, 15, 605.0),
    (IMAGES, "F.instance_norm(x, weight=w, bias=b)"): (5, 14, 4410.0),
    (IMAGES, "F.group_norm(x, 3, w, b)"): (6, 17, 6186.0),
    (ROWS, "F.normalize(x)"): (4, 11, 449.0),
    (ROWS, "F.linear(x, x, None)"): (3, 5, 302.0),
    (PAIRS, "F.cosine_similarity(x, t)"): (7, 24, 750.0),
    (PAIRS, "F.pairwise_distance(x, t)"): (3, 5, 342.0),
    (PAIRS, "F.mse_loss(x, t)"): (2, 3, 210.0),
    (PAIRS, "F.smooth_l1_loss(x, t)"): (2, 4, 270.0),
    (PAIRS, "F.huber_loss(x, t)"): (2, 4, 270.0),
    (PAIRS, "F.kl_div(x, t, reduction='batchmean')"): (2, 6, 390.0),
    (PAIRS, "F.binary_cross_entropy_with_logits(x, torch.sigmoid(t))"): (3, 8, 570.0),
    (CLASSES, "F.cross_entropy(x, y)"): (1, 4, 372.0),
    (CLASSES, "F.cross_entropy(x, y, label_smoothing=0.1)"): (1, 7, 492.0),
    (CLASSES, "F.nll_loss(F.log_softmax(x, 1), y)"): (1, 4, 372.0),
    (ROWS, "F.softmax(x, 1)"): (3, 6, 302.0),
    (ROWS, "F.log_softmax(x, 1)"): (3, 6, 272.0),
    (ROWS, "torch.logsumexp(x, 1)"): (3, 4, 146.0),
    (ROWS, "x.var(0)"): (3, 6, 195.0),
    (ROWS, "x.std(1)"): (3, 11, 263.0),
    (ROWS, "F.gelu(x)"): (3, 13, 770.0),
    (ROWS, "F.gelu(x, approximate='tanh')"): (5, 17, 1070.0),
    (ROWS, "F.silu(x)"): (3, 7, 410.0),
    (ROWS, "F.mish(x)"): (4, 11, 680.0),
    (ROWS, "F.softplus(x)"): (3, 6, 275.0),
    (ROWS, "F.tanhshrink(x)"): (3, 5, 230.0),
    ('x: Float[Tensor, "6 1"]', "F.tanhshrink(x)"): (1, 3, 42.0),
    (ROWS, "torch.atan(x * w)"): (4, 8, 475.0),
    (PAIRS, "torch.hypot(x, t)"): (2, 4, 360.0),
}


@pytest.mark.parametrize(("inputs", "call"), PINNED)
def test_no_library_operation_becomes_dearer(inputs: str, call: str) -> None:
    back = fused(inputs, call)
    assert back.dropped == ()
    found, pinned = measured(back), PINNED[inputs, call]
    assert all(now <= then for now, then in zip(found, pinned, strict=True)), (
        f"{found} for {pinned}\n{back.source}"
    )


def fused(inputs: str, call: str) -> gn.Fused:
    return gn.fuse(f"def forward({inputs}):\n    out = {call}\n    return out\n")


def measured(back: gn.Fused) -> tuple[int, int, float]:
    return len(back.statements), back.cost.calls, back.cost.traffic


@pytest.mark.parametrize("prefer", ["speed", "memory", "short"])
def test_a_form_that_is_cheaper_once_its_one_hot_is_written_in_place_is_taken(prefer: str) -> None:
    """With the one-hot as a tensor of its own the derived lines are cheaper."""
    text = """
def forward(x: Float[Tensor, "8 1000"], y: Int[Tensor, "8"]):
    s = x[torch.arange(len(y)), y]
    m = (x - s[:, None] + 1).clamp(min=0)
    loss = m.sum(1).mean()
    return loss
"""
    fused = gn.fuse(text, prefer=prefer)
    assert "one_hot" not in fused.source and "answered in one go" in fused.source
    assert not fused.dropped
