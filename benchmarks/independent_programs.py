"""Judges every way to a backward on many random programs in the forms that people use.

    python benchmarks/independent_programs.py --count 20000

Programs come from seeds `--seed`, `--seed` + 1, ..., so a failure is found again by its seed
(`--seed N --count 1`). A program is wrong or crashes if one of its ways does; over 20 s of its
process's time is a crash. What is refused is told in words, and counted by them.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import re
import signal
import sys
import time
import warnings
from collections import Counter
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import torch

from independent_judge import WAYS, calls_of, judge, judge_compiled
from independent_writer import write

LIMIT = 20.0  # seconds for one way
COMPILED = 5  # one program in so many is compiled as well, its text run as plain Python
COLLECTED = 25  # garbage is collected after so many: as it goes it takes an eighth of the time
SHOWN = 40  # failures that are printed whole
WORST = ("wrong", "crash", "refused", "right")


class TookTooLong(BaseException):
    """Not an Exception: a pass that fails is dropped, whatever it fails by."""


def run(seed: int) -> tuple[int, str, dict[str, str]]:
    """(seed, the program, the verdict on each way)."""
    if seed % COLLECTED == 0:
        gc.collect()
    program = write(seed)
    found: dict[str, str] = {}
    calls = calls_of(program)
    judges = {way: partial(judge, program, way, calls) for way in WAYS}
    if seed % COMPILED == 0:
        judges["compile"] = partial(judge_compiled, program)
    for way, judged in judges.items():
        signal.setitimer(signal.ITIMER_PROF, LIMIT)
        try:
            found[way] = judged()
        except TookTooLong:
            found[way] = f"crash: over {LIMIT:.0f} s"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    inputs = ", ".join(f"{n}: {g.dtype} {' '.join(g.axes)}" for n, g in program.given.items())
    return seed, f"{program.text}# {inputs}\n# read at {program.read_at}", found


def start() -> None:
    def stop(number: int, frame: object) -> None:
        raise TookTooLong

    signal.signal(signal.SIGPROF, stop)
    gc.disable()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def reason(verdict: str) -> str:
    """A refusal's first line, without what is the program's own."""
    return re.sub(r"`[^`]*`|\d+", "_", verdict.partition("\n")[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=20_000, help="how many programs")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    given = parser.parse_args()
    programs: Counter[str] = Counter()
    ways = {way: Counter[str]() for way in (*WAYS, "compile")}
    reasons: Counter[str] = Counter()
    shown, began = 0, time.perf_counter()
    seeds = range(given.seed, given.seed + given.count)
    with multiprocessing.get_context("spawn").Pool(given.jobs, start) as pool:
        for done, (seed, text, verdicts) in enumerate(pool.imap(run, seeds, 8), 1):
            words = {way: verdict.partition(":")[0] for way, verdict in verdicts.items()}
            programs[min(words.values(), key=WORST.index)] += 1
            for way, word in words.items():
                ways[way][word] += 1
            reasons.update({reason(v) for v in verdicts.values() if v.startswith("refused")})
            failed = {way: v for way, v in verdicts.items() if words[way] in ("wrong", "crash")}
            if failed:
                way, verdict = next(iter(failed.items()))
                brief, _, whole = verdict.partition("\n")
                print(f"--- seed {seed}, {', '.join(failed)}: {brief}", flush=True)
                if shown < SHOWN:
                    shown += 1
                    print(f"{text}\n{way}: {whole}\n", flush=True)
            if done % 500 == 0:
                seconds = time.perf_counter() - began
                print(f"{done} programs, {seconds:.0f} s, {dict(programs)}", flush=True)
    print(f"\n{given.count} programs in {time.perf_counter() - began:.0f} s: {dict(programs)}")
    for way, counts in ways.items():
        print(f"  {way:14}", ", ".join(f"{counts[word]} {word}" for word in reversed(WORST)))
    print("refused:")
    for words, count in reasons.most_common():
        print(f"  {count:6}  {words.removeprefix('refused: ')}")
    return 1 if programs["wrong"] or programs["crash"] else 0


if __name__ == "__main__":
    sys.exit(main())
