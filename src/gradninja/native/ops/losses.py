"""Rows for losses: each the text of simpler operations."""

from __future__ import annotations

import math

from gradninja.native.maps.lowering import At, Lowered, Row

# Element by element, before the reduction.
_EACH = {
    "mse_loss": "(a - target) * (a - target)",
    "l1_loss": "torch.abs(a - target)",
    "smooth_l1_loss": "torch.where(torch.abs(a - target) < beta, "
    "0.5 * (a - target) * (a - target) / beta, torch.abs(a - target) - 0.5 * beta)",
    "huber_loss": "torch.where(torch.abs(a - target) <= delta, "
    "0.5 * (a - target) * (a - target), delta * (torch.abs(a - target) - 0.5 * delta))",
    "binary_cross_entropy": "-(target * torch.clamp(torch.log(a), min=-100.0) "
    "+ (1 - target) * torch.clamp(torch.log1p(-a), min=-100.0))",
    "binary_cross_entropy_with_logits": "torch.clamp(a, min=0.0) - a * target "
    "+ torch.log1p(torch.exp(-torch.abs(a)))",
}
_KL_DIV = {
    False: "torch.where(target == 0, 0.0, target * torch.log(target)) - target * a",
    True: "torch.exp(target) * (target - a)",
}
# log(1 + exp(-a)), and of the same with more weight where the target is 1
_POSITIVES = (
    "(1 - target) * a + (1 + (pos_weight - 1) * target) "
    "* (torch.log1p(torch.exp(-torch.abs(a))) + torch.clamp(-a, min=0.0))"
)


def _reduced(at: At, text: str) -> Lowered:
    if at.has("size_average") or at.has("reduce"):
        raise at.refuse("write `reduction`")
    how = at.value("reduction")
    if how == "batchmean":
        text = f"({text}).sum() / {at.site.shape('a')[0]}"
    elif how != "none":
        text = f"({text}).{how}()"
    return at.lowering.written_out(at, text)


def _loss(text: str) -> Row:
    def row(at: At) -> Lowered:
        each = _POSITIVES if at.has("pos_weight") else text
        return _reduced(at, f"({each}) * weight" if at.has("weight") else each)

    return row


def _kl_div(at: At) -> Lowered:
    return _reduced(at, _KL_DIV[bool(at.value("log_target"))])


# -- classes ----------------------------------------------------------------------------------


def _cross_entropy(at: At) -> Lowered:
    axis = 1 if at.site.ndim("a") > 1 else 0
    logs = f"torch.log_softmax(a, {axis})"
    if at.site.value("target").is_floating_point():
        return _of_probabilities(at, logs, axis)
    return _of_classes(at, logs, at.value("label_smoothing"))


def _nll_loss(at: At) -> Lowered:
    return _of_classes(at, "a", 0.0)


def _of_classes(at: At, logs: str, smoothing: float) -> Lowered:
    """The negative log-probability of the class that came.

    With smoothing, a part of it is every class's. Where the target is `ignore_index` nothing
    counts; the mean is by the weights of the classes that came.
    """
    rank, classes = at.site.ndim("a"), at.site.shape("a")[1 if at.site.ndim("a") > 1 else 0]
    order = (0, *range(2, rank), 1)
    rows = f"{logs}.permute{order}.reshape(-1, {classes})" if rank > 1 else f"{logs}.reshape(1, -1)"
    ignored = at.value("ignore_index")
    target = "target.reshape(-1)"
    valid = f"({target} != {ignored})"
    # -100, by default, is no class: where it comes, the place is refused as no place.
    some = ignored != -100
    safe = f"torch.where({valid}, {target}, 0)" if some else target
    count = math.prod(at.site.shape("target"))
    picked = f"-{rows}[torch.arange({count}), {safe}]"
    weights = f"weight[{safe}]" if at.has("weight") else None
    each = f"({picked}) * {weights}" if weights else picked
    if smoothing:
        spread = f"({rows} * weight)" if weights else rows
        each = f"{1 - smoothing!r} * ({each}) - {smoothing / classes!r} * {spread}.sum(1)"
    each = f"torch.where({valid}, {each}, 0.0)" if some else f"({each})"
    if at.value("reduction") != "mean":
        shape = at.site.shape("target")
        return _reduced(at, each if at.value("reduction") == "sum" else f"({each}).reshape{shape}")
    if not some and not weights:
        return _reduced(at, each)
    total = weights or f"torch.ones({count}, dtype=a.dtype)"
    total = f"torch.where({valid}, {total}, 0.0)" if some else total
    return at.lowering.written_out(at, f"({each}).sum() / ({total}).sum()")


def _of_probabilities(at: At, logs: str, axis: int) -> Lowered:
    """The target is a probability for each class."""
    shape, smoothing = at.site.shape("a"), at.value("label_smoothing")
    classes = shape[axis]
    target = "target"
    if smoothing:
        target = f"(target * {1 - smoothing!r} + {smoothing / classes!r})"
    weight = f"* weight.reshape{(classes, *(1 for _ in shape[axis + 1 :]))}"
    each = f"-({logs} * {target} {weight if at.has('weight') else ''}).sum({axis})"
    if at.value("reduction") == "mean":
        return at.lowering.written_out(at, f"({each}).sum() / {math.prod(shape) // classes}")
    return _reduced(at, each)


ROWS: dict[str, Row] = {
    **{name: _loss(text) for name, text in _EACH.items()},
    "kl_div": _kl_div,
    "nll_loss": _nll_loss,
    "cross_entropy": _cross_entropy,
}
