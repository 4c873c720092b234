"""Derives many random programs and compares each with autograd in float64.

    python benchmarks/random_programs.py --count 100000

Programs come from seeds 0, 1, 2, ..., so a failure is found again by its seed (`--seed N`).
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import torch

from random_programs import judge, write

SHOWN = 20  # failures that are printed whole


def run(seed: int) -> tuple[int, str, str]:
    """(seed, the program's text, the verdict)."""
    try:
        program = write(random.Random(seed))
        return seed, f"{program.shapes}\n{program.text}", judge(program)
    except Exception:
        return seed, "", f"crash: {traceback.format_exc()}"


def start() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="how many programs")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one, printed with its verdict")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    start()
    if given.seed is not None:
        print(*run(given.seed), sep="\n")
        return 0
    verdicts: Counter[str] = Counter()
    lines, failures, began = 0, 0, time.perf_counter()
    seeds = range(given.first, given.first + given.count)
    with multiprocessing.get_context("spawn").Pool(given.processes, start) as pool:
        for done, (seed, text, verdict) in enumerate(pool.imap_unordered(run, seeds, 64), 1):
            verdicts[verdict.partition(":")[0]] += 1
            lines += text.count("\n") - 2
            if verdict != "right":
                failures += 1
                if failures <= SHOWN:
                    print(f"\n--- seed {seed}\n{text}\n{verdict}", flush=True)
            if done % 5000 == 0:
                seconds = time.perf_counter() - began
                print(f"{done} programs, {seconds:.0f} s, {dict(verdicts)}", flush=True)
    seconds = time.perf_counter() - began
    print(
        f"{given.count} programs of {lines / given.count:.1f} lines in {seconds:.0f} s "
        f"({given.count / seconds:.0f} a second, {given.processes} processes)"
    )
    for verdict, count in verdicts.most_common():
        print(f"{verdict:20}{count:8}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
