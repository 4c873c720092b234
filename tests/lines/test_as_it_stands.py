"""What stands in published forwards beside their arithmetic: logs, objects, records, odd loops."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Bernoulli, Categorical, Independent, Laplace, Normal, kl_divergence

import gradninja as gn

X = torch.tensor([[0.3, -0.7, 1.1], [0.9, 0.2, -0.4]], dtype=torch.float64)


def same(forward: Any, given: dict[str, Any], back: Any = None) -> None:
    """What is derived is autograd's on the person's own function."""
    back = back or gn.derive(forward, given)
    leaves = {n: v.clone().requires_grad_() for n, v in given.items() if v.is_floating_point()}
    out = forward(**{**given, **leaves})
    grad = torch.randn_like(out)
    true = torch.autograd.grad(out, list(leaves.values()), grad)
    found = back(given, grad)
    for name, want in zip(leaves, true, strict=True):
        torch.testing.assert_close(found[f"d{name}"], want, rtol=1e-11, atol=1e-12)


def distributions(mu, rho, logits, action):  # type: ignore[no-untyped-def]
    normal = Normal(mu, F.softplus(rho) + 0.1)
    prior = Normal(torch.zeros_like(mu), torch.ones_like(mu))
    policy = Categorical(logits=logits)
    both = Independent(Laplace(mu, normal.stddev), 1).log_prob(logits)
    coin = Bernoulli(logits=mu).entropy()
    kl = kl_divergence(normal, prior).sum(-1)
    return kl + policy.log_prob(action) + policy.entropy() + both + coin.mean(-1)


def logged(x):  # type: ignore[no-untyped-def]
    metrics = {"losses": []}
    y = torch.tanh(x) * 2
    metrics["losses"].append(round(y.mean().item(), 3))
    metrics["text"] = f"{y.abs().max().item():.3f}"
    metrics["all"] = y.detach().cpu().numpy().tolist()
    history = []
    history += [(y > 0).float().mean().item()]
    return y**2


def sizes_of_data(x, batch):  # type: ignore[no-untyped-def]
    size = int(batch.max().item() + 1)
    if not batch.min() >= 0:
        raise ValueError("negative")
    return x.new_zeros(size, x.size(1)).index_add_(0, batch, x)


@dataclass
class Pair:
    a: torch.Tensor
    b: torch.Tensor

    def __post_init__(self) -> None:
        self.both = self.a + self.b

    @property
    def product(self) -> torch.Tensor:
        return self.a * self.both


def doubled(x, mask):  # type: ignore[no-untyped-def]
    if mask.any():
        return x * 2
    return x


def objects(x):  # type: ignore[no-untyped-def]
    pair = Pair(torch.sin(x), b=x * 2)
    return pair.product + pair.both


def odd_loops(x):  # type: ignore[no-untyped-def]
    stack, i = [x * k for k in (1, 2, 3) for _ in range(2) if k != 2], 0
    while stack:
        top = stack.pop()
        i += 1
        if i == 2:
            continue
        x = x + torch.sin(top) * i
        if (n := len(stack)) == 1:
            break
    else:
        x = x * n
    try:
        x = x * 2
    finally:
        x = x + 1
    return x


def handed_on(x, **rest):  # type: ignore[no-untyped-def]
    rest.update(scale=x * 2)
    return x * rest.pop("scale", None) + torch.from_numpy(np.array([1, 0, 2]).astype(np.float64))


@pytest.mark.parametrize(
    ("forward", "given"),
    [
        (
            distributions,
            {"mu": X, "rho": X.flip(0), "logits": X * 2, "action": torch.tensor([2, 0])},
        ),
        (logged, {"x": X}),
        (sizes_of_data, {"x": X, "batch": torch.tensor([1, 0])}),
        (objects, {"x": X}),
        (odd_loops, {"x": X}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_read_as_it_stands(forward: Any, given: dict[str, torch.Tensor]) -> None:
    same(forward, given)


class Kwargs(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return handed_on(x, bias=x)  # type: ignore[no-any-return]


def test_keywords_of_tensors_and_constants_of_numpy() -> None:
    made = Kwargs()
    same(made, {"x": X})


def test_what_was_decided_by_data_is_held_to() -> None:
    back = gn.derive(doubled, {"x": X, "mask": torch.tensor([True, False])})
    assert back({"x": X, "mask": torch.tensor([False, True])}, X)["dx"].equal(2 * X)
    with pytest.raises(gn.GradninjaError, match=r"bool\(mask.any\(\)\)` is False"):
        back({"x": X, "mask": torch.tensor([False, False])}, X)


def of_parameters(params, x):  # type: ignore[no-untyped-def]
    h = x
    for W, b in params["layers"]:
        h = torch.tanh(h @ W + b)
    return (h * params["gain"]).sum()


def test_inputs_that_are_dictionaries_and_lists() -> None:
    torch.manual_seed(3)
    layers = [(torch.randn(3, 4), torch.randn(4)), (torch.randn(4, 2), torch.randn(2))]
    params = {"layers": layers, "gain": torch.randn(2)}
    flat = [t.double().requires_grad_() for pair in layers for t in pair]
    gain = params["gain"].double().requires_grad_()
    pairs = [(flat[0], flat[1]), (flat[2], flat[3])]
    true = torch.autograd.grad(of_parameters({"layers": pairs, "gain": gain}, X), [*flat, gain])
    back = gn.derive(of_parameters, {"params": params, "x": X.float()})
    wide = {"layers": [(a.detach(), b.detach()) for a, b in pairs], "gain": gain.detach()}
    found = back({"params": wide, "x": X})
    names = ["params_layers_0_0", "params_layers_0_1", "params_layers_1_0", "params_layers_1_1"]
    for name, want in zip([*names, "gain"], true, strict=True):
        torch.testing.assert_close(found[f"d{name}"], want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (nn.PixelShuffle(2), [(2, 8, 3, 3)]),
        (nn.ReflectionPad2d(1), [(2, 3, 4)]),
        (nn.TripletMarginLoss(), [(4, 3), (4, 3), (4, 3)]),
        (nn.GaussianNLLLoss(), [(4, 3), (4, 3), (4, 3)]),
        (nn.Upsample(scale_factor=2), [(1, 2, 3, 3)]),
        (nn.Threshold(0.1, 0.5), [(4, 3)]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_layer_without_a_row_is_read_from_its_own_text(
    layer: nn.Module, shapes: list[tuple[int, ...]]
) -> None:
    torch.manual_seed(5)
    given = tuple(torch.rand(shape) + 0.1 for shape in shapes)
    back = gn.derive(layer, given)
    leaves = [t.double().requires_grad_() for t in given]
    out = layer(*leaves)
    true = torch.autograd.grad(out.sum(), leaves)
    inputs = {i.name: v.detach() for i, v in zip(back.program.inputs, leaves, strict=False)}
    found = back(inputs, torch.ones_like(out))
    for name, want in zip(inputs, true, strict=True):
        torch.testing.assert_close(found[f"d{name}"], want, rtol=1e-10, atol=1e-12)


FILE = """
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(3, 1)
scale = lambda x, by=torch.tensor([2.0, 1.0, 0.5]): x * by


class Shifted:
    @staticmethod
    def forward(x):
        return x + 1, x


def train_step(x):
    shifted, _ = Shifted.forward(scale(x))
    return model(shifted).pow(2).mean()


forward = train_step


def inputs():
    return torch.ones(2, 3)
"""


def test_a_file_with_its_forward_by_another_name(tmp_path: Any) -> None:
    file = tmp_path / "step.py"
    file.write_text(FILE)
    back = gn.derive(file)
    assert {"x", "model_weight", "model_bias"} <= set(back.program.differentiable)


@pytest.mark.parametrize("scale", ["np.sqrt(2.0)", "np.sqrt(x.shape[-1])", "np.exp(-1.0)"])
def test_a_number_that_numpy_computes_is_a_number(scale: str) -> None:
    text = (
        "import numpy as np\nimport torch\n\n\n"
        f"def forward(x):\n    return (torch.tanh(x) / {scale}).sum()\n"
    )
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    number = eval(scale, {"np": np, "x": x})
    (want,) = torch.autograd.grad((torch.tanh(leaf) / number).sum(), leaf)
    for made in (gn.derive(text, {"x": x}), gn.fuse(text, {"x": x})):
        torch.testing.assert_close(made({"x": x})["dx"], want)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.temperature = np.power(4, 0.5)
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return torch.tanh(self.fc(x) / self.temperature).sum()


def test_a_number_of_numpys_that_a_module_holds_is_a_number() -> None:
    module, x = Scaled().double(), torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    module(x).backward()
    found = gn.derive(module, {"x": x})({"x": x})
    torch.testing.assert_close(found["dfc_weight"], module.fc.weight.grad)


@pytest.mark.parametrize("call", ["np.save('f.npy', x)", "np.array([1.0]).tofile('f.npy')"])
def test_numpy_that_does_not_only_compute_is_not_called(call: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = f"import numpy as np\n\n\ndef forward(x):\n    y = x + {call}\n    return y.sum()\n"
    with pytest.raises(gn.errors.ReadError):
        gn.derive(text, {"x": torch.ones(3).double()})
    assert not list(tmp_path.iterdir())


def tree_of(x, kids=()):  # type: ignore[no-untyped-def]
    """An empty list is asked for its truth; rows are put where a longer shape is handed in."""

    def encode(node, kids):  # type: ignore[no-untyped-def]
        below = [encode(kid, []) for kid in kids]
        if not below:
            return x[node] * log(2.0)
        return torch.stack(below).sum(0) * x[node]

    rows = torch.zeros_like(x)
    for at in range(2):
        rows[at] = last = encode(at, [1 - at])[None]
    return rows + last


def test_truth_of_a_list_and_a_row_with_an_axis_too_many() -> None:
    same(tree_of, {"x": X})


class Flow(nn.Module):
    """Torch's names of outputs, and a number's function by its bare name in a helper."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[2.0, 0.5], [0.1, 1.0]], dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, value = torch.linalg.slogdet(self.weight)
        lengths = torch.linalg.svd(self.weight).S + torch.linalg.lu(self.weight).U[0]
        least = torch.aminmax(x, dim=0).min[:2]
        return bits(x @ self.weight.new_ones(3, 2)) + value + lengths + least


def bits(x: torch.Tensor) -> torch.Tensor:
    return x / log(2)


def test_outputs_by_torchs_own_names() -> None:
    made = Flow()
    same(made, {"x": X})
    found = gn.derive(made, {"x": X})({"x": X}, torch.ones(2, 2, dtype=torch.float64))
    made(X).sum().backward()
    torch.testing.assert_close(found["weight"], made.weight.grad)
