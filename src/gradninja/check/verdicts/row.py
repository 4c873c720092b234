"""One line of the report in the making."""

from __future__ import annotations

from dataclasses import dataclass, field

from gradninja.check.verdicts.verdict import Finding


@dataclass(eq=False)
class Row:
    """A gradient with its verdict.

    `at`: the step whose line is to be named; None where there is no line.
    `fix`: the mended line, where it is known already; `place`: where it stands.
    `settled`: what is wrong is told already, and the search for a mend has nothing to add.
    `through`: of a line of the person's own that raises, a gradient that cannot be had without it:
    what makes that one right mends the line. `others`: more of these.
    """

    name: str
    at: int | None
    finding: Finding
    fix: str | None = None
    place: str | None = None
    settled: bool = False
    through: Row | None = None
    others: list[Row] = field(default_factory=list)

    @property
    def accuses(self) -> bool:
        return self.finding.verdict.accuses
