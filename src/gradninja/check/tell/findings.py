"""What a check says: a verdict for every gradient, and the report that holds them.

Nothing here imports torch, so that a report can be printed by a process that never loads it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, TypedDict, cast

from gradninja.errors import GradninjaError

SCHEMA = "gradninja.check/1"  # of the JSON; docs/kernels.md has its fields


class CheckError(GradninjaError):
    """A backward pass that cannot be judged."""


class BackwardWrong(AssertionError):
    """What `assert_backward` raises; its message is the report."""

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(f"the backward pass is not right\n{report}")


class Verdict(StrEnum):
    """What is said of one gradient."""

    EXACT = "exact"  # equal to autograd's bit for bit in float32
    CLOSE = "close"  # equal up to rounding
    WRONG = "wrong"
    WRONG_SHAPE = "wrong shape"
    MISSING = "missing"  # a float input without its gradient
    VACUOUS = "vacuous"  # the true gradient is zero, so agreement proves nothing
    ERROR = "error"  # a line that raises
    MEANT = "meant"  # differs from the forward's on purpose, as far as its form tells
    TODO = "to do"  # not written yet: no mistake, unless the whole is asked for

    @property
    def accuses(self) -> bool:
        """Whether this verdict says that something is to be mended."""
        right = (Verdict.EXACT, Verdict.CLOSE, Verdict.VACUOUS, Verdict.MEANT, Verdict.TODO)
        return self not in right


class LineRow(TypedDict):
    """A `LineReport` as plain values."""

    name: str
    line: int | None
    source: str
    verdict: str
    max_abs: float | None
    max_rel: float | None
    shape: list[int] | None
    expected_shape: list[int] | None
    kind: str | None
    diagnosis: str | None
    fix: str | None
    place: str | None
    tolerance: float | None
    as_written: str
    notes: list[str]
    condition: str | None
    reproducer: str | None


class ReportRow(TypedDict):
    """A `Report` as plain values: what `--json` prints of a file."""

    schema: str
    ok: bool
    file: str
    lines: list[LineRow]
    draws: list[str]
    tolerance: str
    notes: list[str]
    not_looked_at: list[str]


@dataclass(frozen=True)
class LineReport:
    """The verdict on one gradient, or on one line that spoils another's.

    `line` and `source` are the last statement that writes it (for an alias: the one that made it);
    `max_abs` and `max_rel` are the largest difference from autograd, absolute and relative to the
    largest element of the true gradient, None where there is no number; `tolerance` is what
    rounding explains of `max_rel` in float64. `as_written` tells what happens to it when nothing
    is put right above it, and is empty where it comes out the same. `fix` is the line or lines of
    the mend, and `place` says where they stand: `in place of line 17`, `after line 20`. `notes` are
    remarks that accuse nobody. `condition` is the first that it is wrong under where it is right
    otherwise, and `reproducer` a few lines that show it.
    """

    name: str
    line: int | None
    source: str
    verdict: Verdict
    max_abs: float | None = None
    max_rel: float | None = None
    shape: tuple[int, ...] | None = None
    expected_shape: tuple[int, ...] | None = None
    kind: str | None = None
    diagnosis: str | None = None
    fix: str | None = None
    place: str | None = None
    tolerance: float | None = None
    as_written: str = ""
    notes: tuple[str, ...] = ()
    condition: str | None = None
    reproducer: str | None = None

    @property
    def ok(self) -> bool:
        return not self.verdict.accuses

    def to_dict(self) -> LineRow:
        """The same as plain values for JSON; a number that is not finite becomes None."""
        return cast(LineRow, {f.name: _plain(getattr(self, f.name)) for f in fields(self)})

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> LineReport:
        found = dict(row)
        for name in ("shape", "expected_shape", "notes"):
            if found.get(name) is not None:
                found[name] = tuple(found[name])
        return cls(**{**found, "verdict": Verdict(found["verdict"])})


@dataclass(frozen=True)
class Report:
    """What `gradninja.check` found: `lines` in the order of the backward's lines.

    `draws` tells the inputs that were tried, `tolerance` how far rounding was let go, `notes` what
    belongs to no line, `not_looked_at` what no verdict says anything of.
    """

    file: str
    lines: tuple[LineReport, ...]
    draws: tuple[str, ...] = ()
    tolerance: str = ""
    notes: tuple[str, ...] = ()
    not_looked_at: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no line is wrong. What is not written yet is to do, and no mistake."""
        return all(line.ok for line in self.lines)

    @property
    def wrong(self) -> tuple[LineReport, ...]:
        """The lines that are to be mended."""
        return tuple(line for line in self.lines if not line.ok)

    @property
    def todo(self) -> tuple[LineReport, ...]:
        """The gradients that are not written yet, the one to write next first."""
        return tuple(line for line in self.lines if line.verdict == Verdict.TODO)

    def to_dict(self) -> ReportRow:
        """The same as plain values for JSON."""
        return {
            "schema": SCHEMA,
            "ok": self.ok,
            "file": self.file,
            "lines": [line.to_dict() for line in self.lines],
            "draws": list(self.draws),
            "tolerance": self.tolerance,
            "notes": list(self.notes),
            "not_looked_at": list(self.not_looked_at),
        }

    def to_json(self) -> str:
        """One JSON object, strict: what is not finite is null."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Report:
        return cls(
            file=row["file"],
            lines=tuple(LineReport.from_dict(line) for line in row["lines"]),
            draws=tuple(row["draws"]),
            tolerance=row["tolerance"],
            notes=tuple(row["notes"]),
            not_looked_at=tuple(row.get("not_looked_at", ())),
        )

    def __str__(self) -> str:
        from gradninja.check.tell.report import to_text

        return to_text(self)

    def _repr_html_(self) -> str:
        from gradninja.check.tell.report import to_html

        return to_html(self)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, tuple):
        return [_plain(element) for element in value]
    return str(value) if isinstance(value, StrEnum) else value
