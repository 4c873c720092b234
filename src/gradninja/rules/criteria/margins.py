"""Losses with a margin, and likelihoods of counts and of normal distributions."""

from __future__ import annotations

from gradninja.rules.criteria.losses import ENDING
from gradninja.rules.criteria.meanings import REDUCTIONS, gaussian, poisson, reduced, reduction
from gradninja.rules.layers.attention import BISHOP
from gradninja.rules.rule import Refusal, Rule, Site, Template

HINGE = "beyond the margin nothing is lost, and no gradient passes; within it the loss is a line"


def _share(site: Site, count: str = "a.numel()") -> str:
    """The cotangent of one term of the sum that a loss is."""
    return f"(g / {count})" if reduction(site) == "mean" else "g"


def _termwise(text: str, count: str = "a.numel()") -> Template:
    return lambda site: text.replace("SHARE", _share(site, count))


def _ranking(slope: str) -> Template:
    return _termwise(
        f"{slope} * torch.where(margin - target * (a - b) >= 0, SHARE, 0)",
        "torch.broadcast_tensors(a, b, target)[0].numel()",
    )


def _poisson(exact: bool) -> Template:
    """`exact`: what either side of the difference gets, as PyTorch's forward is made of them."""

    def template(site: Site) -> str:
        share, logs = _share(site), site.value("log_input")
        if exact:
            apart = (
                "SHARE * a.exp() - SHARE * target" if logs else "SHARE - SHARE * target / (a + eps)"
            )
            return apart.replace("SHARE", share)
        return f"({'a.exp() - target' if logs else '1 - target / (a + eps)'}) * {share}"

    return template


def _poisson_target(site: Site) -> str:
    if site.value("full"):
        raise Refusal("there is a rule for `full=False` alone where the target has a gradient")
    slope = "-a" if site.value("log_input") else "-(a + eps).log()"
    return f"{slope} * {_share(site)}"


def _normal(of: str, exact: bool = False) -> Template:
    """What is below eps counts as eps, and gets the gradient all the same."""

    def template(site: Site) -> str:
        if site.ndim("var") != site.ndim("a"):
            raise Refusal("give `var` as many axes as the input has")
        var = "var.clamp(min=eps)"
        if exact:
            half = f"(0.5 * {_share(site)})"
            away = f"(a - target) ** 2 / {var} / {var}"
            return f"{half} / {var} - {half} * ({away})"
        text = {
            "a": f"(a - target) / {var}",
            "target": f"(target - a) / {var}",
            "var": f"(1 - (a - target) ** 2 / {var}) / (2 * {var})",
        }[of]
        return f"{text} * {_share(site)}"

    return template


def _multi(site: Site) -> str:
    weight = "None" if site.value("weight") is None else "weight"
    number = REDUCTIONS[reduction(site)]
    return f"torch.ops.aten.multi_margin_loss_backward(g, a, target, p, margin, {weight}, {number})"


def _soft(exact: bool) -> Template:
    def template(site: Site) -> str:
        if exact:
            number = REDUCTIONS[reduction(site)]
            return f"torch.ops.aten.soft_margin_loss_backward(g, a, target, {number})"
        return f"-target * torch.sigmoid(-target * a) * {_share(site)}"

    return template


def _multilabel(of: str, exact: bool = False) -> Template:
    """A mean over the classes, and then over the rows; `exact`: each class's two logarithms."""
    slope = "(torch.sigmoid(a) - target)" if of == "a" else "-a"

    def template(site: Site) -> str:
        weight = "" if site.value("weight") is None else " * weight"
        share = "g.unsqueeze(-1)" if reduction(site) == "none" else "g"
        rows = " / a[..., 0].numel()" if reduction(site) == "mean" else ""
        if not exact:
            return f"{slope}{weight} / a.shape[-1] * {share}{rows}"
        each = f"({share}{rows} / a.shape[-1]{weight})"
        if of == "target":
            return f"{each} * F.logsigmoid(-a) - {each} * F.logsigmoid(a)"
        return f"{each} * (1 - target) * torch.sigmoid(a) - {each} * target * torch.sigmoid(-a)"

    return template


def _triplet(of: str, exact: bool = False) -> Template:
    """Towards the one that is like it, away from the other, where the margin is missed.

    `exact`: what either distance gets.
    """

    def template(site: Site) -> str:
        if site.value("p") != 2 or site.value("swap"):
            raise Refusal("there is a rule for p=2 without `swap` alone")
        near, far = "F.pairwise_distance(a, b, eps=eps)", "F.pairwise_distance(a, c, eps=eps)"
        share = _share(site, f"{near}.numel()")
        missed = f"torch.where(margin + {near} - {far} >= 0, {share}, 0)"
        if exact:
            near, far = (f"({missed} / {length}).unsqueeze(-1)" for length in (near, far))
            return f"(a - b + eps) * {near} - (a - c + eps) * {far}"
        like = f"(a - b + eps) / {near}.unsqueeze(-1)"
        unlike = f"(a - c + eps) / {far}.unsqueeze(-1)"
        text = {"a": f"({like} - {unlike})", "b": f"-({like})", "c": f"({unlike})"}[of]
        return f"{text} * {missed}.unsqueeze(-1)"

    return template


MARGINS = (
    Rule(
        "multi_margin_loss",
        (f"F.multi_margin_loss(a, target, p=1, margin=1.0, weight=None, {ENDING})",),
        {"a": _multi},
        why=HINGE,
        source="Crammer & Singer 2001, Multiclass kernel-based vector machines",
        tests=(
            "F.multi_margin_loss(a, t) where a: 5 4; t: 5 < 4",
            "F.multi_margin_loss(a, t, p=2, margin=0.5, reduction='sum') where a: 5 4; t: 5 < 4",
            "F.multi_margin_loss(a, t, weight=w.detach(), reduction='none') where a: 5 4; "
            "t: 5 < 4; w: 4 positive",
        ),
    ),
    Rule(
        "soft_margin_loss",
        (f"F.soft_margin_loss(a, target, {ENDING})",),
        {"a": _soft(exact=False)},
        exact={"a": _soft(exact=True)},
        why="a softened hinge: its slope is a sigmoid",
        source=BISHOP,
        tests=(
            "F.soft_margin_loss(a, (2 * t - 1).to(a.dtype)) where a: 5; t: 5 < 2",
            "F.soft_margin_loss(a, (2 * t - 1).to(a.dtype), reduction='sum') where a: 3 4; "
            "t: 3 4 < 2",
            "F.soft_margin_loss(a, (2 * t - 1).to(a.dtype), reduction='none') where a: 3 4; "
            "t: 3 4 < 2",
        ),
        means=lambda site: reduced(site, "torch.log1p(torch.exp(-target * a))"),
    ),
    Rule(
        "multilabel_soft_margin_loss",
        (f"F.multilabel_soft_margin_loss(a, target, weight=None, {ENDING})",),
        {"a": _multilabel("a"), "target": _multilabel("target")},
        exact={"a": _multilabel("a", exact=True), "target": _multilabel("target", exact=True)},
        why="a sigmoid less the target: what was given, less what should have been",
        source=BISHOP,
        tests=(
            "F.multilabel_soft_margin_loss(a, t) where a: 5 4; t: 5 4 unit",
            "F.multilabel_soft_margin_loss(a, t) where a: 5 4; t: 5 4 < 2",
            "F.multilabel_soft_margin_loss(a, t, w.detach(), reduction='none') "
            "where a: 5 4; t: 5 4 < 2; w: 4 positive",
            "F.multilabel_soft_margin_loss(a, t, reduction='sum') where a: 5 4; t: 5 4 < 2",
        ),
    ),
    Rule(
        "margin_ranking_loss",
        (
            "F.margin_ranking_loss(a, b, target, margin=0, size_average=None, reduce=None, "
            "reduction='mean')",
        ),
        {
            "a": _ranking("-target"),
            "b": _ranking("target"),
            "target": _ranking("(b - a)"),
        },
        why=HINGE,
        source="Herbrich et al. 1999, Large margin rank boundaries for ordinal regression",
        tests=(
            "F.margin_ranking_loss(a, b, t) where a: 5; b: 5; t: 5",
            "F.margin_ranking_loss(a, b, t) where a: 12 ties; b: 12 ties; t: 12 ties",
            "F.margin_ranking_loss(a, b, t, 1.0, reduction='sum') where a: 12 ties; b: 12 ties; "
            "t: 12 ties",
            "F.margin_ranking_loss(a, b, t, 1.0, reduction='none') where a: 12 ties; b: 12 ties; "
            "t: 12 ties",
            "F.margin_ranking_loss(a, b, 2 * t - 1) where a: 5; b: 5; t: 5 < 2",
            "F.margin_ranking_loss(a, b, 2 * t - 1, margin=1.0, reduction='sum') where a: 12 ties; "
            "b: 12 ties; t: 12 < 2",
            "F.margin_ranking_loss(a, b, 2 * t - 1, 0.3, reduction='none') where a: 5; b: 5; "
            "t: 5 < 2",
            "F.margin_ranking_loss(a, b, 2 * t - 1) where a: 12 ties; b: 12 ties; t: 12 < 2",
            "F.margin_ranking_loss(a, b, 2 * t - 1, 1.0, reduction='none') where a: 12 ties; "
            "b: 12 ties; t: 12 < 2",
        ),
        means=lambda site: reduced(site, "torch.clamp(margin - target * (a - b), min=0.0)"),
    ),
    Rule(
        "hinge_embedding_loss",
        (f"F.hinge_embedding_loss(a, target, margin=1.0, {ENDING})",),
        {
            "a": _termwise(
                "torch.where(target == -1, 0, SHARE) - "
                "torch.where((target != 1) & (a <= margin), SHARE, 0)"
            )
        },
        why=HINGE,
        source="Hadsell et al. 2006, Dimensionality reduction by learning an invariant mapping",
        tests=(
            "F.hinge_embedding_loss(a, 2 * t - 1) where a: 12; t: 12 < 2",
            "F.hinge_embedding_loss(a, t - 1, 0.5, reduction='none') where a: 12; t: 12 < 3",
            "F.hinge_embedding_loss(a, t - 1) where a: 24 ties; t: 24 < 3",
            "F.hinge_embedding_loss(a, t - 1, reduction='none') where a: 24 ties; t: 24 < 3",
            "F.hinge_embedding_loss(a, t - 1, reduction='sum') where a: 24 ties; t: 24 < 3",
        ),
        shape_only=("target",),
        means=lambda site: reduced(
            site,
            "torch.where(target != 1, torch.clamp(margin - a, min=0.0), 0.0) "
            "+ torch.where(target != -1, a, 0.0)",
        ),
    ),
    Rule(
        "triplet_margin_loss",
        (
            "F.triplet_margin_loss(a, b, c, margin=1.0, p=2, eps=1e-06, swap=False, "
            "size_average=None, reduce=None, reduction='mean')",
        ),
        {"a": _triplet("a"), "b": _triplet("b"), "c": _triplet("c")},
        exact={"a": _triplet("a", exact=True)},
        why="towards the one that is like it, away from the one that is not, until the margin",
        source="Schroff et al. 2015, FaceNet, equation 1",
        tests=(
            "F.triplet_margin_loss(a, b, c) where a: 6 3; b: 6 3; c: 6 3",
            "F.triplet_margin_loss(a, b, c, margin=0.2, reduction='sum') where a: 6 3; b: 6 3; "
            "c: 6 3",
            "F.triplet_margin_loss(a, b, c, reduction='none') where a: 6 3; b: 6 3; c: 6 3",
        ),
    ),
    Rule(
        "poisson_nll_loss",
        (
            "F.poisson_nll_loss(a, target, log_input=True, full=False, size_average=None, "
            "eps=1e-08, reduce=None, reduction='mean')",
        ),
        {"a": _poisson(exact=False), "target": _poisson_target},
        exact={"a": _poisson(exact=True)},
        why="how often it is expected, less how often it was seen",
        source="McCullagh & Nelder 1989, Generalized linear models, section 6.2",
        tests=(
            "F.poisson_nll_loss(a, b) where a: 3 4; b: 3 4 positive",
            "F.poisson_nll_loss(a, b, log_input=False, reduction='sum') where a: 3 4 positive; "
            "b: 3 4 positive",
            "F.poisson_nll_loss(a, b, reduction='none') where a: 3 4; b: 3 4 positive",
            "F.poisson_nll_loss(a, t, full=True) where a: 3 4; t: 3 4 < 4",
            "F.poisson_nll_loss(a, t, log_input=False, full=True, reduction='sum') "
            "where a: 3 4 positive; t: 3 4 < 4",
        ),
        means=poisson,
    ),
    Rule(
        "gaussian_nll_loss",
        ("F.gaussian_nll_loss(a, target, var, full=False, eps=1e-06, reduction='mean')",),
        {"a": _normal("a"), "target": _normal("target"), "var": _normal("var")},
        exact={"var": _normal("var", exact=True)},
        why="a distance over the variance; the variance is weighed against the squared distance",
        source="Nix & Weigend 1994, Estimating the mean and variance of the target distribution",
        tests=(
            "F.gaussian_nll_loss(a, b, v) where a: 3 4; b: 3 4; v: 3 4 positive",
            "F.gaussian_nll_loss(a, b, v, eps=0.5, reduction='sum') where a: 3 4; b: 3 4; "
            "v: 3 1 positive",
            "F.gaussian_nll_loss(a, b, v, reduction='none') where a: 3 4; b: 3 4; v: 3 4 positive",
        ),
        means=gaussian,
    ),
)
