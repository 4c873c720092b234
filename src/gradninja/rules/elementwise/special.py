"""Special functions, element by element: gamma's family, what inverts the error function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.polynomial.chebyshev import chebfit, chebpts1
from torch import Tensor

from gradninja.rules.elementwise.arithmetic import CALCULUS
from gradninja.rules.elementwise.functions import DERIVATIVES, unary
from gradninja.rules.rule import CHEAP, Rule, Site

GAMMA = (
    "Abramowitz & Stegun 1964, chapter 6: digamma is the slope of log gamma, polygamma digamma's"
)
BESSEL = "Abramowitz & Stegun 1964, formulas 9.6.26 and 9.6.27"
TINY = "torch.finfo(a.dtype).eps"
SAFE = f"torch.where(a.abs() > {TINY}, a, {TINY})"
BELL = "Abramowitz & Stegun 1964, chapter 7: the error function and the normal distribution"


def _logit(site: Site) -> str:
    slope = "g / (a * (1 - a))"
    if site.value("eps") is None:
        return slope
    return f"({slope}).masked_fill((a < eps) | (a > 1 - eps), 0)"


def _logit_meaning(site: Site) -> str:
    of = "a" if site.value("eps") is None else "a.clamp(eps, 1 - eps)"
    return f"p = {of}\ntorch.log(p / (1 - p))"


def _xlogy_meaning(site: Site) -> str:
    if not site.is_tensor("a"):
        return "a * torch.log(b)" if site.value("a") else "torch.where(torch.isnan(b), b, 0.0)"
    if not site.is_tensor("b"):
        return "torch.where(a == 0, 0.0, a * math.log(b))"
    return "torch.where((a == 0) & ~torch.isnan(b), 0.0, a * torch.log(b))"


def special(
    name: str,
    backward: str,
    why: str,
    source: str,
    exact: str = "",
    means: str = "",
    loop: str = "",
) -> Rule:
    """A row for a function of one tensor that is spelled `torch.special.name(a)` alone."""
    call = f"torch.special.{name}(a)"
    return Rule(
        name,
        (call,),
        {"a": backward},
        exact={"a": exact} if exact else {},
        why=why,
        source=source,
        tests=(f"{call} where a: 3 4", f"{call} where a: 3 4 ties", f"{call} where a: ()"),
        elementwise=True,
        means=means,
        loop=loop,
    )


def _series(function: Callable[[Tensor], Any], degree: int) -> str:
    """The coefficients of a function's Chebyshev series on -1 to 1, for `series` in a loop."""
    points = torch.from_numpy(chebpts1(degree + 1))
    return f"{tuple(chebfit(points.numpy(), function(points).numpy(), degree).tolist())}"


def _scaled_erfc(t: Tensor) -> Any:
    """(1 + 2a) erfcx(a) by t = (a - 3.75) / (a + 3.75); Shepherd & Laframboise 1981."""
    a = 3.75 * (1 + t) / (1 - t)
    return (1 + 2 * a) * torch.special.erfcx(a)


def _bessel(order: str) -> str:
    """The loop of a scaled Bessel function at |a|: a series to 8, from there on one in 1 / a."""

    def function(a: Tensor) -> Any:
        return getattr(torch.special, order)(a)

    near = _series(lambda t: function(4 * (t + 1)), 30)
    far = _series(lambda t: (16 / (t + 1)).sqrt() * function(16 / (t + 1)), 24)
    return (
        f"select(abs({{0}}) <= 8, series(abs({{0}}) / 4 - 1, {near}), "
        f"series(16 / abs({{0}}) - 1, {far}) / np.sqrt(abs({{0}})))"
    )


SPECIAL = (
    special(
        "i0e",
        "(torch.special.i1e(a) - torch.sign(a) * y) * g",
        "exp(-|a|) i0(a): the slope of i0 is i1, the first factor's its own, with the sign turned",
        BESSEL,
        exact="g * (torch.special.i1e(a) - a.sgn() * y)",
        loop=_bessel("i0e"),
    ),
    special(
        "i1e",
        f"torch.where(a.abs() > {TINY}, torch.special.i0e(a) - y * (torch.sign(a) + 1 / a), 0.5) "
        "* g",
        "exp(-|a|) i1(a): the slope of i1 is i0 - i1 / a, which comes to 1 / 2 at 0",
        BESSEL,
        exact=f"g * torch.where(a.abs() > {TINY}, torch.special.i0e({SAFE}) "
        f"- y * ({SAFE}.sgn() + {SAFE}.reciprocal()), 0.5)",
        loop="select({0} < 0, -1.0, 1.0) * " + _bessel("i1e"),
    ),
    special(
        "erfcx",
        "(2 * a * y - 2 / math.sqrt(math.pi)) * g",
        "exp(a**2) erfc(a): the first factor's slope is 2 a times it, the second's is a bell "
        "curve that the first undoes",
        BELL,
        exact="(2.0 * a * y - 2.0 / math.sqrt(math.pi)) * g",
        loop="select({0} < 0, 2 * exp({0} * {0}), 0.0) + select({0} < 0, -1.0, 1.0) * "
        f"series(1 - 7.5 / (abs({{0}}) + 3.75), {_series(_scaled_erfc, 24)})"
        " / (1 + 2 * abs({0}))",
    ),
    unary(
        "erfinv",
        "math.sqrt(math.pi) / 2 * torch.exp(y**2) * g",
        "by inverting the error function: 1 over the bell curve at the result",
        exact="0.5 * math.sqrt(math.pi) * torch.exp(y.pow(2)) * g",
        spellings=("torch.special.erfinv(a)",),
        source=BELL,
        domain="unit",
    ),
    unary(
        "lgamma",
        "g * torch.digamma(a)",
        "digamma is the slope of the logarithm of gamma",
        spellings=("torch.special.gammaln(a)",),
        source=GAMMA,
        domain="positive",
        loop="math.lgamma({0})",
    ),
    unary(
        "digamma",
        "g * torch.polygamma(1, a)",
        "polygamma's order counts the derivatives of digamma",
        spellings=("torch.special.digamma(a)", "torch.special.psi(a)"),
        source=GAMMA,
        domain="positive",
    ),
    Rule(
        "polygamma",
        ("torch.polygamma(n, a)", "torch.special.polygamma(n, a)", "a.polygamma(n)"),
        {"a": "g * torch.polygamma(n + 1, a)"},
        why="polygamma's order counts the derivatives of digamma",
        source=GAMMA,
        tests=("torch.polygamma(1, a) where a: 3 4 positive", "a.polygamma(2) where a: 4 positive"),
    ),
    Rule(
        "mvlgamma",
        (
            "torch.mvlgamma(a, p)",
            "a.mvlgamma(p)",
            "torch.special.multigammaln(a, p)",
        ),
        {
            "a": "g * torch.digamma(a.unsqueeze(-1) - "
            "torch.arange(p, dtype=a.dtype, device=a.device) / 2).sum(-1)"
        },
        exact={
            "a": "g * torch.digamma(torch.arange(-p / 2 + 0.5, 0.5, 0.5, dtype=a.dtype, "
            "device=a.device) + a.unsqueeze(-1)).sum(-1)"
        },
        why="a sum of log gammas, half a step apart, each of which has the slope digamma",
        source=GAMMA,
        tests=(
            "torch.mvlgamma(a + 2, 3) where a: 3 4 positive",
            "torch.mvlgamma(a, 1) where a: 4 positive",
        ),
    ),
    unary(
        "i0",
        "g * torch.special.i1(a)",
        "the slope of the Bessel function of order 0 is that of order 1",
        spellings=("torch.special.i0(a)",),
        source=BESSEL,
    ),
    Rule(
        "sinc",
        ("torch.sinc(a)", "a.sinc()", "torch.special.sinc(a)"),
        {"a": "(g * (torch.cos(math.pi * a) - y) / a).masked_fill(a == 0, 0)"},
        exact={
            "a": "torch.where(a * math.pi * a * math.pi == 0, 0, g * ((a * math.pi * "
            "(a * math.pi).cos() - (a * math.pi).sin()) / (a * a * math.pi)))"
        },
        why="a quotient: the sine of pi a, over pi a; flat at 0",
        source=CALCULUS,
        tests=("torch.sinc(a) where a: 3 4", "a.sinc() where a: 3 4 ties"),
        means="angle = torch.where(a == 0, 1.0, math.pi * a)\n"
        "torch.where(a == 0, 1.0, torch.sin(angle) / angle)",
    ),
    Rule(
        "logit",
        ("torch.logit(a, eps=None)", "a.logit(eps=None)", "torch.special.logit(a, eps=None)"),
        {"a": _logit},
        why="by inverting the sigmoid; what was clamped does not move the result",
        source=CALCULUS,
        tests=(
            "torch.logit(a) where a: 3 4 unit",
            "torch.logit(a, eps=0.3) where a: 3 4 unit",
            "torch.logit(a, 0.25) where a: 3 4 ties",
        ),
        elementwise=True,
        means=_logit_meaning,
    ),
    Rule(
        "xlogy",
        ("torch.xlogy(a, b)", "a.xlogy(b)", "torch.special.xlogy(a, b)"),
        {
            "a": "torch.xlogy(g, b).masked_fill((a == 0) & (b <= 0), 0)",
            "b": "g * a / b",
        },
        why="a product with a logarithm, which counts for nothing where a is 0",
        source=DERIVATIVES,
        tests=(
            "torch.xlogy(a, b) where a: 3 4; b: 4 positive",
            "a.xlogy(b) where a: 3 4 ties; b: 3 4 positive",
            "torch.xlogy(a, 2.0) where a: 3 4",
            "torch.xlogy(a, b.detach().clamp(min=0)) where a: 4 5 ties; b: 4 5 ties",
        ),
        elementwise=True,
        means=_xlogy_meaning,
    ),
    Rule(
        "xlog1py",
        ("torch.special.xlog1py(a, b)",),
        {
            "a": "torch.special.xlog1py(g, b).masked_fill((a == 0) & (b <= -1), 0)",
            "b": "g * a / (b + 1)",
        },
        why="a product with the logarithm of 1 + b, which counts for nothing where a is 0",
        source=DERIVATIVES,
        tests=(
            "torch.special.xlog1py(a, b) where a: 3 4; b: 4 positive",
            "torch.special.xlog1py(a, b) where a: 3 4 ties; b: 3 4 positive",
            "torch.special.xlog1py(a, 2.0) where a: 3 4",
        ),
        elementwise=True,
    ),
    Rule(
        "zeta",
        ("torch.special.zeta(n, a)",),
        {"a": "g * -n * torch.special.zeta(n + 1, a)"},
        why="a sum of powers, each of which falls by n times a power that is one lower",
        source=DERIVATIVES,
        tests=(
            "torch.special.zeta(2.5, a) where a: 3 4 positive",
            "torch.special.zeta(n.detach() + 2, a) where n: 4 positive; a: 3 4 positive",
        ),
    ),
    Rule(
        "frexp",
        ("torch.frexp(a)", "a.frexp()"),
        {"a": "g0 / torch.exp2(y[1])"},
        why="a number over a power of 2, which does not move",
        source=DERIVATIVES,
        tests=("torch.frexp(a)[0] where a: 3 4", "a.frexp().mantissa where a: 4"),
    ),
    Rule(
        "ndtri",
        ("torch.special.ndtri(a)",),
        {"a": "math.sqrt(2 * math.pi) * torch.exp(y**2 / 2) * g"},
        exact={"a": "g * math.sqrt(2 * math.pi) * (y.square() / 2).exp()"},
        why="by inverting the normal distribution: 1 over the bell curve at the result",
        source=BELL,
        tests=("torch.special.ndtri(a) where a: 3 4 unit",),
        elementwise=True,
    ),
    Rule(
        "entr",
        ("torch.special.entr(a)",),
        {"a": "-g * (torch.log(a) + 1)"},
        exact={"a": "g * -(1 + a.log())"},
        why="an entropy's term: minus a times its logarithm, by the product rule",
        source=CALCULUS,
        tests=("torch.special.entr(a) where a: 3 4 positive",),
        elementwise=True,
        means="torch.where(a < 0, -math.inf, torch.where(a == 0, 0.0, -a * torch.log(a)))",
    ),
    Rule(
        "ndtr",
        ("torch.special.ndtr(a)",),
        {"a": "torch.exp(-(a**2) / 2) / math.sqrt(2 * math.pi) * g"},
        exact={
            "a": "2.0 / math.sqrt(math.pi) * torch.exp(-((a * math.sqrt(0.5)).pow(2))) * (g * 0.5) "
            "* math.sqrt(0.5)"
        },
        why="the normal distribution's slope is the bell curve that it integrates",
        source=BELL,
        tests=("torch.special.ndtr(a) where a: 3 4",),
        elementwise=True,
        means="0.5 * torch.erfc(-a * math.sqrt(0.5))",
    ),
    Rule(
        "log_ndtr",
        ("torch.special.log_ndtr(a)",),
        {"a": "math.sqrt(2 / math.pi) / torch.special.erfcx(-a * math.sqrt(0.5)) * g"},
        exact={"a": "g / math.sqrt(2 * math.pi) * (y + a.pow(2) / 2).neg().exp()"},
        why="the bell curve over what it integrates to, both scaled alike so that neither vanishes",
        source=BELL,
        tests=("torch.special.log_ndtr(a) where a: 3 4",),
        elementwise=True,
        means="t = a * math.sqrt(0.5)\n"
        "torch.where(a < -1, torch.log(torch.special.erfcx(-t) / 2) - t * t, "
        "torch.log1p(-torch.erfc(t) / 2))",
    ),
    unary(
        "acosh",
        "g / torch.sqrt(a**2 - 1)",
        "by inverting cosh",
        exact="g * (a * a - 1).rsqrt()",
        spellings=("torch.arccosh(a)",),
        domain="above",
        loop="np.arccosh({0})",
    ),
    unary(
        "atanh",
        "g / (1 - a**2)",
        "by inverting tanh",
        exact="g * 1 / (1 - a.pow(2))",
        spellings=("torch.arctanh(a)",),
        domain="unit",
        loop="np.arctanh({0})",
    ),
    unary(
        "deg2rad",
        "g * (math.pi / 180)",
        "a unit of measure is a factor",
        means="a * (math.pi / 180)",
    ),
    unary(
        "rad2deg",
        "g * (180 / math.pi)",
        "a unit of measure is a factor",
        means="a * (180 / math.pi)",
    ),
    unary(
        "frac",
        "g",
        "what is cut off is a constant between two whole numbers",
        means="a - torch.trunc(a)",
    ),
    Rule(
        "copysign",
        ("torch.copysign(a, b)", "a.copysign(b)"),
        {"a": "g * (y / a).masked_fill(a == 0, 0)"},
        why="the size is a's, so its gradient turns where the sign did; b only gives the sign",
        source=DERIVATIVES,
        tests=(
            "torch.copysign(a, b) where a: 3 4 ties; b: 4 away",
            "a.copysign(-1.0) where a: 3 4",
        ),
        elementwise=True,
        shape_only=("b",),
        loop="np.copysign({0}, {1})",
        cost=CHEAP,
    ),
    Rule(
        "logaddexp2",
        ("torch.logaddexp2(a, b)", "a.logaddexp2(b)"),
        {"a": "2 ** (a - y) * g", "b": "2 ** (b - y) * g"},
        exact={"a": "g / (1 + torch.pow(2, b - a))", "b": "g / (1 + torch.pow(2, a - b))"},
        why="each side gets its share of the sum of powers",
        source=CALCULUS,
        tests=("torch.logaddexp2(a, b) where a: 3 4; b: 4",),
        elementwise=True,
        means="more = torch.log2(1 + 2 ** -torch.abs(a - b))\n"
        "torch.where(a == b, a + 1, torch.maximum(a, b) + more)",
    ),
)
