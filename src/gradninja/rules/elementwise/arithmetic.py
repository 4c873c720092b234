"""Sums, products, quotients, powers."""

from __future__ import annotations

from gradninja.rules.rule import CHEAP, Refusal, Rule, Site, Template

CALCULUS = "calculus: the derivative of an elementary function, and the chain rule"


def _scaled(text: str) -> str:
    """`alpha` times a text, where an alpha other than 1 is given."""
    return f"alpha * {text}"


def _add_other(site: Site) -> str:
    return "g" if site.value_or("alpha", 1) == 1 else _scaled("g")


def _sub_other(site: Site) -> str:
    return "-g" if site.value_or("alpha", 1) == 1 else f"-{_scaled('g')}"


def _less_one(power: float) -> str:
    less = power - 1
    return f"({less})" if less < 0 else f"{less}"


def _power_base(site: Site) -> str:
    if site.is_tensor("b"):
        return "torch.where(b == 0, 0, b * a ** (b - 1) * g)"
    if not site.fixed("b"):
        return "b * a ** (b - 1) * g if b != 0 else torch.zeros_like(a)"
    power = site.value("b")
    if power == 0:
        return "torch.zeros_like(a)"
    if power == 1:
        return "g"
    if power == 2:
        return "2 * a * g"
    return f"b * a ** {_less_one(power)} * g"


def _power_base_exact(site: Site) -> str:
    if site.is_tensor("b"):
        return "torch.where(b == 0.0, torch.zeros_like(a), g * (b * a ** (b - 1)))"
    if not site.fixed("b"):
        return "g * (b * a ** (b - 1)) if b != 0 else torch.zeros_like(a)"
    if site.value("b") == 0:
        return "torch.zeros_like(a)"
    return f"g * (b * a ** {_less_one(site.value('b'))})"


def _power_exponent(site: Site) -> str:
    """y * log(a) * g, and 0 where a is 0 and the exponent is not negative."""
    if not site.is_tensor("a"):
        return "y * math.log(a) * g" if site.value("a") > 0 else "torch.zeros_like(b)"
    return "torch.where((a == 0) & (b >= 0), torch.zeros_like(y), y * a.log()) * g"


def _power_exponent_exact(site: Site) -> str:
    if not site.is_tensor("a"):
        return "g * (y * math.log(a))" if site.value("a") > 0 else "torch.zeros_like(b)"
    return "g * torch.where((a == 0) & (b >= 0), torch.zeros_like(y), y * a.log())"


def _divisor_exact(site: Site) -> str:
    """PyTorch takes a number over a tensor for the number times the reciprocal."""
    if site.is_tensor("a"):
        return "-g * ((a / b) / b)"
    return "-(g * a) * (b.reciprocal() * b.reciprocal())"


def _of_tensor(text: str) -> Template:
    def template(site: Site) -> str:
        if not site.is_tensor("a"):
            raise Refusal("PyTorch has no gradient for what divides a plain number here")
        return text

    return template


def _no_rounding(found: Template) -> Template:
    def template(site: Site) -> str | list[str]:
        if site.value_or("rounding_mode", None) is not None:
            raise Refusal("a division that rounds has no useful gradient")
        return found(site) if callable(found) else found

    return template


ARITHMETIC = (
    Rule(
        "add",
        ("a + b", "torch.add(a, b, alpha=1)", "a.add(b, alpha=1)"),
        {"a": "g", "b": _add_other},
        why="a sum hands the gradient on to each of its terms unchanged",
        source=CALCULUS,
        tests=(
            "a + b where a: 3 4; b: 3 4",
            "a + b where a: 3 4; b: 4",
            "a + b where a: 3 1; b: 1 4",
            "a + b where a: 3 4; b: ()",
            "a + 2.5 where a: 3 4",
            "1 + a where a: 3 4",
            "torch.add(a, b, alpha=3) where a: 2 3 4; b: 3 1",
            "a.add(b) where a: 4; b: 3 4",
        ),
        elementwise=True,
    ),
    Rule(
        "sub",
        ("a - b", "torch.sub(a, b, alpha=1)", "a.sub(b, alpha=1)", "torch.subtract(a, b, alpha=1)"),
        {"a": "g", "b": _sub_other},
        why="a difference hands the gradient on to its first term, and minus it to its second",
        source=CALCULUS,
        tests=(
            "a - b where a: 3 4; b: 3 4",
            "a - b where a: 3 4; b: 1 4",
            "a - b where a: 4; b: 3 1",
            "1 - a where a: 3 4",
            "torch.sub(a, b, alpha=2) where a: 3 4; b: 3 1",
        ),
        elementwise=True,
    ),
    Rule(
        "rsub",
        ("torch.rsub(a, b, alpha=1)",),
        {"a": _sub_other, "b": "g"},
        why="b - a: the gradient is handed on to b, and minus it to a",
        source=CALCULUS,
        tests=(
            "torch.rsub(a, b) where a: 3 4; b: 4",
            "torch.rsub(a, b, alpha=3) where a: 3 4; b: 4",
        ),
        elementwise=True,
        means="b - alpha * a",
    ),
    Rule(
        "neg",
        ("-a", "torch.neg(a)", "a.neg()", "torch.negative(a)", "a.negative()"),
        {"a": "-g"},
        why="a change of sign changes the gradient's sign",
        source=CALCULUS,
        tests=("-a where a: 3 4", "torch.neg(a) where a: ()"),
        elementwise=True,
        loop="-{0}",
        cost=CHEAP,
    ),
    Rule(
        "pos",
        ("+a", "torch.positive(a)", "a.positive()"),
        {"a": "g"},
        why="a plus sign changes nothing",
        source=CALCULUS,
        tests=("torch.positive(a) where a: 3 4", "+a * 2 where a: 3"),
        elementwise=True,
        view=True,
    ),
    Rule(
        "mul",
        ("a * b", "torch.mul(a, b)", "a.mul(b)", "torch.multiply(a, b)", "a.multiply(b)"),
        {"a": "b * g", "b": "a * g"},
        # The same numbers; the order of factors decides how the product lies in memory, and so in
        # which order it is summed later.
        exact={"a": "g * b", "b": "g * a"},
        why="a product hands each factor the gradient times the other factor",
        source=CALCULUS,
        tests=(
            "a * b where a: 3 4; b: 3 4",
            "a * b where a: 3 4; b: 1 4",
            "a * b where a: 3 1; b: 4",
            "a * a where a: 3 4",
            "3 * a where a: 3 4",
            "a.mul(b) where a: 3 4; b: 3 1",
        ),
        elementwise=True,
    ),
    Rule(
        "div",
        (
            "a / b",
            "torch.div(a, b, rounding_mode=None)",
            "a.div(b, rounding_mode=None)",
            "torch.true_divide(a, b)",
            "a.true_divide(b)",
            "torch.divide(a, b)",
        ),
        {"a": _no_rounding("g / b"), "b": _no_rounding("-y / b * g")},
        exact={"b": _no_rounding(_divisor_exact)},
        why="a quotient's top gets the gradient over the bottom, its bottom minus that times the "
        "quotient",
        source=CALCULUS,
        tests=(
            "a / b where a: 3 4; b: 3 4 positive",
            "a / b where a: 3 4; b: 4 positive",
            "a / b where a: 3 1; b: 3 4 positive",
            "1 / a where a: 3 4 positive",
            "a / 4 where a: 3 4",
            "torch.div(a, b) where a: 3 4; b: 3 1 positive",
        ),
        elementwise=True,
    ),
    Rule(
        "pow",
        ("a ** b", "torch.pow(a, b)", "a.pow(b)"),
        {"a": _power_base, "b": _power_exponent},
        exact={"a": _power_base_exact, "b": _power_exponent_exact},
        why="a power's base gets the exponent times the power that is one lower, its exponent the "
        "power times the base's logarithm",
        notation="power",
        source=CALCULUS,
        tests=(
            "a ** 2 where a: 3 4",
            "a ** 3 where a: 3 4",
            "a ** 0 where a: 3 4",
            "a ** 1 where a: 3 4",
            "a ** -1 where a: 3 4 positive",
            "a ** -0.5 where a: 3 4 positive",
            "a ** 0.5 where a: 3 4 positive",
            "a ** b where a: 3 4 positive; b: 3 4",
            "a ** b where a: 3 4 positive; b: 3 4 ties",
            "(a * a) ** (b * b) where a: 3 4 ties; b: 3 4 ties",
            "a ** b where a: 3 1 positive; b: 4",
            "2 ** a where a: 3 4",
            "torch.pow(a, 4) where a: 3",
        ),
        elementwise=True,
    ),
    Rule(
        "square",
        ("torch.square(a)", "a.square()"),
        {"a": "2 * a * g"},
        exact={"a": "g * (2 * a)"},
        why="a square's gradient is twice its base",
        notation="square",
        source=CALCULUS,
        tests=("torch.square(a) where a: 3 4",),
        elementwise=True,
        means="a * a",
    ),
    Rule(
        "remainder",
        ("a % b", "torch.remainder(a, b)", "a.remainder(b)"),
        {"a": "g", "b": _of_tensor("-torch.div(a, b, rounding_mode='floor') * g")},
        exact={"b": _of_tensor("-g * torch.div(a, b, rounding_mode='floor')")},
        why="a remainder is a, less b as often as it goes into a",
        source=CALCULUS,
        tests=(
            "a % 0.7 where a: 3 4",
            "a % b where a: 3 4; b: 4 positive",
            "a.remainder(b) where a: 3 1; b: 3 4 away",
        ),
        elementwise=True,
    ),
    Rule(
        "fmod",
        ("torch.fmod(a, b)", "a.fmod(b)"),
        {"a": "g", "b": "-torch.div(a, b, rounding_mode='trunc') * g"},
        exact={"b": "-g * torch.div(a, b, rounding_mode='trunc')"},
        why="a remainder is a, less b as often as it goes into a",
        source=CALCULUS,
        tests=("torch.fmod(a, 0.7) where a: 3 4", "a.fmod(b) where a: 3 4; b: 3 1 away"),
        elementwise=True,
    ),
    Rule(
        "lerp",
        ("torch.lerp(a, b, weight)", "a.lerp(b, weight)"),
        {"a": "(1 - weight) * g", "b": "weight * g", "weight": "(b - a) * g"},
        exact={"a": "g * (1 - weight)", "b": "g * weight", "weight": "g * (b - a)"},
        why="a mixture hands each side the gradient times its share, and the share the difference "
        "of the sides",
        source=CALCULUS,
        tests=(
            "torch.lerp(a, b, 0.3) where a: 3 4; b: 3 4",
            "torch.lerp(a, b, weight) where a: 3 4; b: 4; weight: 3 1 unit",
        ),
        elementwise=True,
        means="a + weight * (b - a)",
    ),
    Rule(
        "addcmul",
        ("torch.addcmul(a, b, c, value=1)", "a.addcmul(b, c, value=1)"),
        {"a": "g", "b": "value * c * g", "c": "value * b * g"},
        exact={"b": "g * (c * value)", "c": "g * (b * value)"},
        why="a sum hands the gradient on, a product the gradient times the other factor",
        source=CALCULUS,
        tests=("torch.addcmul(a, b, c, value=0.5) where a: 3 4; b: 4; c: 3 1",),
        elementwise=True,
        means="a + value * (b * c)",
    ),
    Rule(
        "addcdiv",
        ("torch.addcdiv(a, b, c, value=1)", "a.addcdiv(b, c, value=1)"),
        {"a": "g", "b": "value / c * g", "c": "-value * b / c**2 * g"},
        exact={"b": "g * (value / c)", "c": "-g * (value * b / (c * c))"},
        why="a sum hands the gradient on; a quotient's top gets it over the bottom, its bottom "
        "minus that times the quotient",
        source=CALCULUS,
        tests=("torch.addcdiv(a, b, c, value=0.5) where a: 3 4; b: 4; c: 3 1 positive",),
        elementwise=True,
        means="a + value * (b / c)",
    ),
)
