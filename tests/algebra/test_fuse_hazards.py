"""Fusing where short forms tend to break: values at the edge, equal sizes, planted slips."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor

import catalogue
import fuse_targets
import gradninja as gn
from catalogue import DISTINCT, EQUAL, Cataloged, autograd, call, cotangents, differences
from gradninja.algebra import engine
from gradninja.algebra.index.normal import Normal
from gradninja.algebra.index.terms import indices_of
from gradninja.algebra.ops.lowering import Lowering
from gradninja.lines.scope import LIBRARY
from gradninja.rules import BOOK

# What PyTorch thinks of a deprecated spelling is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")

NAMES = {**LIBRARY, "Float": Float, "Int": Int, "Tensor": Tensor}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def forward_of(text: str, signature: str) -> str:
    steps = "".join(f"    {step}\n" for step in text.split("; "))
    return f"def forward({signature}):\n{steps}    return y\n"


def truth_of(
    text: str, inputs: Mapping[str, Any], seed: int = 3
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    scope = dict(NAMES)
    exec(text, scope)
    return autograd(scope["forward"], inputs, lambda out: cotangents(out, seed, "plain"))


# -- values at the edge ---------------------------------------------------------------------


def huge(x: Tensor) -> Tensor:
    return 1000 * x


def a_row_of_zeros(x: Tensor) -> Tensor:
    return x.index_fill(0, torch.tensor([0]), 0.0)


def a_constant_row(x: Tensor) -> Tensor:
    return x.index_fill(0, torch.tensor([0]), 1.5)


def ties(x: Tensor) -> Tensor:
    return x.index_fill(1, torch.tensor([0, 1]), 3.0)


def zeros(x: Tensor) -> Tensor:
    return 0 * x


SOFTMAX = "c = (x - x.max(1, keepdim=True).values).exp(); s = c.sum(1, keepdim=True)"
MASKED = "S = (x @ x.T).masked_fill(torch.ones(len(x), len(x)).triu(1) > 0, float('-inf'))"
EDGES: list[tuple[str, tuple[Callable[[Tensor], Tensor], ...]]] = [
    ("y = F.softmax(x, 1)", (huge, ties)),
    (f"{SOFTMAX}; y = c / s", (huge, ties)),
    (f"{SOFTMAX}; y = (s.log() + x.max(1, keepdim=True).values) * 2", (huge, ties)),
    (f"{SOFTMAX}; y = x - x.max(1, keepdim=True).values - s.log()", (huge, ties)),
    ("y = torch.logsumexp(x, 1)", (huge, ties)),
    (f"{MASKED}; P = F.softmax(S, 1); y = P @ x", (huge, a_row_of_zeros)),
    (f"{MASKED}; c = (S - S.amax(1, keepdim=True)).exp(); y = c / c.sum(1)[:, None]", (huge,)),
    ("y = torch.sigmoid(x)", (huge, zeros)),
    ("y = F.silu(x)", (huge, zeros)),
    ("y = F.gelu(x)", (huge, zeros)),
    ("y = F.gelu(x, approximate='tanh')", (huge, zeros)),
    ("y = x * torch.tanh(F.softplus(x))", (huge, zeros)),
    ("y = (x.clamp(min=0) - x * z + torch.log1p(torch.exp(-x.abs()))).mean()", (huge,)),
    ("y = F.binary_cross_entropy_with_logits(x, z)", (huge, zeros)),
    ("y = F.layer_norm(x, (x.shape[1],))", (a_constant_row, huge)),
    ("y = (x - x.mean(1)[:, None]) * (x.var(1)[:, None] + 1e-5) ** -0.5", (a_constant_row, huge)),
    ("y = (x - x.mean(1)[:, None]) / (x.std(1)[:, None] + 1e-5)", (a_constant_row, huge)),
    ("y = x / (x.std(0, correction=0) + 1e-5)", (zeros, huge)),
    ("y = F.normalize(x, dim=1) * z", (a_row_of_zeros, huge)),
    ("y = F.cosine_similarity(x, z, dim=1)", (a_row_of_zeros, huge)),
    ("y = x / (x.norm(dim=1, keepdim=True) + 1e-3)", (a_row_of_zeros, huge)),
    ("y = F.relu(x) * x + x.abs() * z", (zeros, a_row_of_zeros)),
    ("y = x.clamp(0, 1.5) * x", (zeros, a_constant_row)),
    ("y = x * x / (x * x + 1e-3) + x.prod(1)[:, None]", (zeros, a_row_of_zeros)),
    ("y = x**3 * x**2", (zeros, huge)),
    ("y = x * x.norm(dim=1, keepdim=True)", (a_row_of_zeros, huge)),
    ("y = x.norm(dim=1) ** 2 + x.norm(dim=1)", (a_row_of_zeros, zeros)),
    ("y = x / (x.norm(p=1, dim=1, keepdim=True) + 1e-3)", (a_row_of_zeros,)),
    ("y = x / x.norm(dim=1, keepdim=True).clamp(min=1e-3)", (a_row_of_zeros, huge)),
    ("s, m = torch.std_mean(x, 1, keepdim=True); y = (x - m) / (s + 1e-5)", (a_constant_row,)),
    ("v, m = torch.var_mean(x, 0); y = (x - m) / (v + 1e-5).sqrt() * z", (zeros, huge)),
    ("y = F.instance_norm(x[None])[0] * z", (a_constant_row, huge)),
    ("y = torch.where(x > 0, x, 0.01 * x) * z", (zeros, huge)),
    ("y = torch.where(x != 0, 1 / torch.where(x != 0, x, 1.0), 0.0) * z", (a_row_of_zeros,)),
    ("y = F.l1_loss(x, x * 1) + F.smooth_l1_loss(x, z) + F.huber_loss(x, z)", (zeros, huge)),
    (
        "p, q = F.log_softmax(x, 1), F.log_softmax(z, 1); y = F.kl_div(p, q, log_target=True)",
        (huge,),
    ),
    ("p = F.log_softmax(x, 1); y = -(p.exp() * p).sum(1)", (ties, huge)),
    ("y = (x - x.logsumexp(1, keepdim=True)).exp() * z", (ties, huge)),
    ("y = F.softplus(x) * z + torch.log1p(torch.exp(-x))", (zeros,)),
    ("y = F.logsigmoid(x) * z + F.logsigmoid(-x)", (zeros, huge)),
    ("y = torch.relu(x) * z + torch.log1p(torch.exp(-x.abs()))", (zeros, huge)),
    ("y = torch.lerp(x, z, torch.sigmoid(x))", (zeros, huge)),
]


@pytest.mark.parametrize(("steps", "edges"), EDGES, ids=[text for text, _ in EDGES])
def test_finite_and_right_at_the_edges(
    steps: str, edges: tuple[Callable[[Tensor], Tensor], ...]
) -> None:
    """Wherever autograd's gradient is finite: a short form may not divide by what is 0 there."""
    z = ', z: Float[Tensor, "n d"]' if "z" in steps else ""
    text = forward_of(steps, f'x: Float[Tensor, "n d"]{z}')
    back = gn.fuse(text)
    for edge in edges:
        inputs = {"x": edge(drawn(6, 5)), **({"z": drawn(6, 5, seed=1)} if z else {})}
        truth, grads = truth_of(text, inputs)
        got = call(back, inputs, grads)
        for name, want in truth.items():
            finite = torch.isfinite(want)
            told = f"{name}, {edge.__name__}\n{back.source}"
            assert torch.isfinite(got[name][finite]).all(), told
            scale = want[finite].abs().max().clamp(min=1e-3)
            assert (got[name][finite] - want[finite]).abs().max() <= 1e-11 * scale, told


# -- options and sizes ----------------------------------------------------------------------

OPTIONS: list[tuple[str, str, Any]] = [
    ("y = x**k / k", "k: int = 3", 4),
    ("y = (x * x + 1) ** k * k", "k: float = 0.5", 1.7),
    ("y = x * k + x * (1 - k)", "k: float = 0.0", 1.7),
    ("s = torch.sigmoid(x); y = (1 - s) ** k * s.log()", "k: float = 1.0", 3.5),
    ("y = x * x.var(0, correction=k)", "k: int = 1", 0),
    ("t = torch.softmax(x, 1) * (1 - k) + k / x.shape[1]; y = t * t", "k: float = 0.0", 0.3),
    ("y = F.leaky_relu(x, k) * x", "k: float = 0.0", 0.2),
]


@pytest.mark.parametrize(("steps", "option", "later"), OPTIONS)
def test_an_option_may_change_later(steps: str, option: str, later: Any) -> None:
    """What is 0 or 1 while fusing must not vanish from the text."""
    text = forward_of(steps, f'x: Float[Tensor, "n d"], {option}')
    back = gn.fuse(text)
    inputs = {"x": drawn(6, 5), "k": later}
    truth, (grad,) = truth_of(text, inputs)
    assert not differences(back(inputs, grad), truth, 1e-12), back.source


COUNTS = [
    "y = 5 * x.mean(0) + x.sum(0) / 5",  # 5 is what n is when drawn
    "y = x / x.shape[0] ** 0.5 * x.numel()",
    "y = (x - x.mean(0)) * (x.shape[0] - 1) / x.var(0)",
    "y = x @ x.T @ x / len(x)",
    "y = (x @ x.T).diagonal() * x.sum(1)",
]


@pytest.mark.parametrize("steps", COUNTS)
@pytest.mark.parametrize("sizes", [(5, 7), (4, 4), (6, 5)])
def test_a_size_is_no_number(steps: str, sizes: tuple[int, int]) -> None:
    text = forward_of(steps, "x")
    back = gn.fuse(text, {"x": drawn(*sizes)})
    for later in ((5, 7), (9, 3), (4, 4)):
        inputs = {"x": drawn(*later)}
        truth, grads = truth_of(text, inputs)
        assert not differences(call(back, inputs, grads), truth, 1e-12), back.source


@pytest.mark.parametrize("of", ["atan2", "logaddexp"])
def test_an_axis_where_operands_meet_has_the_size_of_theirs(of: str) -> None:
    """What has no name of its own is averaged by the size of what it is made of."""
    text = forward_of(f"y = torch.{of}(x, z).mean(0)", "x, z")
    inputs = {"x": drawn(6, 5), "z": drawn(6, 5, seed=1)}
    back = gn.fuse(text, inputs)
    assert not back.dropped, back.dropped
    truth, grads = truth_of(text, inputs)
    assert not differences(call(back, inputs, grads), truth, 1e-12), back.source


def test_what_cancels_once_it_is_multiplied_out_is_0() -> None:
    text = forward_of(
        "y = (x * (1 - w)).sum(0) + w * x.sum(0) - x.sum(0)",
        'x: Float[Tensor, "n d"], w: Float[Tensor, "d"]',
    )
    back = gn.fuse(text)
    assert not back.dropped and "dx = torch.full_like(x, 0)" in back.source, back.source
    inputs = {"x": drawn(6, 5), "w": drawn(5, seed=1)}
    truth, grads = truth_of(text, inputs)
    for name, gradient in call(back, inputs, grads).items():
        assert truth[name].abs().max() < 1e-14 and not gradient.any()  # no rounding is left


# The themes in which the algebra has most to do.
THEMES = ("attention", "lecture", "losses", "normalisation")
COINCIDING = [
    *(program for program in catalogue.collect() if program.theme in THEMES),
    *fuse_targets.collect(),
]


@pytest.mark.parametrize(
    "steps",
    [
        "y = x * (w + x) - x * w - x * x",
        "a = x * (w + x) - x * w; y = a - x * x",
        "y = (x + w) * w - x * w - w * w",
    ],
)
def test_what_cancels_once_it_is_folded_into_a_name_is_0(steps: str) -> None:
    text = forward_of(steps, 'x: Float[Tensor, "n d"], w: Float[Tensor, "d"]')
    back = gn.fuse(text)
    assert not back.dropped and "dx = torch.full_like(x, 0)" in back.source, back.source
    assert [line.name for line in back.lines] == ["dx", "dw"], back.source  # and no part of it
    _, grads = truth_of(text, {"x": drawn(6, 5), "w": drawn(5, seed=1)})
    for gradient in call(back, {"x": drawn(6, 5), "w": drawn(5, seed=1)}, grads).values():
        assert not gradient.any()


@pytest.mark.parametrize(
    "step", ["x * torch.sigmoid(x)", "x / (1 + x * x)", "x * w * torch.cos(x)"]
)
def test_a_chain_of_products_is_not_written_out_in_one(step: str) -> None:
    """Else what there is to do grows with the square of its length."""
    steps = "; ".join([f"x = {step}"] * 30 + ["y = x"])
    program = gn.derive(forward_of(steps, 'x: Float[Tensor, "n d"], w: Float[Tensor, "d"]')).program
    normal = Normal(Lowering(program, BOOK).graph)
    assert max(len(term.powers) for form in normal.forms.values() for term in form) <= 12


def test_inputs_of_several_precisions_are_fused_in_them() -> None:
    text = forward_of("h = z + z.double() * w; y = h.sum(1).tanh()", "z, w")
    inputs = {"z": drawn(4, 3), "w": drawn(3, seed=1).float()}
    back = gn.fuse(text, inputs)
    assert not back.dropped and "answered in one go" in back.source, (back.dropped, back.source)
    truth, grads = truth_of(text, inputs)
    for name, gradient in call(back, inputs, grads).items():
        torch.testing.assert_close(gradient, truth[name])


@pytest.mark.parametrize("program", COINCIDING, ids=lambda program: program.name)
def test_fused_where_sizes_coincide(program: Cataloged) -> None:
    """Equal sizes while fusing must not make two axes one: called with distinct sizes after."""
    back = gn.fuse(program.function, inputs=program.draw(EQUAL, 5))
    inputs = program.draw(DISTINCT, 6)
    torch.manual_seed(6)
    truth, grads = autograd(program.function, inputs, lambda out: cotangents(out, 6, "plain"))
    torch.manual_seed(6)
    wrong = differences(call(back, inputs, grads), truth)
    assert not wrong, "\n".join([*wrong, back.source])


# -- planted slips --------------------------------------------------------------------------

NORM = """
def forward(x: Float[Tensor, "n d"], gain: Float[Tensor, "d"], W: Float[Tensor, "d k"]):
    diff = x - x.mean(0)
    var = (diff**2).mean(0)
    xhat = diff * (var + 1e-5) ** -0.5
    y = torch.tanh(gain * xhat) @ W
    return y
"""

SUM = """
def forward(x: Float[Tensor, "n d"], gain: Float[Tensor, "d"], W: Float[Tensor, "n d"]):
    h = (x + gain) * W
    y = (h.sum(0) + (W + gain).sum(0)) ** 2
    return y
"""


def size_as_a_number(self: Normal, coefficient: Fraction, powers: Any, bound: Any) -> Any:
    """`Normal.build`, but an axis's size is the number that it is now."""
    powers, bound = list(powers), frozenset(bound)
    term = engine.Term.of(coefficient, powers, bound)
    for index in bound - indices_of(term.powers):
        atom, place = next((f[0], f[1].index(index)) for f, _ in powers if index in f[1])
        coefficient *= self.graph.sizes[self.graph.nodes[atom].axes[place]]
    return engine.Term.of(coefficient, powers, bound & indices_of(term.powers))


def plant_half_adjoint(patch: pytest.MonkeyPatch) -> None:
    whole = engine.adjoint

    def half(normal: Any, node: Any, gradient: Any) -> Any:
        found = list(whole(normal, node, gradient))
        return found[:-1] if len(found) > 1 else found

    patch.setattr(engine, "adjoint", half)


def plant_lost_term(patch: pytest.MonkeyPatch) -> None:
    whole = engine.Extractor.extract
    patch.setattr(engine.Extractor, "extract", lambda self, terms: whole(self, terms[:-1] or terms))


def plant_lost_parentheses(patch: pytest.MonkeyPatch) -> None:
    whole = engine.Writer.statement

    def slip(self: Any, *arguments: Any) -> ast.expr:
        tree = whole(self, *arguments)
        for node in ast.walk(tree):
            if isinstance(node, ast.Sub | ast.Add):
                return ast.parse(ast.unparse(tree).replace("(", "(-", 1), mode="eval").body
        return tree

    patch.setattr(engine.Writer, "statement", slip)


def plant_size_as_a_number(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Normal, "build", size_as_a_number)


PLANTS = [
    (plant_half_adjoint, NORM),
    (plant_lost_term, NORM),
    (plant_lost_parentheses, NORM),
    (plant_size_as_a_number, SUM),
]


@pytest.mark.parametrize(("plant", "text"), PLANTS)
def test_a_planted_slip_is_dropped_and_told(
    plant: Callable[[pytest.MonkeyPatch], None], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = gn.fuse(text)
    assert not clean.dropped
    with monkeypatch.context() as patch:
        plant(patch)
        back = gn.fuse(text)
    assert back.dropped and all(one.why for one in back.dropped), back.source
    shapes = {"x": (9, 4), "gain": (4,), "W": (4, 3) if text is NORM else (9, 4)}
    inputs = {given.name: drawn(*shapes[given.name]) for given in back.program.inputs}
    truth, grads = truth_of(text, inputs)
    assert not differences(call(back, inputs, grads), truth, 1e-12), back.source


@pytest.mark.parametrize("call", ["F.avg_pool1d(x, (3,))", "x.repeat_interleave(repeats=2)"])
def test_a_starred_argument_has_a_cost(call: str) -> None:
    """`torch.zeros(*x.shape)`: a star stands for no value of its own."""
    text = f"def forward(x):\n    return {call}\n"
    inputs = {"x": drawn(2, 3, 6)}
    back, fused = gn.derive(text, inputs), gn.fuse(text, inputs)
    given = back.forward_values(inputs)[back.outputs[0]]
    grad = drawn(*given.shape)
    assert torch.allclose(fused(inputs, grad)["dx"], back(inputs, grad)["dx"], rtol=1e-12)


@pytest.mark.parametrize("loss", ["y = h.mean(0) * x", "y = h.mean()", "y = h.mean(0) ** 2"])
def test_a_mask_has_a_mean(loss: str) -> None:
    """How many are True of n: bools have no mean of their own."""
    signature = 'x: Float[Tensor, "d"], w: Float[Tensor, "n d"]'
    text = forward_of(f"h = torch.where(w > 0, w, x); {loss}", signature)
    back = gn.fuse(text)
    assert not back.dropped, back.source
    inputs = {"x": drawn(4), "w": drawn(6, 4, seed=1)}
    truth, grads = truth_of(text, inputs)
    assert not differences(call(back, inputs, grads), truth, 1e-12), back.source


def test_a_number_with_many_axes_of_size_1_spreads_over_fewer() -> None:
    signature = 'x: Float[Tensor, "n 1"], w: Float[Tensor, "a b c"]'
    text = forward_of("y = w.mean((0, 1, 2), keepdim=True) - x.mean()", signature)
    back = gn.fuse(text)
    assert not back.dropped, back.source
    inputs = {"x": drawn(3, 1), "w": drawn(2, 3, 4, seed=1)}
    truth, grads = truth_of(text, inputs)
    assert not differences(call(back, inputs, grads), truth, 1e-12), back.source
