"""What a forward ends in: distances between what came out and what should have."""

from __future__ import annotations

from gradninja.rules.networks import BISHOP
from gradninja.rules.rule import Refusal, Rule, Site, Template

CALCULUS = "calculus: the derivative of an elementary function, and the chain rule"
DERIVATIVES = "PyTorch, tools/autograd/derivatives.yaml"
KULLBACK = "Kullback & Leibler 1951, On information and sufficiency; calculus"
REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}  # PyTorch's numbers for them
ENDING = "size_average=None, reduce=None, reduction='mean'"


def _reduction(site: Site) -> str:
    if site.value_or("size_average", None) is not None or site.value_or("reduce", None) is not None:
        raise Refusal("`size_average` and `reduce` are of old; say `reduction=`")
    return str(site.value("reduction"))


def _reduced(site: Site, text: str, count: str) -> str:
    """Times the cotangent, over the count where the loss is a mean."""
    return f"{text} / {count} * g" if _reduction(site) == "mean" else f"{text} * g"


def _pairs(site: Site) -> str:
    """How many pairs of elements meet, one broadcast against the other."""
    if site.shape("a") == site.shape("target"):
        return "a.numel()"
    return "a.numel()" if site.ndim("target") == 0 else "(a - target).numel()"


def _pairwise(text: str, weight: str = "") -> Template:
    """A loss of a and target, pair by pair; `weight` names a factor for each that may be given."""

    def template(site: Site) -> str:
        given = bool(weight) and site.value(weight) is not None
        return _reduced(site, f"{weight} * ({text})" if given else text, _pairs(site))

    return template


def _mse(sign: str) -> Template:
    def template(site: Site) -> str:
        if site.value_or("weight", None) is not None:
            raise Refusal("`weight` is outside here; multiply on a line of its own")
        return _pairwise(f"{sign}2 * (a - target)")(site)  # type: ignore[operator, return-value]

    return template


def _smooth(sign: str) -> Template:
    def template(site: Site) -> str:
        sharp = site.value("beta") == 0
        slope = "(a - target).sign()" if sharp else "((a - target) / beta).clamp(-1, 1)"
        return _pairwise(f"{sign}{slope}")(site)  # type: ignore[operator, return-value]

    return template


# -- classes -----------------------------------------------------------------------------------


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


def _of_target(site: Site) -> str:
    """Each example's weight: its class's; 0 where it is left out. "" where all are 1."""
    weighted, ignores = site.value("weight") is not None, _ignores(site)
    if not weighted:
        return "(target != ignore_index)" if ignores else ""
    if not ignores:
        return "weight[target]"
    low = "target.clamp(min=0)" if site.value("ignore_index") < 0 else "target"
    return f"(weight[{low}] * (target != ignore_index))"


def _examples(site: Site) -> str:
    """What a mean over examples divides by."""
    total = _of_target(site)
    if total:
        return f"{total}.sum()"
    return {1: "1", 2: "a.shape[0]"}.get(site.ndim("a"), "target.numel()")


def _finished(site: Site, text: str, count: str) -> str:
    reduction = _reduction(site)
    if reduction == "none":
        return f"{text} * {_beside_classes(site, 'g')}"
    if reduction == "sum" or count == "1":
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
        each = _of_target(site)
        text = f"{text} * {_beside_classes(site, each)}" if each else text
        return _finished(site, text, _examples(site))
    text = _less(site, shares, _smoothed(site, f"{_one_hot(site)}.to(a.dtype)"))
    if _ignores(site):
        text = f"{text} * {_beside_classes(site, '(target != ignore_index)')}"
    return _finished(site, text, _examples(site))


def _smoothed(site: Site, target: str) -> str:
    """Some of the target handed round to all classes; then times the classes' weights."""
    if site.value("label_smoothing") != 0:
        rest = f"label_smoothing / a.shape[{_axis(site)}]"
        target = f"((1 - label_smoothing) * {target} + {rest})"
    if site.value("weight") is not None:
        target = f"({_by_class(site)} * {target})"
    return target


def _probabilities(site: Site) -> str:
    return _smoothed(site, "target")


def _less(site: Site, shares: str, target: str) -> str:
    """The target need not add up to 1."""
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


def _cross_entropy_exact(site: Site) -> str:
    """PyTorch's two steps, for the plain case: log-softmax, then picking the targets."""
    plain = not site.value("target").is_floating_point() and site.value("label_smoothing") == 0
    if not plain or site.ndim("a") > 2:
        return _cross_entropy(site)
    axis = _axis(site)
    logs = f"F.log_softmax(a, {axis})"
    return (
        "torch.ops.aten._log_softmax_backward_data("
        f"{_picked_exact(site, logs)}, {logs}, {axis}, a.dtype)"
    )


def _picked_exact(site: Site, logs: str) -> str:
    number = REDUCTIONS[_reduction(site)]
    total = _of_target(site)
    total = f"{total}.sum().to(a.dtype)" if total else "g.new_tensor(target.numel())"
    return (
        f"torch.ops.aten.nll_loss_backward(g, {logs}, target, weight, {number}, ignore_index, "
        f"{total})"
    )


def _nll(site: Site) -> str:
    count = _examples(site)
    factors = [_beside_classes(site, "g") if _reduction(site) == "none" else "g"]
    if _of_target(site):
        factors.append(_beside_classes(site, _of_target(site)))
    over = f" / {count}" if _reduction(site) == "mean" and count != "1" else ""
    return f"-{' * '.join(factors)}{over} * {_one_hot(site)}"


def _nll_exact(site: Site) -> str:
    return _nll(site) if site.ndim("a") > 2 else _picked_exact(site, "a")


# -- distributions -----------------------------------------------------------------------------


def _divergence(plain: str, from_logs: str) -> Template:
    def template(site: Site) -> str:
        text = from_logs if site.value("log_target") else plain
        if _reduction(site) == "batchmean":
            return f"{text} / a.shape[0] * g"
        return _reduced(site, text, _pairs(site))

    return template


def _logits(plain: str, weighted: str) -> Template:
    def template(site: Site) -> str:
        text = plain if site.value("pos_weight") is None else weighted
        return _pairwise(text, "weight")(site)  # type: ignore[operator, return-value]

    return template


LOSSES = (
    Rule(
        "mse_loss",
        (f"F.mse_loss(a, target, {ENDING}, weight=None)",),
        {"a": _mse(""), "target": _mse("-")},
        why="a square's gradient is twice its base; a mean hands each its share",
        source=CALCULUS,
        tests=(
            "F.mse_loss(a, b) where a: 3 4; b: 3 4",
            "F.mse_loss(a, b, reduction='sum') where a: 3 4; b: 3 4",
            "F.mse_loss(a, b, reduction='none') where a: 3 4; b: 4",
            "F.mse_loss(a, b) where a: 3 4; b: ()",
            "F.mse_loss(a, b) where a: 1 4; b: 3 1",
        ),
    ),
    Rule(
        "l1_loss",
        (f"F.l1_loss(a, target, {ENDING})",),
        {"a": _pairwise("(a - target).sign()"), "target": _pairwise("(target - a).sign()")},
        why="a distance's slope is 1 on one side and minus 1 on the other",
        source=CALCULUS,
        tests=(
            "F.l1_loss(a, b) where a: 3 4; b: 3 4",
            "F.l1_loss(a, b, reduction='sum') where a: 3 4 ties; b: 3 4 ties",
            "F.l1_loss(a, b, reduction='none') where a: 3 4; b: 3 4",
        ),
    ),
    Rule(
        "smooth_l1_loss",
        (f"F.smooth_l1_loss(a, target, {ENDING}, beta=1.0)",),
        {"a": _smooth(""), "target": _smooth("-")},
        why="near the target as a square, far from it as a distance: the slope stops at 1",
        source="Girshick 2015, Fast R-CNN, equation 3",
        tests=(
            "F.smooth_l1_loss(a, b) where a: 3 4; b: 3 4",
            "F.smooth_l1_loss(a, b, reduction='sum', beta=0.3) where a: 3 4; b: 3 4",
            "F.smooth_l1_loss(a, b, reduction='none', beta=0.0) where a: 3 4; b: 3 4",
        ),
    ),
    Rule(
        "huber_loss",
        ("F.huber_loss(a, target, reduction='mean', delta=1.0)",),
        {
            "a": _pairwise("(a - target).clamp(-delta, delta)"),
            "target": _pairwise("(target - a).clamp(-delta, delta)"),
        },
        why="near the target as a square, far from it as a distance: the slope stops at delta",
        source="Huber 1964, Robust estimation of a location parameter",
        tests=(
            "F.huber_loss(a, b) where a: 3 4; b: 3 4",
            "F.huber_loss(a, b, 'sum', 0.3) where a: 3 4; b: 3 4",
            "F.huber_loss(a, b, reduction='none') where a: 3 4; b: 3 4",
        ),
    ),
    Rule(
        "cross_entropy",
        (
            "F.cross_entropy(a, target, weight=None, size_average=None, ignore_index=-100, "
            "reduce=None, reduction='mean', label_smoothing=0.0)",
        ),
        {"a": _cross_entropy, "target": _cross_entropy_target},
        exact={"a": _cross_entropy_exact},
        why="softmax less the target: what was given to each class, less what should have been",
        source=BISHOP,
        tests=(
            "F.cross_entropy(a, t) where a: 5 4; t: 5 < 4",
            "F.cross_entropy(a, t) where a: 4; t: () < 4",
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
    ),
    Rule(
        "kl_div",
        (f"F.kl_div(a, target, {ENDING}, log_target=False)",),
        {
            "a": _divergence("-target", "-target.exp()"),
            "target": _divergence("(target.log() + 1 - a)", "target.exp() * (target - a + 1)"),
        },
        why="target times how far its logarithm lies above a: linear in a, a product in the target",
        source=KULLBACK,
        tests=(
            "F.kl_div(a, b) where a: 3 4; b: 3 4 positive",
            "F.kl_div(a, b, reduction='batchmean') where a: 3 4; b: 3 4 positive",
            "F.kl_div(a, b, reduction='sum', log_target=True) where a: 3 4; b: 3 4",
            "F.kl_div(a, b, reduction='none') where a: 3 4; b: 3 4 positive",
        ),
    ),
    Rule(
        "binary_cross_entropy",
        (f"F.binary_cross_entropy(a, target, weight=None, {ENDING})",),
        {
            "a": _pairwise("(a - target) / (a * (1 - a)).clamp(min=1e-12)", "weight"),
            "target": _pairwise("((1 - a).log() - a.log())", "weight"),
        },
        why="what was given less what should have been, over the variance of a coin that falls so",
        source=BISHOP,
        tests=(
            "F.binary_cross_entropy(a, b) where a: 3 4 unit; b: 3 4 unit",
            "F.binary_cross_entropy(a, b, reduction='none') where a: 3 4 unit; b: 3 4 unit",
            "F.binary_cross_entropy(a, b, w.detach(), reduction='sum') where a: 3 4 unit; "
            "b: 3 4 unit; w: 4 positive",
        ),
    ),
    Rule(
        "binary_cross_entropy_with_logits",
        (f"F.binary_cross_entropy_with_logits(a, target, weight=None, {ENDING}, pos_weight=None)",),
        {
            "a": _logits(
                "(torch.sigmoid(a) - target)",
                "((1 + (pos_weight - 1) * target) * torch.sigmoid(a) - pos_weight * target)",
            ),
            "target": _logits("-a", "((pos_weight - 1) * F.softplus(-a) - a)"),
        },
        why="a sigmoid less the target: what was given, less what should have been",
        source=BISHOP,
        tests=(
            "F.binary_cross_entropy_with_logits(a, b) where a: 3 4; b: 3 4 unit",
            "F.binary_cross_entropy_with_logits(a, b, reduction='sum') where a: 3; b: 3 unit",
            "F.binary_cross_entropy_with_logits(a, b, w.detach(), reduction='none', "
            "pos_weight=p.detach()) where a: 3 4; b: 3 4 unit; w: 4 positive; p: 4 positive",
        ),
    ),
)
