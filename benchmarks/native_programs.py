"""Lowers random programs with their derived and fused gradients, and judges them by autograd.

    python benchmarks/native_programs.py --count 2000
    python benchmarks/native_programs.py --count 40 --machine

The text that would be compiled is run as plain Python, in float64; with `--machine` it is compiled,
which takes seconds for each. Programs come from seeds 0, 1, 2, ..., so that a failure is found
again by its seed (`--seed N`). Refused is what an error names a line of.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import torch

from catalogue import collect
from gradninja.errors import GradninjaError
from native_random import judge, of_cataloged, of_random
from random_programs import write

SHOWN = 20  # failures that are printed whole
Verdicts = tuple[str, str, str]


def run(seed: int, machine: bool) -> list[Verdicts]:
    """For each kind of gradients (where it came from, the kind, the verdict)."""
    try:
        given = of_random(write(random.Random(seed)))
    except Exception:
        return [(f"seed {seed}", "no program", f"crash: {traceback.format_exc()}")]
    return judged(f"seed {seed}", given, machine)


def judged(name: str, given: tuple, machine: bool) -> list[Verdicts]:
    found = []
    for kind in ("derived", "fused"):
        try:
            verdict = judge(*given, fused=kind == "fused", machine=machine)
        except GradninjaError as error:
            verdict = f"refused: {error.message.partition(',')[0]}"
        except Exception:
            verdict = f"crash: {traceback.format_exc()}\n{given[0]}"
        found.append((name, kind, verdict))
    return found


def start() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def tell(title: str, verdicts: list[Verdicts]) -> int:
    """Print the counts and the failures; how many there were."""
    print(f"\n{title}")
    for kind in dict.fromkeys(kind for _, kind, _ in verdicts):
        counts = Counter(v.partition(":")[0] for _, k, v in verdicts if k == kind)
        told = ", ".join(
            f"{counts[word]} {word}" for word in ("right", "refused", "wrong", "crash")
        )
        print(f"  {kind:8} {told}")
    reasons = Counter(v for _, _, v in verdicts if v.startswith("refused"))
    for reason, count in reasons.most_common(SHOWN):
        print(f"  {count:5} {reason}")
    failed = [v for v in verdicts if v[2].startswith(("wrong", "crash"))]
    for name, kind, verdict in failed[:SHOWN]:
        print(f"\n--- {name}, {kind}: {verdict}")
    return len(failed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000, help="how many random programs")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--machine", action="store_true", help="compile them, and run that")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    start()
    if given.seed is not None:
        return tell(f"seed {given.seed}", run(given.seed, given.machine))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRADNINJA_CACHE"] = folder
        seeds = range(given.first, given.first + given.count)
        with multiprocessing.get_context("spawn").Pool(given.processes, start) as pool:
            job = partial(run, machine=given.machine)
            found = [v for several in pool.imap_unordered(job, seeds, 8) for v in several]
        wrong = tell(f"{given.count} random programs, {time.perf_counter() - began:.0f} s", found)
        programs = [] if given.machine else collect()
        several = [v for p in programs for v in judged(p.name, of_cataloged(p), machine=False)]
        if several:
            wrong += tell(f"{len(programs)} programs of the catalogue", several)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
