"""Losses over classes: what share each class was given, and which it should have been."""

from __future__ import annotations

from gradninja.rules.criteria.meanings import REDUCTIONS, cross_entropy, nll_loss, reduction
from gradninja.rules.layers.attention import BISHOP
from gradninja.rules.rule import Refusal, Rule, Site

DERIVATIVES = "PyTorch, tools/autograd/derivatives.yaml"


def _axis(site: Site) -> int:
    """The axis of the classes."""
    return 0 if site.ndim("a") == 1 else 1


def _ignores(site: Site) -> bool:
    """Whether some targets may be left out: by the person's word, or the values that were read."""
    given = site.value("ignore_index")
    return given != -100 or bool((site.value("target") == given).any())


def _one_hot(site: Site) -> str:
    """1 at each target's class, in the shape of `a`."""
    target = (
        "target.clamp(min=0)" if site.value("ignore_index") < 0 and _ignores(site) else "target"
    )
    text = f"F.one_hot({target}, a.shape[{_axis(site)}])"
    return text if site.ndim("a") <= 2 else f"{text}.movedim(-1, 1)"


def _beside_classes(site: Site, text: str) -> str:
    return f"{text}.unsqueeze(1)" if site.ndim("a") > 1 else text


def _by_class(site: Site) -> str:
    """The classes' weights, along the axis of the classes."""
    return "weight" + "".join([".unsqueeze(-1)"] * max(site.ndim("a") - 2, 0))


def _weight(site: Site) -> str:
    """Each example's weight, which is its class's; "" where none are given."""
    if site.value("weight") is None:
        return ""
    low = ".clamp(min=0)" if site.value("ignore_index") < 0 and _ignores(site) else ""
    return f"weight[target{low}]"


def _kept(site: Site, text: str) -> str:
    """A gradient, and 0 for examples that are left out, whatever stands there."""
    if not _ignores(site):
        return text
    return f"({text}).masked_fill({_beside_classes(site, '(target == ignore_index)')}, 0)"


def _examples(site: Site) -> str:
    """What a mean over examples divides by: their weights, 0 for those that are left out."""
    total = [_weight(site)] if _weight(site) else []
    total += ["(target != ignore_index)"] if _ignores(site) else []
    if total:
        return f"({' * '.join(total)}).sum()"
    return {1: "1", 2: "a.shape[0]"}.get(site.ndim("a"), "target.numel()")


def _finished(site: Site, text: str, count: str) -> str:
    how = reduction(site)
    if how == "none":
        return f"{text} * {_beside_classes(site, 'g')}"
    if how == "sum" or count == "1":
        return f"{text} * g"
    return f"{text} / {count} * g"


def _cross_entropy(site: Site) -> str:
    """Softmax less what it should be, for each example as often as the example counts."""
    axis = _axis(site)
    shares = f"F.softmax(a, {axis})"
    if site.value("target").is_floating_point():
        return _finished(site, _less(site, shares, _probabilities(site)), _batch(site))
    if site.value("label_smoothing") == 0:
        text = f"({shares} - {_one_hot(site)})"
        if _weight(site):
            text = f"{text} * {_beside_classes(site, _weight(site))}"
        return _kept(site, _finished(site, text, _examples(site)))
    target = _smoothed(site, f"{_one_hot(site)}.to(a.dtype)")
    weighted = site.value("weight") is not None
    text = _less(site, shares, target) if weighted else f"({shares} - {target})"
    return _kept(site, _finished(site, text, _examples(site)))


def _smoothed(site: Site, target: str, weighted: bool = True) -> str:
    """Some of the target handed round to all classes; then times the classes' weights."""
    if site.value("label_smoothing") != 0:
        rest = f"label_smoothing / a.shape[{_axis(site)}]"
        target = f"((1 - label_smoothing) * {target} + {rest})"
    if weighted and site.value("weight") is not None:
        target = f"({_by_class(site)} * {target})"
    return target


def _probabilities(site: Site) -> str:
    return _smoothed(site, "target")


def _less(site: Site, shares: str, target: str) -> str:
    """Softmax less a target that need not add up to 1."""
    return f"({shares} * {target}.sum({_axis(site)}, keepdim=True) - {target})"


def _batch(site: Site) -> str:
    """Examples, where each target is a distribution."""
    if site.ndim("a") == 1:
        return "1"
    return "a.shape[0]" if site.ndim("a") == 2 else "(a.numel() // a.shape[1])"


def _cross_entropy_target(site: Site) -> str:
    text = f"-F.log_softmax(a, {_axis(site)})"
    if site.value("label_smoothing") != 0:
        text = f"(label_smoothing - 1) * F.log_softmax(a, {_axis(site)})"
    if site.value("weight") is not None:
        text = f"{_by_class(site)} * ({text})"
    return _finished(site, text, _batch(site))


def _nll(site: Site) -> str:
    count = _examples(site)
    factors = [_beside_classes(site, "g") if reduction(site) == "none" else "g"]
    if _weight(site):
        factors.append(_beside_classes(site, _weight(site)))
    over = f" / {count}" if reduction(site) == "mean" and count != "1" else ""
    picked = f"torch.where({_one_hot(site)} == 1, -{' * '.join(factors)}{over}, 0)"
    return _kept(site, picked)


# -- exact: PyTorch's two steps, log-softmax and picking the targets, by its own kernels ----------


def _cross_entropy_exact(site: Site) -> str:
    smoothed = site.value("label_smoothing") != 0
    logs = f"F.log_softmax(a, {_axis(site)})"
    if site.value("target").is_floating_point():
        weight = "" if site.value("weight") is None else f" * {_by_class(site)}"
        slope = f"-{_share(site)}{weight} * {_smoothed(site, 'target', weighted=False)}"
    elif not smoothed:
        slope = _picked_exact(site, logs, "g")
    elif site.value("weight") is None and not _ignores(site):
        picked = _picked_exact(site, logs, "(g * (1 - label_smoothing))")
        part = f"{_beside(site)} * (label_smoothing / a.shape[{_axis(site)}])"
        over = f" / {_examples(site)}" if reduction(site) == "mean" else ""
        slope = f"{picked} - {part}{over}"
    else:
        return _cross_entropy(site)
    return f"torch.ops.aten._log_softmax_backward_data({slope}, {logs}, {_axis(site)}, a.dtype)"


def _beside(site: Site) -> str:
    return _beside_classes(site, "g") if reduction(site) == "none" else "g"


def _share(site: Site) -> str:
    """The cotangent of one example, where each target is a distribution."""
    return f"(g / {_batch(site)})" if reduction(site) == "mean" else _beside(site)


def _cross_entropy_target_exact(site: Site) -> str:
    text = f"-{_share(site)}"
    if site.value("weight") is not None:
        text = f"{text} * {_by_class(site)}"
    text = f"{text} * F.log_softmax(a, {_axis(site)})"
    return f"{text} * (1 - label_smoothing)" if site.value("label_smoothing") != 0 else text


def _picked_exact(site: Site, logs: str, gradient: str) -> str:
    """The kernel takes examples by classes, or images of them: further axes become one."""
    flat = site.ndim("a") <= 2
    name = "nll_loss" if flat else "nll_loss2d"
    target = "target"
    if not flat:
        logs, target = f"{logs}.flatten(2).unsqueeze(2)", "target.flatten(1).unsqueeze(1)"
        if reduction(site) == "none":
            gradient = f"{gradient}.flatten(1).unsqueeze(1)"
    given = f"{logs}, {target}, weight, {REDUCTIONS[reduction(site)]}, ignore_index"
    total = "(target != ignore_index).sum().to(a.dtype)"
    if site.value("weight") is not None:
        total = f"torch.ops.aten.{name}_forward({given})[1]"
    text = f"torch.ops.aten.{name}_backward({gradient}, {given}, {total})"
    return text if flat else f"{text}.reshape(a.shape)"


def _nll_exact(site: Site) -> str:
    return _picked_exact(site, "a", "g")


def _alignments(site: Site) -> str:
    """Through all ways to align a target, by PyTorch's own recursions forward and back."""
    if site.ndim("a") != 3:
        raise Refusal("there is a rule for a batch, (time, batch, classes), alone")
    given = "a, targets, input_lengths, target_lengths"
    how = site.value("reduction")
    each = {"none": "g", "sum": "g.expand(a.shape[1])"}.get(how)
    if each is None:
        lengths = "target_lengths"
        if not site.is_tensor("target_lengths"):
            lengths = "torch.tensor(target_lengths, device=g.device)"
        each = f"g / ({lengths}.clamp(min=1) * a.shape[1])"
    return (
        f"torch.ops.aten._ctc_loss_backward({each}, {given}, *torch.ops.aten._ctc_loss({given}, "
        "blank, zero_infinity), blank, zero_infinity)"
    )


CLASSES = (
    Rule(
        "ctc_loss",
        (
            "F.ctc_loss(a, targets, input_lengths, target_lengths, blank=0, reduction='mean', "
            "zero_infinity=False)",
        ),
        {"a": _alignments},
        why="each class at each time: what it was given, less its share in the ways to align the "
        "target",
        source="Graves et al. 2006, Connectionist temporal classification, equation 16",
        tests=(
            "F.ctc_loss(a.log_softmax(2), t + 1, (5, 5), (3, 2)) where a: 5 2 4; t: 2 3 < 3",
            "F.ctc_loss(a.log_softmax(2), t, torch.tensor([5, 4]), torch.tensor([2, 2]), blank=3, "
            "reduction='sum', zero_infinity=True) where a: 5 2 4; t: 2 2 < 3",
            "F.ctc_loss(a.log_softmax(2), t + 1, torch.tensor([5, 4]), torch.tensor([2, 1]), "
            "reduction='none') where a: 5 2 4; t: 3 < 3",
        ),
    ),
    Rule(
        "cross_entropy",
        (
            "F.cross_entropy(a, target, weight=None, size_average=None, ignore_index=-100, "
            "reduce=None, reduction='mean', label_smoothing=0.0)",
        ),
        {"a": _cross_entropy, "target": _cross_entropy_target},
        exact={"a": _cross_entropy_exact, "target": _cross_entropy_target_exact},
        why="softmax less the target: what was given to each class, less what should have been",
        source=BISHOP,
        tests=(
            "F.cross_entropy(a, t) where a: 5 4; t: 5 < 4",
            "F.cross_entropy(a, t) where a: 4; t: () < 4",
            "F.cross_entropy(a, t + 1) where a: 4; t: () < 1",
            "F.cross_entropy(a, t, reduction='sum') where a: 5 4; t: 5 < 4",
            "F.cross_entropy(a, t, reduction='none') where a: 5 4; t: 5 < 4",
            "F.cross_entropy(a, t) where a: 5 4 3; t: 5 3 < 4",
            "F.cross_entropy(a, t, reduction='none') where a: 5 4 3 2; t: 5 3 2 < 4",
            "F.cross_entropy(a, t, ignore_index=1) where a: 5 4; t: 5 < 4",
            "F.cross_entropy(a, t - 1, ignore_index=-1) where a: 5 4; t: 5 < 5",
            "F.cross_entropy(a, t, w.detach()) where a: 5 4; t: 5 < 4; w: 4 positive",
            "F.cross_entropy(a, t - 1, w.detach(), ignore_index=-1) where a: 5 4 3; t: 5 3 < 5; "
            "w: 4 positive",
            "F.cross_entropy(a, t, label_smoothing=0.1) where a: 5 4; t: 5 < 4",
            "F.cross_entropy(a, t - 1, w.detach(), ignore_index=-1, label_smoothing=0.1) "
            "where a: 5 4; t: 5 < 5; w: 4 positive",
            "F.cross_entropy(a, p) where a: 5 4; p: 5 4 unit",
            "F.cross_entropy(a, p, reduction='none') where a: 5 4 3; p: 5 4 3 unit",
            "F.cross_entropy(a, p, w.detach(), label_smoothing=0.2) where a: 5 4 3; p: 5 4 3 unit; "
            "w: 4 positive",
            "F.cross_entropy(a, p.softmax(0)) where a: 4; p: 4",
        ),
        means=cross_entropy,
    ),
    Rule(
        "nll_loss",
        (
            "F.nll_loss(a, target, weight=None, size_average=None, ignore_index=-100, "
            "reduce=None, reduction='mean')",
        ),
        {"a": _nll},
        exact={"a": _nll_exact},
        why="minus what was picked: each target's element gets minus its share of the gradient",
        source=DERIVATIVES,
        tests=(
            "F.nll_loss(a, t) where a: 5 4; t: 5 < 4",
            "F.nll_loss(a, t) where a: 4; t: () < 4",
            "F.nll_loss(a, t, reduction='sum') where a: 5 4; t: 5 < 4",
            "F.nll_loss(a, t, reduction='none') where a: 5 4 3; t: 5 3 < 4",
            "F.nll_loss(a, t, w.detach(), ignore_index=2) where a: 5 4; t: 5 < 4; w: 4 positive",
            "F.nll_loss(a, t - 1, ignore_index=-1) where a: 5 4 3; t: 5 3 < 5",
        ),
        means=nll_loss,
    ),
)
