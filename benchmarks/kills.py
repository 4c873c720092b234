"""Runs that are killed again and again, and whether they end as one that never was.

    python benchmarks/kills.py                                   # 300 kills, some half an hour
    python benchmarks/kills.py --engine native --kills 4 --steps 40000

For each engine a small network is trained once without a break, then again in lives that SIGKILL
ends, each but the first by `--resume`. A life ends in one of four ways, drawn by a seed:

- starting: after a random time from its start on, mostly before its first step;
- training: a random time after it has gone on, and has passed a step that was drawn for it;
- writing: by itself, at a drawn place of writing a file whole (the temporary file opened, half
  written, written, synced, about to be renamed, renamed, the folder synced), of a checkpoint or
  of the metrics that are cut back, after it has passed the drawn step;
- line: by itself, with half of a line of metrics written.

The steps grow from life to life over the whole run and, for the last tenth, lie past its end: then
it is the measuring, the last checkpoint and the pictures that are broken off. At the end weights,
metrics, recipe and model text have to be the unbroken run's, byte for byte, and what is printed
(losses and sampled words) the same text. What a kill takes is what the process holds; what a power
cut takes from the system's own buffers is not tried here.

Each life is a fork of one process that has imported everything, so that a life costs what a run
costs and no start of Python.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch

import gradninja.training.pictures.plots  # noqa: F401 - imported once, before the forks
from gradninja.cli import main
from gradninja.native.calls import training_run  # noqa: F401
from gradninja.training import checkpoint, metrics

WORDS = "emma olivia ava isabella sophia mia amelia harper evelyn abigail ella luna chloe".split()
SIZES = ["--batch", "4", "--hidden", "8", "--embedding", "3"]
FILES = ("weights.safetensors", "metrics.jsonl", "config.json", "model.py")
STEPS = {"native": 2_000_000, "torch": 40_000}
WRITING = ("opened", "half written", "written", "synced", "renaming", "renamed", "folder synced")
_PATIENCE = 600.0  # seconds in which a life has to end


class Trap:
    """What kills a process from within, at a drawn moment once a step is passed."""

    def __init__(self, way: str, passed: int, place: str, skipped: int) -> None:
        self.way, self.passed, self.place, self.left = way, passed, place, skipped
        self.armed = passed == 0

    def at(self, place: str) -> None:
        if self.armed and self.way == "writing" and place == self.place:
            self.spring()

    def spring(self) -> None:
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1

    def set(self) -> None:
        """Watch what the package does to its files, and count steps by its checkpoints."""
        write, sync, rename, open_ = checkpoint.write, os.fsync, Path.replace, Path.open
        line = metrics.Metrics.write
        trap = self

        class Halving:
            def __init__(self, file: BinaryIO) -> None:
                self.file = file

            def __enter__(self) -> Halving:
                return self

            def __exit__(self, *error: object) -> None:
                self.file.close()

            def __getattr__(self, name: str) -> Any:
                return getattr(self.file, name)

            def write(self, data: bytes) -> int:
                self.file.write(data[: len(data) // 2])
                self.file.flush()
                trap.at("half written")
                self.file.write(data[len(data) // 2 :])
                self.file.flush()
                trap.at("written")
                return len(data)

        def opened(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
            file = open_(path, mode, *rest, **more)
            if mode != "wb":
                return file
            trap.at("opened")
            return Halving(file)

        def synced(number: int) -> None:
            sync(number)
            folder = os.path.isdir(f"/proc/self/fd/{number}")  # noqa: PTH112 - no path of a file
            trap.at("folder synced" if folder else "synced")

        def replaced(path: Path, target: Path) -> Path:
            trap.at("renaming")
            done = rename(path, target)
            trap.at("renamed")
            return done

        def written(path: Path, state: checkpoint.State) -> None:
            trap.armed |= state.step >= trap.passed
            write(path, state)

        def told(self: metrics.Metrics, row: Mapping[str, Any]) -> None:
            trap.armed |= row["step"] >= trap.passed
            if trap.armed and trap.way == "line":
                text = metrics.json.dumps(row)
                if trap.left == 0:
                    self._file.write(text[: len(text) // 2])
                    self._file.flush()
                trap.spring()
            line(self, row)

        checkpoint.write, os.fsync = written, synced  # type: ignore[assignment]
        Path.replace, Path.open = replaced, opened  # type: ignore[assignment,method-assign]
        metrics.Metrics.write = told  # type: ignore[method-assign]


def life(args: Sequence[str], printed: Path, prepare: Callable[[], None]) -> int:
    """A fork that runs the command line; what it prints goes to a file. Gives its process id."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        with printed.open("w") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        sys.argv = ["gradninja", *args]
        prepare()
        try:
            main()
            code = 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def ended(child: int, limit: float) -> int | None:
    """How a life ended within a time: its exit code, less than 0 for a signal; None if not."""
    end = time.monotonic() + limit
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            return None
        time.sleep(0.001)


def told_steps(run: Path) -> int:
    """The last step of which a whole line of metrics tells."""
    with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
        with (run / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4000))
            rows = file.read().split(b"\n")
        return int(metrics.json.loads(rows[-2])["step"])
    return 0


def lives(kills: int, steps: int, seed: int) -> Iterator[tuple[str, int, Trap, float]]:
    """For each kill its way, the step to pass before it, its trap, and its random seconds."""
    draw = random.Random(seed)
    late = max(1, kills // 10)
    passed = sorted(draw.randrange(steps) for _ in range(kills - late)) + [steps] * late
    for step in passed:
        way = draw.choices(("starting", "training", "writing", "line"), (2, 5, 10, 3))[0]
        trap = Trap(way, step, draw.choice(WRITING), draw.randrange(3 if step < steps else 2))
        yield way, step, trap, draw.random()


def broken(engine: str, kills: int, steps: int, seed: int, folder: Path) -> bool:
    """One engine's run, unbroken and broken; tells what came and whether the ends are the same."""
    words = folder / "words.txt"
    words.write_text("\n".join(WORDS * 3))
    settings = ["--engine", engine, "--steps", str(steps), *SIZES]
    more = ["--json", "--checkpoint-every", "0.01"]
    whole, run = folder / f"{engine}-whole", folder / f"{engine}-broken"
    printed = folder / "printed.txt"

    def begin(out: Path) -> list[str]:
        return ["train", str(words), "--out", str(out), *settings, *more]

    child = life(begin(whole), printed, lambda: None)
    if ended(child, _PATIENCE) != 0:
        raise SystemExit(f"the unbroken run failed:\n{printed.read_text()}")
    truth = printed.read_text().replace(str(whole), "RUN")

    counts: collections.Counter[str] = collections.Counter()
    start = time.monotonic()
    pending = lives(kills, steps, seed)
    drawn = next(pending, None)
    while drawn is not None:
        way, passed, trap, chance = drawn
        begun = (run / "weights.safetensors").exists()
        # Killed before its first checkpoint, a run is to be begun again, as its error says.
        args = ["train", "--resume", str(run), *more] if begun else [*begin(run), "--overwrite"]
        inner = way in ("writing", "line")
        child = life(args, printed, trap.set if inner else lambda: None)
        code: int | None = None
        if way == "starting":
            code = ended(child, 0.8 * chance)
        elif way == "training":
            born, end = told_steps(run), time.monotonic() + _PATIENCE
            aim = max(passed, born + 1) if max(passed, born) < steps else 0
            while code is None and told_steps(run) < aim and time.monotonic() < end:
                code = ended(child, 0.005)
            code = ended(child, (0.05 if aim else 1.5) * chance) if code is None else code
        else:
            code = ended(child, _PATIENCE)
        if code is None:
            os.kill(child, signal.SIGKILL)
            code = ended(child, _PATIENCE)
        if code == 0:  # ended before its moment came: no kill, and drawn anew for the next life
            counts["lives that ended"] += 1
            trap.left, trap.way = 0, "writing" if inner else way
            drawn = (way, min(passed, steps), trap, chance / 2)
            continue
        if code != -signal.SIGKILL:
            print(f"{engine}: a life ended with {code}:\n{printed.read_text()}")
            return False
        counts["kills"] += 1
        counts[f"{way}: {trap.place}" if way == "writing" else way] += 1
        if counts["kills"] % 25 == 0:
            at, took = told_steps(run), time.monotonic() - start
            print(f"{engine}: {counts['kills']} kills, {at:,} steps, {took:.0f} s", flush=True)
        drawn = next(pending, None)
    child = life(["train", "--resume", str(run), *more], printed, lambda: None)
    code = ended(child, _PATIENCE)
    same = [name for name in FILES if (run / name).read_bytes() == (whole / name).read_bytes()]
    alike = printed.read_text().replace(str(run), "RUN") == truth
    good = code == 0 and len(same) == len(FILES) and alike
    print(
        f"{engine}: {steps:,} steps, {counts['kills']} kills: "
        + ("the end is bit-identical" if good else f"ANOTHER END: only {same} are the same, {code}")
    )
    for name, number in sorted(counts.items()):
        print(f"  {name}: {number}")
    return good


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--engine", choices=[*STEPS, "both"], default="both")
    parser.add_argument("--kills", type=int, default=300, help="over both engines together")
    parser.add_argument("--steps", type=int, help=f"of a run; {STEPS} without it")
    parser.add_argument("--seed", type=int, default=2147483647)
    torch.set_num_threads(1)  # before the forks: a fork has no threads but its own
    given = parser.parse_args()
    engines = list(STEPS) if given.engine == "both" else [given.engine]
    with tempfile.TemporaryDirectory() as folder:
        good = [
            broken(
                engine,
                given.kills // len(engines),
                given.steps or STEPS[engine],
                given.seed + place,
                Path(folder),
            )
            for place, engine in enumerate(engines)
        ]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    run()
