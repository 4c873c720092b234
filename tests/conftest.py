"""What the whole suite shares: one thread, the fast lane, the count of PyTorch's samples.

`--lane fast` runs the first case of every test but those in `slow.txt`: under a minute on two
quiet cores. `--lane measure` runs the first case of every test and writes `slow.txt` anew: the
tests that take most processor time, until the others have no more than `FAST` seconds together.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

# With more, `index_put` adds repeats up in the order in which threads come to them: autograd's own
# gradient of `a[:, i]` is then not the same twice, and nothing can equal it bit for bit.
torch.set_num_threads(1)

COUNTED, TOOK, BEGAN = "op_db", "processor time", pytest.StashKey[float]()
SLOW = Path(__file__).with_name("slow.txt")
FAST = 60.0  # seconds of processor time; collecting takes some 15 on each core
UNREAD = {"test_op_db.py", "test_native_op_db.py"}  # what they import takes 5 s of each core


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lane", choices=["whole", "fast", "measure"], default="whole")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if config.getoption("lane") == "fast" and collection_path.name in UNREAD else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    lane = config.getoption("lane")
    if lane == "whole":
        return
    slow = set(SLOW.read_text(encoding="utf-8").split()) if lane == "fast" else set()
    first: dict[str, pytest.Item] = {}
    for item in items:
        first.setdefault(_function(item.nodeid), item)
    kept = [item for name, item in first.items() if name not in slow]
    dropped = set(items) - set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item in dropped])
    items[:] = kept


def _function(nodeid: str) -> str:
    """The test that a case is of."""
    return nodeid.partition("[")[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    item.stash[BEGAN] = _processor_time()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    report = yield
    if report.when == "teardown":
        report.user_properties.append((TOOK, _processor_time() - item.stash[BEGAN]))
    return report


def _processor_time() -> float:
    """Of this process and of those that it has waited for: a busy machine does not change it."""
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in spent)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Right and refused samples over all op_db tests, gathered from every worker's reports."""
    reports = [
        report
        for several in terminalreporter.stats.values()
        for report in several
        if isinstance(report, pytest.TestReport)
    ]
    told = [(r.nodeid, r.when, *pair) for r in reports for pair in r.user_properties]
    counts = [value for _, when, key, value in told if key == COUNTED and when == "call"]
    if counts:
        right, refused = sum(c[1] for c in counts), sum(c[2] for c in counts)
        terminalreporter.write_line(
            f"op_db: {right} of PyTorch's samples right, {refused} refused, "
            f"{len(counts)} ops and variants; none may be wrong"
        )
    if config.getoption("lane") == "measure":
        took = {_function(name): seconds for name, _, key, seconds in told if key == TOOK}
        terminalreporter.write_line(_write_slow(took))


def _write_slow(took: dict[str, float]) -> str:
    """Write the tests down that are left out of the fast lane, and say what stays in it."""
    left, spent = sorted(took, key=lambda name: took[name]), 0.0
    while left and spent + took[left[0]] <= FAST:
        spent += took[left.pop(0)]
    SLOW.write_text("".join(f"{name}\n" for name in sorted(left)), encoding="utf-8")
    return f"fast lane: {len(took) - len(left)} tests, {spent:.0f} s; {len(left)} are left out"
