"""Lengths, distances and directions."""

from __future__ import annotations

import math

from gradninja.rules.rule import Refusal, Rule, Site, Template

CALCULUS = "calculus: the quotient rule"


def _length(of: str) -> str:
    return f"torch.linalg.vector_norm({of}, dim=dim, keepdim=True)"


def _normalize(site: Site) -> str:
    """A vector shorter than eps is only divided by eps."""
    _euclidean(site)
    inside = "g - y * (g * y).sum(dim, keepdim=True)"
    return f"torch.where({_length('a')} >= eps, {inside}, g) / {_length('a')}.clamp(min=eps)"


def _normalize_exact(site: Site) -> str:
    _euclidean(site)
    length = f"{_length('a')}.clamp(min=eps)"
    along = f"(-g * (a / {length} / {length})).sum(dim, keepdim=True)"
    turned = f"({along} * (a / {_length('a')})).masked_fill({_length('a')} < eps, 0)"
    return f"g / {length} + {turned}"


def _euclidean(site: Site) -> None:
    if site.value("p") != 2:
        raise Refusal("there is a rule for p=2 alone; divide by the norm on lines of its own")


def _sides(site: Site, own: str) -> tuple[str, str]:
    """Both sides' texts; broadcast first where `dim` would name another axis in one of them."""
    dim = site.value("dim")
    same = site.ndim("a") == site.ndim("b") and site.shape("a")[dim] == site.shape("b")[dim]
    sides = ["a", "b"] if same else [f"torch.broadcast_tensors(a, b)[{i}]" for i in (0, 1)]
    return (sides[0], sides[1]) if own == "a" else (sides[1], sides[0])


def _cosine_meaning(site: Site) -> str:
    shape = tuple((site.value("a") * site.value("b")).shape)
    a, b = (f"F.normalize({x}.expand{shape}, 2.0, dim, eps)" for x in "ab")
    return f"({a} * {b}).sum(dim)"


def _cosine(of: str) -> Template:
    def template(site: Site) -> str:
        own, other = _sides(site, of)
        mine, theirs = (f"{_length(x)}.clamp(min=eps)" for x in (own, other))
        turned = f"{other} / {theirs} - keep(y) * F.normalize({own}, dim=dim)"
        return f"({turned}) / {mine} * keep(g)"

    return template


def _cosine_exact(of: str) -> Template:
    """Product by product, as PyTorch's own forward is made of them."""

    def template(site: Site) -> str:
        own, other = _sides(site, of)
        mine, theirs = (f"{_length(x)}.clamp(min=eps)" for x in (own, other))
        across = f"(keep(g) * ({other} / {theirs}))"
        along = f"(-{across} * ({own} / {mine} / {mine})).sum(dim, keepdim=True)"
        unit = f"({own} / {_length(own)}).masked_fill({_length(own)} == 0, 0)"
        return f"{across} / {mine} + {along} * {unit}"

    return template


def _pairwise(site: Site) -> str:
    """PyTorch adds eps to every difference."""
    kept = site.value("keepdim")
    g, y = ("g", "y") if kept else ("g.unsqueeze(-1)", "y.unsqueeze(-1)")
    power = site.value("p")
    if power == 2:
        return f"(a - b + eps) / {y} * {g}"
    if not 1 <= power < math.inf:
        raise Refusal("there is a rule for finite p from 1 on; write the distance on lines")
    share = "" if power == 1 else f" * ((a - b + eps).abs() / {y}) ** (p - 1)"
    return f"(a - b + eps).sign(){share} * {g}"


def _pairwise_exact(site: Site) -> str:
    slope, _, gradient = _pairwise(site).rpartition(" * ")
    power = site.value("p")
    if power in (1, 2):
        return f"{gradient} * ({slope})"
    difference, y = "(a - b + eps)", gradient.replace("g", "y", 1)
    powered = f"{difference}.sgn() * {difference}.abs() ** (p - 1)"
    if power > 2:
        powered = f"{difference} * {difference}.abs() ** (p - 2)"
    return f"{powered} * ({gradient} / {y} ** (p - 1))"


def _minus(template: Template) -> Template:
    assert callable(template)
    return lambda site: f"-({template(site)})"


def _each_pair(of: str) -> Template:
    """Where two points are the same there is no direction: PyTorch says 0."""
    own, other, turn = ("a", "b", "") if of == "a" else ("b", "a", ".mT")

    def template(site: Site) -> str:
        if site.value("p") != 2:
            turned = ".contiguous()" if not turn else ".mT.contiguous()"
            return f"torch.ops.aten._cdist_backward(g{turned}, {own}, {other}, p, y{turned})"
        share = f"torch.where(y == 0, 0, g / y){turn}"
        return f"{own} * {share}.sum(-1, keepdim=True) - {share} @ {other}"

    return template


LENGTHS = (
    Rule(
        "normalize",
        ("F.normalize(a, p=2.0, dim=1, eps=1e-12)",),
        {"a": _normalize},
        exact={"a": _normalize_exact},
        why="a length of 1 holds whatever comes in: what would stretch it is taken out of the "
        "gradient",
        source=CALCULUS,
        tests=(
            "F.normalize(a) where a: 3 4",
            "F.normalize(a, dim=-1) where a: 2 3 4",
            "F.normalize(a, 2.0, 0, eps=1.7) where a: 3 4",
        ),
        means="a / torch.clamp(torch.linalg.vector_norm(a, p, dim, keepdim=True), min=eps)",
    ),
    Rule(
        "cosine_similarity",
        (
            "F.cosine_similarity(a, b, dim=1, eps=1e-08)",
            "torch.cosine_similarity(a, b, dim=1, eps=1e-08)",
        ),
        {"a": _cosine("a"), "b": _cosine("b")},
        exact={"a": _cosine_exact("a"), "b": _cosine_exact("b")},
        why="an angle does not see lengths: what would stretch either side is taken out of the "
        "gradient",
        source=CALCULUS,
        tests=(
            "F.cosine_similarity(a, b) where a: 3 4; b: 3 4",
            "F.cosine_similarity(0 * a, b) where a: 3 4; b: 3 4",
            "F.cosine_similarity(a, 0 * b) where a: 3 4; b: 3 4",
            "F.cosine_similarity(a, b, dim=-1) where a: 2 3 4; b: 1 3 4",
            "F.cosine_similarity(0 * a, b, dim=-1) where a: 2 3 4; b: 1 3 4",
            "F.cosine_similarity(a, 0 * b, dim=-1) where a: 2 3 4; b: 1 3 4",
            "F.cosine_similarity(a, b.detach(), dim=0) where a: 3 4; b: 4",
            "F.cosine_similarity(m * a, b.detach(), dim=0) where a: 3 4; b: 4; m: 4 bool",
            "F.cosine_similarity(b.detach(), m * a, dim=0) where a: 3 4; b: 4; m: 4 bool",
            "F.cosine_similarity(a.detach(), m * b, dim=0) where a: 3 4; b: 4 away; m: 4 bool",
            "F.cosine_similarity(b.detach(), a, dim=-2) where a: 1 2 3; b: 2 1 3",
            "F.cosine_similarity(a, b, eps=2.0) where a: 3 4; b: 3 4",
            "F.cosine_similarity(a[:, None], b[None], dim=2) where a: 3 4; b: 5 4",
        ),
        means=_cosine_meaning,
    ),
    Rule(
        "pairwise_distance",
        (
            "F.pairwise_distance(a, b, p=2.0, eps=1e-06, keepdim=False)",
            "torch.pairwise_distance(a, b, p=2.0, eps=1e-06, keepdim=False)",
        ),
        {"a": _pairwise, "b": _minus(_pairwise)},
        exact={"a": _pairwise_exact, "b": _minus(_pairwise_exact)},
        why="a distance grows along the direction from one end to the other",
        source=CALCULUS,
        tests=(
            "F.pairwise_distance(a, b) where a: 3 4; b: 3 4",
            "F.pairwise_distance(a, b, p=1.0) where a: 3 4; b: 3 4",
            "F.pairwise_distance(a, b, p=1.0) where a: 3 4 ties; b: 3 4 ties",
            "F.pairwise_distance(a, b, p=3.0) where a: 3 4; b: 4",
            "F.pairwise_distance(a, b, p=1.5) where a: 3 4; b: 3 4",
            "F.pairwise_distance(a, b, p=1.5) where a: 3 4 ties; b: 3 4 ties",
            "F.pairwise_distance(a, b, p=3.0) where a: 3 4 ties; b: 3 4 ties",
            "F.pairwise_distance(a, b, keepdim=True) where a: 2 3 4; b: 1 3 4",
        ),
        means="torch.linalg.vector_norm(a - b + eps, p, -1, keepdim)",
    ),
    Rule(
        "cdist",
        ("torch.cdist(a, b, p=2.0, compute_mode='use_mm_for_euclid_dist_if_necessary')",),
        {"a": _each_pair("a"), "b": _each_pair("b")},
        why="every point of one side is pulled along the directions to all points of the other",
        source=CALCULUS,
        tests=(
            "torch.cdist(a, b) where a: 3 4; b: 5 4",
            "torch.cdist(a, b) where a: 3 2 ties; b: 5 2 ties",
            "torch.cdist(a, b) where a: 2 3 4; b: 2 5 4",
            "torch.cdist(a, b, p=1.0) where a: 3 4; b: 5 4",
            "torch.cdist(a, b, p=3.0) where a: 2 3 4; b: 5 4",
        ),
        means="torch.linalg.vector_norm(a.unsqueeze(-2) - b.unsqueeze(-3), p, -1)",
    ),
)
