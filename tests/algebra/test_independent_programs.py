"""A thousand programs in the forms that people use: each by one way, right or refused.

`benchmarks/independent_programs.py` judges every way on as many programs as are asked for.
"""

from __future__ import annotations

import random

import pytest

import gradninja as gn
from independent_judge import WAYS, calls_of, judge, judge_compiled
from independent_writer import write

# What PyTorch thinks of a deprecated spelling or of few elements is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")

PARTS = 10  # test functions, so that workers share them
EACH = 100
SHARES = {  # how often each way is gone, the dear ones less often
    "derive": 40,
    "derive exact": 25,
    "fuse speed": 14,
    "fuse short": 6,
    "fuse in place": 5,
    "fuse memory": 2,
    "compile": 3,
}
WHOLE = 0.85  # of the fused programs of a part at least, in which nothing is dropped


def test_every_way_is_gone() -> None:
    assert set(SHARES) == {*WAYS, "compile"}


@pytest.mark.parametrize("part", range(PARTS))
def test_independent_programs(part: int) -> None:
    fused: list[gn.Backward] = []
    for seed in range(part * EACH, (part + 1) * EACH):
        program = write(seed)
        (way,) = random.Random(seed).choices(list(SHARES), list(SHARES.values()))
        if way == "compile":
            verdict = judge_compiled(program, most=1)
        else:
            kept = fused if way.startswith("fuse") else None
            verdict = judge(program, way, calls_of(program), kept)
        told = f"seed {seed}, {way}\n{program.text}{program.read_at}\n{verdict}"
        assert verdict.partition(":")[0] in {"right", "refused"}, told
    dropped = [back for back in fused if isinstance(back, gn.Fused) and back.dropped]
    assert len(dropped) <= (1 - WHOLE) * len(fused), [back.dropped for back in dropped]
