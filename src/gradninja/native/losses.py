"""Rows for losses and normalisations: each the text of simpler operations."""

from __future__ import annotations

from gradninja.native.lower import At, Lowered, Row

# Element by element, before the reduction.
_EACH = {
    "mse_loss": "(a - target) * (a - target)",
    "l1_loss": "torch.abs(a - target)",
    "smooth_l1_loss": "torch.where(torch.abs(a - target) < beta, "
    "0.5 * (a - target) * (a - target) / beta, torch.abs(a - target) - 0.5 * beta)",
    "huber_loss": "torch.where(torch.abs(a - target) <= delta, "
    "0.5 * (a - target) * (a - target), delta * (torch.abs(a - target) - 0.5 * delta))",
    "binary_cross_entropy_with_logits": "torch.clamp(a, min=0.0) - a * target "
    "+ torch.log1p(torch.exp(-torch.abs(a)))",
}
_REDUCTIONS = {"mean": "({}).mean()", "sum": "({}).sum()", "none": "{}"}


def _refuse_extras(at: At) -> None:
    plain = {"weight", "pos_weight", "size_average", "reduce"}
    for name in plain & set(at.site.bound):
        if at.has(name):
            raise at.refuse(f"`{name}` is not compiled here")


def _loss(text: str) -> Row:
    def row(at: At) -> Lowered:
        _refuse_extras(at)
        if at.site.shape("a") != at.site.shape("target"):
            raise at.refuse("the two must have one shape")
        return at.lowering.written_out(at, _REDUCTIONS[at.value("reduction")].format(text))

    return row


def _classes(text: str) -> Row:
    """The negative log-probability of the class that came; of (n, classes) alone."""

    def row(at: At) -> Lowered:
        _refuse_extras(at)
        if at.site.ndim("a") != 2 or at.site.ndim("target") != 1:
            raise at.refuse("this is compiled for (n, classes) and n classes alone")
        if at.value("ignore_index") >= 0:
            raise at.refuse("`ignore_index` is not compiled")
        if at.value("label_smoothing", 0.0):
            raise at.refuse("`label_smoothing` is not compiled")
        return at.lowering.written_out(at, _REDUCTIONS[at.value("reduction")].format(text))

    return row


_PICKED = "-({})[torch.arange(a.shape[0]), target]"


def _layer_norm(at: At) -> Lowered:
    axes = tuple(range(-len(at.value("normalized_shape")), 0))
    text = f"(a - a.mean({axes}, keepdim=True)) * "
    text += f"(a.var({axes}, correction=0, keepdim=True) + eps) ** -0.5"
    text = f"({text}) * weight" if at.has("weight") else text
    return at.lowering.written_out(at, f"{text} + bias" if at.has("bias") else text)


TEXTS: dict[str, str] = {}
ROWS: dict[str, Row] = {
    **{name: _loss(text) for name, text in _EACH.items()},
    "nll_loss": _classes(_PICKED.format("a")),
    "cross_entropy": _classes(_PICKED.format("torch.log_softmax(a, 1)")),
    "layer_norm": _layer_norm,
}
