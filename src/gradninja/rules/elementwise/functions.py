"""Elementary functions, element by element."""

from __future__ import annotations

from gradninja.rules.elementwise.arithmetic import CALCULUS
from gradninja.rules.rule import CHEAP, DIVISION, FUNCTION, Rule, Site, Template

DERIVATIVES = "PyTorch, tools/autograd/derivatives.yaml"
SPECIAL = "Abramowitz & Stegun 1964, chapter 7: d erf(a) / da = 2 / sqrt(pi) exp(-a**2)"


def unary(
    name: str,
    backward: Template,
    why: str,
    *tests: str,
    exact: str | None = None,
    spellings: tuple[str, ...] = (),
    source: str = CALCULUS,
    domain: str = "",
    means: Template = "",
    loop: str = "",
    cost: int = FUNCTION,
    notation: str = "",
) -> Rule:
    """A row for a function of one tensor, spelled `torch.name(a)` and `a.name()`."""
    drawn = f"3 4 {domain}".strip()
    return Rule(
        name,
        (f"torch.{name}(a)", f"a.{name}()", *spellings),
        {"a": backward},
        exact={"a": exact} if exact else {},
        why=why,
        source=source,
        tests=(f"torch.{name}(a) where a: {drawn}", f"a.{name}() where a: () {domain}", *tests),
        elementwise=True,
        means=means,
        loop=loop,
        cost=cost,
        notation=notation,
    )


def _clamp(site: Site) -> str:
    sides = [
        f"(a {compare} {side})"
        for side, compare in (("min", ">="), ("max", "<="))
        if _bounded(site, side)
    ]
    return f"torch.where({' & '.join(sides)}, g, 0)"


def _bounded(site: Site, side: str) -> bool:
    return site.value_or(side, None) is not None


def _clamp_min(site: Site) -> str:
    beyond = "(a < min) & (min < max)" if _bounded(site, "max") else "a < min"
    return f"torch.where({beyond}, g, 0)"


def _clamp_max(site: Site) -> str:
    beyond = "(a > max) | (max < min)" if _bounded(site, "min") else "a > max"
    return f"torch.where({beyond}, g, 0)"


FUNCTIONS = (
    unary("exp", "y * g", "the exponential is its own derivative", loop="exp({0})"),
    unary(
        "exp2",
        "math.log(2) * y * g",
        "a power of 2 grows by log 2 times itself",
        exact="g * y * math.log(2)",
        spellings=("torch.special.exp2(a)",),
        loop="np.exp2({0})",
    ),
    unary(
        "expm1",
        "(y + 1) * g",
        "the derivative is exp(a), which is the result plus 1",
        spellings=("torch.special.expm1(a)",),
        loop="expm1({0})",
    ),
    unary(
        "log",
        "g / a",
        "a logarithm's derivative is 1 over its operand",
        domain="positive",
        loop="log({0})",
    ),
    unary(
        "log1p",
        "g / (1 + a)",
        "a logarithm's derivative is 1 over what it is of",
        domain="positive",
        exact="g / (a + 1)",
        spellings=("torch.special.log1p(a)",),
        loop="np.log1p({0})",
    ),
    unary(
        "log2",
        "g / (a * math.log(2))",
        "a logarithm's derivative is 1 over its operand and the base's logarithm",
        domain="positive",
        exact="g / (a * 0.6931471805599453)",
        loop="np.log2({0})",
    ),
    unary(
        "log10",
        "g / (a * math.log(10))",
        "a logarithm's derivative is 1 over its operand and the base's logarithm",
        domain="positive",
        exact="g / (a * 2.3025850929940456)",
        loop="np.log10({0})",
    ),
    unary(
        "sqrt",
        "0.5 / y * g",
        "a root's derivative is 1 over twice the root",
        domain="positive",
        exact="g / (2 * y)",
        loop="np.sqrt({0})",
        notation="root",
        cost=DIVISION,
    ),
    unary(
        "rsqrt",
        "-0.5 * y**3 * g",
        "1 over a root falls by half of its own cube",
        domain="positive",
        exact="-0.5 * g * y.pow(3)",
        means="1 / torch.sqrt(a)",
    ),
    unary(
        "reciprocal",
        "-(y**2) * g",
        "1 over a falls by its own square",
        domain="positive",
        exact="-g * (y * y)",
        means="1 / a",
        notation="reciprocal",
    ),
    unary(
        "sin",
        "torch.cos(a) * g",
        "the derivative of the sine is the cosine",
        exact="g * a.cos()",
        loop="np.sin({0})",
    ),
    unary(
        "cos",
        "-torch.sin(a) * g",
        "the derivative of the cosine is minus the sine",
        exact="g * -a.sin()",
        loop="np.cos({0})",
    ),
    unary(
        "tan",
        "(1 + y**2) * g",
        "the tangent's derivative is 1 plus its square",
        exact="g * (1 + y.pow(2))",
        loop="np.tan({0})",
    ),
    unary(
        "asin",
        "g / torch.sqrt(1 - a**2)",
        "by inverting the sine",
        domain="unit",
        exact="g * (-a * a + 1).rsqrt()",
        spellings=("torch.arcsin(a)",),
        loop="np.arcsin({0})",
    ),
    unary(
        "acos",
        "-g / torch.sqrt(1 - a**2)",
        "by inverting the cosine",
        domain="unit",
        exact="g * -((-a * a + 1).rsqrt())",
        spellings=("torch.arccos(a)",),
        loop="np.arccos({0})",
    ),
    unary(
        "atan",
        "g / (1 + a**2)",
        "by inverting the tangent",
        exact="g / (a * a + 1)",
        spellings=("torch.arctan(a)",),
        loop="np.arctan({0})",
    ),
    unary("sinh", "torch.cosh(a) * g", "the derivative of sinh is cosh", loop="np.sinh({0})"),
    unary("cosh", "torch.sinh(a) * g", "the derivative of cosh is sinh", loop="np.cosh({0})"),
    unary(
        "asinh",
        "g / torch.sqrt(a**2 + 1)",
        "by inverting sinh",
        exact="g * (a.pow(2) + 1).rsqrt()",
        loop="np.arcsinh({0})",
    ),
    unary(
        "erf",
        "2 / math.sqrt(math.pi) * torch.exp(-(a**2)) * g",
        "the error function's derivative is the bell curve that it integrates",
        exact="2.0 / math.sqrt(math.pi) * torch.exp(-(a.pow(2))) * g",
        source=SPECIAL,
        spellings=("torch.special.erf(a)",),
        loop="math.erf({0})",
    ),
    unary(
        "erfc",
        "-2 / math.sqrt(math.pi) * torch.exp(-(a**2)) * g",
        "1 minus the error function falls by the bell curve",
        exact="-2.0 / math.sqrt(math.pi) * torch.exp(-(a.pow(2))) * g",
        source=SPECIAL,
        loop="math.erfc({0})",
    ),
    unary(
        "abs",
        "torch.sign(a) * g",
        "an absolute value hands the gradient on with its operand's sign, and 0 at 0",
        "abs(a) where a: 3 4",
        "torch.abs(a) where a: 3 4 ties",
        exact="g * a.sgn()",
        spellings=("torch.absolute(a)", "a.absolute()"),
        loop="abs({0})",
        notation="bars",
        cost=CHEAP,
    ),
    Rule(
        "nan_to_num",
        (
            "torch.nan_to_num(a, nan=0.0, posinf=None, neginf=None)",
            "a.nan_to_num(nan=0.0, posinf=None, neginf=None)",
        ),
        {"a": "g * torch.isfinite(a)"},
        why="where the value was replaced no gradient passes",
        source=DERIVATIVES,
        tests=(
            "torch.nan_to_num(a) where a: 3 4",
            "torch.nan_to_num(a + torch.where(m, 0.0, math.inf)) where a: 3 4; m: 3 4 bool",
        ),
        elementwise=True,
    ),
    Rule(
        "clamp",
        (
            "torch.clamp(a, min=None, max=None)",
            "a.clamp(min=None, max=None)",
            "torch.clip(a, min=None, max=None)",
            "a.clip(min=None, max=None)",
            "torch.clamp_min(a, min)",
            "a.clamp_min(min)",
            "torch.clamp_max(a, max)",
            "a.clamp_max(max)",
        ),
        {
            "a": _clamp,
            "min": _clamp_min,
            "max": _clamp_max,
        },
        why="between the bounds the gradient passes, beyond them the result does not move",
        source=DERIVATIVES,
        tests=(
            "torch.clamp(a, -0.5, 0.5) where a: 3 4",
            "a.clamp(min=0) where a: 3 4 ties",
            "a.clamp(max=1.0) where a: 3 4 ties",
            "a.clamp(-1, 1) where a: 3 4 ties",
            "torch.clamp_min(a, 0.1) where a: 3 4",
            "a.clamp_max(0.1) where a: 3 4",
            "torch.clamp(a, min=min) where a: 3 4; min: 4",
            "torch.clamp(a, max=max) where a: 3 4; max: 3 4",
            "torch.clamp(a, min=min) where a: 3 4 ties; min: 4 ties",
            "torch.clamp(a, max=max) where a: 3 4 ties; max: 4 ties",
            "torch.clamp(a, min, max) where a: 4 5 ties; min: 5 ties; max: 4 1 ties",
        ),
        elementwise=True,
    ),
    Rule(
        "where",
        ("torch.where(condition, a, b)", "a.where(condition, b)"),
        {
            "a": "torch.where(condition, g, 0)",
            "b": "torch.where(condition, 0, g)",
        },
        why="the gradient goes to the side that was chosen, and 0 to the other",
        source=DERIVATIVES,
        tests=(
            "torch.where(m, a, b) where m: 3 4 bool; a: 3 4; b: 3 4",
            "torch.where(a > 0, a, 0.1 * a) where a: 3 4",
            "torch.where(m, a, b) where m: 3 4 bool; a: 4; b: 3 1",
            "torch.where(m, a, 0.0) where m: 3 1 bool; a: 3 4",
            "a.where(m, b) where m: 3 4 bool; a: 3 4; b: ()",
        ),
        elementwise=True,
    ),
    Rule(
        "masked_fill",
        ("a.masked_fill(mask, value)", "torch.masked_fill(a, mask, value)"),
        {"a": "g.masked_fill(mask, 0)", "value": "g.masked_select(mask).sum()"},
        why="where the value was overwritten no gradient passes; the value that was written gets "
        "the sum of those",
        source=DERIVATIVES,
        tests=(
            "a.masked_fill(m, 0.5) where a: 3 4; m: 3 4 bool",
            "a.masked_fill(m, -1.0) where a: 2 3 4; m: 3 4 bool",
            "a.masked_fill(m, v) where a: 3 4; m: 3 4 bool; v: ()",
        ),
    ),
    Rule(
        "atan2",
        ("torch.atan2(a, b)", "a.atan2(b)", "torch.arctan2(a, b)"),
        {
            "a": "torch.where(a**2 + b**2 == 0, 0, b / (a**2 + b**2)) * g",
            "b": "torch.where(a**2 + b**2 == 0, 0, -a / (a**2 + b**2)) * g",
        },
        exact={
            "a": "g * b * (a * a + b * b).reciprocal().masked_fill(a * a + b * b == 0, 0)",
            "b": "g * -a * (a * a + b * b).reciprocal().masked_fill(a * a + b * b == 0, 0)",
        },
        why="an angle turns by the other side over the squared distance",
        source=CALCULUS,
        tests=("torch.atan2(a, b) where a: 3 4 positive; b: 4 positive",),
        elementwise=True,
        loop="np.arctan2({0}, {1})",
    ),
    Rule(
        "hypot",
        ("torch.hypot(a, b)", "a.hypot(b)"),
        {"a": "a / y * g", "b": "b / y * g"},
        exact={"a": "g * a / y", "b": "g * b / y"},
        why="a distance grows along each side by that side over the distance",
        source=CALCULUS,
        tests=("torch.hypot(a, b) where a: 3 4 positive; b: 4 positive",),
        elementwise=True,
        loop="np.hypot({0}, {1})",
    ),
    Rule(
        "logaddexp",
        ("torch.logaddexp(a, b)", "a.logaddexp(b)"),
        {"a": "torch.sigmoid(a - b) * g", "b": "torch.sigmoid(b - a) * g"},
        exact={"a": "g / (1 + torch.exp(b - a))", "b": "g / (1 + torch.exp(a - b))"},
        why="each side gets its share of the sum of exponentials, a sigmoid of the difference",
        source=CALCULUS,
        tests=("torch.logaddexp(a, b) where a: 3 4; b: 4",),
        elementwise=True,
        means="torch.where(a == b, a + math.log(2), torch.maximum(a, b) "
        "+ torch.log1p(torch.exp(-torch.abs(a - b))))",
    ),
    Rule(
        "copy",
        ("a.clone()", "torch.clone(a)", "a.contiguous()"),
        {"a": "g"},
        why="a copy hands the gradient on unchanged",
        notation="same",
        source=DERIVATIVES,
        tests=(
            "a.clone() where a: 3 4",
            "a.contiguous() where a: 3 4",
            "torch.clone(a) where a: ()",
        ),
        elementwise=True,
        view=True,
    ),
    Rule(
        "cast",
        (
            "a.float()",
            "a.double()",
            "a.half()",
            "a.bfloat16()",
            "a.to(dtype)",
            "a.type(dtype)",
            "a.type_as(other)",
        ),
        {"a": "g.to(a.dtype)"},
        why="the same values in another precision: the gradient comes back in the operand's own",
        source=DERIVATIVES,
        tests=(
            "a.double() * 2 where a: 3 4",
            "a.float() where a: 3 4",
            "a.to(torch.float64) where a: 3 4",
            "a.type(torch.float64) where a: 3 4",
            "a.type_as(b) * b where a: 3 4; b: 3 4",
        ),
        shape_only=("other",),
        view=True,
    ),
)
