"""Rows for normalisations, norms and distances: each the text of simpler operations."""

from __future__ import annotations

import torch

from gradninja.native.maps.graph import broadcast
from gradninja.native.maps.lowering import At, Lowered, Row


def _scaled(at: At, text: str, weight: str = "weight", bias: str = "bias") -> Lowered:
    """Times a weight, plus a bias, where there are such."""
    text = f"({text}) * {weight}" if at.has("weight") else text
    return at.lowering.written_out(at, f"{text} + {bias}" if at.has("bias") else text)


def _standard(over: str, axes: tuple[int, ...]) -> str:
    """Mean taken off, divided by the deviation."""
    centred = f"({over} - {over}.mean({axes}, keepdim=True))"
    return f"{centred} * ({over}.var({axes}, correction=0, keepdim=True) + eps) ** -0.5"


def _last(at: At) -> tuple[int, ...]:
    return tuple(range(-len(at.value("normalized_shape")), 0))


def _layer_norm(at: At) -> Lowered:
    return _scaled(at, _standard("a", _last(at)))


def _rms_norm(at: At) -> Lowered:
    eps = "eps" if at.has("eps") else repr(torch.finfo(at.site.value("a").dtype).eps)
    return _scaled(at, f"a * ((a * a).mean({_last(at)}, keepdim=True) + {eps}) ** -0.5")


def _by_channel(at: At) -> tuple[str, str]:
    """Weight and bias of axis 1."""
    shape = (1, -1, *(1 for _ in range(at.site.ndim("a") - 2)))
    return f"weight.reshape{shape}", f"bias.reshape{shape}"


def _batch_norm(at: At) -> Lowered:
    rank = at.site.ndim("a")
    if not at.value("training"):
        shape = (1, -1, *(1 for _ in range(rank - 2)))
        mean, var = f"running_mean.reshape{shape}", f"running_var.reshape{shape}"
        return _scaled(at, f"(a - {mean}) * ({var} + eps) ** -0.5", *_by_channel(at))
    _refuse_statistics(at)
    axes = tuple(axis for axis in range(rank) if axis != 1)
    return _scaled(at, _standard("a", axes), *_by_channel(at))


def _refuse_statistics(at: At) -> None:
    if at.has("running_mean") or at.has("running_var"):
        raise at.refuse("this changes the running statistics in place, and is not compiled")


def _instance_norm(at: At) -> Lowered:
    _refuse_statistics(at)
    return _scaled(at, _standard("a", tuple(range(2, at.site.ndim("a")))), *_by_channel(at))


def _group_norm(at: At) -> Lowered:
    shape = at.site.shape("a")
    grouped = f"a.reshape({shape[0]}, {at.value('num_groups')}, -1)"
    return _scaled(at, f"({_standard(grouped, (2,))}).reshape{shape}", *_by_channel(at))


def _normalize(at: At) -> Lowered:
    length = "torch.linalg.vector_norm(a, p, dim, keepdim=True)"
    return at.lowering.written_out(at, f"a / torch.clamp({length}, min=eps)")


def _cosine_similarity(at: At) -> Lowered:
    shape = broadcast(at.site.shape("a"), at.site.shape("b"))
    a, b = (f"F.normalize({x}.expand{shape}, 2.0, dim, eps)" for x in "ab")
    return at.lowering.written_out(at, f"({a} * {b}).sum(dim)")


def _pairwise_distance(at: At) -> Lowered:
    return at.lowering.written_out(at, "torch.linalg.vector_norm(a - b + eps, p, -1, keepdim)")


def _cdist(at: At) -> Lowered:
    return at.lowering.written_out(
        at, "torch.linalg.vector_norm(a.unsqueeze(-2) - b.unsqueeze(-3), p, -1)"
    )


ROWS: dict[str, Row] = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": _group_norm,
    "normalize": _normalize,
    "cosine_similarity": _cosine_similarity,
    "pairwise_distance": _pairwise_distance,
    "cdist": _cdist,
}
