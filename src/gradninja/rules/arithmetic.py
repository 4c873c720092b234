"""Sums, products, quotients, powers."""

from __future__ import annotations

from gradninja.rules.rule import Rule, Site

CALCULUS = "calculus: the derivative of an elementary function, and the chain rule"


def _power_base(site: Site) -> str:
    if site.is_tensor("b"):
        return "g * (b * a ** (b - 1))"
    power = site.value("b")
    if power == 2:
        return "2 * a * g"
    if power == 1:
        return "g"
    if power == 0:
        return "torch.zeros_like(a)"
    return f"b * a ** {_less_one(power)} * g"


def _power_base_exact(site: Site) -> str:
    """PyTorch: grad * (exponent * self.pow(exponent - 1)), zeros for an exponent of 0."""
    if site.is_tensor("b"):
        return "torch.where(b == 0.0, torch.zeros_like(a), g * (b * a ** (b - 1)))"
    if site.value("b") == 0:
        return "torch.zeros_like(a)"
    return f"g * (b * a ** {_less_one(site.value('b'))})"


def _less_one(power: float) -> str:
    less = power - 1
    return f"({less})" if less < 0 else f"{less}"


ARITHMETIC = (
    Rule(
        "add",
        ("a + b", "torch.add(a, b, alpha=1)", "a.add(b, alpha=1)"),
        {"a": "g", "b": lambda s: "g" if s.value_or("alpha", 1) == 1 else "g * alpha"},
        why="a sum hands the gradient on to each of its terms unchanged",
        source=CALCULUS,
        tests=(
            "a + b where a: 3 4; b: 3 4",
            "a + b where a: 3 4; b: 4",
            "a + b where a: 3 1; b: 1 4",
            "a + 2.5 where a: 3 4",
            "1 + a where a: 3 4",
            "torch.add(a, b, alpha=3) where a: 2 3 4; b: 3 1",
            "a.add(b) where a: 4; b: 3 4",
        ),
        elementwise=True,
    ),
    Rule(
        "mul",
        ("a * b", "torch.mul(a, b)", "a.mul(b)", "torch.multiply(a, b)", "a.multiply(b)"),
        {"a": "b * g", "b": "a * g"},
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
)
