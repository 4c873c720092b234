"""Programs on simulated ranks, held to the whole: the catalogue's along every axis, random ones.

    python benchmarks/ranks.py --random 500

Prints how many are right on 2, 3 and 4 ranks, how many are refused, and all that are wrong.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import torch

from catalogue import collect
from ranks_trial import judge, judge_random, named_axes, random_programs

SEED = 7


def counted(said: str) -> str:
    """What a verdict counts as."""
    return said if said in ("right", "no such axis") else said.partition(":")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=500, help="random programs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found: Counter[str] = Counter()
    for program in collect():
        for axis in named_axes(program):
            said = judge(program, axis)
            found[counted(said)] += 1
            if said != "right":
                print(f"{program.name} along {axis}: {said}")
    print(f"catalogue: {dict(found)}")
    found = Counter()
    for number, program in enumerate(islice(random_programs(SEED), arguments.random)):
        said = judge_random(program, "ndk"[number % 3])
        found[counted(said)] += 1
        if not said.startswith(("right", "refused", "no ")):
            print(said)
    print(f"random: {dict(found)}")


if __name__ == "__main__":
    main()
