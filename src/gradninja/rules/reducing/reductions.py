"""What makes few numbers of many: sums, means, spreads, products, norms; and running totals."""

from __future__ import annotations

import math

from gradninja.rules.elementwise.arithmetic import CALCULUS
from gradninja.rules.elementwise.functions import DERIVATIVES
from gradninja.rules.reducing.extremes import EXTREMES
from gradninja.rules.reducing.spreads import SPREADS
from gradninja.rules.rule import Refusal, Rule, Site, over

SUM = (
    "a sum in the forward is a broadcast in the backward: every element gets the gradient of the "
    "sum that it went into"
)


def _cast_back(site: Site, text: str) -> str:
    """`dtype=` sums in another type: the gradient comes back in the operand's own."""
    return text if site.value("dtype") is None else f"({text}).to(a.dtype)"


# -- products -----------------------------------------------------------------------------


def _product(site: Site) -> str:
    """The product of the other factors: y / a, and where a is 0 what is left without it."""
    if site.ndim("a") == 0:
        return "g"
    rest = f"a.masked_fill(a == 0, 1).prod({over(site)})"
    zeros = f"(a == 0).sum({over(site)})"
    if len(site.dims()) < site.ndim("a") or site.value("dim") is not None:
        slope = f"torch.where(a == 0, {rest}.masked_fill({zeros} > 1, 0), keep(y) / a)"
        return f"{slope} * keep(g)"
    return f"torch.where({zeros} > 1, 0, torch.where(a == 0, {rest}, y / a) * g)"


def _from_here_on(text: str) -> str:
    """A running sum from each element to the end."""
    return f"({text}).flip(dim).cumsum(dim).flip(dim)"


def _running_sum(site: Site) -> str:
    return "g" if site.ndim("a") == 0 else _from_here_on("g")


def _running_product(site: Site) -> str:
    """Every later product holds the element once; the first 0 is the only one that may count."""
    if site.ndim("a") == 0:
        return "g"
    zeros = "(a == 0).cumsum(dim)"
    first = f"(a == 0) & ({zeros} == 1)"
    without = f"a.masked_fill({first}, 1).cumprod(dim)"
    at_zero = _from_here_on(f"torch.where({zeros} == 1, g * {without}, 0)")
    before = _from_here_on(f"torch.where({zeros} == 0, g * y, 0)")
    return f"torch.where({first}, {at_zero}, torch.where({zeros} == 0, {before} / a, 0))"


# -- norms --------------------------------------------------------------------------------


def _norm(site: Site) -> str:
    formal = "p" if "p" in site.bound else "ord"
    power = _power(site, formal)
    if power == 0:
        return "torch.zeros_like(a)"
    if power == 1:
        return "torch.sign(a) * keep(g)"
    if power == 2:
        return "(a / keep(y)).masked_fill(keep(y) == 0, 0) * keep(g)"
    if math.isinf(power):
        ties = "(a.abs() == keep(y))"
        return f"torch.sign(a) * (keep(g) / {ties}.sum({over(site)}) * {ties})"
    lifted = f"torch.sign(a) * a.abs() ** ({formal} - 1)"
    if power < 1:
        return f"({lifted}).masked_fill(a == 0, 0) * keep(g) * keep(y) ** (1 - {formal})"
    if power >= 2:
        lifted = f"a * a.abs() ** ({formal} - 2)"
    return f"{lifted} * keep((g / y ** ({formal} - 1)).masked_fill(y == 0, 0))"


def _power(site: Site, formal: str) -> float:
    given = site.value(formal)
    if not site.fixed(formal):
        raise Refusal("which norm it is must stand here as a number")
    dim = site.value("dim")
    many = len(dim) if isinstance(dim, tuple | list) else 0
    of_matrix = "linalg" in site.expr.op and "vector" not in site.expr.op
    if of_matrix and given is not None and (many == 2 or (dim is None and site.ndim("a") == 2)):
        if given != "fro":
            raise Refusal(
                "there is a rule for Frobenius' norm of a matrix alone; for others write "
                "`torch.linalg.matrix_norm(a, ord)`"
            )
        return 2
    if given in (None, "fro"):
        return 2
    if not isinstance(given, int | float):
        raise Refusal(f"the norm {given!r} is outside")
    return float(given)


REDUCTIONS = (
    Rule(
        "sum",
        (
            "torch.sum(a, dim=None, keepdim=False, dtype=None)",
            "a.sum(dim=None, keepdim=False, dtype=None)",
        ),
        {"a": lambda site: _cast_back(site, "keep(g)")},
        why=SUM,
        notation="sum",
        source=CALCULUS,
        tests=(
            "a.sum() where a: 3 4",
            "torch.sum(a, 0) where a: 3 4",
            "a.sum(1) where a: 3 4",
            "a.sum(-1) where a: 3 4",
            "a.sum(dim=1, keepdim=True) where a: 3 4",
            "a.sum((0, 2)) where a: 3 4 2",
            "a.sum([-1, -3]) where a: 3 4 2",
            "a.sum(dim=(0, 1), keepdim=True) where a: 3 4 2",
            "a.sum(()) where a: 3 4",
            "a.sum(None, True) where a: 3 4",
            "a.sum() where a: ()",
            "a.sum(-1) where a: ()",
            "a.sum(axis=0, keepdims=True) where a: 3 4",
            "a.sum(1, dtype=torch.float64) where a: 3 4",
        ),
    ),
    Rule(
        "nansum",
        ("torch.nansum(a, dim=None, keepdim=False)", "a.nansum(dim=None, keepdim=False)"),
        {"a": "keep(g) * ~torch.isnan(a)"},
        why=f"{SUM}; what is no number is left out",
        notation="sum",
        source=DERIVATIVES,
        tests=(
            "torch.nansum(a) where a: 3 4",
            "torch.nansum(a + torch.where(m, 0.0, math.nan), 1) where a: 3 4; m: 3 4 bool",
        ),
        means="torch.where(torch.isnan(a), 0.0, a).sum(dim, keepdim)",
    ),
    Rule(
        "mean",
        (
            "torch.mean(a, dim=None, keepdim=False, dtype=None)",
            "a.mean(dim=None, keepdim=False, dtype=None)",
        ),
        {"a": lambda site: _cast_back(site, "keep(g) / count(a)")},
        why="a mean in the forward is a broadcast in the backward: every element gets the "
        "gradient over the count of the elements",
        notation="mean",
        source=CALCULUS,
        tests=(
            "a.mean() where a: 3 4",
            "torch.mean(a, 0) where a: 3 4",
            "a.mean(-1, keepdim=True) where a: 3 4",
            "a.mean((0, 2)) where a: 3 4 2",
            "a.mean(dim=(-1, 0), keepdim=True) where a: 3 4 2",
            "a.mean() where a: ()",
            "a.mean(1, dtype=torch.float64) where a: 3 4",
        ),
    ),
    *SPREADS,
    Rule(
        "prod",
        (
            "torch.prod(a, dim=None, keepdim=False, dtype=None)",
            "a.prod(dim=None, keepdim=False, dtype=None)",
        ),
        {"a": lambda site: _cast_back(site, _product(site))},
        why="a product hands each factor the gradient times the product of the others, which is "
        "the product over the factor where that is not 0",
        notation="product",
        source=CALCULUS,
        tests=(
            "a.prod() where a: 3 4",
            "a.prod(0) where a: 3 4",
            "torch.prod(a, -1, keepdim=True) where a: 3 4",
            "a.prod(1) where a: 3 4 ties",
            "a.prod(0) where a: 2 4 ties",
            "a.prod() where a: 4 ties",
            "a.prod() where a: 2 3 ties",
            "a.prod() where a: 5 ties",
            "a.prod() where a: ()",
        ),
    ),
    Rule(
        "logsumexp",
        (
            "torch.logsumexp(a, dim, keepdim=False)",
            "a.logsumexp(dim, keepdim=False)",
            "torch.special.logsumexp(a, dim, keepdim=False)",
        ),
        {"a": "torch.exp(a - keep(y)) * keep(g)"},
        why="a log of a sum of exponentials hands each element its share of the sum, which is "
        "the softmax",
        notation="log of the sum of exponentials",
        source="Bishop 2006, Pattern Recognition and Machine Learning, section 4.3.4",
        tests=(
            "torch.logsumexp(a, 0) where a: 3 4",
            "a.logsumexp(-1, keepdim=True) where a: 3 4",
            "torch.logsumexp(a, (0, 2)) where a: 3 4 2",
            "torch.logsumexp(a, 0) where a: ()",
        ),
        means="top = a.amax(dim, keepdim=True)\n"
        "least = torch.where(torch.abs(top) == math.inf, 0.0, top)\n"
        "torch.log(torch.exp(a - least).sum(dim, keepdim)) + least.sum(dim, keepdim)",
    ),
    Rule(
        "norm",
        (
            "torch.norm(a, p='fro', dim=None, keepdim=False)",
            "a.norm(p='fro', dim=None, keepdim=False)",
            "torch.linalg.norm(a, ord=None, dim=None, keepdim=False)",
            "torch.linalg.vector_norm(a, ord=2, dim=None, keepdim=False)",
        ),
        {"a": _norm},
        why="a norm's gradient points along the vector: each element over the norm, raised to the "
        "norm's order less 1",
        notation="norm",
        source=DERIVATIVES,
        tests=(
            "a.norm() where a: 3 4",
            "torch.norm(a, dim=0) where a: 3 4",
            "a.norm(dim=-1, keepdim=True) where a: 3 4",
            "torch.norm(a, 2, 1) where a: 3 4 ties",
            "torch.norm(a * 0, dim=0) * a where a: 3 4",
            "torch.norm(a * 0, 4, dim=0) * a where a: 3 4",
            "torch.norm(a * 0, 1.5, dim=0) * a where a: 3 4",
            "torch.norm(a, 0.5, 0) where a: 3 4 ties",
            "torch.norm(a, p=1, dim=1) where a: 3 4",
            "torch.norm(a, p=4, dim=(0, 2)) where a: 3 4 2",
            "torch.norm(a, p=1.5, dim=1) where a: 3 4",
            "torch.norm(a, p=0.5, dim=1) where a: 3 4",
            "torch.norm(a, p=0, dim=0) where a: 3 4",
            "torch.norm(a, float('inf'), 1) where a: 3 4 ties",
            "torch.linalg.norm(a) where a: 3 4",
            "torch.linalg.norm(a, dim=1) where a: 3 4",
            "torch.linalg.vector_norm(a, 4) where a: 3 4",
            "torch.linalg.vector_norm(a, 4, 1) where a: 3 4",
            "torch.linalg.vector_norm(a * 0, 4, 1) where a: 3 4",
            "torch.linalg.vector_norm(a, math.inf, dim=-1, keepdim=True) where a: 3 4",
        ),
    ),
    Rule(
        "cumsum",
        ("torch.cumsum(a, dim)", "a.cumsum(dim)"),
        {"a": _running_sum},
        why="an element is in its own running sum and in all later ones: their gradients are "
        "summed from it to the end",
        notation="along an axis",
        source=CALCULUS,
        tests=(
            "torch.cumsum(a, 0) where a: 3 4",
            "a.cumsum(-1) where a: 3 4",
            "a.cumsum(0) where a: ()",
        ),
    ),
    Rule(
        "cumprod",
        ("torch.cumprod(a, dim)", "a.cumprod(dim)"),
        {"a": _running_product},
        why="an element is a factor of its own running product and of all later ones: their "
        "gradients times the other factors are summed from it to the end",
        notation="along an axis",
        source=CALCULUS,
        tests=(
            "torch.cumprod(a, 0) where a: 3 4",
            "a.cumprod(-1) where a: 3 4",
            "a.cumprod(1) where a: 4 5 ties",
            "a.cumprod(0) where a: ()",
        ),
    ),
    *EXTREMES,
)
