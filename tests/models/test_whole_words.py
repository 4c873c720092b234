"""The models of whole words, and the tree: gradients, what they are said to be, padding."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradninja.models import Model, load

WORDS = ("bow", "rnn", "gru", "lstm", "transformer", "microgpt")
SIZES = {"vocab": 9, "context": 5, "embedding": 4, "hidden": 6, "layers": 2, "heads": 2, "width": 8}
N = 7


def case(name: str, length: int = 5, **more: int) -> tuple[Model, dict[str, object]]:
    """A model, and values of all that its forward takes: float64, and no zeros."""
    model = load(name)
    sizes = {**SIZES, "context": 8 if name == "wavenet" else 5, **more}
    draw = torch.Generator().manual_seed(1)
    drawn = model.call("parameters", {**sizes, "generator": draw})
    assert isinstance(drawn, dict)
    weights = {
        key: value.double() + 0.1 * torch.randn(value.shape, generator=draw, dtype=torch.float64)
        for key, value in drawn.items()
    }
    columns = length if model.whole_words else sizes["context"]
    Xb = torch.randint(0, 9, (N, columns), generator=draw)
    Yb = torch.randint(0, 9, (N, columns) if model.whole_words else (N,), generator=draw)
    if model.whole_words:
        for row in range(N):
            Yb[row, 2 + row % 3 :] = -1
    return model, {**sizes, **model.options, **weights, "Xb": Xb, "Yb": Yb}


def weights_of(values: dict[str, object]) -> dict[str, Tensor]:
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }


@pytest.mark.parametrize("name", [*WORDS, "wavenet"])
def test_every_gradient_is_autograds(name: str) -> None:
    """In float64; words of several lengths, and fewer columns than there is room for."""
    for changes in ({}, {"length": 3, "layers": 1, "heads": 1, "context": 16}):
        if name != "wavenet":
            changes = {**changes, "context": 5}
        model, values = case(name, **changes)
        weights = {n: value.clone().requires_grad_() for n, value in weights_of(values).items()}
        loss = model.call("forward", {**values, **weights})
        assert isinstance(loss, Tensor)
        truth = torch.autograd.grad(loss, list(weights.values()))
        for backward in ("backward", "backward_fused"):
            found = model.step(backward)(values)
            assert found["loss"] == loss
            for key, true in zip(weights, truth, strict=True):
                ours = found[f"d{key}"]
                assert isinstance(ours, Tensor) and ours.shape == true.shape, (backward, key)
                off = (ours - true).norm() / true.norm().clamp(min=1e-6)
                assert off < 1e-11, (backward, key)


@pytest.mark.parametrize("name", [*WORDS, "wavenet"])
def test_a_backward_returns_its_gradients_in_the_parameters_order(name: str) -> None:
    """Called as a function on the forward's values, as whoever takes the file will call it."""
    model, values = case(name)
    names: dict[str, Any] = {}
    exec(model.text, names)
    functions = {f.name: f for f in ast.parse(model.text).body if isinstance(f, ast.FunctionDef)}
    held = {**names, **values}
    exec(compile(ast.Module(functions["forward"].body[:-1], []), "forward", "exec"), held)
    for backward in ("backward", "backward_fused"):
        wanted = inspect.signature(names[backward]).parameters
        returned = names[backward](**{name: held[name] for name in wanted})
        found = model.step(backward)(values)
        gradients = [found[f"d{weight}"] for weight in weights_of(values)]
        assert len(returned) == len(gradients)
        for mine, true in zip(returned, gradients, strict=True):
            assert torch.equal(mine, true)


def test_a_slip_is_seen() -> None:
    model, values = case("rnn")
    right, slip = "dlater = dbent @ W1[size:].T", "dlater = dbent @ W1[size:].T * 1.001"
    assert right in model.text
    text = model.text[model.text.index("def backward_fused") :].replace(right, slip)
    head = "import torch\nimport torch.nn.functional as F\n"
    wrong = model.step(source=head + text)(values)["dW1"]
    true = model.step("backward")(values)["dW1"]
    assert isinstance(wrong, Tensor) and isinstance(true, Tensor)
    assert not torch.allclose(wrong, true, rtol=1e-6)


def logits_of(name: str, values: dict[str, object]) -> Tensor:
    """The logits as the papers' layers of PyTorch give them."""
    W = weights_of(values)
    Xb = values["Xb"]
    assert isinstance(Xb, Tensor)
    emb, length = W["C"][Xb], Xb.shape[1]
    if name == "bow":
        x = emb + W["P"][:length]
        x = x + torch.stack([x[:, : t + 1].mean(1) for t in range(length)], 1)
        return (x + torch.tanh(x @ W["W1"] + W["b1"]) @ W["W2"] + W["b2"]) @ W["W3"] + W["b3"]
    if name in ("rnn", "lstm"):
        layer = (nn.RNN if name == "rnn" else nn.LSTM)(4, 6, batch_first=True).double()
        order = [0, 1, 3, 2] if name == "lstm" else [0]  # ours i f o g, PyTorch's i f g o
        both = torch.cat([W["W1"].chunk(len(order), 1)[k] for k in order], 1)
        bias = torch.cat([W["b1"].chunk(len(order))[k] for k in order])
        layer.weight_ih_l0.data, layer.weight_hh_l0.data = both[:4].T, both[4:].T
        layer.bias_ih_l0.data, layer.bias_hh_l0.data = bias, torch.zeros_like(bias)
        start = W["start"].expand(1, N, -1).contiguous()
        state = start if name == "rnn" else (start, torch.zeros_like(start))
        return layer(emb, state)[0].detach() @ W["W2"] + W["b2"]
    if name == "gru":
        h, found = W["start"].expand(N, -1), []
        for t in range(length):
            x = emb[:, t]
            z = torch.sigmoid(torch.cat([x, h], 1) @ W["Wz"] + W["bz"])
            r = torch.sigmoid(torch.cat([x, h], 1) @ W["Wr"] + W["br"])
            h = torch.lerp(h, torch.tanh(torch.cat([x, r * h], 1) @ W["Wh"] + W["bh"]), z)
            found.append(h)
        return torch.stack(found, 1) @ W["W2"] + W["b2"]
    gpt = name == "microgpt"

    def norm(x: Tensor, k: int, layer: int | None = None) -> Tensor:
        if gpt:
            return F.rms_norm(x, (8,), eps=1e-5)
        gain, bias = W[f"gain{k}"], W[f"bias{k}"]
        gain, bias = (gain, bias) if layer is None else (gain[layer], bias[layer])
        return F.layer_norm(x, (8,), gain, bias)

    def linear(x: Tensor, weight: str, bias: str, layer: int) -> Tensor:
        return x @ W[weight][layer] + (0 if gpt else W[bias][layer])

    x = emb + W["P"][:length]
    x = norm(x, 0) if gpt else x
    for layer in range(2):
        q, k, v = linear(norm(x, 1, layer), "Wqkv", "bqkv", layer).split(8, 2)
        heads = [part.view(N, length, 2, 4).transpose(1, 2) for part in (q, k, v)]
        y = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + linear(y.transpose(1, 2).flatten(2), "Wo", "bo", layer)
        act = linear(norm(x, 2, layer), "W1", "b1", layer)
        act = act.relu() if gpt else F.gelu(act, approximate="tanh")
        x = x + linear(act, "W2", "b2", layer)
    return (x if gpt else norm(x, 3)) @ W["W3"]


@pytest.mark.parametrize("name", WORDS)
def test_a_model_is_what_its_source_says(name: str) -> None:
    model, values = case(name)
    logits = model.predict(values)
    assert isinstance(logits, Tensor)
    torch.testing.assert_close(logits, logits_of(name, values), rtol=1e-10, atol=1e-10)
    Yb = values["Yb"]
    assert isinstance(Yb, Tensor)
    true = F.cross_entropy(logits.flatten(0, 1), Yb.flatten(), ignore_index=-1)
    torch.testing.assert_close(model.call("forward", values), true)


@pytest.mark.parametrize("name", WORDS)
def test_what_comes_after_a_word_changes_nothing(name: str) -> None:
    """Columns of padding more or less: the same loss and gradients; and no look ahead."""
    model, values = case(name)
    Xb, Yb = values["Xb"], values["Yb"]
    assert isinstance(Xb, Tensor) and isinstance(Yb, Tensor)
    whole = model.step()(values)
    for fewer in (Xb[:, :4], torch.cat([Xb[:, :4], (Xb[:, 4:] + 3) % 9], 1)):
        found = model.step()({**values, "Xb": fewer, "Yb": Yb[:, : fewer.shape[1]]})
        for key in ("loss", *(f"d{name}" for name in weights_of(values))):
            torch.testing.assert_close(found[key], whole[key], rtol=1e-10, atol=1e-12)


def test_the_tree_is_calibrated_level_by_level() -> None:
    """Calibrated on one batch, prediction for it is what the forward computed."""
    model, values = case("wavenet")
    Xb = values["Xb"]
    assert isinstance(Xb, Tensor)
    statistics = model.call("calibrate", {**values, "batches": [Xb[:3], Xb[3:]]})
    assert isinstance(statistics, dict)
    logits = model.predict({**values, **statistics})
    torch.testing.assert_close(logits, model.step()(values)["logits"], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("name", "count"), [("transformer", 204_544), ("wavenet", 76_579)])
def test_the_published_number_of_parameters(name: str, count: int) -> None:
    model = load(name)
    sizes = {"vocab": 27, "context": 16, **model.settings(), "generator": torch.Generator()}
    drawn = model.call("parameters", sizes)
    assert isinstance(drawn, dict)
    assert sum(value.numel() for value in drawn.values()) == count
