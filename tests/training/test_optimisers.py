"""The optimisers against PyTorch's; schedules; what a model's own settings are."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from gradninja.errors import ModelError, RunError
from gradninja.training import Config, go, plan, resume
from gradninja.training import run as run_module
from gradninja.training.pictures import plots
from gradninja.training.run import Interrupted
from gradninja.training.steps.optimisers import moments, update
from small_runs import small_run, stopping_after, word_file

EMPTY = Config("mlp", None, "", ())


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "draw", lambda *args: [])


OURS = {
    "sgd": lambda p, c: torch.optim.SGD(p, c.rate, weight_decay=c.decay),
    "momentum": lambda p, c: torch.optim.SGD(p, c.rate, c.beta1, weight_decay=c.decay),
    "adam": lambda p, c: torch.optim.Adam(p, c.rate, (c.beta1, c.beta2), weight_decay=c.decay),
    "adamw": lambda p, c: torch.optim.AdamW(p, c.rate, (c.beta1, c.beta2), weight_decay=c.decay),
}


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("clip", [0.0, 2.0])
def test_an_optimiser_is_pytorchs(name: str, decay: float, clip: float) -> None:
    config = replace(EMPTY, optimizer=name, decay=decay, clip=clip, schedule="constant")
    draw = torch.Generator().manual_seed(3)
    mine = {key: torch.randn(4, 3, generator=draw, dtype=torch.float64) for key in ("A", "B")}
    true = {key: value.clone().requires_grad_() for key, value in mine.items()}
    theirs = OURS[name](list(true.values()), config)
    held = moments(config, mine)
    for step in range(6):
        size = 3.0 if step % 2 else 0.1  # longer than the clip, and shorter
        found = {
            f"d{key}": size * torch.randn(4, 3, generator=draw, dtype=torch.float64) for key in mine
        }
        for key, value in true.items():
            value.grad = found[f"d{key}"].clone()
        if clip:
            torch.nn.utils.clip_grad_norm_(list(true.values()), clip)
        theirs.step()
        update(config, step, mine, held, found)
    for key, value in true.items():  # PyTorch's clip divides by the length + 1e-6
        torch.testing.assert_close(mine[key], value.detach(), rtol=1e-5, atol=1e-6)


def test_schedules() -> None:
    rates = {}
    for schedule in ("constant", "step", "linear", "cosine"):
        config = replace(EMPTY, rate=1.0, steps=8, schedule=schedule)
        rates[schedule] = [config.rate_at(step) for step in range(8)]
    assert rates["constant"] == [1.0] * 8
    assert rates["step"] == [1.0] * 4 + [0.1] * 4
    assert rates["linear"] == [1 - step / 8 for step in range(8)]
    waves = [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    assert rates["cosine"] == pytest.approx(waves)
    warm = replace(EMPTY, rate=1.0, steps=8, schedule="constant", warmup=3)
    assert [warm.rate_at(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_a_models_settings_hold_until_something_else_is_said() -> None:
    own = plan("transformer")
    assert (own.layers, own.width, own.optimizer, own.rate) == (4, 64, "adamw", 5e-4)
    more = plan("transformer", layers=2, optimizer="adam")
    assert (more.layers, more.width, more.rate, more.decay) == (2, 64, 5e-4, 0.01)
    # The rate of one optimiser is not that of another.
    other = plan("transformer", optimizer="sgd")
    assert (other.rate, other.decay, other.schedule) == (0.1, 0.0, "step")
    lecture = plan("mlp_batchnorm")
    assert (lecture.hidden, lecture.optimizer, lecture.rate) == (200, "sgd", 0.1)
    assert plan("mlp", optimizer="adam").rate == 1e-3


def test_what_cannot_be_of_a_run_is_told(tmp_path) -> None:
    for wrong, said in (
        ({"hiden": 3}, "a run has no `hiden`"),
        ({"hidden": 0}, "`hidden` is 0: it should be greater than"),
        ({"optimizer": "lion"}, "`optimizer` is 'lion': it should be 'sgd'"),
        ({"rate": "fast"}, "`rate` is 'fast'"),
    ):
        with pytest.raises(RunError, match=said):
            plan("mlp", **wrong)
    text = (tmp_path / "mine.py").resolve()
    source = "def parameters(): pass\ndef forward(): pass\ndef settings(): return {'leyers': 2}\n"
    text.write_text(source)
    with pytest.raises(ModelError, match="gives `leyers`"):
        plan(str(text))


@pytest.mark.parametrize("model", ["gru", "mlp_batchnorm"])
def test_a_run_in_pieces_ends_the_same_with_its_moments(tmp_path, monkeypatch, model) -> None:
    settings = {"model": model, "optimizer": "adamw", "rate": 0.01, "decay": 0.1, "clip": 0.5}
    settings |= {"schedule": "cosine", "warmup": 5, "steps": 30}
    whole = small_run(tmp_path, "whole", **settings)
    go(whole)
    run = small_run(tmp_path, "run", **settings)
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "stop_signals", lambda **asked: stopping_after(11))
        with pytest.raises(Interrupted):
            go(run)
    run = resume(run.folder.path)
    assert 0 < run.state.step < 30 and run.state.moments.keys() == whole.state.moments.keys()
    go(run)
    for name in ("weights", "metrics", "config"):
        assert getattr(run.folder, name).read_bytes() == getattr(whole.folder, name).read_bytes()


def test_a_recipe_from_before_there_were_optimisers_is_read(tmp_path) -> None:
    run = small_run(tmp_path, steps=2)
    go(run)
    old = json.loads(run.folder.config.read_text())
    for name in ("optimizer", "beta1", "beta2", "decay", "clip", "schedule", "warmup", "patience"):
        del old[name]
    for name in ("width", "layers", "heads"):
        del old[name]
    run.folder.config.write_text(json.dumps(old))
    assert resume(run.folder.path).config.optimizer == "sgd"
    assert word_file(tmp_path).exists()
