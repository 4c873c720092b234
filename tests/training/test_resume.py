"""Nothing is lost: a run that is killed, or stopped by Ctrl-C, goes on to the same end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradninja.training import checkpoint
from lives import Life
from paths import ROOT

WORDS = "emma olivia ava isabella sophia mia amelia harper evelyn abigail ella luna chloe".split()
STEPS = 8_000
SETTINGS = ["--steps", str(STEPS), "--batch", "4", "--hidden", "8", "--embedding", "3"]
SAVING = ["--checkpoint-every", "0.05", "--quiet"]


def finish(*args: str, told: Path) -> None:
    assert Life(*args, told=told).end() == 0, told.read_text(encoding="utf-8")


def steps_done(run: Path) -> int:
    """Steps of which the metrics file tells; 0 before the first line."""
    metrics = run / "metrics.jsonl"
    return len(metrics.read_bytes().splitlines()) if metrics.exists() else 0


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "words.txt"
    path.write_text("\n".join(WORDS * 3))
    return path


@pytest.fixture(scope="module")
def whole(words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    out = folder / "run"
    finish("train", str(words), "--out", str(out), *SETTINGS, "--quiet", told=folder / "told")
    return out


def assert_same_end(run: Path, whole: Path) -> None:
    for name in ("weights.safetensors", "metrics.jsonl", "config.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name


def stop_when(life: Life, run: Path, lines: int, number: int) -> None:
    """Send a signal once the run has written so many lines of metrics."""
    end = time.monotonic() + 60
    while steps_done(run) < lines and not life.over() and time.monotonic() < end:
        time.sleep(0.005)
    assert not life.over(), "the run ended before it could be stopped"
    life.signal(number)


def test_a_run_that_is_killed_again_and_again_ends_the_same(
    words: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    args = ["train", str(words), "--out", str(run), *SETTINGS, *SAVING]
    for lines in (1, 40, 80):  # of 200: right at the start, and twice on the way
        life = Life(*args, told=tmp_path / "told")
        stop_when(life, run, lines, signal.SIGKILL)
        assert life.end() == -signal.SIGKILL
        args = ["train", "--resume", str(run), *SAVING]
    finish(*args, told=tmp_path / "told")
    assert_same_end(run, whole)


def killed_in_the_fourth() -> None:
    """Killed by itself between the temporary file and its rename, the worst of moments."""
    plain, calls = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        if Path(target).name == "weights.safetensors":
            calls.append(target)
            if len(calls) == 4:
                os.kill(os.getpid(), signal.SIGKILL)
        return plain(self, target)

    Path.replace = replace


def test_a_run_killed_while_it_writes_a_checkpoint_ends_the_same(
    words: Path, whole: Path, tmp_path: Path
) -> None:
    run, told = tmp_path / "run", tmp_path / "told"
    args = ["train", str(words), "--out", str(run), *SETTINGS, *SAVING]
    assert Life(*args, told=told, before=killed_in_the_fourth).end() == -signal.SIGKILL
    assert list(run.glob(".*.partial")), "it was not killed between write and rename"
    finish("train", "--resume", str(run), "--quiet", told=told)
    assert_same_end(run, whole)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGHUP], ids=["Ctrl-C", "closed terminal"])
def test_a_signal_saves_and_says_how_to_go_on(
    sent: signal.Signals, words: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    args = ["train", str(words), "--out", str(run), *SETTINGS, "--quiet"]
    life = Life(*args, told=tmp_path / "told")
    stop_when(life, run, 40, sent)
    assert life.end() == 130
    told = life.told.read_text(encoding="utf-8")
    assert f"gradninja train --resume {run}" in told and "Traceback" not in told
    # No 30 seconds had passed: without saving, the checkpoint would be that of step 0.
    assert checkpoint.read(run / "weights.safetensors").step >= 40 * STEPS // 200
    finish("train", "--resume", str(run), "--quiet", told=tmp_path / "told")
    assert_same_end(run, whole)


def test_native_runs_killed_at_random_end_the_same() -> None:
    """A small run of `benchmarks/kills.py`, which kills in each step of writing a file."""
    file = ROOT / "benchmarks" / "kills.py"
    settings = ["--engine", "native", "--kills", "4", "--steps", "10000", "--seed", "4"]
    done = subprocess.run([sys.executable, file, *settings], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kills: the end is bit-identical" in done.stdout
