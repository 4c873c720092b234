"""What losses mean: each term in simpler operations, then summed or averaged."""

from __future__ import annotations

import math

from gradninja.rules.rule import Refusal, Site, Template

REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}  # PyTorch's numbers for them
# log(1 + exp(-a)), and of the same with more weight where the target is 1
_LOGITS = "torch.clamp(a, min=0.0) - a * target + torch.log1p(torch.exp(-torch.abs(a)))"
_POSITIVES = (
    "(1 - target) * a + (1 + (pos_weight - 1) * target) "
    "* (torch.log1p(torch.exp(-torch.abs(a))) + torch.clamp(-a, min=0.0))"
)


def reduction(site: Site) -> str:
    """Which of "none", "mean" and "sum" was asked for."""
    if site.has("size_average") or site.has("reduce"):
        raise Refusal("`size_average` and `reduce` are of old; say `reduction=`")
    return str(site.value("reduction"))


def reduced(site: Site, text: str) -> str:
    """All terms as one number, or as they are."""
    how = reduction(site)
    if how == "batchmean":
        return f"({text}).sum() / {site.shape('a')[0]}"
    return text if how == "none" else f"({text}).{how}()"


def termwise(*lines: str) -> Template:
    """A loss of one term an element, times its weight where there is one."""
    *hidden, term = lines

    def template(site: Site) -> str:
        text = f"({term}) * weight" if site.has("weight") else term
        return "\n".join([*hidden, reduced(site, text)])

    return template


def logits(site: Site) -> str:
    """Binary cross-entropy of logits, which never overflows."""
    text = _POSITIVES if site.has("pos_weight") else _LOGITS
    return reduced(site, f"({text}) * weight" if site.has("weight") else text)


def divergence(site: Site) -> str:
    """Kullback-Leibler, of log-probabilities."""
    if site.value("log_target"):
        return reduced(site, "torch.exp(target) * (target - a)")
    return reduced(site, "torch.where(target == 0, 0.0, target * torch.log(target)) - target * a")


def gaussian(site: Site) -> str:
    """The negative log-likelihood of a normal distribution; its constant where `full` asks."""
    constant = " + math.log(2 * math.pi)" if site.value("full") else ""
    square = "(a - target) ** 2"
    term = f"0.5 * (torch.log(spread) + {square} / spread{constant})"
    return f"spread = var.clamp(min=eps)\n{reduced(site, term)}"


def poisson(site: Site) -> str:
    """The negative log-likelihood of counts; the factorial, by Stirling, where `full` asks."""
    rest = ""
    if site.value("full"):
        stirling = "many * torch.log(many) - many + 0.5 * torch.log(2 * math.pi * many)"
        rest = f" + torch.where(target > 1, {stirling}, 0.0)"
    logs = site.value("log_input")
    term = "torch.exp(a) - target * a" if logs else "a - target * torch.log(a + eps)"
    hidden = "many = torch.where(target > 1, target, 1.0)\n" if rest else ""
    return hidden + reduced(site, term + rest)


# -- classes ----------------------------------------------------------------------------------


def cross_entropy(site: Site) -> str:
    axis = 1 if site.ndim("a") > 1 else 0
    logs = f"torch.log_softmax(a, {axis})"
    if site.value("target").is_floating_point():
        return _of_probabilities(site, logs, axis)
    return _of_classes(site, logs, site.value("label_smoothing"))


def nll_loss(site: Site) -> str:
    return _of_classes(site, "a", 0.0)


def _of_classes(site: Site, logs: str, smoothing: float) -> str:
    """The negative log-probability of the class that came.

    With smoothing, a part of it is every class's. Where the target is `ignore_index` nothing
    counts; the mean is by the weights of the classes that came.
    """
    rank, classes = site.ndim("a"), site.shape("a")[1 if site.ndim("a") > 1 else 0]
    order = (0, *range(2, rank), 1)
    rows = f"{logs}.permute{order}.reshape(-1, {classes})" if rank > 1 else f"{logs}.reshape(1, -1)"
    rows = logs if rank == 2 else rows
    ignored = site.value("ignore_index")
    target = "target" if rank == 2 else "target.reshape(-1)"
    valid = f"({target} != {ignored})"
    # -100, by default, is no class: where it comes, the place is refused as no place.
    some = ignored != -100
    safe = f"torch.where({valid}, {target}, 0)" if some else target
    count = math.prod(site.shape("target"))
    every = "range(target.shape[0])" if rank == 2 else f"torch.arange({count})"
    picked = f"-{rows}[{every}, {safe}]"
    weights = f"weight[{safe}]" if site.has("weight") else None
    each = f"({picked}) * {weights}" if weights else picked
    if smoothing:
        spread = f"({rows} * weight)" if weights else rows
        each = f"{1 - smoothing!r} * ({each}) - {smoothing / classes!r} * {spread}.sum(1)"
    each = f"torch.where({valid}, {each}, 0.0)" if some else f"({each})"
    how = reduction(site)
    if how != "mean":
        return reduced(site, each if how == "sum" else f"({each}).reshape{site.shape('target')}")
    if not some and not weights:
        return reduced(site, each)
    total = weights or f"torch.ones({count}, dtype=a.dtype)"
    total = f"torch.where({valid}, {total}, 0.0)" if some else total
    return f"({each}).sum() / ({total}).sum()"


def _of_probabilities(site: Site, logs: str, axis: int) -> str:
    """The target is a probability for each class."""
    shape, smoothing = site.shape("a"), site.value("label_smoothing")
    classes = shape[axis]
    target = "target"
    if smoothing:
        target = f"(target * {1 - smoothing!r} + {smoothing / classes!r})"
    weight = f"* weight.reshape{(classes, *(1 for _ in shape[axis + 1 :]))}"
    each = f"-({logs} * {target} {weight if site.has('weight') else ''}).sum({axis})"
    if reduction(site) == "mean":
        return f"({each}).sum() / {math.prod(shape) // classes}"
    return reduced(site, each)
