"""Training on ranks: two processes over gloo end as one process does."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from calling import call
from gradninja.cli.shared import launching as starting
from gradninja.errors import RunError
from gradninja.training import native, plan
from gradninja.training.loop import Hooks
from gradninja.training.pictures import plots
from gradninja.training.steps.ranks import Ranks, place_of, restarted
from small_runs import word_file

SMALL = ["--steps", "12", "--hidden", "8", "--batch", "5", "--quiet"]


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_two_ranks_end_as_one(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uneven shares of a batch of 5, BatchNorm's sums over both, the lecture's own backward."""
    monkeypatch.setattr(plots, "draw", lambda *args: [])
    words = word_file(tmp_path)
    alone, both = tmp_path / "alone", tmp_path / "both"
    assert call("train", str(words), "--out", str(alone), *SMALL, "--engine", "torch") == 0
    command = [sys.executable, "-m", "gradninja", "train", str(words), "--out", str(both)]
    on_ranks = [*SMALL, "--engine", engine, "--ranks", "2"]
    done = subprocess.run([*command, *on_ranks], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("validation loss") == 1
    assert json.loads((both / "config.json").read_text())["engine"] == engine
    one, two = (load_file(folder / "weights.safetensors") for folder in (alone, both))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(losses(alone), losses(both), strict=True):
        assert theirs == pytest.approx(mine, rel=1e-6)


def losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.parametrize("refused", [["--verify", "1"], ["--fit"]])
def test_what_several_ranks_cannot_is_refused(refused: list[str], monkeypatch, capsys) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert call("train", *refused) == 2
    assert f"several ranks cannot {refused[0]}: " in capsys.readouterr().err


class Failure:
    """As torchrun's launcher tells of one."""

    def __init__(self, exitcode: int, message: object, timestamp: float) -> None:
        self.exitcode, self.message, self.timestamp = exitcode, message, timestamp


def test_the_rank_that_failed_is_named_and_not_those_that_lost_it() -> None:
    lost = Failure(2, "rank 0 waits for ranks that do not answer\n  hint", 1.0)
    ended = Failure(-15, "Signal 15", 0.5)
    killed = starting._first({0: lost, 1: ended, 2: Failure(-9, "Signal 9", 2.0)})
    assert killed.message == "rank 2 was ended by SIGKILL"
    told = {"message": "the loss is nan\n  lower it", "extraInfo": {}}
    wrong = starting._first({0: lost, 1: Failure(2, told, 3.0)})
    assert (wrong.message, wrong.hint) == ("rank 1: the loss is nan", "lower it")


def test_a_rank_tells_its_launcher_and_prints_nothing(tmp_path: Path, monkeypatch, capsys) -> None:
    path = tmp_path / "error.json"
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", starting.ERRORS: str(path)}.items():
        monkeypatch.setenv(name, value)
    assert call("train", "--fit") == 2
    assert capsys.readouterr().err == ""
    said = json.loads(path.read_text())["message"]["message"]
    assert said.startswith("several ranks cannot --fit")


def test_ranks_that_are_started_anew_go_on_where_a_checkpoint_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not restarted(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert not restarted(tmp_path)  # nothing was written yet: it begins again
    for name in ("config.json", "weights.safetensors"):
        (tmp_path / name).touch()
    assert restarted(tmp_path)
    with pytest.raises(RunError, match="which run folder"):
        restarted(None)


class Others:
    """`dist.all_reduce` for one rank, where another rank has a number of its own."""

    def __init__(self, theirs: int) -> None:
        self.theirs, self.calls = theirs, 0

    def __call__(self, tensor: torch.Tensor, op: object) -> None:
        self.calls += 1
        tensor.fill_(max(int(tensor), self.theirs))


def test_ranks_take_as_many_steps_as_the_slowest_can_and_stop_together(monkeypatch) -> None:
    import torch.distributed as dist

    alone = Hooks(save=print, show=print, stop=lambda: False)
    steps, others = 15, Others(-3)
    hooks = Ranks(0, 2).together(alone, lambda: steps, many=False)
    monkeypatch.setattr(dist, "all_reduce", others)
    assert hooks.pace(8) == 3
    others.theirs = 1  # who was asked to stop
    assert not hooks.stop()
    assert others.calls == 1  # between two times they do not ask each other
    steps = 16
    assert hooks.stop()
    steps = 17
    assert Ranks(0, 2).together(alone, lambda: steps, many=True).stop()


def test_all_ranks_have_compiled_code_or_none_has(monkeypatch) -> None:
    config = plan("mlp", engine="auto", steps=20_000)
    monkeypatch.setattr(native, "compiled", lambda *given: "code")
    told: list[str] = []
    monkeypatch.setattr(Ranks, "largest", lambda self, number: 1)
    given = (None, None, None)
    assert native.engine_of(*given, config, told.append) == "code"
    assert native.engine_of(*given, config, told.append, Ranks(0, 2)) is None
    assert "another rank cannot compile its step" in told[0]
    with pytest.raises(RunError, match="another rank"):
        native.engine_of(*given, replace(config, engine="native"), told.append, Ranks(0, 2))


def test_only_rank_0_writes_to_the_run_folder(tmp_path: Path) -> None:
    assert place_of(None, tmp_path) == place_of(Ranks(0, 2), tmp_path) == tmp_path
    other = place_of(Ranks(1, 2), tmp_path)
    assert other is not None and other != tmp_path and not any(other.iterdir())


def test_deterministic_sums_are_taken_in_the_order_of_the_ranks(monkeypatch) -> None:
    """(1e8 + -1e8) + 1 in float32 is 1; in another order it is 0."""
    import torch.distributed as dist

    from gradninja.training.steps.rank_step import Collectives

    handed_in = [torch.tensor([1e8, 3.0]), torch.tensor([-1e8, 1.0]), torch.tensor([1.0, 2.0])]

    def all_gather(parts: list[torch.Tensor], tensor: torch.Tensor, group: object) -> None:
        for part, value in zip(parts, handed_in, strict=True):
            part.copy_(value)

    monkeypatch.setattr(dist, "all_gather", all_gather)
    monkeypatch.setattr(dist, "get_world_size", lambda group: 3)
    ordered = Collectives(ordered=True)
    assert ordered.all_reduce(handed_in[0], "sum", None).tolist() == [1.0, 6.0]
    assert ordered.all_reduce(handed_in[0], "max", None).tolist() == [1e8, 3.0]
    one, two = ordered.all_reduce_coalesced([torch.zeros(1), torch.zeros(1, 1)], "min", None)
    assert (one.tolist(), two.tolist()) == ([-1e8], [[1.0]])
    assert ordered.all_gather_tensor(handed_in[0], 0, None).tolist() == [1e8, 3, -1e8, 1, 1, 2]
