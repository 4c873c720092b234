"""How far values lie from their mean: variances and deviations, with or without the mean."""

from __future__ import annotations

from gradninja.rules.elementwise.arithmetic import CALCULUS
from gradninja.rules.rule import Rule, Site, Template, over


def _freedom(site: Site) -> str:
    """What the squares are divided by: the count, less the correction."""
    if "unbiased" in site.bound:
        if not site.fixed("unbiased"):
            return "count(a) - unbiased"
        return "count(a) - 1" if site.value("unbiased") else "count(a)"
    if site.value_or("correction", None) is None:
        return "count(a) - 1"
    if site.fixed("correction") and site.value("correction") == 0:
        return "count(a)"
    return "count(a) - correction"


def _correction(site: Site) -> float:
    given = site.value("unbiased") if "unbiased" in site.bound else site.value_or("correction", 1)
    return 1.0 if given is None else float(given)


def _centred(site: Site) -> str:
    return f"(a - a.mean({over(site)}))"


def _variance(g: str) -> Template:
    return lambda site: f"2 * {_centred(site)} * keep({g}) / ({_freedom(site)})"


def _variance_exact(g: str) -> Template:
    """In autograd's order, except where that would divide a plain 2 by a plain 0."""

    readable = _variance(g)
    assert callable(readable)

    def template(site: Site) -> str:
        if site.numel() == _correction(site):
            return str(readable(site))
        return f"2 / ({_freedom(site)}) * keep({g}) * {_centred(site)}"

    return template


def _deviation(g: str, y: str) -> Template:
    per_root = f"keep(({g} / {y}).masked_fill({y} == 0, 0))"
    return lambda site: f"{_centred(site)} * {per_root} / ({_freedom(site)})"


def _deviation_exact(g: str, y: str) -> Template:
    return _variance_exact(f"({g} / ({y} * 2)).masked_fill({y} == 0, 0)")


def _variance_meaning(site: Site) -> str:
    freedom = _freedom(site).replace("count(a)", site.count())
    reduced = "dim, keepdim" if "dim" in site.bound else ""
    return f"centred = a - a.mean({over(site)})\n(centred**2).sum({reduced}) / ({freedom})"


def _deviation_meaning(site: Site) -> str:
    centred, variance = _variance_meaning(site).split("\n")
    return f"{centred}\ntorch.sqrt({variance})"


def _with_mean(spread: Template) -> Template:
    """The gradients through a spread and through the mean that was given beside it."""

    def template(site: Site) -> str:
        assert callable(spread)
        return site.added(str(spread(site)), "keep(g1) / count(a)")

    return template


ARGUMENTS = (
    "dim=None, correction=1, keepdim=False)",
    "unbiased=bool)",
    "dim, unbiased=bool, keepdim=False)",
)


def _spellings(start: str) -> tuple[str, ...]:
    return tuple(start + rest for rest in ARGUMENTS)


SPREADS = (
    Rule(
        "var",
        (*_spellings("torch.var(a, "), *_spellings("a.var(")),
        {"a": _variance("g")},
        exact={"a": _variance_exact("g")},
        why="a variance is a mean of squared distances to the mean: every element gets twice its "
        "distance over what the squares were divided by (the mean's own part adds up to 0)",
        notation="variance",
        source=CALCULUS,
        tests=(
            "a.var() where a: 3 4",
            "a.var(0) where a: 3 4",
            "a.var(0, keepdim=True) where a: 3 4",
            "a.var(-1, correction=0) where a: 3 4",
            "torch.var(a, dim=1, correction=3) where a: 3 4",
            "a.var((0, 2), correction=0, keepdim=True) where a: 3 4 2",
            "a.var(0, False) where a: 3 4",
            "a.var(1, unbiased=True) where a: 3 4",
            "a.var(1, unbiased=False) where a: 3 0",
            "a.var(unbiased=False) where a: 3 4",
        ),
        means=_variance_meaning,
    ),
    Rule(
        "std",
        (*_spellings("torch.std(a, "), *_spellings("a.std(")),
        {"a": _deviation("g", "y")},
        exact={"a": _deviation_exact("g", "y")},
        why="the root of a variance: every element gets its distance to the mean over the "
        "deviation and over what the squares were divided by",
        notation="deviation",
        source=CALCULUS,
        tests=(
            "a.std() where a: 3 4",
            "a.std(0) where a: 3 4",
            "torch.std(a, -1, keepdim=True) where a: 3 4",
            "a.std((0, 2), correction=0) where a: 3 4 2",
            "a.std(0, unbiased=False) where a: 3 4",
            "torch.std(a, unbiased=True) where a: 3 4",
            "(a * 0).std() * a where a: 3 4",
            "(a * 0).std(unbiased=True) * a where a: 3 4",
            "a.std(1, correction=2) where a: 3 4",
            "(a * 0).std(0) * a where a: 3 4",
            "(a * 0).std(0, correction=0) * a where a: 3 4",
            "(a * 0).std(1, correction=2) * b where a: 3 4; b: 3",
        ),
        means=_deviation_meaning,
    ),
    Rule(
        "var_mean",
        _spellings("torch.var_mean(a, "),
        {"a": _with_mean(_variance("g0"))},
        exact={"a": _with_mean(_variance_exact("g0"))},
        why="a variance and a mean beside it: each element gets the gradients of both",
        source=CALCULUS,
        tests=(
            "torch.var_mean(a) where a: 3 4",
            "torch.var_mean(a, 0) where a: 3 4",
            "torch.var_mean(a, dim=-1, keepdim=True, correction=0) where a: 3 4",
            "torch.var_mean(a, (0, 2), unbiased=False) where a: 3 4 2",
            "torch.var_mean(a, unbiased=False) where a: 3 4",
            "torch.var_mean(a, 1, correction=3) where a: 3 4",
            "torch.var_mean(a, 0)[1] where a: 3 4",
        ),
    ),
    Rule(
        "std_mean",
        _spellings("torch.std_mean(a, "),
        {"a": _with_mean(_deviation("g0", "y[0]"))},
        exact={"a": _with_mean(_deviation_exact("g0", "y[0]"))},
        why="a deviation and a mean beside it: each element gets the gradients of both",
        source=CALCULUS,
        tests=(
            "torch.std_mean(a) where a: 3 4",
            "torch.std_mean(a, 0) where a: 3 4",
            "torch.std_mean(a, dim=-1, keepdim=True, correction=0) where a: 3 4",
            "torch.std_mean(a, 1, unbiased=False) where a: 3 4",
            "torch.std_mean(a, unbiased=False) where a: 3 4",
            "torch.std_mean(a, 1, correction=3) where a: 3 4",
            "torch.std_mean(a * 0 + 1)[0] * a where a: 3 4",
            "torch.std_mean(a * 0 + 1, unbiased=False)[0] * a where a: 3 4",
            "torch.std_mean(a * 0 + 1, 0)[0] * a where a: 3 4",
            "torch.std_mean(a * 0 + 1, 0, correction=2)[0] * a where a: 3 4",
            "torch.std_mean(a * 0 + 1, 0, unbiased=False)[0] * a where a: 3 4",
        ),
    ),
)
