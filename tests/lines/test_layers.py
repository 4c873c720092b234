"""Layers of torch.nn by themselves, functions that are read as what they mean, and records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gradninja as gn


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(before)


def same_as_autograd(forward: Any, back: Any, given: dict[str, Any]) -> None:
    leaves = {
        n: v.clone().requires_grad_() if v.is_floating_point() else v for n, v in given.items()
    }
    out = forward(**leaves)
    gradient = torch.randn_like(out)
    wanted = {n: v for n, v in leaves.items() if v.is_floating_point()}
    true = torch.autograd.grad(out, list(wanted.values()), gradient)
    found = back(given, gradient)
    for name, expected in zip(wanted, true, strict=True):
        torch.testing.assert_close(found[f"d{name}"], expected, rtol=1e-11, atol=1e-11)


# A layer that is the whole forward: derive itself holds it to autograd on the layer.
LAYERS = {
    "linear": (lambda: nn.Linear(3, 2), (4, 3)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 2, dilation=2), (2, 2, 6)),
    "conv2d": (lambda: nn.Conv2d(2, 4, 3, 1, 1, groups=2), (1, 2, 4, 4)),
    "instance norm 1d": (lambda: nn.InstanceNorm1d(3, affine=True), (2, 3, 5)),
    "instance norm 2d": (lambda: nn.InstanceNorm2d(3, affine=True), (2, 3, 4, 5)),
    "instance norm kept": (
        lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True).eval(),
        (2, 3, 4, 5),
    ),
    "batch norm 3d": (lambda: nn.BatchNorm3d(3), (2, 3, 2, 2, 2)),
    "layer norm": (lambda: nn.LayerNorm(4), (2, 4)),
    "lp pool 1d": (lambda: nn.LPPool1d(2, 2), (1, 3, 6)),
    "lp pool 2d": (lambda: nn.LPPool2d(2, (2, 1)), (1, 3, 4, 4)),
    "dropout 1d": (lambda: nn.Sequential(nn.Conv1d(3, 4, 1), nn.Dropout1d(0.4)), (2, 3, 5)),
    "dropout 2d": (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout2d(0.4)), (2, 3, 2, 2)),
    "encoder in training": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        (2, 3, 8),
    ),
    "gelu": (lambda: nn.GELU(), (4, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_by_itself(name: str) -> None:
    make, shape = LAYERS[name]
    layer = make()
    back = gn.derive(layer, torch.rand(shape))
    wanted = {n.replace(".", "_") for n, _ in layer.named_parameters()}
    assert wanted - set(back.program.differentiable) == set() or isinstance(layer, nn.Sequential)
    assert (
        gn.derive(
            layer, {"input" if len(shape) != 3 or name[0] != "e" else "src": torch.rand(shape)}
        ).source
        == back.source
    )


HIDDEN = torch.tensor([[False, False, False], [False, False, True]])
EARLIER = torch.ones(3, 3, dtype=torch.bool).triu(1)


@pytest.mark.parametrize(
    ("first", "masks"),
    [
        (True, {}),
        (False, {"attn_mask": EARLIER}),
        (True, {"attn_mask": torch.stack([EARLIER, EARLIER.T, EARLIER, EARLIER.T]).flip(0)}),
        (False, {"attn_mask": torch.linspace(-1, 1, 36).double().reshape(4, 3, 3)}),
        (True, {"key_padding_mask": HIDDEN}),
        (False, {"key_padding_mask": HIDDEN.double() * -2, "attn_mask": EARLIER.double()}),
    ],
)
def test_attention_takes_masks_of_every_form(first: bool, masks: dict[str, Tensor]) -> None:
    """Of bools and of numbers, for all heads and for each, the batch in either place."""
    layer = nn.MultiheadAttention(8, 2, batch_first=first)
    x = torch.rand((2, 3, 8) if first else (3, 2, 8))
    given = {"query": x, "key": torch.rand_like(x), "value": torch.rand_like(x)}
    back = gn.derive(layer, {**given, **masks, "need_weights": False})
    leaves = {n: v.clone().requires_grad_() for n, v in given.items()}
    out, _ = layer(**leaves, **masks, need_weights=False)
    gradient = torch.randn_like(out)
    true = torch.autograd.grad(out, list(leaves.values()), gradient)
    found = back({**given, **masks, "need_weights": False}, gradient)
    for name, expected in zip(leaves, true, strict=True):
        torch.testing.assert_close(found[f"d{name}"], expected, rtol=1e-11, atol=1e-11)


def test_layers_of_two_inputs() -> None:
    decoder = nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True)
    assert gn.derive(decoder, (torch.randn(2, 3, 8), torch.randn(2, 4, 8))).program.lines
    assert gn.derive(nn.Bilinear(3, 4, 2), (torch.randn(5, 3), torch.randn(5, 4))).program.lines


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
@pytest.mark.parametrize("shape", [(3, 4), (4,)], ids=["rows", "a vector"])
def test_a_cell_without_a_state_begins_at_zero(cell: Any, shape: tuple[int, ...]) -> None:
    """Its text says of which shape these zeros are, for any number of rows."""
    made, rows = cell(4, 2), (shape, (5, 4)) if len(shape) == 2 else (shape,)
    back = gn.derive(made, {"input": torch.randn(shape)})
    for size in rows:
        x = torch.randn(size, requires_grad=True)
        found = made(x)
        outputs = found if isinstance(found, tuple) else (found,)
        gradients = tuple(torch.randn_like(output) for output in outputs)
        (true,) = torch.autograd.grad(outputs, x, gradients)
        got = back({"input": x.detach()}, gradients)["dinput"]
        torch.testing.assert_close(got, true, rtol=1e-11, atol=1e-11)


def test_what_a_layer_has_by_default_is_not_written() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.AvgPool2d(2, 1, 1))
    lines = [line.code for line in gn.derive(net, torch.randn(1, 1, 8, 8)).program.lines]
    assert [line.partition(" = ")[2] for line in lines] == [
        "F.conv2d(input, _0_weight, _0_bias)",
        "F.max_pool2d(x, 2)",
        "F.avg_pool2d(x_1, 2, 1, 1)",
    ]


def pooled(x: Tensor) -> Tensor:
    return F.lp_pool2d(x, 3.0, 2)


def bilinear(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    return F.bilinear(x, y, w)


def grouped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


def product(a: Tensor, b: Tensor) -> Tensor:
    return torch.sparse.mm(a, b)


def by_rows(x: Tensor, w: Tensor) -> Tensor:
    def one(row: Tensor) -> Tensor:
        return torch.tanh(w @ row)

    return torch.vmap(one)(x)


def by_columns(x: Tensor, y: Tensor) -> Tensor:
    found: Tensor = torch.vmap(lambda a, b: a * b.sum(), in_dims=(1, None), out_dims=1)(x, y)
    return found


FUNCTIONS = {
    "lp_pool2d": (pooled, {"x": (1, 2, 4, 4)}),
    "bilinear": (bilinear, {"x": (5, 3), "y": (5, 4), "w": (2, 3, 4)}),
    "gqa": (grouped, {"q": (2, 4, 3, 5), "k": (2, 2, 3, 5), "v": (2, 2, 3, 5)}),
    "sparse.mm": (product, {"a": (3, 4), "b": (4, 2)}),
    "vmap": (by_rows, {"x": (4, 3), "w": (2, 3)}),
    "vmap of columns": (by_columns, {"x": (3, 4), "y": (2,)}),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_read_as_what_it_means(name: str) -> None:
    forward, shapes = FUNCTIONS[name]
    given = {n: torch.rand(shape) for n, shape in shapes.items()}
    same_as_autograd(forward, gn.derive(forward, given), given)


class Named(NamedTuple):
    logits: Tensor
    loss: Tensor
    hidden: Tensor | None = None


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None = None


class Head(nn.Module):
    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.fc, self.kind = nn.Linear(4, 3), kind

    def forward(self, x: Tensor) -> Any:
        logits = self.fc(x)
        return self.kind(logits, loss=logits.pow(2).mean())


class Whole(nn.Module):
    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.head, self.named = Head(kind), kind is Named

    def forward(self, x: Tensor) -> Any:
        out = self.head(x)
        first, *_ = out if self.named else (out.logits,)
        return {"loss": out.loss + first.sum(), "logits": out.logits}


@pytest.mark.parametrize("kind", [Named, Output])
def test_records_are_their_fields(kind: Any) -> None:
    x = torch.randn(5, 4)
    assert len(gn.derive(Head(kind), x).outputs) == 2
    back = gn.derive(Whole(kind), x)
    assert len(back.outputs) == 2 and "dhead_fc_weight" in back.source


def test_a_record_lacks_a_field() -> None:
    with pytest.raises(gn.GradninjaError, match="`Named` needs a value for `loss`"):
        gn.derive(lambda_free, {"x": torch.randn(3)})


def lambda_free(x: Tensor) -> Any:
    return Named(x * 2)  # type: ignore[call-arg]
