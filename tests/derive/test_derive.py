"""What deriving gives, beyond right numbers: forms, names, refusals, calls with other sizes."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import torch

import gradninja as gn
from gradninja import models
from gradninja.errors import DeriveError, GradninjaError
from gradninja.rules import BOOK

LECTURE = Path(models.__file__).parent / "mlp_batchnorm.py"


def derive(text: str, **more) -> gn.Backward:
    return gn.derive(textwrap.dedent(text), **more)


def body(back: gn.Backward) -> list[str]:
    return [line.source for line in back.lines]


def lecture_inputs(n: int, hidden: int = 64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    shapes = {
        "C": (27, 10),
        "W1": (30, hidden),
        "b1": (hidden,),
        "W2": (hidden, 27),
        "b2": (27,),
        "bngain": (1, hidden),
        "bnbias": (1, hidden),
    }
    inputs = {k: torch.randn(s, generator=generator) * 0.2 for k, s in shapes.items()}
    inputs["Xb"] = torch.randint(0, 27, (n, 3), generator=generator)
    inputs["Yb"] = torch.randint(0, 27, (n,), generator=generator)
    return inputs


def autograd(function, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    leaves = {
        k: v.clone().requires_grad_() if v.is_floating_point() else v for k, v in inputs.items()
    }
    wanted = [k for k, v in leaves.items() if v.requires_grad]
    found = torch.autograd.grad(function(**leaves), [leaves[k] for k in wanted])
    return {f"d{k}": g for k, g in zip(wanted, found, strict=True)}


@pytest.mark.parametrize("n", [2, 7, 32, 33, 257])
def test_the_lecture_exact_style_is_autograd_bit_for_bit(n: int) -> None:
    back = gn.derive(LECTURE, style="exact")
    scope: dict = {}
    exec(LECTURE.read_text(), scope)
    inputs = lecture_inputs(n)
    true = autograd(scope["forward"], inputs)
    got = back(inputs)
    assert got.keys() == true.keys()
    for name, expected in true.items():
        assert torch.equal(got[name], expected), name


@pytest.mark.parametrize("n", [2, 7, 32, 33, 257])
def test_the_lecture_readable_style_differs_only_from_tanh_on(n: int) -> None:
    readable = gn.derive(LECTURE)
    assert "dhpreact = (1 - h ** 2) * dh" in body(readable)
    # With tanh's line in its exact form the rest is autograd's, bit for bit.
    text = readable.seeded_source
    exact = "dhpreact = torch.addcmul(torch.ones(()), h, h, value=-1) * dh"
    scope: dict = {}
    exec(text.replace("dhpreact = (1 - h ** 2) * dh", exact), scope)
    inputs = lecture_inputs(n)
    values = readable.forward_values(inputs)
    known = {name: values[name] for name in readable.arguments}
    found = scope["backward"](**known, dloss=torch.ones(()))
    lecture: dict = {}
    exec(LECTURE.read_text(), lecture)
    for got, (name, expected) in zip(
        found, autograd(lecture["forward"], inputs).items(), strict=True
    ):
        if n in (2, 32):  # elsewhere 1/n and 1/(n-1) round, and the order of factors shows
            assert torch.equal(got, expected), name
        else:
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-8)


def test_the_lecture_gives_a_gradient_for_every_variable() -> None:
    back = gn.derive(LECTURE)
    named = """
        logprobs probs counts_sum_inv counts_sum counts norm_logits logit_maxes logits h W2 b2
        hpreact bngain bnbias bnraw bnvar_inv bnvar bndiff2 bndiff bnmeani hprebn embcat W1 b1
        emb C
    """.split()
    assert {line.of for line in back.lines} >= set(named)


def test_both_sentences_of_the_notes_appear_where_they_act() -> None:
    back = derive(
        """
        def forward(x: Float[Tensor, "n d"], b: Float[Tensor, "d"]):
            y = x + b
            return y.sum(0)
        """
    )
    told = {line.name: " ".join(line.why) for line in back.lines}
    assert "a sum in the forward is a broadcast in the backward" in told["dy"]
    assert "a broadcast in the forward is a sum in the backward" in told["db"]
    assert "axis 0 (n)" in told["db"]


def test_lines_tell_shape_axes_forward_line_and_rule() -> None:
    back = derive(
        """
        def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d"]):
            y = x * w
            return y
        """
    )
    line = next(line for line in back.lines if line.name == "dw")
    assert line.source == "dw = (x * dy).sum(0)"
    assert line.axes == ("d",)
    assert line.shape == (7,)
    assert line.forward.number == 3
    assert line.forward.source == "y = x * w"
    assert line.rule == "mul"


def test_second_use_adds_and_an_alias_is_cloned() -> None:
    back = derive(
        """
        def forward(x: Float[Tensor, "n"]):
            y = x + 1
            z = x * y
            return z
        """
    )
    assert body(back) == ["dx = y * dz", "dy = x * dz", "dx += dy"]
    alias = derive(
        """
        def forward(x: Float[Tensor, "n"]):
            y = x * 3
            z = y * 2 + x
            return z
        """
    )
    assert body(alias)[0] == "dx = dz.clone()"


def test_a_tensor_handed_in_is_left_alone() -> None:
    back = derive(
        """
        def forward(x: Float[Tensor, "n"]):
            return x + x + x
        """
    )
    cotangent = torch.ones(4)
    got = back({"x": torch.randn(4)}, cotangent)
    assert torch.equal(got["dx"], torch.full((4,), 3.0))
    assert torch.equal(cotangent, torch.ones(4))


def test_parentheses_survive() -> None:
    back = derive(
        """
        def forward(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]):
            return (a + b) * (a - b) / (a * (b - 3))
        """
    )
    inputs = {"a": torch.rand(3, 2).double() + 1, "b": torch.rand(3, 2).double()}
    grad = torch.randn(3, 2).double()
    leaves = {k: v.clone().requires_grad_() for k, v in inputs.items()}
    a, b = leaves.values()
    true = torch.autograd.grad((a + b) * (a - b) / (a * (b - 3)), [a, b], grad)
    for got, expected in zip(back(inputs, grad).values(), true, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_a_name_bound_again_has_versions() -> None:
    back = derive(
        """
        def forward(x: Float[Tensor, "n"]):
            x = x * 2
            x = x * x
            return x
        """
    )
    assert back.kept == ("x_1",)
    assert back({"x": torch.tensor([3.0])}, torch.ones(1))["dx"].item() == 24.0


def test_names_that_collide_with_gradients_are_kept_apart() -> None:
    back = derive(
        """
        def forward(t: Float[Tensor, "n"], dt: Float[Tensor, "n"], ef: Float[Tensor, "n"]):
            y = t * dt * ef
            return y
        """
    )
    inputs = {k: torch.randn(3) for k in ("t", "dt", "ef")}
    got = back(inputs, torch.ones(3))
    assert list(got) == ["dt", "ddt", "def"]
    assert torch.equal(got["dt"], inputs["ef"] * inputs["dt"])
    assert torch.equal(got["def"], inputs["t"] * inputs["dt"])


def test_detach_and_no_grad_are_honoured() -> None:
    back = derive(
        """
        def forward(x: Float[Tensor, "n"]):
            with torch.no_grad():
                scale = x.abs() + 1
            y = x * x.detach() * scale
            return y
        """
    )
    x = torch.tensor([-3.0, 2.0])
    assert torch.equal(back({"x": x}, torch.ones(2))["dx"], x * (x.abs() + 1))


def test_random_parts_are_drawn_once() -> None:
    back = derive(
        """
        def forward(mu: Float[Tensor, "n"], s: Float[Tensor, "n"]):
            z = mu + s * torch.randn_like(s)
            return z * z
        """
    )
    assert any("randn" in line.code for line in back.program.lines)
    assert "torch.randn" not in back.source
    values = {"mu": torch.zeros(3), "s": torch.ones(3)}
    got = back(values, torch.ones(3))
    torch.testing.assert_close(got["ds"], got["dmu"] ** 2 / 2)  # z is the noise itself here


def test_an_input_without_influence_has_zeros() -> None:
    back = derive(
        """
        def forward(x: Float[Tensor, "n"], w: Float[Tensor, "n"]):
            return x * (w > 0)
        """
    )
    assert torch.equal(
        back({"x": torch.ones(2), "w": torch.ones(2)}, torch.ones(2))["dw"], torch.zeros(2)
    )


def test_wrt_asks_for_some() -> None:
    text = """
        def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d k"]):
            return torch.tanh(x @ w).sum()
        """
    back = derive(text, wrt=["w"])
    assert {line.of for line in back.lines} & {"x"} == set()
    assert list(back({"x": torch.randn(3, 2), "w": torch.randn(2, 4)})) == ["dw"]


def test_other_sizes_than_those_it_was_read_with() -> None:
    back = derive(
        """
        def forward(x: Float[Tensor, "n d"], b: Float[Tensor, "1 d"]):
            n, d = x.shape
            m = x.sum(0, keepdim=True) / n
            return ((x - m) * b).reshape(n * d).mean()
        """
    )
    for shape in ((1, 1), (5, 2), (2, 5), (3, 3)):
        inputs = {"x": torch.randn(shape).double(), "b": torch.randn(1, shape[1]).double()}

        def forward(x, b):
            return ((x - x.sum(0, keepdim=True) / x.shape[0]) * b).reshape(-1).mean()

        true = autograd(forward, inputs)
        for name, gradient in back(inputs).items():
            torch.testing.assert_close(gradient, true[name], rtol=1e-12, atol=1e-12)


def test_sizes_that_broadcast_otherwise_are_refused() -> None:
    back = derive(
        """
        def forward(x: Float[Tensor, "n d"], b: Float[Tensor, "1 d"]):
            return x * b
        """
    )
    with pytest.raises(DeriveError, match=r"`b` has shape .* broadcasts otherwise"):
        back({"x": torch.randn(3, 2), "b": torch.randn(3, 2)}, torch.randn(3, 2))


def test_a_loop_over_a_size_holds_for_that_size() -> None:
    back = derive(
        """
        def forward(x: Float[Tensor, "time d"], w: Float[Tensor, "d"]):
            h = x[0] * w
            for t in range(1, x.shape[0]):
                h = h * w + x[t]
            return h
        """
    )
    time = back.program.values["x"].shape[0]
    back({"x": torch.randn(time, 2), "w": torch.randn(2)}, torch.ones(2))
    with pytest.raises(DeriveError, match=r"was .* when the forward was read"):
        back({"x": torch.randn(9, 2), "w": torch.randn(2)}, torch.ones(2))


def test_calls_that_do_not_fit_say_so() -> None:
    back = derive("def forward(x: Float[Tensor, 'n']):\n    return x * 2\n")
    with pytest.raises(DeriveError, match="no value for `x`"):
        back({}, torch.ones(2))
    with pytest.raises(DeriveError, match="no input `y`"):
        back({"x": torch.ones(2), "y": torch.ones(2)}, torch.ones(2))
    with pytest.raises(DeriveError, match="is no 0-dim tensor"):
        back({"x": torch.ones(2)})
    with pytest.raises(DeriveError, match="cotangent has shape"):
        back({"x": torch.ones(2)}, torch.ones(3))


def test_nothing_to_derive_is_said() -> None:
    with pytest.raises(DeriveError, match="no float input"):
        derive("def forward(i: Int[Tensor, 'n']):\n    return i * 2\n")
    with pytest.raises(DeriveError, match="does not depend on a float input"):
        derive("def forward(x: Float[Tensor, 'n']):\n    return x.argmax()\n")
    with pytest.raises(DeriveError, match="no style"):
        derive("def forward(x: Float[Tensor, 'n']):\n    return x * 2\n", style="short")


def test_a_wrong_rule_is_never_handed_out() -> None:
    def double(x):
        return x * 2

    gn.rule(double, x="3 * g", why="wrong on purpose")
    try:
        with pytest.raises(DeriveError, match="is not autograd's"):
            derive("def forward(x: Float[Tensor, 'n']):\n    return double(x)\n")
        gn.rule(double, x="2 * g", why="a constant factor stays")
        back = derive("def forward(x: Float[Tensor, 'n']):\n    y = double(x)\n    return y\n")
        assert body(back) == ["dx = 2 * dy"]
        assert back({"x": torch.ones(2)}, torch.ones(2))["dx"].tolist() == [2.0, 2.0]
    finally:
        BOOK.remove("double")


def test_the_source_runs_alone() -> None:
    back = gn.derive(LECTURE)
    inputs = lecture_inputs(5)
    values = back.forward_values(inputs)
    scope: dict = {}
    exec(back.source, scope)
    found = scope["backward"](**{name: values[name] for name in back.arguments})
    for got, expected in zip(found, back(inputs).values(), strict=True):
        assert torch.equal(got, expected)


def test_the_forward_gives_output_and_what_is_kept() -> None:
    back = gn.derive(LECTURE)
    scope: dict = {}
    exec(back.forward_source, scope)
    inputs = lecture_inputs(5)
    output, *kept = scope["forward"](**inputs)
    values = back.forward_values(inputs)
    names = [name for name in back.kept if name not in back.program.outputs]
    assert torch.equal(output, values["loss"])
    for name, value in zip(names, kept, strict=True):
        assert value is not None and torch.equal(
            torch.as_tensor(value), torch.as_tensor(values[name])
        )
    assert set(back.not_kept) >= {"hprebn", "bnmeani", "hpreact", "norm_logits"}


def test_a_rule_of_ones_own_leaves_the_book_alone() -> None:
    def softsign(x):
        return x / (1 + x.abs())

    rows = dict(BOOK.rows)
    for _ in range(2):
        gn.rule(softsign, x="g / (1 + x.abs()) ** 2", why="the slope falls", elementwise=True)
    try:
        back = derive("def forward(x: Float[Tensor, 'n']):\n    y = softsign(x)\n    return y\n")
        assert body(back) == ["dx = dy / (1 + x.abs()) ** 2"]
        assert rows.items() < BOOK.rows.items()
    finally:
        BOOK.remove("own softsign")
    assert BOOK.rows == rows and not BOOK.own


@pytest.mark.parametrize("text", ["2 * g *", "dx = 2 * g", "g if"])
def test_a_rule_that_is_no_expression_is_refused_where_it_is_given(text: str) -> None:
    def triple(x):
        return 3 * x

    with pytest.raises(GradninjaError, match="the rule for `x`"):
        gn.rule(triple, x=text, why="a slip of the pen")
