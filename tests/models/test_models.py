"""The built-in models beyond their gradients: sizes, calibration, prediction, counting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradninja.data import load_words
from gradninja.errors import ModelError
from gradninja.models import BUILTIN, Model, load

SIZES = {"vocab": 27, "context": 3, "embedding": 10, "hidden": 20}
MORE = {"width": 8, "heads": 2, "layers": 2}


def weights(model: Model, seed: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = {**SIZES, **MORE, "context": 8 if model.name == "wavenet" else 3}
    return model.call("parameters", {**sizes, "generator": generator})


def examples(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    split = load_words().train
    X, Y = split.contexts(np.arange(n) * 37 % len(split), SIZES["context"])
    return torch.from_numpy(X), torch.from_numpy(Y)


@pytest.mark.parametrize("name", BUILTIN)
def test_a_built_in_model_loads_with_all_that_a_model_has(name):
    model = load(name)
    assert (model.name, model.path.suffix) == (name, ".py")
    assert model.text == model.path.read_text()
    for function in ("parameters", "forward", "backward", "backward_fused"):
        assert model.has(function)
    assert model.has("predict") or model.whole_words
    normalised = {"correction": 1} if name in ("mlp_batchnorm", "wavenet") else {}
    assert model.options == normalised
    drawn = weights(model)
    assert all(tensor.dtype == torch.float32 for tensor in drawn.values())
    again, other = weights(model), weights(model, seed=2)
    assert all(torch.equal(drawn[key], again[key]) for key in drawn)
    constant = {key for key, value in drawn.items() if value.std() == 0}
    assert not any(torch.equal(drawn[key], other[key]) for key in drawn.keys() - constant)
    assert all(key[:4] in ("b2", "star", "gain", "bias", "bnga", "bnbi") for key in constant)


def test_the_lectures_initialisation():
    """The notebook's draws, in its order; the generator also draws BatchNorm's gain and bias."""
    ours = weights(load("mlp_batchnorm"))
    g = torch.Generator().manual_seed(1)
    lecture = {
        "C": torch.randn((27, 10), generator=g),
        "W1": torch.randn((30, 20), generator=g) * (5 / 3) / (30**0.5),
        "b1": torch.randn(20, generator=g) * 0.1,
        "W2": torch.randn((20, 27), generator=g) * 0.1,
        "b2": torch.randn(27, generator=g) * 0.1,
        "bngain": torch.randn((1, 20), generator=g) * 0.1 + 1.0,
        "bnbias": torch.randn((1, 20), generator=g) * 0.1,
    }
    assert list(ours) == list(lecture)
    assert all(torch.equal(ours[key], lecture[key]) for key in ours)


@pytest.mark.parametrize("name", ["bigram", "mlp"])
def test_the_loss_is_the_cross_entropy_of_predict(name):
    model = load(name)
    Xb, Yb = examples(50)
    values = {**weights(model), "Xb": Xb, "Yb": Yb}
    logits = model.call("predict", values)
    assert logits.shape == (50, 27)
    assert torch.allclose(model.call("forward", values), F.cross_entropy(logits, Yb))


@pytest.mark.parametrize("correction", [0, 1])
def test_batchnorm_is_pytorchs_and_predict_continues_it(correction):
    """Calibrated on just one batch, prediction for that batch is what the forward computed."""
    model = load("mlp_batchnorm")
    Xb, Yb = examples(50)
    values = {**weights(model), "Xb": Xb, "Yb": Yb, "correction": correction}
    step = model.step()(values)
    var, mean = torch.var_mean(step["hprebn"], 0, correction=correction, keepdim=True)
    raw = (step["hprebn"] - mean) / torch.sqrt(var + 1e-5)
    assert torch.allclose(step["bnraw"], raw, atol=1e-6)
    statistics = model.call("calibrate", {**values, "batches": [Xb]})
    logits = model.call("predict", {**values, **statistics})
    assert torch.allclose(logits, step["logits"], atol=1e-5)
    assert torch.allclose(step["loss"], F.cross_entropy(logits, Yb))


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_calibration_in_blocks_is_calibration_at_once(size, correction):
    model = load("mlp_batchnorm")
    X, _ = examples(1000)
    values = {**weights(model), "correction": correction}
    values["b1"] = values["b1"] + 1000  # a mean far from 0, where naive sums of squares fail
    found = model.call("calibrate", {**values, "batches": X.split(size)})
    hprebn = (values["C"][X].view(1000, -1) @ values["W1"] + values["b1"]).double()
    var, mean = torch.var_mean(hprebn, 0, correction=correction, keepdim=True)
    assert found["bnmean"].dtype == found["bnvar"].dtype == torch.float32
    assert torch.allclose(found["bnmean"].double(), mean, rtol=1e-7, atol=0)  # one ulp
    assert torch.allclose(found["bnvar"].double(), var, rtol=5e-5)
    values = {key: tensor.double() for key, tensor in weights(model).items()}
    found = model.call("calibrate", {**values, "correction": correction, "batches": X.split(size)})
    hprebn = values["C"][X].view(1000, -1) @ values["W1"] + values["b1"]
    var, mean = torch.var_mean(hprebn, 0, correction=correction, keepdim=True)
    assert torch.allclose(found["bnvar"], var, rtol=1e-12)


def test_a_batch_of_one_is_refused_where_the_variance_divides_by_nothing():
    model = load("mlp_batchnorm")
    for n, correction in ((1, 1), (0, 0)):
        with pytest.raises(ModelError, match=f"a batch of {n} is too small"):
            model.check({**SIZES, "n": n, "correction": correction})
    for n, correction in ((1, 0), (2, 1), (32, 1)):
        model.check({**SIZES, "n": n, "correction": correction})
    with pytest.raises(ModelError, match="a batch of 1 is too small"):
        model.check({**SIZES, "n": 1})  # the default is Bessel's
    load("mlp").check({**SIZES, "n": 1})
    Xb, Yb = examples(1)
    step = model.step()({**weights(model), "Xb": Xb, "Yb": Yb, "correction": 0})
    assert all(torch.isfinite(step[f"d{key}"]).all() for key in weights(model))


def test_counting_gives_the_shares_of_the_pairs():
    words = load_words().train
    X, Y = words.contexts(np.arange(5000), 3)
    counts = np.zeros((27, 27))
    for before, after in zip(X[:, -1], Y, strict=True):
        counts[before, after] += 1
    Xb, Yb = torch.from_numpy(X), torch.from_numpy(Y)
    blocks = list(zip(Xb.split(700), Yb.split(700), strict=True))
    for smoothing in (0.0, 1.0, 2.5):
        values = {"batches": blocks, "vocab": 27, "smoothing": smoothing}
        table = load("bigram").call("fit", values)["W"]
        shares = (counts + smoothing) / (counts + smoothing).sum(1, keepdims=True)
        assert table.dtype == torch.float32
        assert np.allclose(table.exp().numpy(), shares, atol=1e-7)
    lone = {"batches": [(Xb[:1], Yb[:1])], "vocab": 27, "smoothing": 0.0}
    table = load("bigram").call("fit", lone)["W"]
    assert torch.isfinite(table[5]).all()  # never seen before anything: even odds, not NaN


def test_gradient_steps_end_where_counting_does():
    model = load("bigram")
    Xb, Yb = examples(2000)
    values = {**weights(model), "Xb": Xb, "Yb": Yb}
    counted = model.call("fit", {"batches": [(Xb, Yb)], "vocab": 27, "smoothing": 0.0})
    best = model.call("forward", {**values, **counted})
    step = model.step()
    start = step(values)["loss"]
    for _ in range(1000):
        values["W"] = values["W"] - 50 * step(values)["dW"]
    assert start > best + 0.5
    assert best <= step(values)["loss"] < best + 0.02


@pytest.mark.parametrize("name", ["transformer", "gru", "lstm"])
def test_weights_begin_in_the_range_of_pytorchs_layers(name):
    """Uniform up to one over the root of how many each output is a sum of, biases too."""
    sizes = {**SIZES, "embedding": 32, "hidden": 32, "width": 32, "heads": 2, "layers": 2}
    generator = torch.Generator().manual_seed(5)
    drawn = load(name).call("parameters", {**sizes, "generator": generator})
    products = {n for n in drawn if n.startswith("W")}
    assert len(products) >= 2
    for weight in products:
        most = drawn[weight].shape[-2] ** -0.5
        for part in (drawn[weight], drawn.get("b" + weight[1:])):
            if part is not None:
                assert 0.9 * most < part.abs().max() <= most, weight
