"""What stands between layers: squashing functions and rectifiers."""

from __future__ import annotations

from gradninja.rules.elementwise.functions import DERIVATIVES
from gradninja.rules.rule import Refusal, Rule, Site, Template

GELU = "Hendrycks & Gimpel 2016, Gaussian Error Linear Units, section 2"
NORMAL_CDF = "0.5 * (1 + torch.erf(a / math.sqrt(2)))"
NORMAL_PDF = "torch.exp(-0.5 * a**2) / math.sqrt(2 * math.pi)"
LOG_SIGMOID_BUFFER = "torch.ops.aten.log_sigmoid_forward(a)[1]"
TANH_INNER = "math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)"


def _gelu(site: Site) -> str:
    if site.value("approximate") == "none":
        return f"({NORMAL_CDF} + a * {NORMAL_PDF}) * g"
    slope = "math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * a**2)"
    squashed = f"torch.tanh({TANH_INNER})"
    return f"(0.5 * (1 + {squashed}) + 0.5 * a * (1 - {squashed}**2) * {slope}) * g"


def _not_in_place(text: str) -> Template:
    def template(site: Site) -> str:
        if site.value_or("inplace", False):
            raise Refusal("`inplace=True` loses the value before; leave it out")
        return text

    return template


ACTIVATIONS = (
    Rule(
        "tanh",
        ("torch.tanh(a)", "a.tanh()", "F.tanh(a)"),
        {"a": "(1 - y**2) * g"},
        # PyTorch's kernel computes 1 - y*y with a fused multiply-add; addcmul does the same.
        exact={"a": "torch.addcmul(torch.ones((), dtype=y.dtype), y, y, value=-1) * g"},
        why="tanh's slope is 1 minus the square of its result",
        source=DERIVATIVES,
        tests=("torch.tanh(a) where a: 3 4", "a.tanh() where a: ()", "F.tanh(a) where a: 2 3 4"),
        elementwise=True,
        loop="tanh({0})",
    ),
    Rule(
        "sigmoid",
        ("torch.sigmoid(a)", "a.sigmoid()", "F.sigmoid(a)", "torch.special.expit(a)"),
        {"a": "y * (1 - y) * g"},
        exact={"a": "g * (1 - y) * y"},
        why="a sigmoid's slope is its result times 1 minus its result",
        notation="sigma",
        source=DERIVATIVES,
        tests=("torch.sigmoid(a) where a: 3 4", "F.sigmoid(a) where a: ()"),
        elementwise=True,
        loop="sigmoid({0})",
    ),
    Rule(
        "logsigmoid",
        ("F.logsigmoid(a)",),
        {"a": "torch.sigmoid(-a) * g"},
        exact={"a": f"torch.ops.aten.log_sigmoid_backward(g, a, {LOG_SIGMOID_BUFFER})"},
        why="the logarithm of a sigmoid climbs by what the sigmoid lacks to 1",
        source=DERIVATIVES,
        tests=("F.logsigmoid(a) where a: 3 4",),
        elementwise=True,
        means="torch.where(a < 0, a, 0.0) - torch.log1p(torch.exp(-torch.abs(a)))",
    ),
    Rule(
        "relu",
        ("torch.relu(a)", "a.relu()", "F.relu(a, inplace=False)"),
        {"a": _not_in_place("torch.where(a <= 0, 0, g)")},
        why="where the operand is positive the gradient passes, elsewhere nothing does",
        source=DERIVATIVES,
        tests=("torch.relu(a) where a: 3 4", "F.relu(a) where a: 3 4 ties", "a.relu() where a: ()"),
        elementwise=True,
        means="torch.where(a <= 0, 0.0, a)",
    ),
    Rule(
        "relu6",
        ("F.relu6(a, inplace=False)",),
        {"a": _not_in_place("torch.where((a > 0) & (a < 6), g, 0)")},
        why="between 0 and 6 the gradient passes, elsewhere nothing does",
        source=DERIVATIVES,
        tests=(
            "F.relu6(a * 5) where a: 3 4",
            "F.relu6(a * 3) where a: 3 4 ties",
        ),
        elementwise=True,
        means="torch.clamp(a, 0.0, 6.0)",
    ),
    Rule(
        "hardtanh",
        ("F.hardtanh(a, min_val=-1.0, max_val=1.0, inplace=False)",),
        {"a": _not_in_place("torch.where((a > min_val) & (a < max_val), g, 0)")},
        why="between the bounds the gradient passes, elsewhere nothing does",
        source=DERIVATIVES,
        tests=(
            "F.hardtanh(a) where a: 3 4",
            "F.hardtanh(a) where a: 3 4 ties",
            "F.hardtanh(a, -0.2, 0.4) where a: 3 4",
        ),
        elementwise=True,
        means="torch.clamp(a, min_val, max_val)",
    ),
    Rule(
        "leaky_relu",
        ("F.leaky_relu(a, negative_slope=0.01, inplace=False)",),
        {"a": _not_in_place("torch.where(a > 0, g, negative_slope * g)")},
        why="above 0 the gradient passes whole, below it by the small slope",
        source=DERIVATIVES,
        tests=("F.leaky_relu(a) where a: 3 4", "F.leaky_relu(a, 0.3) where a: 3 4 ties"),
        elementwise=True,
        means="torch.where(a > 0, a, a * negative_slope)",
    ),
    Rule(
        "elu",
        ("F.elu(a, alpha=1.0, inplace=False)",),
        {"a": _not_in_place("torch.where(a <= 0, (y + alpha) * g, g)")},
        exact={"a": _not_in_place("torch.ops.aten.elu_backward(g, alpha, 1, 1, False, a)")},
        why="above 0 the gradient passes whole, below it by the slope of the exponential",
        source="Clevert et al. 2015, Exponential Linear Units, equation 16",
        tests=(
            "F.elu(a) where a: 3 4",
            "F.elu(a, 2.0) where a: 3 4 ties",
            "F.elu(a, 0.7) where a: 3 4",
        ),
        elementwise=True,
        means="torch.where(a > 0, a, alpha * torch.expm1(a))",
    ),
    Rule(
        "gelu",
        ("F.gelu(a, approximate='none')",),
        {"a": _gelu},
        exact={"a": "torch.ops.aten.gelu_backward(g, a, approximate=approximate)"},
        why="a times the normal distribution's area: the product rule gives that area, plus a "
        "times the bell curve",
        source=GELU,
        tests=(
            "F.gelu(a) where a: 3 4",
            "F.gelu(a, approximate='tanh') where a: 3 4",
            "F.gelu(a, approximate='none') where a: ()",
        ),
        elementwise=True,
    ),
    Rule(
        "silu",
        ("F.silu(a, inplace=False)",),
        {"a": _not_in_place("torch.sigmoid(a) * (1 + (a - y)) * g")},
        exact={"a": _not_in_place("torch.ops.aten.silu_backward(g, a)")},
        why="a times its sigmoid: the product rule gives the sigmoid, plus a times its slope",
        source="Elfwing et al. 2018, Sigmoid-weighted linear units, equation 5",
        tests=("F.silu(a) where a: 3 4",),
        elementwise=True,
        means="a * torch.sigmoid(a)",
    ),
    Rule(
        "mish",
        ("F.mish(a, inplace=False)",),
        {
            "a": _not_in_place(
                "(torch.tanh(F.softplus(a)) + a * (1 - torch.tanh(F.softplus(a))**2) "
                "* torch.sigmoid(a)) * g"
            )
        },
        exact={"a": _not_in_place("torch.ops.aten.mish_backward(g, a)")},
        why="a times tanh(softplus(a)): the product rule, and the chain through both",
        source="Misra 2019, Mish, section 3",
        tests=("F.mish(a) where a: 3 4",),
        elementwise=True,
        means="a * torch.tanh(F.softplus(a))",
    ),
    Rule(
        "softplus",
        ("F.softplus(a, beta=1, threshold=20)",),
        {"a": "torch.where(beta * a > threshold, g, torch.sigmoid(beta * a) * g)"},
        exact={"a": "torch.ops.aten.softplus_backward(g, a, beta, threshold)"},
        why="a smooth rectifier's slope is the sigmoid",
        source=DERIVATIVES,
        tests=(
            "F.softplus(a) where a: 3 4",
            "F.softplus(a, beta=2.0) where a: 3 4",
            "F.softplus(a, 2.0, 0.5) where a: 3 4",
        ),
        elementwise=True,
        means="torch.where(a * beta > threshold, a, torch.log1p(torch.exp(a * beta)) / beta)",
    ),
    Rule(
        "softsign",
        ("F.softsign(a)",),
        {"a": "g / (1 + a.abs()) ** 2"},
        exact={"a": "g / (a.abs() + 1) + -g * (a / (a.abs() + 1) / (a.abs() + 1)) * torch.sgn(a)"},
        why="the slope is 1 over the square of what divides",
        source=DERIVATIVES,
        tests=("F.softsign(a) where a: 3 4", "F.softsign(a) where a: 3 4 ties"),
        elementwise=True,
        means="a / (1 + torch.abs(a))",
    ),
)
