"""Activations made of straight pieces, and gates."""

from __future__ import annotations

from gradninja.rules.elementwise.functions import DERIVATIVES
from gradninja.rules.rule import Refusal, Rule, Site, Template

PIECES = "between the corners the slope is that of a straight line, at a corner that of its left"
KLAMBAUER = "Klambauer et al. 2017, Self-normalizing neural networks, equation 2"
SELU_SCALE, SELU_ALPHA = "1.0507009873554805", "1.6732632423543772"


def _not_in_place(text: str) -> Template:
    """`inplace=True` would overwrite what the backward reads."""

    def template(site: Site) -> str:
        if site.value("inplace"):
            raise Refusal("`inplace=True` overwrites what the backward reads; leave it out")
        return text

    return template


def pieces(
    name: str,
    formals: str,
    backward: Template,
    why: str,
    *tests: str,
    exact: str = "",
    source: str = DERIVATIVES,
    spellings: tuple[str, ...] = (),
    means: Template = "",
) -> Rule:
    """A row for an activation of `torch.nn.functional`."""
    return Rule(
        name,
        (f"F.{name}({formals})", *spellings),
        {"a": backward},
        exact={"a": exact} if exact else {},
        why=why,
        source=source,
        tests=tuple(f"F.{name}({call}" for call in tests),
        elementwise=True,
        means=means,
    )


def _prelu_input(site: Site) -> str:
    return f"torch.where(a > 0, g, {_per_channel(site)} * g)"


def _per_channel(site: Site) -> str:
    """The slope beside the channels, which are axis 1."""
    if site.ndim("weight") == 0 or site.shape("weight") == (1,) or site.ndim("a") <= 2:
        return "weight"
    return f"weight.reshape(-1{', 1' * (site.ndim('a') - 2)})"


def _prelu_weight(site: Site) -> str:
    """One slope serves a whole channel, so what it did there is summed."""
    text = "torch.where(a > 0, 0, a * g)"
    if site.shape("weight") in ((), (1,)) or site.ndim("a") <= 2:
        return text
    return f"({text}).sum({(0, *range(2, site.ndim('a')))})"


def _celu(site: Site) -> str:
    slope = "a" if site.value("alpha") == 1 else "a / alpha"
    return f"torch.where(a > 0, g, torch.exp({slope}) * g)"


def _random_slope(site: Site) -> str:
    if site.value("training"):
        raise Refusal(
            "the slopes are drawn inside; draw them on a line: "
            "`slope = torch.empty_like(x).uniform_(lower, upper)`, handed in as an input"
        )
    return "torch.where(a > 0, g, (lower + upper) / 2 * g)"


def _middle_slope(site: Site) -> str:
    _random_slope(site)
    return "torch.where(a >= 0, a, (lower + upper) / 2 * a)"


RECTIFIERS = (
    pieces(
        "threshold",
        "a, threshold, value, inplace=False",
        _not_in_place("torch.where(a <= threshold, 0, g)"),
        "above the threshold the gradient passes, what was replaced does not move the result",
        "a, 0.1, 0.5) where a: 3 4",
        "a, 1.0, -2.0) where a: 3 4 ties",
        means="torch.where(a <= threshold, value, a)",
    ),
    pieces(
        "hardsigmoid",
        "a, inplace=False",
        # In the line itself PyTorch takes 1/6 in single precision, whatever the dtype.
        _not_in_place("torch.ops.aten.hardsigmoid_backward(g, a)"),
        "a line of slope 1/6 between the corners, flat outside",
        "2 * a) where a: 3 4",
        "3 * a) where a: 3 4 ties",
        source="Courbariaux et al. 2015, BinaryConnect; PyTorch, hardsigmoid",
        means="torch.clamp(a + 3, 0.0, 6.0) / 6",
    ),
    pieces(
        "hardswish",
        "a, inplace=False",
        _not_in_place("torch.where(a >= 3, g, torch.where(a > -3, (a / 3 + 0.5) * g, 0))"),
        "the input times a piecewise line, by the product rule",
        "2 * a) where a: 3 4",
        "3 * a) where a: 3 4 ties",
        exact="torch.ops.aten.hardswish_backward(g, a)",
        source="Howard et al. 2019, Searching for MobileNetV3, section 5.2",
        means="a * torch.clamp(a + 3, 0.0, 6.0) / 6",
    ),
    pieces(
        "hardshrink",
        "a, lambd=0.5",
        "torch.where((a >= -lambd) & (a <= lambd), 0, g)",
        PIECES,
        "a) where a: 3 4",
        "a, 1.0) where a: 3 4 ties",
        spellings=("torch.hardshrink(a, lambd=0.5)", "a.hardshrink(lambd=0.5)"),
        means="torch.where((a >= -lambd) & (a <= lambd), 0.0, a)",
    ),
    pieces(
        "softshrink",
        "a, lambd=0.5",
        "torch.where((a >= -lambd) & (a <= lambd), 0, g)",
        PIECES,
        "a) where a: 3 4",
        "a, 1.0) where a: 3 4 ties",
        means="torch.where(a > lambd, a - lambd, torch.where(a < -lambd, a + lambd, 0.0 * a))",
    ),
    Rule(
        "tanhshrink",
        ("F.tanhshrink(a)",),
        {"a": "torch.tanh(a) ** 2 * g"},
        exact={"a": "g + torch.ops.aten.tanh_backward(-g, a.tanh())"},
        why="the input less its tanh: 1 less the slope of tanh is the square of tanh",
        source=DERIVATIVES,
        tests=("F.tanhshrink(a) where a: 3 4",),
        means="a - torch.tanh(a)",
        elementwise=True,
    ),
    pieces(
        "celu",
        "a, alpha=1.0, inplace=False",
        _celu,
        "above 0 the gradient passes; below, the exponential is its own slope",
        "a) where a: 3 4",
        "a, alpha=2.0) where a: 3 4",
        exact="torch.ops.aten.elu_backward(g, alpha, 1, 1 / alpha, False, a)",
        source="Barron 2017, Continuously differentiable exponential linear units",
        means="torch.where(a > 0, a, alpha * torch.expm1(a / alpha))",
    ),
    pieces(
        "selu",
        "a, inplace=False",
        f"torch.where(a <= 0, {SELU_SCALE} * {SELU_ALPHA} * torch.exp(a) * g, {SELU_SCALE} * g)",
        "above 0 a line, below an exponential, which is its own slope",
        "a) where a: 3 4",
        "a) where a: 3 4 ties",
        exact=f"torch.ops.aten.elu_backward(g, {SELU_ALPHA}, {SELU_SCALE}, 1, False, a)",
        source=KLAMBAUER,
        spellings=("torch.selu(a)",),
        means=f"{SELU_SCALE} * torch.where(a > 0, a, {SELU_ALPHA} * torch.expm1(a))",
    ),
    pieces(
        "rrelu",
        "a, lower=0.125, upper=0.3333333333333333, training=False, inplace=False",
        _random_slope,
        "outside of training the slope below 0 is the middle of its bounds",
        "a) where a: 3 4",
        "a, 0.2, 0.4) where a: 3 4 ties",
        source="Xu et al. 2015, Empirical evaluation of rectified activations, section 2.4",
        means=_middle_slope,
    ),
    Rule(
        "prelu",
        ("F.prelu(a, weight)", "torch.prelu(a, weight)", "a.prelu(weight)"),
        {"a": _prelu_input, "weight": _prelu_weight},
        why="above 0 the gradient passes, below it passes times the slope, and the slope gets what "
        "it was multiplied with",
        source="He et al. 2015, Delving deep into rectifiers, section 2.1",
        tests=(
            "F.prelu(a, w) where a: 3 4; w: 1",
            "F.prelu(a, w) where a: 3 4; w: 4",
            "torch.prelu(a, w) where a: 2 3 4; w: 3",
            "F.prelu(a, w) where a: 2 3 4 5; w: 3",
            "a.prelu(w) where a: 3 4 ties; w: 1",
            "F.prelu(a, w) where a: 2 3 4 ties; w: 3",
            "F.prelu(a, w) where a: 2 3 4 5 ties; w: 3",
        ),
        means=lambda site: f"torch.where(a > 0, a, {_per_channel(site)} * a)",
    ),
    Rule(
        "glu",
        ("F.glu(a, dim=-1)",),
        {
            "a": "torch.cat((torch.sigmoid(a.chunk(2, dim)[1]) * g, y * "
            "torch.sigmoid(-a.chunk(2, dim)[1]) * g), dim)"
        },
        exact={"a": "torch.ops.aten.glu_backward(g, a, dim)"},
        why="one half times the sigmoid of the other: the first gets the gate, the gate's half the "
        "result times what the gate is short of 1",
        source="Dauphin et al. 2017, Language modeling with gated convolutional networks, eq. 1",
        tests=(
            "F.glu(a) where a: 3 4",
            "F.glu(a, 0) where a: 4 3",
            "F.glu(a, dim=1) where a: 2 6 5",
        ),
        means="a.chunk(2, dim)[0] * torch.sigmoid(a.chunk(2, dim)[1])",
    ),
)
