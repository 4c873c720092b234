"""Called at other sizes than it was read with, a backward gives autograd's gradients or refuses.

Programs broadcast in every way that sizes of 0, 1 and sizes that coincide allow: an axis that is
broadcast when the text is made and is not when it is called, and the reverse.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import gradninja as gn
from catalogue import autograd, differences
from gradninja.errors import GradninjaError
from native_plain import run

pytestmark = pytest.mark.filterwarnings("ignore")

FORMS = """
{f}.T + {g} | {f} - {g}.T | {f} * {g} | {f} / ({g} ** 2 + 1) | {f} @ {g} | {f} @ {g}.T | {f}.T
{f}.tile(2) - {g} | {f} - {g}.tile(2, 1) | {f} - {g}.mean(0, keepdim=True) | {f}.tanh()
{f}.sum(1, keepdim=True) * {g} | {f} + {g}.sum(0) | {f}.mean(-1) + {g} | torch.cat([{f}, {g}])
torch.softmax({f} + {g}, 1) | torch.where({f} > 0, {f}, {g}) | {f}.expand_as({g}) * 2
{f}[1:] + {g} | {f}.unsqueeze(1) * {g} | torch.lerp({f}, {g}, 0.3) | {f} / {f}.shape[0]
{f}.diagonal() + {g} | torch.nn.functional.mse_loss({f}, {g}, reduction="none")
torch.einsum("ij,jk->ik", {f}, {g}) | {f}.var(0, unbiased=False, keepdim=True) + {g}
{f} * {f}.T | {f}.repeat(1, 2) - {g} | {g} - {f}.repeat(1, 2)
torch.cat([{f}, {f}], 1) - {g} | {f}.T + {f}
""".replace("\n", "|")
CHOICES = [form.strip() for form in FORMS.split("|") if form.strip()]
SHAPES = ("n d", "d n", "n 1", "1 d", "n n", "d")
SIZES = ((2, 3), (2, 1), (1, 2), (1, 1), (2, 2), (0, 2), (2, 0), (3, 4))  # n, d

WAYS: dict[str, Callable[..., Any]] = {
    "derive": gn.derive,
    "exact": lambda *given: gn.derive(*given, style="exact"),
    "speed": gn.fuse,
    "memory": lambda *given: gn.fuse(*given, prefer="memory"),
    "short": lambda *given: gn.fuse(*given, prefer="short"),
}

Shapes = dict[str, str]


def written(rng: random.Random) -> tuple[str, Shapes]:
    """A program that runs where n and d are 1, and the axes of its inputs."""
    shapes = {name: rng.choice(SHAPES) for name in "xyz"[: rng.randint(1, 3)]}
    names, lines = list(shapes), []
    for target in "abcuv"[: rng.randint(2, 5)]:
        f, g = names[-1] if rng.random() < 0.6 else rng.choice(names), rng.choice(names)
        lines.append(f"{target} = {rng.choice(CHOICES).format(f=f, g=g)}")
        names.append(target)
    body = "".join(f"    {line}\n" for line in lines)
    return f"def forward({', '.join(shapes)}):\n{body}    return {names[-1]}.sum()\n", shapes


def inputs_at(shapes: Shapes, sizes: tuple[int, int], seed: int) -> dict[str, Tensor]:
    at = {"n": sizes[0], "d": sizes[1], "1": 1}
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn([at[axis] for axis in axes.split()], generator=generator).double()
        for name, axes in shapes.items()
    }


def true_at(text: str, inputs: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """Autograd's gradients; None where the forward does not run."""
    scope: dict[str, Any] = {"torch": torch}
    exec(text, scope)
    try:
        found, _ = autograd(scope["forward"], inputs, lambda out: [torch.ones_like(out[0])])
    except (RuntimeError, IndexError, ZeroDivisionError):
        return None
    return found if all(t.isfinite().all() for t in found.values()) else None


def verdicts(way: str, text: str, shapes: Shapes, made: tuple[int, int]) -> Counter[str]:
    """How often a backward that was made at some sizes is right at others, and how often refused.

    A wrong gradient, and any other error, is the test's failure.
    """
    found: Counter[str] = Counter()
    try:
        back = WAYS[way](text, inputs_at(shapes, made, 1))
    except GradninjaError as error:
        assert "please report" not in str(error)
        return found
    for sizes in SIZES:
        inputs = inputs_at(shapes, sizes, 2)
        true = true_at(text, inputs)
        if true is None:
            continue
        try:
            got = back(inputs)
        except GradninjaError:
            assert sizes != made, text
            found["refused"] += 1
            continue
        wrong = differences(got, true, 1e-9, share=1.0)
        assert not wrong, f"{text}\n{way}, made at {made}, called at {sizes}: {wrong}\n{back}"
        found["right"] += 1
    return found


@pytest.mark.parametrize(("way", "count"), [("derive", 40), ("exact", 10), ("speed", 26)])
def test_other_sizes_are_right_or_refused(way: str, count: int) -> None:
    rng, found, programs = random.Random(17), Counter[str](), 0
    while programs < count:
        text, shapes = written(rng)
        fitting = [at for at in SIZES if true_at(text, inputs_at(shapes, at, 1)) is not None]
        if len(fitting) < 3:
            continue
        programs += 1
        found += verdicts(way, text, shapes, rng.choice(fitting))
    # What is refused may be right: most of what fits the forward is to be answered.
    assert found["right"] > 2 * found["refused"], found


@pytest.mark.parametrize("part", range(2))
def test_what_is_compiled_is_right_at_all_sizes(part: int) -> None:
    """It is made anew for each: here its text is run as plain Python."""
    rng, calls = random.Random(part), 0
    while calls < 12:
        text, shapes = written(rng)
        step = gn.compile(text)
        for sizes in rng.sample(SIZES, 3):
            inputs = inputs_at(shapes, sizes, 2)
            true = true_at(text, inputs)
            if true is None:
                continue
            arrays = {name: value.numpy() for name, value in inputs.items()}
            try:
                found = run(step.specialised(**arrays), arrays)
            except GradninjaError as error:
                assert "please report" not in str(error)
                continue
            calls += 1
            got = {name: torch.from_numpy(value) for name, value in found.items() if name != "loss"}
            wrong = differences(got, true, 1e-9, share=1.0)
            assert not wrong, f"{text}\n{sizes}: {wrong}"


TOLD = (
    (
        "def forward(w):\n    x = w.T\n    v = x + w\n    return (v - w.tile(2)).sum()\n",
        {"w": (2, 1)},
        {"w": (1, 1)},
    ),
    (
        "def forward(x, y):\n    return (x * y).sum()\n",
        {"x": (3,), "y": (3,)},
        {"x": (1,), "y": (3,)},
    ),
    (
        "def forward(x):\n    a = x @ x.T\n    return (x.diagonal() + a).sum()\n",
        {"x": (0, 2)},
        {"x": (2, 1)},
    ),
    (  # a mean of nothing is no number, and its gradients are 0
        "def forward(x, g):\n    return (x + g * torch.tanh(x)).mean()\n",
        {"x": (3, 2), "g": (2,)},
        {"x": (0, 2), "g": (2,)},
    ),
    ("def forward(x):\n    return torch.linalg.pinv(x).sum()\n", {"x": (4, 3)}, {"x": (3, 4)}),
)


@pytest.mark.parametrize(("text", "made", "called"), TOLD)
@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_right_is_refused(way: str, text: str, made: Any, called: Any) -> None:
    """Zeros, where every wrong gradient may be right, do not make a size known either."""
    back = WAYS[way](text, {name: torch.rand(shape).double() for name, shape in made.items()})
    for fill in (torch.zeros, torch.rand):
        inputs = {name: fill(shape).double() for name, shape in called.items()}
        true = true_at(text, inputs)
        assert true is not None
        try:
            got = back(inputs)
        except GradninjaError as error:
            assert "derive again with inputs of these shapes" in str(error)
            continue
        assert not differences(got, true, 1e-9, share=1.0), back.source


def test_a_batch_of_one_and_of_many_are_both_answered() -> None:
    """What broadcasts otherwise and is right nevertheless is not refused."""
    text = "def forward(x, w, b):\n    return torch.tanh(x @ w + b).mean()\n"
    for verb, made, called in ((gn.derive, 8, 1), (gn.derive, 1, 8), (gn.fuse, 8, 1)):
        shapes = {"x": (made, 3), "w": (3, 2), "b": (2,)}
        back = verb(text, {name: torch.randn(shape) for name, shape in shapes.items()})
        inputs = {name: torch.randn(shape) for name, shape in shapes.items()}
        inputs["x"] = torch.randn(called, 3)
        true = true_at(text, inputs)
        assert true is not None and not differences(back(inputs), true, 1e-5, share=1.0)


def test_the_lengths_of_parts_are_no_size_that_multiplies() -> None:
    """4096 x 1024 x 1024 elements would be too many; parts of that length are what x has."""
    text = """
def forward(x: Float[Tensor, "n 6144"]):
    q, k, v = x.split([4096, 1024, 1024], dim=-1)
    return (q.sum(-1) * k.sum(-1) + v.view(-1, 4, 256).sum((1, 2))).sum()
"""
    x = torch.randn(2, 6144, requires_grad=True, dtype=torch.float64)
    q, k, v = x.split([4096, 1024, 1024], dim=-1)
    (q.sum(-1) * k.sum(-1) + v.sum(-1)).sum().backward()
    torch.testing.assert_close(gn.derive(text)({"x": x.detach()})["dx"], x.grad)


@pytest.mark.parametrize(
    "taken",
    ["x.unbind(0)[-1]", "torch.unbind(x)[-2]", "x.split(2)[-1][0]", "[*x.split(1)][-1][0]"],
)
def test_which_of_several_is_the_last_is_asked_at_each_size(taken: str) -> None:
    """What it is read as does not show in a gradient that it only masks."""
    text = f"def forward(x):\n    return x.masked_fill({taken} > 0, 0.0).exp().sum()\n"
    back = gn.derive(text, {"x": torch.randn(4, 6).double()})
    for rows in (3, 4, 5, 6):
        x = torch.randn(rows, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))
        leaf = x.clone().requires_grad_()
        scope = {"torch": torch}
        exec(text, scope)
        (want,) = torch.autograd.grad(scope["forward"](leaf), leaf)
        try:
            found = back({"x": x})["dx"]
        except gn.GradninjaError:
            assert rows != 4
        else:
            torch.testing.assert_close(found, want)


def test_the_first_of_several_is_that_at_any_size() -> None:
    text = "def forward(x):\n    return x.masked_fill(x.unbind(0)[0] > 0, 0.0).exp().sum()\n"
    back = gn.derive(text, {"x": torch.ones(3, 2).double()})
    for rows in (1, 3, 5):
        x = torch.ones(rows, 2).double()
        assert not back({"x": x})["dx"].any()
        torch.testing.assert_close(back({"x": -x})["dx"], (-x).exp())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mean", ["(x * x).mean()", "(x * x).mean(0)", "F.mse_loss(x, x * x)"])
@pytest.mark.parametrize("read", [(3, 2), (0, 2)])
def test_a_mean_of_nothing_is_right_or_refused(way: str, mean: str, read: tuple[int, int]) -> None:
    """Python's numbers do not divide by 0, tensors do."""
    text = f"def forward(x):\n    return {mean}\n"
    x, grad = torch.zeros(0, 2).double(), torch.ones(2).double()
    given = (grad,) if mean.endswith("(0)") else ()
    try:
        back = WAYS[way](text, {"x": torch.ones(read).double()})
        found = back({"x": x}, *given)["dx"]
    except GradninjaError as error:
        assert way not in ("derive", "exact") and read == (3, 2), error
    else:
        assert found.shape == x.shape and found.dtype == x.dtype
