"""A seeded sample of `benchmarks/mutations.py`: its targets, held on every run of the suite."""

from __future__ import annotations

from mutants import Mutant
from mutation_trial import Outcome, campaign, written_by_hand

COUNT = 32


def test_mutants_are_found_and_mended() -> None:
    outcomes: list[Outcome] = [
        found
        for found in campaign(written_by_hand(), COUNT, seed=4)
        if not isinstance(found, Mutant)
    ]
    assert len(outcomes) == COUNT
    assert len({outcome.mutant.kind for outcome in outcomes}) >= 6
    assert [o for o in outcomes if not o.flagged] == []
    assert [o for o in outcomes if not o.right_line][1:] == []  # 99%, rounded up to one
    assert sum(o.mended for o in outcomes) >= 0.9 * COUNT
