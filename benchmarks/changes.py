"""How much of the source the suite sees: random changes, one at a time, and the tests near them.

    python benchmarks/changes.py [COUNT] [SEED]

Every change is of one place of `src/gradninja`: a comparison turned round, a statement left out, a
number or a flag another, operands swapped, a function returning nothing. All is done in a copy of
the project. First the suite, two tests of each function, is run once to see which of them reach
which places; then each change is made by itself, and the tests that reach it are run, those of its
own room and quick ones first, then the rest of their functions, until one fails or 40 seconds are
spent. A change that no test notices is told with its line: some are equal to what was there (a
cost that decides nothing, a check of what cannot be), the others are holes in the suite.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis  # noqa: F401  (loaded once, before the forks)
import numba  # noqa: F401
import pytest
import torch

PROJECT = Path(__file__).parents[1]
LEFT = shutil.ignore_patterns(".git", ".venv", "runs", "build", "__pycache__", ".*_cache")
PATIENCE = 40  # seconds of the processor for the tests of one change
LONGEST = 1800  # ... for all tests once
FEW = 2  # tests of a function with many parameters
MOST = 150  # tests that are run for one change
WATCH = "__reached__"
FLIPS = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}


@dataclass(frozen=True)
class Change:
    """One place of a file: what stands from `start` to `end`, in bytes, becomes `now`."""

    path: Path
    line: int
    start: int
    end: int
    data: bytes
    now: str

    @property
    def was(self) -> str:
        return self.data[self.start : self.end].decode()

    @property
    def changed(self) -> bytes:
        return self.data[: self.start] + self.now.encode() + self.data[self.end :]


def changes(path: Path) -> Iterator[Change]:
    """All changes of a file that are tried."""
    data = path.read_bytes()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    tree = ast.parse(data)
    tests = {id(node.test) for node in ast.walk(tree) if isinstance(node, ast.If | ast.IfExp)}
    unseen = {id(part) for node in ast.walk(tree) for part in _unseen(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.expr | ast.stmt) and id(node) not in unseen:
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
            others = [*_others(node)]
            if id(node) in tests and not others:
                others.append(f"(not {ast.unparse(node)})")
            for now in others:
                yield Change(path, node.lineno, start, end, data, now)


def _unseen(node: ast.AST) -> Iterator[ast.AST]:
    """Annotations, which nothing runs, and the parts of an f-string, whose places are not told."""
    for name in ("annotation", "returns"):
        found = getattr(node, name, None)
        if isinstance(found, ast.AST):
            yield from ast.walk(found)
    if isinstance(node, ast.JoinedStr):
        yield from ast.walk(node)


def _others(node: ast.AST) -> Iterator[str]:
    """What may stand in the place of a node."""
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            turned = ast.Compare(left, [FLIPS[type(op)]()], [right])
            yield f"({ast.unparse(turned)})"
        case ast.Constant(value=bool(value)):
            yield str(not value)
        case ast.Constant(value=int() | float() as value):
            yield f"({value + 1})"
        case ast.BinOp(left=left, op=ast.Sub() | ast.Div() | ast.FloorDiv() as op, right=right):
            yield f"({ast.unparse(ast.BinOp(right, op, left))})"
        case ast.BoolOp(op=op, values=values):
            other = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield f"({ast.unparse(ast.BoolOp(other, values))})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield f"({ast.unparse(operand)})"
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Continue():
            yield "pass"
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            if any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(value)):
                yield "pass"
        case ast.Return(value=ast.Call() | ast.Name() | ast.Tuple()):
            yield "return None"


def watched(changes: Sequence[Change]) -> dict[Path, bytes]:
    """The files with a call of `__reached__`, with its number, before what is to be changed."""
    marks: dict[Path, list[tuple[int, bytes]]] = {}
    for number, change in enumerate(changes):
        at = _statement(change)
        indent = change.data[change.data.rfind(b"\n", 0, at) + 1 : at]
        mark = f"{WATCH}({number})\n".encode() + indent
        marks.setdefault(change.path, []).append((at, mark))
    found = {}
    for path, mine in marks.items():
        data = path.read_bytes()
        for at, mark in sorted(mine, reverse=True):
            data = data[:at] + mark + data[at:]
        found[path] = data
    return found


def _statement(change: Change) -> int:
    """Where the innermost statement around a change begins that a line can stand above.

    That is the end of the file for what stands in a decorator.
    """
    starts = [0]
    for line in change.data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node in ast.walk(ast.parse(change.data)):
        if isinstance(node, ast.stmt):
            decorated = getattr(node, "decorator_list", None)
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
            around = start <= change.start and change.end <= end
            if around and not decorated and change.data[start : start + 4] != b"elif":
                found.append(start)
    return max(found, default=len(change.data))


class Reach:
    """A pytest plugin: the first tests of each function, how long they take, what they reach."""

    def __init__(self) -> None:
        self.now = ""
        self.tests: dict[str, tuple[float, list[int]]] = {}
        self.reached: set[int] = set()
        self.imported: set[int] = set()
        setattr(builtins, WATCH, self.note)

    def note(self, number: int) -> None:
        (self.reached if self.now else self.imported).add(number)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        taken: dict[str, int] = {}
        kept = []
        for item in items:
            function = item.nodeid.partition("[")[0]
            taken[function] = taken.get(function, 0) + 1
            if taken[function] <= FEW:
                kept.append(item)
        items[:] = kept

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.now, self.reached, begun = item.nodeid, set(), time.process_time()
        yield
        self.tests[item.nodeid] = (time.process_time() - begun, sorted(self.reached))
        self.now = ""


class Only:
    """A pytest plugin: these tests, in this order, then the others of their functions."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.place = {test: at for at, test in enumerate(tests)}
        self.functions = {test.partition("[")[0] for test in tests}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        kept = [i for i in items if i.nodeid.partition("[")[0] in self.functions]
        items[:] = sorted(kept, key=lambda i: self.place.get(i.nodeid, len(self.place)))


def reach(chosen: Sequence[Change], project: Path) -> tuple[dict[str, Any], set[int]]:
    """What each test takes and reaches, and what is reached when the package is imported."""
    answer = project / "reach.json"
    for path, data in watched(chosen).items():
        path.write_bytes(data)
    quiet = (
        f"import builtins\nbuiltins.{WATCH} = getattr(builtins, {WATCH!r}, lambda number: None)\n"
    )
    (project / "src" / "sitecustomize.py").write_text(quiet, encoding="utf-8")

    def run() -> int:
        plugin = Reach()
        pytest.main(["-q", "--tb=no", "-p", "no:cacheprovider", "tests"], plugins=[plugin])
        told = {"tests": plugin.tests, "imported": sorted(plugin.imported)}
        answer.write_text(json.dumps(told), encoding="utf-8")
        return 0

    _forked(run, project, LONGEST)
    for change in chosen:
        change.path.write_bytes(change.data)
    told = json.loads(answer.read_text(encoding="utf-8"))
    return told["tests"], set(told["imported"])


def fate(change: Change, tests: Sequence[str], project: Path) -> str:
    """What became of a change: `seen` by a test, or `SURVIVED`."""
    files = sorted({test.partition("::")[0] for test in tests})
    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", *files]
    change.path.write_bytes(change.changed)
    try:
        code = _forked(lambda: pytest.main(options, plugins=[Only(tests)]), project, PATIENCE)
    finally:
        change.path.write_bytes(change.data)
    told = (project / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    first = next((line for line in told if line.startswith(("FAILED", "ERROR"))), f"code {code}")
    if code == pytest.ExitCode.OK:
        return f"SURVIVED {len(tests)} tests that reach it"
    return f"SURVIVED, not done in {PATIENCE} s" if code < 0 else f"seen {first}"


def _forked(run: Callable[[], int], project: Path, seconds: int) -> int:
    """The exit code of what is run in a fork, which has torch loaded and nothing of ours."""
    child = os.fork()
    if child == 0:
        _be_child(run, project, seconds)
    until = time.monotonic() + 20 * seconds  # it may wait for what does not end
    status = signal.SIGKILL.value
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status)


def _be_child(run: Callable[[], int], project: Path, seconds: int) -> None:
    """Never returns."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    file = os.open(project / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(project)
    sys.path.insert(0, str(project / "src"))
    os.environ["PYTHONPATH"] = str(project / "src")
    code = 1
    with contextlib.suppress(BaseException):
        code = run()
    sys.stdout.flush()
    os._exit(code)


def main(count: int, seed: int, project: Path) -> None:
    """Make the changes one by one in a copy of the project, and tell of each what became of it."""
    torch.set_num_threads(1)
    shutil.copytree(PROJECT, project, ignore=LEFT)
    package = project / "src" / "gradninja"
    every = [change for path in sorted(package.rglob("*.py")) for change in changes(path)]
    chosen = random.Random(seed).sample(every, count)
    tests, imported = reach(chosen, project)
    print(f"{len(tests)} tests, {sum(spent for spent, _ in tests.values()):.0f} s", flush=True)
    seen: dict[str, list[bool]] = {}
    for number, change in enumerate(chosen):
        where = change.path.relative_to(package)
        room = f"tests/{where.parts[0]}/"
        near = [
            test
            for test, (_, reached) in tests.items()
            if number in reached or (number in imported and test.startswith(room))
        ]
        near.sort(key=lambda test: (not test.startswith(room), tests[test][0]))
        begun = time.perf_counter()
        became = fate(change, near[:MOST], project) if near else "SURVIVED, no test reaches it"
        seen.setdefault(where.parts[0], []).append(became.startswith("seen"))
        was = " ".join(change.was.split())[:100]
        now = " ".join(change.now.split())[:100]
        print(f"{number:3} {where}:{change.line}: {was!r} -> {now!r}")
        print(f"    {time.perf_counter() - begun:.0f} s; {became}", flush=True)
    print(f"\n{len(every)} changes could be made; {count} of them, seed {seed}:")
    whole = [one for found in seen.values() for one in found]
    for room, found in [*sorted(seen.items()), ("all", whole)]:
        print(f"{room:10} {sum(found):3} of {len(found):3} seen")


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:3]]
    with tempfile.TemporaryDirectory(prefix="gradninja-changes-") as temporary:
        main(*arguments, *(100, 0)[len(arguments) :], Path(temporary) / "project")
