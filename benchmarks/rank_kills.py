"""A training on ranks of which one is killed again and again, and whether it ends as if none was.

    python benchmarks/rank_kills.py --kills 40

torchrun starts the ranks and, after each SIGKILL, starts them anew; they go on from the last
checkpoint. Which rank is killed, and when, is drawn by a seed. At the end weights and metrics have
to be those of the same ranks left alone, byte for byte.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = "emma olivia ava isabella sophia mia amelia harper evelyn abigail ella luna chloe".split()
FILES = ("weights.safetensors", "metrics.jsonl", "config.json", "model.py")
RUN = ["--standalone", "--max-restarts", "1000", "--monitor-interval", "0.1", "-m", "gradninja"]
SIZES = ["--batch", "5", "--hidden", "8", "--embedding", "3", "--checkpoint-every", "0.5"]


def start(words: Path, out: Path, ranks: int, steps: int) -> subprocess.Popen[bytes]:
    """torchrun, with ranks that train."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks), *RUN]
    rest = ["train", str(words), "--out", str(out), "--steps", str(steps), "--quiet", *SIZES]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*command, *rest], env={**os.environ, "OMP_NUM_THREADS": "1"}, **quiet)


def ranks_of(launcher: int) -> list[int]:
    """The processes that a launcher has started, by rank."""
    found = {}
    for task in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(task.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            given = task.joinpath("environ").read_bytes().split(b"\0")
        except (OSError, ValueError, IndexError):
            continue  # it has ended
        rank = [value.partition(b"=")[2] for value in given if value.startswith(b"RANK=")]
        if parent == launcher and rank:
            found[int(rank[0])] = int(task.name)
    return [found[rank] for rank in sorted(found)]


def killed(running: subprocess.Popen[bytes], kills: int, rng: random.Random, longest: float) -> int:
    """Kill a rank again and again until that was done often enough or the run has ended."""
    done = 0
    while done < kills:
        # From a start to well into its training; a run has begun once its ranks are there.
        wait = time.monotonic() + rng.uniform(0.1, longest)
        while time.monotonic() < wait and running.poll() is None:
            time.sleep(0.05)
        if running.poll() is not None:
            return done
        living = ranks_of(running.pid)
        if living:
            os.kill(rng.choice(living), signal.SIGKILL)
            done += 1
    return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--longest", type=float, default=20.0, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng, done, wrong = random.Random(given.seed), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        words, alone = Path(folder, "words.txt"), Path(folder, "alone")
        words.write_text("\n".join(WORDS) + "\n")
        if start(words, alone, given.ranks, given.steps).wait():
            raise SystemExit("the ranks that are left alone do not end well")
        for number in range(given.kills):
            if done == given.kills:
                break
            out = Path(folder, f"killed-{number}")
            running = start(words, out, given.ranks, given.steps)
            done += killed(running, given.kills - done, rng, given.longest)
            code = running.wait()
            unlike = [
                f for f in FILES if out.joinpath(f).read_bytes() != alone.joinpath(f).read_bytes()
            ]
            wrong += bool(code or unlike)
            print(
                f"run {number}: {done} kills so far, exit code {code}, unlike: {unlike or 'none'}"
            )
    print(f"{done} SIGKILLs of a rank of {given.ranks}: {wrong} runs ended otherwise")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
