"""Nothing is dropped where a fused form is expected, and long forwards take as long as they are."""

from __future__ import annotations

import cProfile
import pstats
from importlib import import_module

import pytest
import torch
from torch import Tensor

import gradninja as gn
from catalogue import autograd, call, cotangents
from gradninja.lines.scope import LIBRARY

# What PyTorch thinks of a deprecated spelling is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def forward_of(steps: str, names: str) -> str:
    *lines, last = steps.split("; ")
    body = "".join(f"    {line}\n" for line in (*lines, f"return {last}"))
    return f"def forward({names}):\n{body}"


BATCHNORM = "mu = x.mean((0, 2, 3), keepdim=True); {var}; h = (x - mu) / (var + 1e-5).sqrt(); {out}"
BY_LIBRARY = "var = x.var((0, 2, 3), keepdim=True)"
BY_HAND = (
    "n = x.shape[0] * x.shape[2] * x.shape[3]; "
    "var = ((x - mu)**2).sum((0, 2, 3), keepdim=True) / (n - 1)"
)
SCALED = "h * g[None, :, None, None] + b[None, :, None, None]"
# Steps, the inputs' shapes, and how many lines a person needs at most.
WHOLE: list[tuple[str, dict[str, tuple[int, ...]], int]] = [
    ("F.layer_norm(x, (5, 3))", {"x": (2, 5, 3)}, 2),
    ("F.layer_norm(x, (5, 3), w, b)", {"x": (2, 5, 3), "w": (5, 3), "b": (5, 3)}, 5),
    ("F.batch_norm(x, None, None, g, b, True)", {"x": (4, 3, 2, 5), "g": (3,), "b": (3,)}, 4),
    (BATCHNORM.format(var=BY_LIBRARY, out=SCALED), {"x": (4, 3, 2, 5), "g": (3,), "b": (3,)}, 4),
    (BATCHNORM.format(var=BY_HAND, out=SCALED), {"x": (4, 3, 2, 5), "g": (3,), "b": (3,)}, 5),
    (
        "h = (x - x.mean((0, 1))) / (x.var((0, 1)) + 1e-5).sqrt(); h * g",
        {"x": (4, 5, 3), "g": (3,)},
        3,
    ),
    ("h = (x - x.mean()) / (x.var() + 1e-5).sqrt(); h * g", {"x": (4, 5), "g": (5,)}, 4),
    (
        "x / (x.square().mean((1, 2), keepdim=True) + 1e-6).sqrt() * g",
        {"x": (4, 5, 3), "g": (3,)},
        4,
    ),
    ("x / x.norm(dim=(1, 2), keepdim=True)", {"x": (4, 5, 3)}, 4),
    ("y = x * x + x; y.var(1)", {"x": (4, 3)}, 3),
    ("m = x > 0; h = m * y.mean() * m; (h * h).mean()", {"x": (4, 3), "y": (3,)}, 3),
    ("x.movedim(0, -1) * x.transpose(0, -1) * y", {"x": (), "y": (3,)}, 2),
    ("a = x - x; (a * y).sum()", {"x": (4, 3), "y": (4, 3)}, 2),
    ("a = x - x; a.exp() * y", {"x": (4, 3), "y": (4, 3)}, 2),
    ("d = x - x.mean(0); d.sum(0) + y", {"x": (4, 3), "y": (3,)}, 2),
    ("h = F.pad(x, (len(w) - 1, 0)); (h * h).sum() * w", {"x": (2, 4), "w": (3,)}, 3),
    ("h = F.conv1d(F.pad(x, (w.shape[-1] - 1, 0)), w); h * h", {"x": (2, 4, 6), "w": (5, 4, 3)}, 4),
    ("h = x.flip([d for d in range(x.ndim)]).exp(); h * h", {"x": (2, 4)}, 3),
    ("h = x.exp(); (h * h).sum()", {"x": (0, 4)}, 1),
    ("h = torch.tanh(x @ w); F.softmax(h, -1).mean()", {"x": (0, 4), "w": (4, 3)}, 5),
    ("h = x - x.mean(0); (h * h).sum(-1)", {"x": (0, 4)}, 3),
    ("h = x.exp(); c = x.exp() / (x.exp() + h.exp()); h, c", {"x": (4, 3)}, 4),
    ("p = F.softmax(x, -1); q = F.softmax(x, -1) * p; p, q.tanh()", {"x": (4, 3)}, 5),
    # As many parts as there are columns: what is derived holds for that number, too.
    ("u = x.split(1, -1)[0]; (2 * u.square().mean(-1).sqrt()).sum() + u", {"x": (3, 3)}, 4),
    ("i = torch.zeros(1, dtype=torch.long); x[torch.arange(3), i].exp()", {"x": (3, 4)}, 3),
    ("h = x @ w; (h * h).sum()", {"x": (3, 0), "w": (0, 2)}, 3),
]


@pytest.mark.parametrize(("steps", "shapes", "most"), WHOLE, ids=[steps for steps, _, _ in WHOLE])
@pytest.mark.parametrize("prefer", ["speed", "memory", "short"])
def test_nothing_is_dropped(
    steps: str, shapes: dict[str, tuple[int, ...]], most: int, prefer: str
) -> None:
    inputs = {name: drawn(*shape, seed=at) for at, (name, shape) in enumerate(shapes.items())}
    text = forward_of(steps, ", ".join(shapes))
    back = gn.fuse(text, inputs, prefer=prefer)
    assert back.dropped == (), back.source
    assert prefer == "memory" or len(back.statements) <= most, back.source
    scope = dict(LIBRARY)
    exec(text, scope)
    truth, grads = autograd(scope["forward"], inputs, lambda out: cotangents(out, 3, "plain"))
    got = call(back, inputs, grads)
    for name, want in truth.items():
        torch.testing.assert_close(got[name], want, rtol=1e-9, atol=1e-11, msg=back.source)


def test_what_cannot_be_counted_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of a text is a pass as any other: the derived lines stay."""

    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(import_module("gradninja.algebra.fuse"), "cost_of", fails)
    text = forward_of("h = torch.tanh(x); (h * h).sum()", "x")
    back = gn.fuse(text, {"x": drawn(4)})
    assert {dropped.why for dropped in back.dropped} == {"ZeroDivisionError: planted"}
    x = drawn(4).requires_grad_()
    (want,) = torch.autograd.grad(torch.tanh(x).square().sum(), x)
    torch.testing.assert_close(back({"x": x.detach()})["dx"], want)


@pytest.mark.parametrize("change", [Tensor.float, lambda true: true[None]], ids=["dtype", "shape"])
def test_a_gradient_of_another_dtype_or_shape_than_the_true_one_is_dropped(
    change, monkeypatch: pytest.MonkeyPatch
) -> None:
    fusing = import_module("gradninja.algebra.fuse")
    ours = fusing._truth

    def other(*given: object) -> object:
        drawn, truth = ours(*given)
        return drawn, {name: change(true) for name, true in truth.items()}

    monkeypatch.setattr(fusing, "_truth", other)
    back = gn.fuse(forward_of("h = torch.tanh(x); (h * h).sum()", "x"), {"x": drawn(4)})
    assert {dropped.name for dropped in back.dropped} == {"x", "out"}
    assert all("is torch.float64 of shape" in dropped.why for dropped in back.dropped)


# -- long forwards --------------------------------------------------------------------------

MIXED = (
    "h = h.sin()",
    "h = h * x + w",
    "h = torch.tanh(h @ w)",
    "h = h - h.mean(-1, keepdim=True)",
    "h = F.relu(h) + 0.5 * h",
    "h = h.exp() / (1 + h.exp())",
    "h = F.softmax(h, -1)",
    "h = h + h.square() / 3",
)


@pytest.mark.parametrize("lines", [("h = h.sin()",), MIXED], ids=["sin", "mixed"])
def test_time_grows_with_the_lines(lines: tuple[str, ...]) -> None:
    """Counted in calls of functions, which a busy machine does not change; 1 line is 1 line."""

    def calls(count: int) -> int:
        body = [lines[at % len(lines)] for at in range(count)]
        text = forward_of("; ".join(["h = x", *body, "(h * h).sum() + 0 * w.sum()"]), "x, w")
        profile = cProfile.Profile()
        profile.enable()
        back = gn.fuse(text, {"x": drawn(4, 4), "w": drawn(4, 4, seed=1)})
        profile.disable()
        assert not back.dropped
        assert max(len(str(s)) for s in back.statements) < 300
        return int(pstats.Stats(profile).total_calls)

    calls(1)  # what is done once
    step = max(4, len(lines))
    few, more, most = calls(step), calls(2 * step), calls(3 * step)
    assert most - more < 1.25 * (more - few)
