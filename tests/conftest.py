"""What the whole suite shares: one thread, the fast lane, the count of PyTorch's samples.

`--lane fast` runs the first case of every test but those in `slow.txt`: under a minute on two
quiet cores. `--lane measure` runs the first case of every test, those in
`slow.txt` last, and writes it anew: what takes most processor time, until the command takes `FAST`
seconds of it without them.
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
SPENT = pytest.StashKey[list[float]]()
SLOW = Path(__file__).with_name("slow.txt")
FAST = 80.0  # seconds of processor time, of all processes: 45 by the clock on two quiet cores
UNREAD = {"test_op_db.py", "test_native_op_db.py"}  # what they import takes 5 s of each core


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lane", choices=["whole", "fast", "measure"], default="whole")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if config.getoption("lane") == "fast" and collection_path.name in UNREAD else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    lane = config.getoption("lane")
    if lane == "whole":
        return
    slow = set(SLOW.read_text(encoding="utf-8").split())
    first: dict[str, pytest.Item] = {}
    for item in items:
        first.setdefault(_function(item.nodeid), item)
    kept = [item for name, item in first.items() if name not in slow]
    if lane == "measure":  # last, so that what a first use costs is counted where it is paid
        kept += [item for name, item in first.items() if name in slow]
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


OURS = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN


def _processor_time(whose: tuple[int, ...] = OURS) -> float:
    """Of this process and of those that it has waited for: a busy machine does not change it."""
    spent = (resource.getrusage(who) for who in whose)
    return sum(one.ru_utime + one.ru_stime for one in spent)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[TOOK] = _processor_time()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker has spent, its start and its collecting included."""
    took = getattr(node, "workeroutput", {}).get(TOOK, 0.0)
    node.config.stash.setdefault(SPENT, []).append(took)


def _spent(config: pytest.Config) -> float:
    """By the whole command: this process and its workers, or this one alone."""
    workers = config.stash.get(SPENT, [])
    return sum(workers) + _processor_time(OURS[:1] if workers else OURS)


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
        terminalreporter.write_line(_write_slow(took, FAST - _spent(config) + sum(took.values())))
    if config.getoption("lane") == "fast" and (spent := _spent(config)) > FAST:
        terminalreporter.write_line(
            f"the fast lane took {spent:.0f} s of the processor, {FAST:.0f} are meant: "
            "`pytest -n 2 --lane measure` chooses its tests anew"
        )


def _write_slow(took: dict[str, float], room: float) -> str:
    """Write the tests down that do not fit into the room, and say what stays in the fast lane."""
    left, spent = sorted(took, key=lambda name: took[name]), 0.0
    while left and spent + took[left[0]] <= room:
        spent += took[left.pop(0)]
    SLOW.write_text("".join(f"{name}\n" for name in sorted(left)), encoding="utf-8")
    kept = len(took) - len(left)
    return f"fast lane: {kept} tests, {spent:.0f} s of {FAST:.0f}; {len(left)} are left out"
