"""The loop against autograd, step by step, and what stops it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.overrides import TorchFunctionMode

from gradninja import models
from gradninja.data import load_words
from gradninja.errors import ModelError, RunError
from gradninja.training import begin, go
from gradninja.training.checkpoint import read
from gradninja.training.metrics import read as read_metrics
from gradninja.training.pictures import plots
from gradninja.training.steps.batches import Examples
from small_runs import LECTURES, SMALL, edited_model, small_run, word_file


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    """A second a run; `test_training_pictures.py` draws them."""
    monkeypatch.setattr(plots, "draw", lambda *args: [])


class NoAutograd(TorchFunctionMode):
    """Holds every result of every torch call to requiring no grad."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.calls += 1
        assert not torch.is_grad_enabled(), function
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, torch.Tensor):
                assert not value.requires_grad, function
                assert value.grad_fn is None, function
        return result


@pytest.mark.parametrize("model", models.BUILTIN)
def test_no_tensor_of_a_run_ever_requires_grad(tmp_path, monkeypatch, model):
    def refuse(*args, **kwargs):
        raise AssertionError("autograd ran")

    monkeypatch.setattr(torch.autograd, "backward", refuse)
    monkeypatch.setattr(torch.autograd, "grad", refuse)
    run = small_run(tmp_path, model=model)
    with NoAutograd() as mode:
        go(run)
    assert mode.calls > 10 * run.config.steps


def test_the_watch_for_autograd_sees_a_violation(tmp_path):
    model = edited_model(
        tmp_path,
        "    h = torch.tanh(hpreact)",
        "    hpreact.requires_grad_()\n    h = hpreact.tanh()",
    )
    with pytest.raises(ModelError, match=r"AssertionError|RuntimeError"), NoAutograd():
        small_run(tmp_path, model=model)


@pytest.mark.parametrize("model", LECTURES)
@pytest.mark.parametrize("backward", ["backward", "backward_fused"])
def test_training_ends_where_autograd_ends(tmp_path, model, backward):
    """The same steps in float64, by autograd, from the same weights over the same batches."""
    run = small_run(tmp_path, model=model, backward=backward)
    config, net = run.config, run.model
    truth = {name: value.double() for name, value in read(run.folder.weights).parameters.items()}
    stream = Examples(run.dataset.train, 3).batches(batch=config.batch, seed=config.seed)
    losses = []
    for step, (inputs, targets) in zip(range(config.steps), stream, strict=False):
        for value in truth.values():
            value.requires_grad_()
        loss = net.call("forward", {**truth, "Xb": inputs, "Yb": targets})
        losses.append(loss.item())
        slopes = torch.autograd.grad(loss, list(truth.values()))
        rate = 0.1 if step < config.steps // 2 else 0.01
        truth = {
            name: (value - rate * slope).detach()
            for (name, value), slope in zip(truth.items(), slopes, strict=True)
        }
    go(run)
    for name, value in run.state.parameters.items():
        torch.testing.assert_close(value.double(), truth[name], rtol=1e-4, atol=1e-5)
    rows = [row for row in read_metrics(run.folder.metrics) if "loss" in row]
    np.testing.assert_allclose([row["loss"] for row in rows], losses, rtol=1e-5)


@pytest.mark.parametrize("start", [1, 63, 64, 65, 200])
def test_batches_from_a_step_are_those_that_an_unbroken_stream_has_there(
    tmp_path, monkeypatch, start
):
    monkeypatch.setattr("gradninja.training.steps.batches._BLOCK", 512)  # 64 steps of 8
    split = load_words(word_file(tmp_path)).train
    unbroken = Examples(split, 3).batches(batch=8, seed=5)
    for _ in range(start):
        next(unbroken)
    resumed = Examples(split, 3).batches(batch=8, seed=5, start=start)
    for _ in range(130):
        for one, two in zip(next(unbroken), next(resumed), strict=True):
            assert torch.equal(one, two)


def test_batches_are_examples_of_the_split_and_differ_by_step_and_seed(tmp_path):
    split = load_words(word_file(tmp_path)).train
    contexts, targets = next(Examples(split, 3).blocks())
    pairs = torch.cat([contexts, targets[:, None]], 1).tolist()
    stream = Examples(split, 3).batches(batch=2000, seed=5)
    inputs, outputs = next(stream)
    drawn = torch.cat([inputs, outputs[:, None]], 1).tolist()
    assert all(row in pairs for row in drawn)
    assert all(row in drawn for row in pairs)  # 2000 draws of about 130
    assert not torch.equal(next(stream)[0], inputs)
    assert not torch.equal(next(Examples(split, 3).batches(batch=2000, seed=6))[0], inputs)


def test_no_two_blocks_of_batches_are_alike(tmp_path, monkeypatch):
    monkeypatch.setattr("gradninja.training.steps.batches._BLOCK", 512)  # 64 steps of 8
    stream = Examples(load_words(word_file(tmp_path)).train, 3).batches(batch=8, seed=5)
    drawn = [tuple(next(stream)[0].flatten().tolist()) for _ in range(5 * 64)]
    assert len(set(drawn)) == len(drawn)


def test_losses_are_the_mean_cross_entropy_of_the_whole_splits(tmp_path, monkeypatch):
    """Against one float64 forward over each split, normalised by the training set's moments."""
    monkeypatch.setattr("gradninja.training.steps.batches._BLOCK", 50)
    for correction in (0, 1):
        run = small_run(tmp_path, f"run{correction}", options={"correction": correction})
        result = go(run)
        p = {name: value.double() for name, value in run.state.parameters.items()}

        def hprebn(split, p=p):
            contexts, targets = split.contexts(np.arange(len(split)), 3)
            return p["C"][torch.tensor(contexts)].flatten(1) @ p["W1"] + p["b1"], targets

        moments, _ = hprebn(run.dataset.train)
        mean, variance = moments.mean(0), moments.var(0, correction=correction)
        for split, loss in (
            (run.dataset.train, result.train_loss),
            (run.dataset.validation, result.validation_loss),
        ):
            values, targets = hprebn(split)
            raw = (values - mean) / (variance + 1e-5).sqrt()
            logits = torch.tanh(p["bngain"] * raw + p["bnbias"]) @ p["W2"] + p["b2"]
            true = cross_entropy(logits, torch.tensor(targets)).item()
            assert loss == pytest.approx(true, rel=1e-5)
        last = read_metrics(run.folder.metrics)[-1]
        assert last["train_loss"] == result.train_loss
        assert last["validation_loss"] == result.validation_loss


def test_verify_passes_every_built_in_backward(tmp_path):
    for model in models.BUILTIN:
        for backward in ("backward", "backward_fused"):
            settings = {"model": model, "backward": backward, "steps": 3}
            run = small_run(tmp_path, f"{model}-{backward}", **settings)
            go(run, verify_every=1)


def test_verify_changes_nothing(tmp_path):
    one, two = small_run(tmp_path, "one"), small_run(tmp_path, "two")
    go(one)
    go(two, verify_every=3)
    assert one.folder.weights.read_bytes() == two.folder.weights.read_bytes()


@pytest.mark.parametrize(
    ("backward", "right", "wrong", "named"),
    [
        ("backward_fused", "bnraw * dbngain / (n - correction)", "bnraw * dbngain / n", "dhprebn"),
        ("backward_fused", "dbnbias = dhpreact.sum", "dbnbias = dh.sum", "dbnbias"),
        ("backward", "dbndiff += 2 * bndiff", "dbndiff = 2 * bndiff", "dbndiff"),
        ("backward", "-0.5 * (bnvar + 1e-5) ** -1.5", "-0.5 * (bnvar + 1e-5) ** -0.5", "dbnvar"),
        ("backward", "dcounts += dcounts_sum", "pass", "dcounts"),
    ],
)  # fmt: skip
def test_verify_names_the_first_wrong_gradient(tmp_path, backward, right, wrong, named):
    model = edited_model(tmp_path, right, wrong)
    run = small_run(tmp_path, model=model, backward=backward)
    before = run.folder.weights.read_bytes()
    with pytest.raises(RunError, match=rf"step 0: {named} differs from autograd by \d"):
        go(run, verify_every=10)
    assert run.folder.weights.read_bytes() == before


def test_verify_looks_at_each_nth_step_only(tmp_path):
    model = edited_model(
        tmp_path,
        "    db2 = dlogits.sum(0)\n",
        "    calls.append(0)\n    db2 = dlogits.sum(0) * (2 if len(calls) > 5 else 1)\n",
        head="calls = []\n",
    )
    with pytest.raises(RunError, match="step 7: db2"):  # wrong from step 3 or so on
        go(small_run(tmp_path, "wrong", model=model), verify_every=7)


def test_the_step_that_is_named_is_the_first_bad_one(tmp_path, monkeypatch):
    """A loss that turns to nan at step 23, looked at once in 40 steps."""
    model = edited_model(
        tmp_path,
        "    return loss\n",
        "    calls.append(0)\n    if len(calls) == 25:\n        loss = loss * float('nan')\n"
        "    return loss\n",
        head="calls = []\n",
    )
    monkeypatch.setattr("gradninja.training.loop._LOOK_EVERY", 1e9)
    run = small_run(tmp_path, model=model, steps=8000)  # one call more: begin tries a step
    with pytest.raises(RunError, match=r"the loss is nan at step 23 \(rate 0.1\)"):
        go(run)


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    model = edited_model(
        tmp_path,
        "    return dC, dW1, db1, dW2, db2, dbngain, dbnbias\n",
        "    db1 = db1 + float('inf')\n    return dC, dW1, db1, dW2, db2, dbngain, dbnbias\n",
    )
    run = small_run(tmp_path, model=model)
    before = run.folder.weights.read_bytes()
    with pytest.raises(RunError, match="b1 is not finite after step 0"):
        go(run, save_every=0.0)
    assert run.folder.weights.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dW1 = embcat.T @ dhprebn", "pass", "gives no dW1"),
        ("db1 = dhprebn.sum(0)", "db1 = dhprebn.sum(0, keepdim=True)", "db1 has the shape"),
        ("db2 = dlogits.sum(0)", "db2 = dlogits.sum(0) @ W1", "RuntimeError"),
    ],
)
def test_a_broken_backward_is_told_before_there_is_a_folder(tmp_path, old, new, message):
    with pytest.raises(ModelError, match=message):
        small_run(tmp_path, model=edited_model(tmp_path, old, new))
    assert not (tmp_path / "run").exists()


def test_sizes_and_options_that_cannot_work_are_told(tmp_path):
    with pytest.raises(ModelError, match="batch of 1 is too small"):
        small_run(tmp_path, batch=1)
    with pytest.raises(ModelError, match="no option correction"):
        small_run(tmp_path, model="mlp", options={"correction": 1})
    assert go(small_run(tmp_path, batch=1, options={"correction": 0})).steps == 40


def test_metrics_hold_the_curve_and_the_diagnostics_and_no_times(tmp_path):
    run = small_run(tmp_path, steps=1000)
    go(run)
    rows = [json.loads(line) for line in run.folder.metrics.read_text().splitlines()]
    assert [row["step"] for row in rows[:-1]] == list(range(5, 1001, 5))
    assert [row["rate"] for row in rows[:-1]] == [0.1] * 100 + [0.01] * 100
    told = [row for row in rows if "saturated" in row]
    assert [row["step"] for row in told] == list(range(25, 1001, 25))
    assert all(0 <= row["saturated"] <= 1 for row in told)
    for row in told:
        for name, ratio in row["gradient_to_data"].items():
            assert row["update_to_data"][name] == pytest.approx(row["rate"] * ratio)
    keys = {"step", "loss", "rate", "saturated", "gradient_to_data", "update_to_data", "validation"}
    assert {key for row in rows[:-1] for key in row} == keys
    assert rows[-1].keys() == {"step", "train_loss", "validation_loss"}
    assert math.isfinite(rows[-1]["train_loss"])


def test_the_recipe_is_complete(tmp_path):
    run = small_run(tmp_path, seed=3)
    assert run.config == replace(
        SMALL,
        words=str(tmp_path / "words.txt"),
        sha256=load_words(tmp_path / "words.txt").sha256,
        vocabulary=run.dataset.vocabulary.symbols,
        seed=3,
        context=3,
        backward="backward_fused",
        engine="torch",  # as so few steps are not worth compiling
        options={"correction": 1},
        torch=torch.__version__,
    )
    again = begin(run.config, out=tmp_path / "again")
    assert again.config == run.config
