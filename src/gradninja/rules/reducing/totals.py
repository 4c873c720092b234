"""Sums of another kind: running logarithms, areas, covariances, quantiles, scattered and bagged."""

from __future__ import annotations

from gradninja.rules.elementwise.arithmetic import CALCULUS
from gradninja.rules.elementwise.functions import DERIVATIVES
from gradninja.rules.rule import Refusal, Rule, Site, Template, over

SPREAD = "each element is multiplied with the others' distances to their means, twice in a square"


def _running_logarithm(site: Site) -> str:
    """In logarithms, of what is above 0 and of what is below, so that nothing overflows."""
    if site.ndim("a") == 0:
        return "g"
    parts = []
    for sign in ("g", "-g"):
        logs = f"torch.where({sign} > 0, ({sign}).log(), -math.inf)"
        parts.append(f"(({logs} - y).flip(dim).logcumsumexp(dim).flip(dim) + a).exp()")
    return " - ".join(parts)


def _area(exact: bool) -> Template:
    """Each height counts half of the step before it and half of the one behind."""

    def template(site: Site) -> str:
        if site.value_or("x", None) is not None:
            _last(site)
            halves = "g.unsqueeze(-1) / 2 * x.diff(dim=-1)"
            return f"F.pad({halves}, (1, 0)) + F.pad({halves}, (0, 1))"
        if site.shape("a")[site.value("dim")] < 2:
            return "torch.zeros_like(a)"
        g = "keep(g)" if site.value_or("dx", 1) == 1 else "(keep(g) * dx)"
        inner = "torch.{}_like(a.narrow(dim, 2, a.shape[dim] - 2))"
        if exact:  # the whole sum, less half of its ends
            return f"{g} - torch.cat(({g} / 2, {inner.format('zeros')}, {g} / 2), dim)"
        ends = "torch.ones_like(a.narrow(dim, 0, 1)) / 2"
        return f"{g} * torch.cat(({ends}, {inner.format('ones')}, {ends}), dim)"

    return template


def _places(site: Site) -> str:
    _last(site)
    heights = "(a[..., 1:] + a[..., :-1]) / 2 * g.unsqueeze(-1)"
    return f"-torch.diff(F.pad({heights}, (1, 1)), dim=-1)"


def _last(site: Site) -> None:
    if site.value("dim") not in (-1, site.ndim("a") - 1):
        raise Refusal("with `x` there is a rule along the last axis alone")


def _covariance(exact: bool) -> Template:
    """`exact`: the gradient of what the means are taken from, less its own means."""

    def template(site: Site) -> str:
        if site.value("fweights") is not None or site.value("aweights") is not None:
            raise Refusal("there is a rule without weights alone")
        less = "correction" if site.value("correction") != 1 else "1"
        if site.y.ndim == 0:  # a row, with or without an axis for rows
            text, mean = f"2 * (a - a.mean()) * g / (a.numel() - {less})", "mean()"
        else:
            text = f"(g + g.T) @ (a - a.mean(1, keepdim=True)) / (a.shape[1] - {less})"
            mean = "mean(1, keepdim=True)"
        return f"{text} - ({text}).{mean}" if exact else text

    return template


def _correlation(site: Site) -> str:
    """The rows made of length 1, and what would only stretch them taken out."""
    if site.y.ndim == 0:  # a row, with itself
        return "torch.zeros_like(a)"
    centred = "(a - a.mean(1, keepdim=True))"
    length = f"torch.linalg.vector_norm{centred[:-1]}, dim=1, keepdim=True)"
    rows = f"{centred} / {length}"
    both = "(g + g.T)"
    return f"({both} @ ({rows}) - ({both} * y).sum(1, keepdim=True) * ({rows})) / {length}"


def _quantile(site: Site) -> str:
    """A mix of the two elements on either side."""
    if not isinstance(site.value("q"), float | int) or site.value("interpolation") != "linear":
        raise Refusal("there is a rule for one number `q`, and `interpolation='linear'`")
    whole = site.value("dim") is None
    a, dim, count = ("a.flatten()", "0", "a.numel()") if whole else ("a", "dim", "a.shape[dim]")
    g = "g.flatten()" if whole else "keep(g)"
    rank = f"q * ({count} - 1)"
    order = f"{a}.argsort({dim})"
    text = f"torch.zeros_like({a})"
    for place, weight in (
        (f"int({rank})", f"(1 - {rank} % 1)"),
        (f"math.ceil({rank})", f"({rank} % 1)"),
    ):
        text += f".scatter_add({dim}, {order}.narrow({dim}, {place}, 1), {weight} * {g})"
    return f"{text}.reshape(a.shape)" if whole else text


def _scattered(of: str) -> Template:
    def template(site: Site) -> str:
        if site.shape("index") != site.shape("src"):
            raise Refusal("`src` must have the shape of `index`, else PyTorch has no gradient")
        how = site.value("reduce")
        kept = "" if site.value("include_self") or of == "src" else ".scatter(dim, index, 0)"
        if how == "sum":
            share = "g"
        elif how == "mean":
            first = "ones" if site.value("include_self") else "zeros"
            counted = f"torch.{first}_like(g).scatter_add(dim, index, torch.ones_like(src))"
            share = f"(g / {counted if first == 'ones' else counted + '.clamp(min=1)'})"
        elif how in ("amax", "amin"):
            mine, theirs = "(a == y)", "(src == y.gather(dim, index))"
            counted = f"{mine}.to(g.dtype).scatter_add(dim, index, {theirs}.to(g.dtype))"
            share = f"(g / {counted})"
            if of == "src":
                return f"{theirs} * {share}.gather(dim, index)"
            return f"({mine} * {share}){kept}"
        else:
            raise Refusal("there is a rule for sums, means, 'amax' and 'amin'")
        return f"{share}{kept}" if of == "a" else f"{share}.gather(dim, index)"

    return template


def _bags(site: Site) -> str:
    """How many indices are in each bag."""
    if site.ndim("index") == 2:
        return "index.shape[1]"
    return "torch.diff(offsets, append=offsets.new_tensor([index.numel()]))"


def _bagged(site: Site) -> str:
    for name in ("max_norm", "padding_idx"):
        if site.value(name) is not None:
            raise Refusal(f"`{name}` is outside; leave it out")
    if site.value("scale_grad_by_freq") or site.value("include_last_offset"):
        raise Refusal("`scale_grad_by_freq` and `include_last_offset` are outside")
    mode, count = site.value("mode"), _bags(site)
    if mode not in ("sum", "mean"):
        raise Refusal("there is a rule for sums and means of bags")
    share = "g"
    if mode == "mean":
        share = (
            f"(g / {count})" if site.ndim("index") == 2 else f"(g / {count}.clamp(min=1)[:, None])"
        )
    rows = f"{share}.repeat_interleave({count}, 0)"
    if site.value("per_sample_weights") is not None:
        rows = f"{rows} * per_sample_weights.flatten()[:, None]"
    return f"torch.zeros_like(a).index_add_(0, index.flatten(), {rows})"


def _bag_weights(site: Site) -> str:
    rows = f"g.repeat_interleave({_bags(site)}, 0)"
    return f"(a[index.flatten()] * {rows}).sum(-1).reshape(per_sample_weights.shape)"


def _segments(site: Site) -> str:
    if site.value("lengths") is None or site.value("lengths").ndim != 1 or site.value("axis"):
        raise Refusal("there is a rule for `lengths` of one axis, along axis 0")
    how = site.value("reduce")
    if how == "sum":
        return "g.repeat_interleave(lengths, 0)"
    if how == "mean":
        tail = ", 1" * (site.ndim("a") - 1)
        return f"(g / lengths.reshape(-1{tail})).repeat_interleave(lengths, 0)"
    return "torch.ops.aten._segment_reduce_backward(g, y, a, reduce, lengths=lengths)"


def _distance(of: str) -> Template:
    def template(site: Site) -> str:
        if site.value("p") != 2:
            raise Refusal("there is a rule for p=2 alone; write the norm of the difference")
        pair = "(a - b)" if of == "a" else "(b - a)"
        return f"({pair} / y).masked_fill(y == 0, 0) * g"

    return template


TOTALS = (
    Rule(
        "logcumsumexp",
        ("torch.logcumsumexp(a, dim)", "a.logcumsumexp(dim)"),
        {"a": _running_logarithm},
        why="each element gets its share of every later sum of exponentials",
        source=DERIVATIVES,
        tests=(
            "torch.logcumsumexp(a, 1) where a: 3 4",
            "a.logcumsumexp(0) where a: 3 4",
            "a.logcumsumexp(0) where a: ()",
        ),
    ),
    Rule(
        "nanmean",
        ("torch.nanmean(a, dim=None, keepdim=False)", "a.nanmean(dim=None, keepdim=False)"),
        {
            "a": lambda site: f"keep(g) / (~a.isnan()).sum({over(site)}) * ~a.isnan()",
        },
        why="a mean hands each element an equal share; what is no number is left out",
        source=DERIVATIVES,
        tests=(
            "torch.nanmean(a) where a: 3 4",
            "torch.nanmean(a + torch.where(m, 0.0, math.nan), 1) where a: 3 4; m: 3 4 bool",
        ),
    ),
    Rule(
        "trapezoid",
        (
            "torch.trapezoid(a, x=None, dim=-1)",
            "torch.trapezoid(a, dx=1, dim=-1)",
            "torch.trapz(a, x=None, dim=-1)",
            "torch.trapz(a, dx=1, dim=-1)",
        ),
        {"a": _area(False), "x": _places},
        exact={"a": _area(True)},
        why="an area of trapezoids: each height counts half of the step on either side of it",
        source=CALCULUS,
        tests=(
            "torch.trapezoid(a) where a: 3 4",
            "torch.trapezoid(a, dx=0.5, dim=0) where a: 3 4",
            "torch.trapz(a, dx=0.5) where a: 3 5",
            "torch.trapezoid(a, b) where a: 3 4; b: 4",
            "torch.trapz(a, b) where a: 3 4; b: 3 4",
        ),
    ),
    Rule(
        "cov",
        (
            "torch.cov(a, correction=1, fweights=None, aweights=None)",
            "a.cov(correction=1, fweights=None, aweights=None)",
        ),
        {"a": _covariance(False)},
        exact={"a": _covariance(True)},
        why=SPREAD,
        source=CALCULUS,
        tests=(
            "torch.cov(a) where a: 3 4",
            "torch.cov(a, correction=0) where a: 3 4",
            "a.cov() where a: 5",
            "torch.cov(a) where a: 1 5",
        ),
    ),
    Rule(
        "corrcoef",
        ("torch.corrcoef(a)", "a.corrcoef()"),
        {"a": _correlation},
        why="rows made of length 1: what would only stretch them is taken out of the gradient",
        source=CALCULUS,
        tests=(
            "torch.corrcoef(a) where a: 3 4",
            "a.corrcoef() where a: 2 6",
            "a.corrcoef() where a: 1 5",
        ),
    ),
    Rule(
        "quantile",
        (
            "torch.quantile(a, q, dim=None, keepdim=False, interpolation='linear')",
            "a.quantile(q, dim=None, keepdim=False, interpolation='linear')",
        ),
        {"a": _quantile},
        why="a quantile is a mix of the two elements on either side of it, which get the gradient "
        "by the same weights",
        source="Hyndman & Fan 1996, Sample quantiles in statistical packages, definition 7",
        tests=(
            "torch.quantile(a, 0.3) where a: 3 4 distinct",
            "torch.quantile(a, 0.7, dim=1) where a: 3 4 distinct",
            "a.quantile(0.25, 0, keepdim=True) where a: 4 3 distinct",
        ),
    ),
    Rule(
        "scatter_reduce",
        (
            "torch.scatter_reduce(a, dim, index, src, reduce, include_self=True)",
            "a.scatter_reduce(dim, index, src, reduce, include_self=True)",
        ),
        {"a": _scattered("a"), "src": _scattered("src")},
        why="a sum hands the gradient on, a mean in shares, an extreme to what was it: each source "
        "reads it where it went",
        source=DERIVATIVES,
        tests=(
            "a.scatter_reduce(0, i, b, 'sum') where a: 3 4; i: 5 2 < 3; b: 5 2",
            "a.scatter_reduce(1, i, b, 'mean') where a: 3 4; i: 3 6 < 4; b: 3 6",
            "a.scatter_reduce(1, i, b, 'mean', include_self=False) where a: 3 4; i: 3 6 < 4; "
            "b: 3 6",
            "torch.scatter_reduce(a, 0, i, b, 'amax') where a: 3 4; i: 5 2 < 3; b: 5 2",
            "a.scatter_reduce(0, i, b, 'amin') where a: 3 4 ties; i: 5 2 < 3; b: 5 2 ties",
            "a.scatter_reduce(0, i, b, 'amax', include_self=False) where a: 3 4 ties; i: 5 2 < 3; "
            "b: 5 2 ties",
        ),
    ),
    Rule(
        "embedding_bag",
        (
            "F.embedding_bag(index, a, offsets=None, max_norm=None, norm_type=2, "
            "scale_grad_by_freq=False, mode='mean', sparse=False, per_sample_weights=None, "
            "include_last_offset=False, padding_idx=None)",
        ),
        {"a": _bagged, "per_sample_weights": _bag_weights},
        why="rows are looked up and added up: each row gets its bags' gradients",
        source=DERIVATIVES,
        tests=(
            "F.embedding_bag(i, a) where i: 2 6 < 5; a: 5 4",
            "F.embedding_bag(i, a, mode='sum', per_sample_weights=w) where i: 2 6 < 5; a: 5 4; "
            "w: 2 6",
            "F.embedding_bag(i, a, torch.tensor([0, 2, 2])) where i: 6 < 5; a: 5 4",
            "F.embedding_bag(i, a, torch.tensor([0, 4]), mode='sum') where i: 6 < 5; a: 5 4",
        ),
    ),
    Rule(
        "segment_reduce",
        (
            "torch.segment_reduce(a, reduce, lengths=None, indices=None, offsets=None, axis=0, "
            "unsafe=False, initial=None)",
        ),
        {"a": _segments},
        why="each element of a segment gets the segment's gradient: a mean's in shares, an "
        "extreme's alone",
        source=DERIVATIVES,
        tests=(
            "torch.segment_reduce(a, 'sum', lengths=torch.tensor([2, 3])) where a: 5",
            "torch.segment_reduce(a, 'mean', lengths=torch.tensor([2, 3])) where a: 5 4",
            "torch.segment_reduce(a, 'max', lengths=torch.tensor([2, 3])) where a: 5 4",
        ),
    ),
    Rule(
        "dist",
        ("torch.dist(a, b, p=2)", "a.dist(b, p=2)"),
        {"a": _distance("a"), "b": _distance("b")},
        why="a distance grows along the line between the two",
        source=CALCULUS,
        tests=("torch.dist(a, b) where a: 3 4; b: 3 4", "a.dist(b) where a: 3 4; b: 4"),
    ),
)
