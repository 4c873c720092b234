"""How much of the source the suite sees: random changes, one at a time, each room's tests run.

    python benchmarks/changes.py [COUNT] [SEED]

Every change is of one place of `src/gradninja`: a comparison turned round, a statement left out, a
number or a flag another, operands swapped, a function returning nothing. It is made in a copy of
the project, and the test files of its room are run there until one fails or a time of the processor
is spent, those first that are nearest to the changed module. A change that no test notices is told
with its line: some are equal to what was there (a cost that decides nothing, a check of what cannot
be), the others are holes in the suite.
"""

from __future__ import annotations

import ast
import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis  # noqa: F401  (loaded once, before the forks)
import numba  # noqa: F401
import pytest
import torch

PROJECT = Path(__file__).parents[1]
LEFT = shutil.ignore_patterns(".git", ".venv", "runs", "build", "__pycache__", ".*_cache")
ROOMS = {  # what the test files of a room are called, where that is not its name alone
    "algebra": ("algebra", "fuse", "cli_fuse"),
    "derive": ("derive", "catalogue", "gradients", "random_programs", "in_place", "dtypes"),
    "errors": ("refusals", "data_errors"),
    "lines": ("lines", "refusals", "surroundings", "catalogue", "hostile_text", "published"),
    "rules": ("rules", "rule_mutations", "gradients", "op_db", "bessel"),
    "training": ("training", "checkpoint", "resume", "run_damage"),
}
PATIENCE = 40  # seconds of the processor for the tests of one change
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


def tests_of(path: Path, project: Path) -> list[str]:
    """The test files of the room that a source file is in, those nearest to it first.

    Near are those with words of its path in their own, then those that name its module.
    """
    inside = path.relative_to(project / "src").with_suffix("").parts
    room, module = inside[1], ".".join(inside).removesuffix(".__init__")
    words = {word for part in inside[1:] for word in part.split("_")}
    folder = project / "tests"
    found = set(folder.glob(f"{room}/**/test_*.py"))
    for stem in ROOMS.get(room, (room,)):
        for pattern in (f"test_{stem}.py", f"test_{stem}_*.py"):
            found |= {*folder.glob(pattern), *folder.glob(f"*/{pattern}")}

    def far(test: Path) -> tuple[int, bool, int]:
        text = test.read_text(encoding="utf-8")
        near = words & {*test.stem.split("_"), *test.parent.name.split("_")}
        return -len(near), module not in text, len(text)

    return [str(test.relative_to(project)) for test in sorted(found, key=far)]


def fate(change: Change, project: Path) -> str:
    """What became of a change: `seen`, by the test told; `SURVIVED`; `not seen` in the time."""
    tests = tests_of(change.path, project)
    if not tests:
        return "SURVIVED, the room has no tests of its own"
    log = project / "log.txt"
    change.path.write_bytes(change.changed)
    child = os.fork()
    if child == 0:
        _run(tests, project, log)
    try:
        code = _waited(child)
    finally:
        change.path.write_bytes(change.data)
    told = log.read_text(encoding="utf-8", errors="replace").splitlines()
    first = next((line for line in told if line.startswith(("FAILED", "ERROR"))), "")
    if code in (
        pytest.ExitCode.OK,
        pytest.ExitCode.NO_TESTS_COLLECTED,
        pytest.ExitCode.USAGE_ERROR,
    ):
        return f"SURVIVED {len(tests)} files"
    return f"not seen in {PATIENCE} s" if code < 0 else f"seen {first}"


def _run(tests: list[str], project: Path, log: Path) -> None:
    """The tests in a fork, which has torch loaded and nothing of ours. Never returns."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, PATIENCE))
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(project)
    sys.path.insert(0, str(project / "src"))
    os.environ["PYTHONPATH"] = str(project / "src")
    code = 1
    with contextlib.suppress(BaseException):
        code = pytest.main(["-x", "-q", "--tb=no", "-p", "no:cacheprovider", *tests])
    sys.stdout.flush()
    os._exit(code)


def _waited(child: int) -> int:
    """A fork's exit code; below zero where it took too long."""
    until = time.monotonic() + 40 * PATIENCE  # it may wait for what does not end
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.1)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL


def main(count: int, seed: int, project: Path) -> None:
    """Make the changes one by one in a copy of the project, and tell of each what became of it."""
    torch.set_num_threads(1)
    shutil.copytree(PROJECT, project, ignore=LEFT)
    package = project / "src" / "gradninja"
    every = [change for path in sorted(package.rglob("*.py")) for change in changes(path)]
    seen: dict[str, list[bool]] = {}
    for number, change in enumerate(random.Random(seed).sample(every, count), 1):
        begun = time.perf_counter()
        became = fate(change, project)
        where = change.path.relative_to(package)
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
