"""A person's backward lines, judged: the kind of a mistake, and its mend for who asks."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import linecache
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from gradninja.check.diagnosis import Kind
from gradninja.check.diagnosis.telling.report_lines import explained
from gradninja.check.diagnosis.work import Allowance
from gradninja.check.given.backward_text import EMPTY, Written
from gradninja.check.given.plan import plan
from gradninja.check.given.subject import Subject
from gradninja.check.tell.findings import LineReport
from gradninja.check.verdicts.asked import Asked
from gradninja.check.verdicts.review import Review
from gradninja.check.verdicts.row import Row
from gradninja.check.walks.statement_walk import codes
from gradninja.check.walks.trials import Trial, Trials, tried
from gradninja.check.wholes.spoken import row_in_numpy
from gradninja.derive import Backward, derive
from gradninja.errors import GradninjaError
from gradninja.learn.numpy_session import Tensors
from gradninja.learn.ran_forward import Forward, one_line, same_lines
from gradninja.learn.session import Session, Statement
from gradninja.lines.given.source import load
from gradninja.lines.ndarray import NUMPY
from gradninja.lines.plain import is_plain
from gradninja.lines.program import names_in
from gradninja.lines.scope import LIBRARY, run

RUNS, SECONDS = 700.0, 15.0  # of work, and, the last resort, of the processor
FILE = "<the lines that you ran>"


@dataclass(frozen=True)
class Found:
    """What is found of one gradient; `line` is the person's, None where there is none."""

    wrong: bool = False
    line: Statement | None = None
    kind: str | None = None
    text: str | None = None
    mend: str | None = None
    place: str | None = None
    notes: tuple[str, ...] = ()


class Reading:
    """A forward read once, with the truth on the values that are there."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward
        self.given = {name: _plain(forward.namespace[name]) for name in forward.leaves}
        self.beside = _beside(forward)
        live = _function(forward)
        self.numpy = isinstance(forward.namespace, Tensors)
        source = load(live, dialect=NUMPY if self.numpy else None)
        self.function: Any = source if self.numpy else live
        self._globals: Mapping[str, Any] = live.__globals__  # as they are now: see `read`
        subject = Subject(self.function, source, None, self._around(()), self.given, FILE)
        self.trials: list[Trial] = tried(subject, lambda name: False)

    def is_of(self, forward: Forward) -> bool:
        """Whether these lines on these values are what was read, and what they call is the same."""
        beside = _beside(forward)
        return (
            same_lines(self.forward, forward)
            and beside.keys() == self.beside.keys()
            and all(_same(value, beside[name]) for name, value in self.beside.items())
            and all(torch.equal(v, forward.namespace[name]) for name, v in self.given.items())
        )

    def names_are_those_of(self, forward: Forward) -> None:
        """Let the names around the lines be those that the session has by now."""
        self.forward, self._globals = forward, _names_around(forward)

    def _around(self, lines: Sequence[Statement]) -> Mapping[str, Any]:
        """The names around these lines and the forward's, in torch's words."""
        if not self.numpy:
            return self._globals
        read = {name for line in (*self.forward.lines, *lines) for name in line.reads}
        known = self.forward.namespace
        return {**LIBRARY, **{n: known[n] for n in read if n in self._globals}}

    @cached_property
    def backward(self) -> Backward:
        """The derived backward of the same forward."""
        return derive(self.function, dict(self.given))

    @property
    def gradients(self) -> Mapping[str, str]:
        """Gradient -> the forward's name that it is of."""
        return self.trials[0].gradients

    def after(self, name: str) -> set[str]:
        """The gradients of what is computed from a variable: they are there before its own."""
        program = self.trials[0].draw.program
        found = {name}
        for line in program.lines:
            if found & set(names_in(line.expr.syntax)):
                found.update(line.targets)
        return {g for g, of in self.gradients.items() if of in found}

    def judge(
        self, lines: Sequence[Statement], gradient: str, given: Iterable[str] = ()
    ) -> LineReport | None:
        """The verdict on one gradient by these lines; the gradients `given` are there, true."""
        text = "".join(f"{one_line(line)}\n" for line in lines)
        parsed = ast.parse(text).body
        nodes = tuple(line.words(node) for line, node in zip(lines, parsed, strict=True))
        handed = dict.fromkeys([*self.trials[0].wide.values, *given], EMPTY) if given else {}
        written = Written("backward", FILE, text, nodes, handed, False)
        made = plan(nodes, self.trials[0].gradients)
        compiled = codes(made, FILE)
        trials = Trials(tuple(self.trials), written, self._around(lines), made, compiled)
        review = Review(trials.with_hidden_writes(), Asked(last=frozenset({gradient})))
        review.rows = [row for row in review.rows if _concerns(row, gradient)]
        rows = explained(review, Allowance(RUNS, SECONDS))
        row = next((row for row in rows if not row.ok), next(iter(rows), None))
        return row if row is None or not self.numpy else row_in_numpy(row, {})


def diagnosed(here: Session, forward: Forward, name: str) -> Found:
    """What is wrong with the lines that write the gradient of `name`.

    Its own lines first, each other gradient taken as the truth; where these are right, all lines
    together: another one may spoil it.
    """
    with _one_thread():
        return _diagnosed(here, forward, name)


def _diagnosed(here: Session, forward: Forward, name: str) -> Found:
    try:
        reading = read(forward)
    except GradninjaError as error:
        return Found(notes=(f"the forward is not read, so the kind is not known: {error.message}",))
    gradient = reading.trials[0].names.gradient(name)
    own = backward(here, forward, reading, {gradient})
    last = next((line for line in reversed(own) if gradient in line.writes), None)
    if last is None:
        return Found()
    # Of the others what a right line is made of, and what this one reads: with all that are there
    # an earlier line would have more readings than there is time for.
    read_here = {n for line in own for n in line.reads}
    others = reading.after(name) | (read_here & set(reading.gradients) & set(here.namespace))
    found = _judged(reading, own, gradient, last, others - {gradient})
    if not found.wrong:
        found = _judged(
            reading, backward(here, forward, reading, set(reading.gradients)), gradient, last
        )
    return found


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Hundreds of small products: more threads wait for each other longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _judged(
    reading: Reading,
    lines: Sequence[Statement],
    gradient: str,
    last: Statement,
    given: Iterable[str] = (),
) -> Found:
    try:
        row = reading.judge(lines, gradient, given)
    except GradninjaError as error:
        return Found(line=last, notes=(error.message,))
    if row is None or row.ok:
        return Found(line=last)
    number = row.line
    line = (_standing(lines).get(number) if number is not None else None) or last

    def placed(text: str | None) -> str | None:
        return None if text is None else in_cells(text, lines, reading.forward)

    kind = row.kind if row.kind != Kind.UNKNOWN else None
    return Found(True, line, kind, placed(row.diagnosis), row.fix, placed(row.place))


def _concerns(row: Row, gradient: str) -> bool:
    """Whether a row is the gradient's, or of a line that shares its memory and spoils it."""
    shares = row.finding.kind == Kind.MISSING_CLONE and f"`{gradient}`" in (row.finding.text or "")
    return row.name == gradient or shares


def _standing(lines: Sequence[Statement]) -> dict[int, Statement]:
    """The statement on each line of the text that is judged."""
    rows = [line for line in lines for _ in one_line(line).splitlines()]
    return dict(enumerate(rows, 1))


def in_cells(text: str, lines: Sequence[Statement], forward: Forward) -> str:
    """`line 3` of the lines that were judged, and `(line 3)` of the forward's, as the cell's or the
    file's own.
    """
    standing = _standing(lines)

    def where(match: re.Match[str]) -> str:
        number = int(match[2])
        if match[1]:
            return match[1] + forward.place_of(number)
        line = standing.get(number)
        return line.where if line is not None else match[0]

    return re.sub(r"(\(?)\bline (\d+)\b", where, text)


def backward(
    here: Session, forward: Forward, reading: Reading, wanted: set[str]
) -> list[Statement]:
    """The lines that write these gradients, and the person's own names that they are made of.

    A line that binds a name anew makes what other cells wrote to it before of no account.
    """
    given = set(reading.trials[0].wide.values) | set(reading.gradients)
    given.update(n for line in forward.lines for n in line.reads | line.binds)
    own = {line.node for line in forward.lines}
    first = next(i for i, line in enumerate(here.statements) if line.node in own)
    needed, kept = set(wanted), list[Statement]()
    bound: dict[str, str] = {}  # by the cell that binds it last
    parts: dict[str, str] = {}  # `dx[0]`, by the cell that writes it last
    for line in reversed(here.statements[first:]):
        mine = {n for n in line.writes & needed if bound.get(n, line.place) == line.place}
        part = _part(line.node)
        if not mine or line.node in own or parts.get(part, line.place) != line.place:
            continue
        kept.append(line)
        if part:
            parts[part] = line.place
        if not isinstance(line.node, ast.AugAssign):
            bound.update(dict.fromkeys(line.binds, line.place))
        needed |= line.reads - given
    found: dict[ast.stmt, Statement] = {}
    for line in reversed(kept):
        one = line.whole(own)  # `for k in ...: dC[ix[k]] += demb[k]` runs as a whole
        found.setdefault(one.node, one)
    return list(found.values())


def _part(node: ast.stmt) -> str:
    """`dx[0]` of `dx[0] = ...`, of which nothing is left once it is written again; else ""."""
    target = node.targets[0] if isinstance(node, ast.Assign) else None
    return ast.unparse(target) if isinstance(target, ast.Subscript) else ""


_READINGS: list[Reading] = []  # the last one


def read(forward: Forward) -> Reading:
    """The forward read, or what was read before where it is the same on the same values."""
    for kept in _READINGS:
        if kept.is_of(forward):
            kept.names_are_those_of(forward)
            return kept
    _READINGS[:] = [Reading(forward)]
    return _READINGS[0]


def _plain(value: torch.Tensor) -> torch.Tensor:
    return value.detach().clone()


def _function(forward: Forward) -> Any:
    """The forward's lines as a live function among the names of the session."""
    text = forward.text
    # Where a function's lines are looked up: each text under a name of its own.
    file = f"{FILE[:-1]} {hashlib.sha256(text.encode()).hexdigest()[:12]}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    scope = _names_around(forward)
    run([text], scope, file)
    return scope["forward"]


def _raw(forward: Forward) -> Mapping[str, Any]:
    names = forward.namespace
    return names.raw if isinstance(names, Tensors) else names


def _names_around(forward: Forward) -> dict[str, Any]:
    """What the session holds beside the forward's own values and their gradients."""
    own = {*forward.leaves, *forward.numbers, *(n for line in forward.lines for n in line.binds)}
    own |= {f"d{name}" for name in own}
    return {n: v for n, v in _raw(forward).items() if n not in own}


def _beside(forward: Forward) -> dict[str, Any]:
    """What the lines read that is no value of theirs: helpers, numbers, modules."""
    bound = {*forward.leaves, *(n for line in forward.lines for n in line.binds)}
    reads = {n for line in forward.lines for n in line.reads} - bound
    raw = _raw(forward)
    return {name: raw[name] for name in reads if name in raw}


def _same(one: Any, other: Any) -> bool:
    """Whether two names hold the same thing, or equal numbers."""
    return one is other or (is_plain(one) and is_plain(other) and bool(one == other))
