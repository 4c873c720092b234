"""One report on several backwards of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from gradninja.check.tell.findings import CheckError, Report
from gradninja.errors import ReadError


def together(
    file: str, judged: Mapping[str, Callable[[], Report]], shared: tuple[str, ...] = ()
) -> Report:
    """Each is judged, and its rows, notes and gaps bear its name; `shared` notes stand once.

    Raises:
        CheckError: none of them could be judged.
    """
    found = []
    for name, judge in judged.items():
        try:
            report = judge()
        except (CheckError, ReadError) as error:
            report = Report("", (), notes=(f"not judged: {error.message}",), not_looked_at=("it",))
        rows = tuple(replace(row, name=f"{name}.{row.name}") for row in report.lines)
        notes = tuple(f"{name}: {note}" for note in report.notes if note not in shared)
        left = tuple(f"{name}: {one}" for one in report.not_looked_at)
        found.append(replace(report, lines=rows, notes=notes, not_looked_at=left))
    if not any(report.lines for report in found):
        raise CheckError(f"none of {len(found)} could be judged: {found[0].notes[0]}")
    return Report(
        file,
        tuple(row for report in found for row in report.lines),
        tuple(dict.fromkeys(draw for report in found for draw in report.draws)),
        found[0].tolerance,
        (*(note for report in found for note in report.notes), *shared),
        tuple(one for report in found for one in report.not_looked_at),
    )
