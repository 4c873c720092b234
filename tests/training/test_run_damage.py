"""A damaged run folder is told in words, whatever is in it, and what is whole is kept."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from gradninja import models
from gradninja.errors import GradninjaError, RunError
from gradninja.training import checkpoint, go, load_network, resume
from gradninja.training.config import BEFORE, Config
from gradninja.training.metrics import DAMAGED
from gradninja.training.metrics import read as read_metrics
from gradninja.training.pictures import plots
from small_runs import small_run

DRAW = plots.draw  # before the fixtures put something quick in its place


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "draw", lambda *args: [])
        go(small_run(folder, steps=60))
    return folder / "run"


@pytest.fixture
def run(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(plots, "draw", lambda *args: [])
    return Path(shutil.copytree(whole, tmp_path / "run"))


ODD: list[Any] = [
    *(None, True, -1, 0, 2**31, 10**30, 1.5, float("nan"), float("inf"), "", "x", "\0"),
    *([], {}, [1], ["a"], {"a": 1}, "a" * 1000, [".", "a", "a"], [".", "ab"], [[]]),
]
FIELDS = sorted(json.loads(Config("mlp", None, "", ()).to_json()))


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_a_recipe_that_is_odd_is_told(name: str, run: Path) -> None:
    path = run / "config.json"
    values = json.loads(path.read_text())
    refused = 0
    for odd in ODD:
        path.write_text(json.dumps({**values, name: odd}))
        try:
            Config.read(path)
        except RunError as error:
            refused += 1
            assert f"`{name}`" in str(error)
    assert refused >= len(ODD) - 7
    for text in (json.dumps({k: v for k, v in values.items() if k != name}), "[" * 50_000, "1e9"):
        path.write_text(text)
        if name not in BEFORE or text[0] != "{":
            with pytest.raises(RunError):
                Config.read(path)


def test_any_bytes_in_a_recipe(run: Path) -> None:
    path, draw = run / "config.json", random.Random(3)
    plain = path.read_bytes()
    for _ in range(300):
        data = bytearray(plain[: draw.choice([len(plain), draw.randrange(len(plain))])])
        for _ in range(draw.randrange(4)):
            if data:
                data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data)
        try:
            Config.read(path)
        except RunError as error:
            assert str(error)


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b'{"step": "x"}', b'{"step": -1}'),
        *(b'{"step": 1, "loss": null}', b'{"step": 1, "more": 2}', b"[" * 50_000),
        b'{"step": 1, "gradient_to_data": 3}',
    ],
    ids=repr,
)
def test_a_damaged_line_of_metrics_is_told_and_the_rest_kept(line: bytes, run: Path) -> None:
    path = run / "metrics.jsonl"
    plain = path.read_bytes()
    lines = plain.splitlines()
    lines[6] = line
    path.write_bytes(b"\n".join(lines) + b"\n")
    damaged = path.read_bytes()
    assert len(read_metrics(path)) == len(lines) - 1
    told: list[str] = []
    go(resume(run, tell=told.append))
    assert any("line 7 is damaged" in text for text in told)
    assert (run / DAMAGED).read_bytes() == damaged
    kept = [row for number, row in enumerate(plain.splitlines()) if number != 6]
    assert path.read_bytes().splitlines() == kept


@pytest.mark.parametrize("other", ["mlp", "bigram"])
def test_the_model_file_of_another_model_is_told(other: str, run: Path) -> None:
    (run / "model.py").write_text(models.load(other).text)
    for verb in (resume, load_network):
        with pytest.raises(RunError, match=r"model\.py.* not"):
            verb(run)


CHANGES: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "missing": lambda tensors: tensors.pop("W1"),
    "more": lambda tensors: tensors.update(more=torch.ones(2)),
    "shape": lambda tensors: tensors.update(W1=tensors["W1"][:1].clone()),
    "dtype": lambda tensors: tensors.update(W1=tensors["W1"].double()),
    "integers": lambda tensors: tensors.update(W1=tensors["W1"].long()),
    "losses": lambda tensors: tensors.update({"run/losses": torch.tensor(1.0)}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_do_not_fit_are_told(change: str, run: Path) -> None:
    path = run / "weights.safetensors"
    tensors = load(path.read_bytes())
    CHANGES[change](tensors)
    path.write_bytes(save(tensors, {"gradninja": json.dumps({"format": 1, "step": 60})}))
    for verb in (resume, load_network):
        with pytest.raises(RunError, match=r"W1|more|losses"):
            verb(run)


@pytest.mark.parametrize("step", [-1, 10**30, 61, "x", None, True, 1.5, [], {}])
def test_a_step_that_cannot_be_is_told(step: object, run: Path) -> None:
    path = run / "weights.safetensors"
    tensors = load(path.read_bytes())
    path.write_bytes(save(tensors, {"gradninja": json.dumps({"format": 1, "step": step})}))
    with pytest.raises(RunError):
        resume(run)


def test_any_bytes_in_the_weights(run: Path) -> None:
    path, draw = run / "weights.safetensors", random.Random(4)
    plain = path.read_bytes()
    for _ in range(200):
        data = bytearray(plain[: draw.choice([len(plain), draw.randrange(1, len(plain))])])
        data[draw.randrange(min(len(data), 900))] = draw.randrange(256)
        path.write_bytes(data)
        try:
            checkpoint.read(path)
        except GradninjaError as error:
            assert str(path) in str(error)


def test_what_a_kill_leaves_is_no_other_folder(tmp_path: Path) -> None:
    """Killed before its recipe was written, a run is begun again in the same folder."""
    (tmp_path / "run").mkdir()
    for name in (".probe", ".config.json.partial"):
        (tmp_path / "run" / name).write_bytes(b"half")
    small_run(tmp_path)
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {"config.json", "model.py", "weights.safetensors"}


def test_pictures_of_metrics_that_tell_less() -> None:
    config = Config("mlp", None, "", (".", "a"), steps=9)
    ratios = {"W": 0.5, "b": None}
    rows: list[dict[str, Any]] = [
        {"step": 1, "loss": 2.0, "gradient_to_data": ratios, "update_to_data": ratios},
        {"step": 2, "loss": float("inf"), "gradient_to_data": ratios},
        {"step": 3, "loss": 1.0, "gradient_to_data": {"b": 1.0}, "update_to_data": {}},
        {"step": 4, "train_loss": 1.0},
        {"step": 4, "train_loss": float("inf"), "validation_loss": float("nan")},
    ]
    with tempfile.TemporaryDirectory() as folder:
        assert len(DRAW(Path(folder), rows, {}, config)) == 2
