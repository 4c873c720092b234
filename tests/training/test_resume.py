"""Nothing is lost: a run that is killed, or stopped by Ctrl-C, goes on to the same end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradninja.training import checkpoint
from paths import ROOT

WORDS = "emma olivia ava isabella sophia mia amelia harper evelyn abigail ella luna chloe".split()
STEPS = 8_000
SETTINGS = ["--steps", str(STEPS), "--batch", "4", "--hidden", "8", "--embedding", "3"]
SAVING = ["--checkpoint-every", "0.05", "--quiet"]


def command(*args: str) -> list[str]:
    return [sys.executable, "-c", "from gradninja.cli import main; main()", *args]


def finish(*args: str) -> None:
    done = subprocess.run(command(*args), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
    out = tmp_path_factory.mktemp("whole") / "run"
    finish("train", str(words), "--out", str(out), *SETTINGS, "--quiet")
    return out


def assert_same_end(run: Path, whole: Path) -> None:
    for name in ("weights.safetensors", "metrics.jsonl", "config.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name


def stop_when(process: subprocess.Popen[str], run: Path, lines: int, number: int) -> None:
    """Send a signal once the run has written so many lines of metrics."""
    end = time.monotonic() + 60
    while steps_done(run) < lines and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    assert process.poll() is None, "the run ended before it could be stopped"
    process.send_signal(number)


def test_a_run_that_is_killed_again_and_again_ends_the_same(
    words: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    args = ["train", str(words), "--out", str(run), *SETTINGS, *SAVING]
    for lines in (1, 40, 80):  # of 200: right at the start, and twice on the way
        process = subprocess.Popen(command(*args), text=True)
        stop_when(process, run, lines, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        args = ["train", "--resume", str(run), *SAVING]
    finish(*args)
    assert_same_end(run, whole)


def test_a_run_killed_while_it_writes_a_checkpoint_ends_the_same(
    words: Path, whole: Path, tmp_path: Path
) -> None:
    # Killed by itself between the temporary file and its rename, the worst of moments.
    run = tmp_path / "run"
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from gradninja.training import checkpoint\n"
        "plain, calls = Path.replace, []\n"
        "def replace(self, target):\n"
        "    if Path(target).name == 'weights.safetensors':\n"
        "        calls.append(1)\n"
        "        if len(calls) == 4:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return plain(self, target)\n"
        "Path.replace = replace\n"
        "from gradninja.cli import main\n"
        "main()\n"
    )
    args = ["train", str(words), "--out", str(run), *SETTINGS, *SAVING]
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert list(run.glob(".*.partial")), "it was not killed between write and rename"
    finish("train", "--resume", str(run), "--quiet")
    assert_same_end(run, whole)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGHUP], ids=["Ctrl-C", "closed terminal"])
def test_a_signal_saves_and_says_how_to_go_on(
    sent: signal.Signals, words: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    args = ["train", str(words), "--out", str(run), *SETTINGS, "--quiet"]
    process = subprocess.Popen(command(*args), text=True, stderr=subprocess.PIPE)
    stop_when(process, run, 40, sent)
    _, told = process.communicate()
    assert process.returncode == 130
    assert f"gradninja train --resume {run}" in told and "Traceback" not in told
    # No 30 seconds had passed: without saving, the checkpoint would be that of step 0.
    assert checkpoint.read(run / "weights.safetensors").step >= 40 * STEPS // 200
    finish("train", "--resume", str(run), "--quiet")
    assert_same_end(run, whole)


def test_native_runs_killed_at_random_end_the_same() -> None:
    """A small run of `benchmarks/kills.py`, which kills in each step of writing a file."""
    file = ROOT / "benchmarks" / "kills.py"
    settings = ["--engine", "native", "--kills", "4", "--steps", "10000", "--seed", "4"]
    done = subprocess.run([sys.executable, file, *settings], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kills: the end is bit-identical" in done.stdout
