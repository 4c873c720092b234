"""Training: no autograd, right gradients, honest stops."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gradninja import models
from gradninja.errors import ModelError, RunError
from gradninja.models import Step
from gradninja.training import Config, begin, go, load_network, resume
from gradninja.training.pictures import plots
from small_runs import LECTURES

WORDS = "emma olivia ava isabella sophia mia amelia harper evelyn abigail ella luna chloe".split()


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second a run; `test_training_pictures.py` draws them."""
    monkeypatch.setattr(plots, "draw", lambda *args: [])


def config(tmp_path: Path, **more: object) -> Config:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS * 3))
    small = {"steps": 30, "batch": 4, "hidden": 8, "embedding": 3, "model": "mlp_batchnorm"}
    return Config(words=str(path), sha256="", vocabulary=(), **{**small, **more})


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("model", LECTURES)
def test_no_tensor_ever_requires_grad(model: str, tmp_path: Path, monkeypatch) -> None:
    seen = []
    plain = Step.__call__

    def watched(self: Step, values: dict) -> dict:
        assert not torch.is_grad_enabled()
        found = plain(self, values)
        tensors = [v for v in (*values.values(), *found.values()) if isinstance(v, torch.Tensor)]
        seen.append(any(t.requires_grad or t.grad_fn is not None for t in tensors))
        return found

    def forbidden(*args: object, **more: object) -> None:
        raise AssertionError("autograd ran")

    monkeypatch.setattr(Step, "__call__", watched)
    monkeypatch.setattr(torch.autograd, "grad", forbidden)
    monkeypatch.setattr(torch.autograd, "backward", forbidden)
    monkeypatch.setattr(torch.Tensor, "backward", forbidden)
    go(begin(config(tmp_path, model=model), out=tmp_path / "run"))
    assert len(seen) >= 30 and not any(seen)


def test_training_learns(tmp_path: Path) -> None:
    result = go(begin(config(tmp_path, steps=400, rate=0.2), out=tmp_path / "run"))
    first = rows(tmp_path / "run")[0]["loss"]
    assert result.train_loss < 0.7 * first


def test_metrics_hold_no_clock_and_the_same_run_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        go(begin(config(tmp_path), out=tmp_path / name))
    for name in ("metrics.jsonl", "weights.safetensors", "config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    last = rows(tmp_path / "a")[-1]
    assert last.keys() == {"step", "train_loss", "validation_loss"}


def test_the_rate_falls_to_a_tenth_half_way(tmp_path: Path) -> None:
    go(begin(config(tmp_path, steps=20), out=tmp_path / "run"))
    rates = [row["rate"] for row in rows(tmp_path / "run") if "rate" in row]
    assert rates == [0.1] * 10 + [0.01] * 10


def test_verify_names_the_wrong_gradient(tmp_path: Path) -> None:
    text = (Path(models.__file__).parent / "mlp.py").read_text()
    assert "    db2 = dlogits.sum(0)" in text
    path = tmp_path / "slip.py"
    path.write_text(text.replace("    db2 = dlogits.sum(0)", "    db2 = 2 * dlogits.sum(0)"))
    run = begin(config(tmp_path, model=str(path)), out=tmp_path / "run")
    with pytest.raises(RunError, match=r"step 0: db2 differs from autograd"):
        go(run, verify_every=7)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    run = begin(config(tmp_path, rate=1e30), out=tmp_path / "run")
    with pytest.raises(
        RunError, match=r"(the loss is|is not finite after).*step \d+ \(rate 1e\+30\)"
    ):
        go(run)
    kept = resume(tmp_path / "run")
    assert all(bool(torch.isfinite(value).all()) for value in kept.state.parameters.values())


def test_a_model_without_a_backward_is_derived(tmp_path: Path) -> None:
    text = (Path(models.__file__).parent / "mlp_batchnorm.py").read_text()
    path = tmp_path / "mine.py"
    path.write_text(text[: text.index("def backward(")] + text[text.index("def calibrate(") :])
    derived = go(begin(config(tmp_path, model=str(path)), out=tmp_path / "a"), verify_every=10)
    assert json.loads((tmp_path / "a" / "config.json").read_text())["backward"] == "derived"
    written = go(begin(config(tmp_path, backward="backward"), out=tmp_path / "b"), verify_every=10)
    assert derived.train_loss == pytest.approx(written.train_loss, abs=1e-4)
    # The run folder is enough to go on, too.
    resume(tmp_path / "a")


RECURRENT = """
def parameters(vocab, context, embedding, hidden, generator):
    draw = lambda *sizes: torch.randn(sizes, generator=generator) * 0.3
    return {"C": draw(vocab, hidden), "W": draw(hidden, hidden), "V": draw(hidden, vocab)}

def forward(C, W, V, Xb, Yb, slope: float = 0.5):
    h = C[Xb[:, 0]]
    for t in range(1, Xb.shape[1]):
        h = torch.tanh(h @ W + C[Xb[:, t]]) + slope * h
    return torch.nn.functional.cross_entropy(h @ V, Yb)

def predict(C, W, V, Xb):
    h = C[Xb[:, 0]]
    for t in range(1, Xb.shape[1]):
        h = torch.tanh(h @ W + C[Xb[:, t]]) + 0.5 * h
    return h @ V
"""


@pytest.mark.parametrize("context", [1, 3, 4])
def test_a_derived_model_with_a_loop_names_bound_again_and_nested_parts(
    tmp_path: Path, context: int
) -> None:
    """`--verify` holds every gradient of every step to autograd on the file's own forward."""
    path = tmp_path / "recurrent.py"
    path.write_text(f"import torch\n{RECURRENT}")
    run = begin(config(tmp_path, model=str(path), context=context), out=tmp_path / "run")
    go(run, verify_every=1)


def test_gradient_steps_tend_to_the_counts(tmp_path: Path) -> None:
    """The least loss of a bigram is the entropy of a letter given the one before, in nats."""
    counted = go(begin(config(tmp_path, model="bigram", fit=True), out=tmp_path / "a"))
    run = begin(
        config(tmp_path, model="bigram", steps=3000, batch=64, rate=20.0), out=tmp_path / "b"
    )
    stepped = go(run)
    before, after = run.dataset.train.contexts(torch.arange(len(run.dataset.train)).numpy(), 1)
    pairs, firsts = Counter(zip(before[:, 0], after, strict=True)), Counter(before[:, 0])
    least = -sum(n * math.log(n / firsts[a]) for (a, _), n in pairs.items()) / len(after)
    assert stepped.train_loss == pytest.approx(least, abs=0.05)
    assert least < counted.train_loss  # smoothing takes a little from every pair that came
    shares = load_network(tmp_path / "a").parameters["W"].double().softmax(1)
    a, b = int(before[3, 0]), int(after[3])
    assert shares[a, b].item() == pytest.approx((pairs[a, b] + 1) / (firsts[a] + len(shares)))


def test_test_time_statistics_are_of_the_whole_training_set(tmp_path: Path) -> None:
    run = begin(config(tmp_path), out=tmp_path / "run")
    go(run)
    network = load_network(tmp_path / "run")
    positions = torch.arange(len(run.dataset.train)).numpy()
    contexts, _ = run.dataset.train.contexts(positions, 3)
    p = network.parameters
    hprebn = (p["C"][torch.from_numpy(contexts)].flatten(1) @ p["W1"] + p["b1"]).double()
    torch.testing.assert_close(
        network.statistics["bnmean"].double(), hprebn.mean(0, keepdim=True), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(
        network.statistics["bnvar"].double(), hprebn.var(0, keepdim=True), rtol=1e-5, atol=1e-6
    )


def test_what_cannot_work_is_told_before_a_folder_is_made(tmp_path: Path) -> None:
    for wrong in ({"batch": 1}, {"options": {"size": 3}}, {"backward": "back"}):
        with pytest.raises(ModelError):
            begin(replace(config(tmp_path), **wrong), out=tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_changed_words_are_not_resumed(tmp_path: Path) -> None:
    go(begin(config(tmp_path), out=tmp_path / "run"))
    (tmp_path / "words.txt").write_text("other\nwords\nthan\nthose\n" * 5)
    with pytest.raises(RunError, match="is not the file that this run was trained on"):
        resume(tmp_path / "run")
