"""Reviewing all gradients together, so that one mistake is one red line."""

from __future__ import annotations

import ast
import math
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch

from gradninja.check.given.backward_text import in_place_of
from gradninja.check.given.module import told
from gradninja.check.given.plan import Plan, bound
from gradninja.check.given.plan import written as written_in_place
from gradninja.check.reference import tolerance as rounding
from gradninja.check.reference.tolerance import Tolerance
from gradninja.check.reference.truth import size
from gradninja.check.tell.findings import Verdict
from gradninja.check.verdicts.absences import deleted, misgiven, unasked, unwritten
from gradninja.check.verdicts.aliases import Alias, aliases, overlap
from gradninja.check.verdicts.asked import WHOLE, Asked, chosen
from gradninja.check.verdicts.reuse import findings_of, settled
from gradninja.check.verdicts.row import Row
from gradninja.check.verdicts.verdict import Finding, finding_of, precision_lost
from gradninja.check.walks.trials import Trials, tolerances
from gradninja.check.walks.written import AsWritten

# As written, rounding is handed on from line to line; a mistake is larger by orders all the same.
HANDED_ON = 1e4
DIGITS = 1e-9


class Review:
    """The findings on every gradient, and the rows that tell them."""

    def __init__(self, trials: Trials, asked: Asked = WHOLE) -> None:
        self.trials, self.asked = trials, asked
        program = trials.trials[0].draw.program
        self.names = trials.trials[0].names
        self.given = {given.name for given in program.inputs}
        self.notes: list[str] = []
        self.runs = self._run_as_written()
        self.findings = findings_of(trials)
        self.all_right = self._all_right()
        if any(finding.verdict.accuses for finding in self.findings.values()):
            self._settle_reuse()
        self.rows = self._rows()

    @property
    def plan(self) -> Plan:
        return self.trials.plan

    def line(self, at: int) -> int:
        return self.plan.steps[at].node.lineno

    def statement(self, at: int, name: str) -> ast.stmt:
        """The statement by which a step writes a name last: inside of a loop, one of its body."""
        node = self.plan.steps[at].node
        inner = [
            part
            for part in ast.walk(node)
            if isinstance(part, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Expr)
            and name in {*bound(part), *written_in_place(part)}
        ]
        return max(inner, key=lambda part: part.lineno, default=node)

    def source(self, at: int) -> str:
        return self.trials.written.source_of(self.plan.steps[at].node)

    def _run_as_written(self) -> list[AsWritten]:
        return [
            self.trials.as_written(trial, torch.float64, watch=index == 0)
            for index, trial in enumerate(self.trials.trials)
        ]

    # -- findings ---------------------------------------------------------------------------

    def _all_right(self) -> bool:
        """Whether the inputs' gradients come out right as all is written."""
        wanted = {self.names.gradient(name) for name in self.trials.inputs}
        if not wanted <= set(self.findings) or any(run.error is not None for run in self.runs):
            return False
        return all(self.off_as_written(name) is None for name in wanted)

    def _settle_reuse(self) -> None:
        """Let a name hold another value than the gradient that it is called for."""
        found = settled(self.trials, self.findings, self.all_right, self.asked.last)
        if found.trials is not self.trials:
            self.trials, self.findings = found.trials, found.findings
            self.notes += found.notes
            self.runs = self._run_as_written()

    # -- as written -------------------------------------------------------------------------

    def tolerances(self, name: str) -> list[Tolerance]:
        finding = self.findings[name]
        if finding.tolerances:
            return finding.tolerances
        return tolerances(self.trials.trials, finding.versions, [(None, None)] * len(self.runs))

    def off_as_written(self, name: str) -> float | None:
        """How far a gradient is off at the end when nothing is put right; None where it is not.

        Relative to its largest element, the largest over the draws; infinite where it is no number.
        """
        worst: float | None = None
        versions = self.findings[name].versions
        rows = zip(self.trials.trials, self.runs, versions, self.tolerances(name), strict=True)
        for trial, run, version, allowed in rows:
            true = trial.wide.gradients[version]
            value = _tensor(run.final.get(name), true)
            if value is None or not rounding.comparable(value, true):
                return math.inf
            off = rounding.distance(value, true)
            limit = DIGITS * size(true) + HANDED_ON * allowed.absolute
            if not off <= limit * precision_lost(value):
                # What is zero in truth is measured against the largest gradient of all.
                shown = size(true) if size(true) > allowed.absolute else trial.wide.scale
                worst = max(worst or 0.0, off / (shown or 1.0))
        return worst

    def told_as_written(self, name: str) -> str:
        """The same in words; empty where it comes out right."""
        if name not in self.findings:
            return ""
        stop = next((run for run in self.runs if run.error is not None), None)
        if stop is not None and stop.error_at is not None and name not in stop.held:
            return f"not reached, line {self.line(stop.error_at)} raises"
        off = self.off_as_written(name)
        if off is None:
            return ""
        return "of another shape" if math.isinf(off) else f"off by {off:.1e}"

    # -- rows -------------------------------------------------------------------------------

    def _rows(self) -> list[Row]:
        rows = [self._row(name, finding) for name, finding in self.findings.items()]
        rows = self._without_consequences(rows)
        self._read_too_early(rows)
        rows += [*unasked(self.trials), *misgiven(self.trials, self.runs[0])]
        rows += unwritten(self.trials, rows, complete=self.asked.complete)
        gone = {row.name: row for row in deleted(self.trials, self.runs[0])}
        rows = [gone.pop(row.name, row) for row in rows]
        self._aliases(rows)
        self._hold_as_written(rows)
        rows = chosen(rows, self.asked.gradients(self.trials))
        rows.sort(key=lambda row: len(self.plan.steps) if row.at is None else row.at)
        return rows

    def _row(self, name: str, finding: Finding) -> Row:
        at = self.plan.last(name) if finding.error_at is None else finding.error_at
        if isinstance(finding.error, NameError):
            self._explain_name(finding, finding.error)
        return Row(name, at, finding, settled=finding.kind is not None)

    def _explain_name(self, finding: Finding, error: NameError) -> None:
        """Say why a gradient that a line reads is not there."""
        missing = error.name or ""
        if missing in self.plan.gradients:
            writers = self.plan.writers(missing)
            later = f"line {self.line(writers[0])} writes it later" if writers else "no line does"
            finding.text = f"`{missing}` is read before it is written: {later}"

    @cached_property
    def stumbles(self) -> dict[int, Exception]:
        """The statements that write no gradient and raise."""
        found: dict[int, Exception] = {}
        for walk in self.trials.walks:
            for judged in walk.values():
                for at, error in judged.stumbles.items():
                    found.setdefault(at, error)
        return found

    def _without_consequences(self, rows: list[Row]) -> list[Row]:
        """A line of the person's own that raises is told once, not at all that read from it."""
        stumbles = self.stumbles
        kept = []
        unbound: dict[str, int] = {}
        for at, error in sorted(stumbles.items(), key=lambda pair: pair[0]):
            names = self.plan.steps[at].writes
            if isinstance(error, NameError) and error.name in unbound:
                unbound.update(dict.fromkeys(names, unbound[error.name]))
                continue
            unbound.update(dict.fromkeys({*names, *self._nowhere(error)}, at))
            name = min(names, default=f"line {self.line(at)}")
            finding = Finding(Verdict.ERROR, text=told(error), error=error, kind="raises")
            kept.append(Row(name, at, finding, settled=True))
        for row in rows:
            raised = row.finding.error
            cause = None
            if isinstance(raised, NameError):
                cause = unbound.get(raised.name or "")
            elif row.accuses and raised is None:
                cause = next((at for at in self.plan.feeding(row.name) if at in stumbles), None)
            if cause is not None:
                self.notes.append(f"`{row.name}` is not judged: line {self.line(cause)} raises")
                for other in kept:
                    if other.at == cause and other.through is None:
                        other.through = row
                    elif other.at == cause:
                        other.others.append(row)
            else:
                kept.append(row)
        return self._one_for_each_name(kept)

    def _nowhere(self, error: Exception | None) -> set[str]:
        """The name of a NameError where no line binds it."""
        name = error.name if isinstance(error, NameError) else None
        bound = set(self.plan.gradients).union(*(step.binds for step in self.plan.steps))
        return {name} - bound if name is not None else set()

    def _one_for_each_name(self, rows: list[Row]) -> list[Row]:
        """A local that no line binds is told once, not at all that read it."""
        readers: dict[str, list[Row]] = {}
        for row in rows:
            for name in self._nowhere(row.finding.error):
                readers.setdefault(name, []).append(row)
        for name, several in readers.items():
            first, *others = sorted(several, key=lambda row: row.at or 0)
            if not others or first.through is not None:
                continue
            lines = sorted({self.line(row.at) for row in several if row.at is not None})
            read = ", ".join(map(str, lines))
            text = f"`{name}` is not defined, and read on line {read}"
            error = first.finding.error
            finding = Finding(Verdict.ERROR, text=text, error=error, kind="raises")
            rows = [row for row in rows if row not in several]
            self.notes += [
                f"`{row.name}` is not judged: `{name}` is not defined" for row in several
            ]
            rows.append(Row(name, first.at, finding, settled=True, through=first, others=others))
        return rows

    def _read_too_early(self, rows: list[Row]) -> None:
        """A line that reads a gradient before all of its contributions are added."""
        complete = replace(self.trials, complete=True)
        for row in rows:
            if not row.accuses or row.name not in self.findings:
                continue
            early = self._partial_reads(row.name)
            if not early:
                continue
            finding = finding_of(complete, row.name)
            if finding.verdict.accuses:
                continue
            if any(self.findings[name].verdict.accuses for name, _ in early):
                row.finding = finding  # its own line is right; what it reads is not
                continue
            name, last = early[0]
            row.settled = True
            row.finding.kind = "read too early"
            row.finding.text = (
                f"`{name}` is read here before line {self.line(last)} has added to it; "
                f"move this line below line {self.line(last)}"
            )

    def _partial_reads(self, name: str) -> list[tuple[str, int]]:
        """The gradients that the writers of one read before their last contribution."""
        found = []
        for at in self.plan.writers(name):
            step = self.plan.steps[at]
            for other in sorted(step.mentions - step.writes):
                writers = self.plan.writers(other)
                if other in self.findings and writers[0] < at < writers[-1]:
                    found.append((other, writers[-1]))
        return found

    def _aliases(self, rows: list[Row]) -> None:
        written, looked_at = self.trials.written, set(self.plan.gradients)
        # What a function does not return, nobody sees.
        unseen = self.all_right and written.is_function
        if unseen:
            looked_at &= {*written.returned, *map(self.names.gradient, self.trials.inputs)}
        all_right = all(self.off_as_written(name) is None for name in looked_at & {*self.findings})
        kept = {*self.given, *looked_at}
        for alias in aliases(self.plan, written, self.runs[0], kept, all_right):
            if unseen and not alias.victims & kept:
                told = f"line {self.line(alias.maker)}: {alias.text}; nobody sees that here"
                self.notes.append(told)
            else:
                self._accuse(rows, alias)

    def _accuse(self, rows: list[Row], alias: Alias) -> None:
        mine = next((row for row in rows if row.name == alias.name), None)
        if mine is not None and mine.accuses and alias.maker in self.plan.writers(alias.name):
            return  # its value is wrong before all, and another line may be no alias
        if mine is None or mine.accuses:
            mine = Row(alias.name, alias.maker, Finding(Verdict.WRONG))
            rows.append(mine)
        mine.at, mine.settled, mine.fix = alias.maker, True, alias.fix
        mine.place = in_place_of(self.plan.steps[alias.maker].node) if alias.fix else None
        mine.finding = replace(
            mine.finding,
            verdict=Verdict.WRONG,
            kind="missing .clone()",
            text=f"{alias.text}. Take a copy here",
            max_abs=alias.largest,
            max_rel=None,
        )

    def _hold_as_written(self, rows: list[Row]) -> None:
        """Nothing passes that does not come out right as it is written."""
        if any(row.accuses for row in rows):
            return
        stop = next((run for run in self.runs if run.error is not None), None)
        alias = overlap(self.plan, self.trials.written, stop) if stop is not None else None
        if alias is not None:
            self._accuse(rows, alias)
            return
        if stop is not None and stop.error is not None and stop.error_at is not None:
            name = min(self.plan.steps[stop.error_at].writes, default="")
            text = f"{told(stop.error)} (with the values that the lines above leave)"
            finding = Finding(Verdict.ERROR, text=text, kind="raises", error=stop.error)
            kept = next((row for row in rows if row.name == name), None)
            if kept is None:
                rows.append(Row(name, stop.error_at, finding, settled=True))
            else:
                kept.at, kept.settled = stop.error_at, True
                kept.finding = replace(
                    kept.finding, verdict=Verdict.ERROR, text=text, kind="raises"
                )
            return
        if self.all_right and self.trials.written.is_function:
            return
        for row in sorted(rows, key=lambda r: r.at or 0):
            off = self.off_as_written(row.name) if row.name in self.findings else None
            if off is not None:
                row.settled = True
                row.finding = replace(
                    row.finding,
                    verdict=Verdict.WRONG,
                    kind="order",
                    max_rel=off,
                    text="every line is right by itself, but run in this order it comes out wrong",
                )
                return


def _tensor(value: Any, true: torch.Tensor) -> torch.Tensor | None:
    if isinstance(value, int | float) and true.ndim == 0:
        return torch.tensor(float(value), dtype=true.dtype)
    return value if isinstance(value, torch.Tensor) else None
