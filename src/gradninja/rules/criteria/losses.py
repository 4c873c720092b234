"""What a forward ends in: distances between what came out and what should have."""

from __future__ import annotations

from gradninja.rules.criteria.meanings import REDUCTIONS, divergence, logits, reduction, termwise
from gradninja.rules.layers.attention import BISHOP
from gradninja.rules.rule import Refusal, Rule, Site, Template

CALCULUS = "calculus: the derivative of an elementary function, and the chain rule"
KULLBACK = "Kullback & Leibler 1951, On information and sufficiency; calculus"
ENDING = "size_average=None, reduce=None, reduction='mean'"


def _reduced(site: Site, text: str, count: str) -> str:
    """Times the cotangent, over the count where the loss is a mean."""
    return f"{text} / {count} * g" if reduction(site) == "mean" else f"{text} * g"


def _shared(site: Site, count: str) -> str:
    """The cotangent of one term of the sum that a loss is."""
    return f"(g / {count})" if reduction(site) == "mean" else "g"


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


def _kernel(name: str, of: str, *rest: str) -> Template:
    """PyTorch's own kernel for a loss that is the same seen from either side."""
    to = "target" if of == "a" else "a"

    def template(site: Site) -> str:
        both = f"{of}, {to}"
        if site.shape("a") != site.shape("target"):
            both = f"*torch.broadcast_tensors({both})"
        further = "".join(f", {word}" for word in rest)
        number = REDUCTIONS[reduction(site)]
        return f"torch.ops.aten.{name}_backward(g, {both}, {number}{further})"

    return template


def _mse(of: str, exact: bool = False) -> Template:
    formula = _pairwise("2 * (a - target)" if of == "a" else "-2 * (a - target)")
    chosen = _kernel("mse_loss", of) if exact else formula

    def template(site: Site) -> str | list[str]:
        if site.value_or("weight", None) is not None:
            raise Refusal("`weight` is outside here; multiply on a line of its own")
        assert callable(chosen)
        return chosen(site)

    return template


def _distance(difference: str) -> Template:
    return lambda site: f"{_shared(site, _pairs(site))} * ({difference}).sgn()"


def _smooth(of: str, exact: bool = False) -> Template:
    to = "target" if of == "a" else "a"
    sharp = _distance(f"{of} - {to}")
    kernel = _kernel("smooth_l1_loss", of, "beta")

    def template(site: Site) -> str | list[str]:
        assert callable(sharp) and callable(kernel)
        if site.value("beta") == 0:
            return sharp(site)
        if exact:
            return kernel(site)
        scaled = f"({of} - {to})" + ("" if site.value("beta") == 1 else " / beta")
        return _reduced(site, f"({scaled}).clamp(-1, 1)", _pairs(site))

    return template


def _divergence(plain: str, from_logs: str) -> Template:
    def template(site: Site) -> str:
        text = from_logs if site.value("log_target") else plain
        if reduction(site) == "batchmean":
            return f"{text} / a.shape[0] * g"
        return _reduced(site, text, _pairs(site))

    return template


def _divergence_exact(plain: str, from_logs: str) -> Template:
    """Product by product, as PyTorch's own forward is made of them; SHARE is each term's part."""

    def template(site: Site) -> str:
        share = _shared(site, _pairs(site))
        if reduction(site) == "batchmean":
            share = "(g / a.shape[0])"
        return (from_logs if site.value("log_target") else plain).replace("SHARE", share)

    return template


def _entropy_exact(site: Site) -> str:
    weight = "None" if site.value("weight") is None else "weight.expand_as(a)"
    number = REDUCTIONS[reduction(site)]
    return f"torch.ops.aten.binary_cross_entropy_backward(g, a, target, {weight}, {number})"


def _in_turn(text: str, weighted: str = "") -> Template:
    """Times the cotangent, then the weight, then over the count: PyTorch's order."""

    def template(site: Site) -> str:
        given = site.value_or("pos_weight", None) is not None
        factors = f"{weighted if given else text} * g"
        if site.value("weight") is not None:
            factors += " * weight"
        return f"{factors} / {_pairs(site)}" if reduction(site) == "mean" else factors

    return template


def _logits(plain: str, weighted: str) -> Template:
    def template(site: Site) -> str | list[str]:
        chosen = _pairwise(plain if site.value("pos_weight") is None else weighted, "weight")
        assert callable(chosen)
        return chosen(site)

    return template


LOSSES = (
    Rule(
        "mse_loss",
        (f"F.mse_loss(a, target, {ENDING}, weight=None)",),
        {"a": _mse("a"), "target": _mse("target")},
        exact={"a": _mse("a", exact=True), "target": _mse("target", exact=True)},
        why="a square's gradient is twice its base; a mean hands each its share",
        source=CALCULUS,
        tests=(
            "F.mse_loss(a, b) where a: 3 4; b: 3 4",
            "F.mse_loss(a, b, reduction='sum') where a: 3 4; b: 3 4",
            "F.mse_loss(a, b, reduction='none') where a: 3 4; b: 4",
            "F.mse_loss(a, b) where a: 3 4; b: ()",
            "F.mse_loss(a, b) where a: 1 4; b: 3 1",
        ),
        means=termwise("(a - target) * (a - target)"),
    ),
    Rule(
        "l1_loss",
        (f"F.l1_loss(a, target, {ENDING})",),
        {"a": _pairwise("(a - target).sign()"), "target": _pairwise("(target - a).sign()")},
        exact={"a": _distance("a - target"), "target": _distance("target - a")},
        why="a distance's slope is 1 on one side and minus 1 on the other",
        source=CALCULUS,
        tests=(
            "F.l1_loss(a, b) where a: 3 4; b: 3 4",
            "F.l1_loss(a, b) where a: 3 4 ties; b: 3 4 ties",
            "F.l1_loss(a, b, reduction='sum') where a: 3 4 ties; b: 3 4 ties",
            "F.l1_loss(a, b, reduction='none') where a: 3 4; b: 3 4",
        ),
        means=termwise("torch.abs(a - target)"),
    ),
    Rule(
        "smooth_l1_loss",
        (f"F.smooth_l1_loss(a, target, {ENDING}, beta=1.0)",),
        {"a": _smooth("a"), "target": _smooth("target")},
        exact={"a": _smooth("a", exact=True), "target": _smooth("target", exact=True)},
        why="near the target as a square, far from it as a distance: the slope stops at 1",
        source="Girshick 2015, Fast R-CNN, equation 3",
        tests=(
            "F.smooth_l1_loss(a, b) where a: 3 4; b: 3 4",
            "F.smooth_l1_loss(a, b, reduction='sum', beta=0.3) where a: 3 4; b: 3 4",
            "F.smooth_l1_loss(a, b, reduction='none', beta=0.0) where a: 3 4; b: 3 4",
            "F.smooth_l1_loss(a, b, reduction='none', beta=0.0) where a: 3 4 ties; b: 3 4 ties",
        ),
        means=termwise(
            "far = torch.abs(a - target)",
            "torch.where(far < beta, 0.5 * far * far / beta, far - 0.5 * beta)",
        ),
    ),
    Rule(
        "huber_loss",
        ("F.huber_loss(a, target, reduction='mean', delta=1.0)",),
        {
            "a": _pairwise("(a - target).clamp(-delta, delta)"),
            "target": _pairwise("(target - a).clamp(-delta, delta)"),
        },
        exact={
            "a": _kernel("huber_loss", "a", "delta"),
            "target": _kernel("huber_loss", "target", "delta"),
        },
        why="near the target as a square, far from it as a distance: the slope stops at delta",
        source="Huber 1964, Robust estimation of a location parameter",
        tests=(
            "F.huber_loss(a, b) where a: 3 4; b: 3 4",
            "F.huber_loss(a, b, 'sum', 0.3) where a: 3 4; b: 3 4",
            "F.huber_loss(a, b, reduction='none') where a: 3 4; b: 3 4",
        ),
        means=termwise(
            "far = torch.abs(a - target)",
            "torch.where(far <= delta, 0.5 * far * far, delta * (far - 0.5 * delta))",
        ),
    ),
    Rule(
        "kl_div",
        (f"F.kl_div(a, target, {ENDING}, log_target=False)",),
        {
            "a": _divergence("-target", "-target.exp()"),
            "target": _divergence("(target.log() + 1 - a)", "target.exp() * (target - a + 1)"),
        },
        exact={
            "a": _divergence_exact("-SHARE * target", "-(SHARE * target.exp())"),
            "target": _divergence_exact(
                "torch.xlogy(SHARE, target) + SHARE * target / target - SHARE * a",
                "SHARE * target.exp() + SHARE * (target - a) * target.exp()",
            ),
        },
        why="target times how far its logarithm lies above a: linear in a, a product in the target",
        source=KULLBACK,
        tests=(
            "F.kl_div(a, b) where a: 3 4; b: 3 4 positive",
            "F.kl_div(a, b, reduction='batchmean') where a: 3 4; b: 3 4 positive",
            "F.kl_div(a, b, reduction='sum', log_target=True) where a: 3 4; b: 3 4",
            "F.kl_div(a, b, reduction='none') where a: 3 4; b: 3 4 positive",
        ),
        means=divergence,
    ),
    Rule(
        "binary_cross_entropy",
        (f"F.binary_cross_entropy(a, target, weight=None, {ENDING})",),
        {
            "a": _pairwise("(a - target) / (a * (1 - a)).clamp(min=1e-12)", "weight"),
            "target": _pairwise("((1 - a).log() - a.log())", "weight"),
        },
        exact={"a": _entropy_exact, "target": _in_turn("-torch.logit(a)")},
        why="what was given less what should have been, over the variance of a coin that falls so",
        source=BISHOP,
        tests=(
            "F.binary_cross_entropy(a, b) where a: 3 4 unit; b: 3 4 unit",
            "F.binary_cross_entropy(a, b, reduction='none') where a: 3 4 unit; b: 3 4 unit",
            "F.binary_cross_entropy(a, b, w.detach(), reduction='sum') where a: 3 4 unit; "
            "b: 3 4 unit; w: 4 positive",
        ),
        means=termwise(
            "log_p = torch.clamp(torch.log(a), min=-100.0)",
            "-(target * log_p + (1 - target) * torch.clamp(torch.log1p(-a), min=-100.0))",
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
        exact={
            "a": _in_turn(
                "(torch.sigmoid(a) - target)",
                "((pos_weight * target + 1 - target) * torch.sigmoid(a) - pos_weight * target)",
            ),
            "target": _in_turn("-a", "(F.logsigmoid(-a) - pos_weight * F.logsigmoid(a))"),
        },
        why="a sigmoid less the target: what was given, less what should have been",
        source=BISHOP,
        tests=(
            "F.binary_cross_entropy_with_logits(a, b) where a: 3 4; b: 3 4 unit",
            "F.binary_cross_entropy_with_logits(a, b, reduction='sum') where a: 3; b: 3 unit",
            "F.binary_cross_entropy_with_logits(a, b, w.detach(), reduction='none', "
            "pos_weight=p.detach()) where a: 3 4; b: 3 4 unit; w: 4 positive; p: 4 positive",
        ),
        means=logits,
    ),
)
