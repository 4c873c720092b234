"""Functions that read parameters and modules from around them, as a notebook's cells do.

Truth is autograd on the very function.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import gradninja as gn
from gradninja.lines.modules.live import live

NOTEBOOK = """
import torch
import torch.nn.functional as F

n_embd, n_hidden = 3, 5
g = torch.Generator().manual_seed(2147483647)
C = torch.randn((7, n_embd), generator=g)
W1 = torch.randn((n_embd * 2, n_hidden), generator=g) * (5 / 3) / (n_embd * 2) ** 0.5
bngain, bnbias = torch.ones((1, n_hidden)) + 0.1, torch.zeros((1, n_hidden))
bnmean_running = torch.zeros((1, n_hidden))
W2 = torch.randn((n_hidden, 7), generator=g)
b2 = torch.randn(7, generator=g)
parameters = [C, W1, W2, b2, bngain, bnbias]
for p in parameters:
    p.requires_grad = True


def hidden(Xb):
    emb = C[Xb]
    return emb.view(emb.shape[0], -1) @ W1


def forward(Xb, Yb):
    hpreact = hidden(Xb) - bnmean_running
    bnraw = (hpreact - hpreact.mean(0, keepdim=True)) / hpreact.std(0, keepdim=True)
    h = torch.tanh(bngain * bnraw + bnbias)
    loss = F.cross_entropy(h @ W2 + b2, Yb)
    return loss


def inputs():
    return {"Xb": torch.arange(8).reshape(4, 2) % 7, "Yb": torch.arange(4)}


loss = forward(**inputs())
print("before training:", loss.item())
"""

LAYERS = """
import torch


class Linear:
    def __init__(self, fan_in, fan_out):
        self.weight = torch.randn((fan_in, fan_out)) / fan_in**0.5
        self.bias = torch.zeros(fan_out)

    def __call__(self, x):
        self.out = x @ self.weight + self.bias
        return self.out

    def parameters(self):
        return [self.weight, self.bias]


class Tanh:
    def __call__(self, x):
        return torch.tanh(x)

    def parameters(self):
        return []


class Sequential:
    def __init__(self, layers):
        self.layers = layers

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def parameters(self):
        return [p for layer in self.layers for p in layer.parameters()]


model = Sequential([Linear(3, 4), Tanh(), Linear(4, 2)])
for p in model.parameters():
    p.requires_grad = True


def forward(x, y):
    return (model(x) - y).pow(2).mean()


def inputs():
    return {"x": torch.randn(5, 3), "y": torch.randn(5, 2)}
"""

MODULE = """
import torch
from torch import nn

net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.0), nn.Linear(4, 4))
tied = net[0].weight
triangle = torch.tril(torch.ones(5, 5))
criterion = nn.MSELoss()


def forward(x, y):
    att = (x @ tied.T) @ net(x).T
    att = att.masked_fill(triangle == 0, float("-inf")).softmax(-1)
    return criterion(att @ x, y)


def inputs():
    return {"x": torch.randn(5, 3), "y": torch.randn(5, 3)}
"""

FILES = {"notebook": NOTEBOOK, "layers": LAYERS, "module": MODULE}


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    torch.manual_seed(2147483647)
    found = tmp_path / f"{request.param}.py"
    found.write_text(FILES[request.param])
    return found


def run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def hold(function: FunctionType, found: Any, given: dict[str, Any], held: Any) -> None:
    leaves = {n: v.requires_grad_() if v.is_floating_point() else v for n, v in given.items()}
    for tensor in held.values():
        tensor.grad = None
    function(**leaves).backward()
    wanted = {**{n: v for n, v in leaves.items() if v.is_floating_point()}, **held}
    true = {f"d{n}": v.grad for n, v in wanted.items() if v.requires_grad and v.is_leaf}
    assert set(true) == set(found) - {"loss"}
    for name, gradient in true.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_parameters_around_a_function_are_inputs(file: Path) -> None:
    made = run(file)
    given = made.inputs()
    back = gn.derive(made.forward, given)
    live = back.program.live
    assert live is not None
    read = {i.name for i in back.program.inputs}
    held = {n: t for n, t in live.tensors.items() if n in read}
    hold(made.forward, back(given), given, held)
    if file.stem == "notebook":  # compiled as the others are, for many more seconds
        return
    step = gn.compile(made.forward)
    given = {n: v.detach() for n, v in given.items()}
    for _ in range(2):
        hold(made.forward, step(**given), {n: v.clone() for n, v in given.items()}, held)
        for tensor in held.values():
            tensor.data.mul_(1.25)


def test_a_file_is_run_for_what_stands_around_its_forward(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    back = gn.derive(file)
    assert capsys.readouterr().out == ""
    own = back.parameters
    assert own == gn.derive(f"{file}:forward").parameters
    if file.stem == "notebook":
        assert own == {n: n for n in "C W1 bngain bnbias bnmean_running W2 b2".split()}
        assert "bnmean_running" not in back.program.differentiable
    elif file.stem == "layers":
        assert own["model_layers_0_weight"] == "model.layers.0.weight"
    else:
        live = back.program.live
        assert live is not None and live.paths["net.0.weight"] == "tied" and "triangle" in own
        assert own["net_2_weight"] == "net.2.weight"
    values = {i.name: i.value for i in back.program.inputs}
    assert gn.check(back.whole_forward, back.source, values).ok


def test_a_function_within_a_function_holds_what_it_closes_over() -> None:
    torch.manual_seed(2147483647)
    net = nn.Linear(3, 2)
    gain = torch.ones(2, requires_grad=True)

    def loss_of(x):  # type: ignore[no-untyped-def]
        return (net(x) * gain).square().sum()

    x = torch.randn(4, 3)
    found = gn.derive(loss_of, x)({"x": x})
    hold(loss_of, found, {"x": x}, {"net_weight": net.weight, "net_bias": net.bias, "gain": gain})
    assert found["net.weight"] is found["dnet_weight"]


def test_a_file_whose_forward_reads_nothing_of_it_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "plain.py"
    file.write_text(
        "import torch\nscale = 2.0\ndef forward(x):\n    loss = (x * scale).sum()\n"
        "    return loss\n"
        "def inputs():\n    return {'x': torch.ones(3)}\n"
    )
    assert gn.derive(file).program.live is None


def test_a_backward_beside_such_a_forward_is_judged(tmp_path: Path) -> None:
    file = tmp_path / "beside.py"
    text = (
        "import torch\nW = torch.randn(3, 2, requires_grad=True)\n"
        "def forward(x):\n    h = x @ W\n    return h.pow(2).sum()\n"
        "def inputs():\n    return {'x': torch.randn(4, 3)}\n"
        "def backward(x, W, h):\n    dW = x.T @ (2 * h)\n    dx = 2 * h @ W.T\n    return dx, dW\n"
    )
    file.write_text(text)
    assert gn.check(file).ok
    file.write_text(text.replace("(2 * h)", "h"))
    report = gn.check(file)
    assert [line.name for line in report.lines if line.verdict == "wrong"] == ["dW"]


def test_a_tensor_that_asks_for_no_gradient_is_no_parameter(tmp_path: Path) -> None:
    file = tmp_path / "lost.py"
    file.write_text(
        "import torch\nW = torch.randn(3, 2)\ndef forward(x):\n    return (x @ W).sum()\n"
        "def inputs():\n    return {'x': torch.ones(4, 3)}\n"
    )
    with pytest.raises(gn.GradninjaError) as caught:
        gn.derive(file)
    assert "`W` is a tensor from outside" in str(caught.value)
    file.write_text(file.read_text().replace("(3, 2)", "(3, 2, requires_grad=True)"))
    assert gn.derive(file).program.differentiable == ("x", "W")


def test_an_object_is_its_own_method() -> None:
    assert live(nn.Sequential()).takes_self


def test_a_helper_from_a_scope_without_a_name_is_told() -> None:
    scope: dict[str, Any] = {"torch": torch}
    exec("def act(v):\n    return v.sin()\n", scope)

    def forward(x: Any) -> Any:
        return scope["act"](x).sum()

    with pytest.raises(gn.GradninjaError):
        gn.derive(forward, {"x": torch.ones(3)})
