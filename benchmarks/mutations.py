"""How well mistakes are found: right backward passes, thousands of random single mutations.

    python benchmarks/mutations.py [COUNT] [SEED]
    python benchmarks/mutations.py functions [COUNT] [SEED]    # of tests/functions

Every mutation changes one place of the text of a right backward pass. Those that leave all
gradients equal (the text is run as it stands and compared with autograd, on several draws) are
dropped. The others are given to `gradninja.check`: is the file called wrong, is the mutated line
the one that is named, are all gradients right once the mend that is offered is put in, and is that
mend an edit of the line rather than derived lines in its place?
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import torch
from rich.console import Console
from rich.table import Table

import functions_mutants
from mutants import Mutant
from mutation_trial import Outcome, campaign, derived, written_by_hand

FIGURES = ("flagged", "right_line", "mended", "edited")


def main(count: int, seed: int) -> None:
    """Run the campaign and print its figures by kind of mutation."""
    torch.set_num_threads(1)
    console = Console(width=130)
    by_kind: dict[str, list[Outcome]] = defaultdict(list)
    equal: dict[str, int] = defaultdict(int)
    begun = time.perf_counter()
    for found in campaign([*written_by_hand(), *derived()], count, seed):
        if isinstance(found, Mutant):
            equal[found.kind] += 1
            continue
        by_kind[found.mutant.kind].append(found)
        if not (found.flagged and found.right_line and found.mended):
            mutant = found.mutant
            console.print(
                f"{found.subject}, line {mutant.line}: {mutant.was!r} -> {mutant.now!r}\n"
                f"    {found.said or 'not flagged'}"
                f"{'' if found.mended else ' (no mend)'}",
                markup=False,
                highlight=False,
            )
    table = Table("mutation", "equal, dropped", "judged", *FIGURES)
    for kind, outcomes in sorted(by_kind.items()):
        table.add_row(kind, str(equal[kind]), str(len(outcomes)), *_figures(outcomes))
    whole = [outcome for outcomes in by_kind.values() for outcome in outcomes]
    table.add_section()
    table.add_row("all", str(sum(equal.values())), str(len(whole)), *_figures(whole))
    console.print(table)
    console.print(f"{time.perf_counter() - begun:.0f} s, seed {seed}")


def functions(count: int, seed: int) -> None:
    """The same over the backwards of the Functions of tests/functions."""
    torch.set_num_threads(1)
    judged, equal, begun = 0, 0, time.process_time()
    found = dict.fromkeys(FIGURES[:3], 0)
    with tempfile.TemporaryDirectory() as folder:
        for one in functions_mutants.campaign(count, seed, Path(folder)):
            if isinstance(one, Mutant):
                equal += 1
                continue
            judged += 1
            told = {name: getattr(one, name) for name in found}
            found = {name: found[name] + told[name] for name in found}
            if not all(told.values()):
                mutant, missed = one.mutant, [name for name, right in told.items() if not right]
                place = f"{one.name}, line {mutant.line} ({mutant.kind})"
                print(f"{place}: {mutant.was!r} -> {mutant.now!r}: not {', '.join(missed)}")
    print(f"{judged} judged, {equal} equal and dropped; {found}, seed {seed}")
    print(f"{time.process_time() - begun:.0f} s of CPU")


def _figures(outcomes: list[Outcome]) -> list[str]:
    return [
        f"{100 * sum(getattr(outcome, name) for outcome in outcomes) / len(outcomes):.1f}%"
        for name in FIGURES
    ]


if __name__ == "__main__":
    ours = sys.argv[1:2] == ["functions"]
    arguments = [int(argument) for argument in sys.argv[1 + ours : 3 + ours]]
    (functions if ours else main)(*arguments, *(2000, 0)[len(arguments) :])
