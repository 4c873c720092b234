"""Showing a report: a table in the terminal, in the lecture's spirit, and HTML in a notebook."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gradninja.check.tell.findings import LineReport, Report, Verdict

STYLES = {
    Verdict.EXACT: "green",
    Verdict.CLOSE: "green",
    Verdict.VACUOUS: "yellow",
    Verdict.MEANT: "yellow",
    Verdict.WRONG: "bold red",
    Verdict.WRONG_SHAPE: "bold red",
    Verdict.MISSING: "bold red",
    Verdict.ERROR: "bold red",
    Verdict.TODO: "dim",
}
COLOURS = {"green": "#1a7f37", "yellow": "#9a6700", "bold red": "#cf222e", "dim": "#6e7781"}
HEADINGS = ("gradient", "verdict", "exact", "approximate", "maxdiff", "line", "as written")


def to_text(report: Report, width: int = 100) -> str:
    """The report without colours."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        show(report, console)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def show(report: Report, console: Console) -> None:
    """Print the report: the table, what is wrong in words, and a last line that sums it up."""
    if len(report.todo) < len(report.lines):
        console.print(_table(report))
    if report.todo:
        console.print(Text(todo(report), style="dim"))
    for line in report.wrong:
        for part in _wrong(line):
            console.print(part)
    remarks = [(line.name, note) for line in report.lines if line.ok for note in line.notes]
    for name, note in remarks:
        console.print(Text(f"note: {name}: {note}", style="dim"))
    for note in report.notes:
        console.print(Text(f"note: {note}", style="dim"))
    if report.not_looked_at:
        console.print(Text(f"not looked at: {'; '.join(report.not_looked_at)}", style="dim"))
    console.print(Text(f"tried on: {'; '.join(report.draws)}", style="dim"))
    if report.tolerance:
        console.print(Text(report.tolerance, style="dim"))
    style = "bold green" if report.ok else "bold red"
    console.print(Text(summary(report), style=style))


def summary(report: Report) -> str:
    """One line that says how it stands."""
    count, todo = len(report.lines), report.todo
    if report.ok and todo:
        return f"{report.file}: {count - len(todo)} of {count} right, next: {todo[0].name}"
    meant = [line.name for line in report.lines if line.verdict == Verdict.MEANT]
    if report.ok and meant:
        rest = "" if len(meant) == count else "; the others are right"
        return f"{report.file}: {', '.join(meant)} not judged: taken as meant{rest}"
    if report.ok:
        said = f"all {count} gradients are right" if count > 1 else "the gradient is right"
        return f"{report.file}: {said}"
    wrong = report.wrong
    names = ", ".join(line.name for line in wrong)
    right = count - len(todo) - len(wrong)
    rest = f"; {right} right, {len(todo)} to do" if todo else ""
    return f"{report.file}: {len(wrong)} of {count} to mend: {names}{rest}"


def todo(report: Report) -> str:
    """The gradients that are not written yet, the next one first."""
    return f"to do: {', '.join(line.name for line in report.todo)}"


def _row(line: LineReport) -> tuple[str, ...]:
    known = line.verdict in (Verdict.EXACT, Verdict.CLOSE, Verdict.VACUOUS, Verdict.WRONG)
    return (
        line.name,
        line.verdict.value,
        str(line.verdict == Verdict.EXACT) if known else "",
        str(line.ok) if known else "",
        "" if line.max_abs is None else _number(line.max_abs),
        "" if line.line is None else str(line.line),
        line.as_written,
    )


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "not finite"


def _columns(report: Report) -> list[int]:
    """The columns that say something."""
    rows = [_row(line) for line in _written(report)]
    return [i for i in range(len(HEADINGS)) if i < 6 or any(row[i] for row in rows)]


def _written(report: Report) -> list[LineReport]:
    return [line for line in report.lines if line.verdict != Verdict.TODO]


def _table(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = _columns(report)
    for index in columns:
        right = HEADINGS[index] in ("maxdiff", "line")
        table.add_column(HEADINGS[index], justify="right" if right else "left")
    for line in _written(report):
        cells = _row(line)
        style = STYLES[line.verdict]
        texts = [Text(cells[i], style=style if i < 2 else "") for i in columns]
        table.add_row(*texts)
    return table


def _wrong(line: LineReport) -> Iterator[RenderableType]:
    where = f"line {line.line}: " if line.line is not None else ""
    title = Text(f"\n{line.name}: {line.verdict.value}", style="bold red")
    if line.kind:
        title.append(f" ({line.kind})")
    yield title
    if line.source:
        yield Padding(Text(f"{where}{line.source}"), (0, 0, 0, 2))
    if line.verdict == Verdict.WRONG_SHAPE and line.shape != line.expected_shape:
        said = f"shape {shape_told(line.shape)}, it should be {shape_told(line.expected_shape)}"
        yield Padding(Text(said), (0, 0, 0, 2))
    if line.diagnosis:
        yield Padding(Text(line.diagnosis), (0, 0, 0, 2))
    if line.fix or line.place:
        yield Padding(Text(_mend(line), style="green"), (0, 0, 0, 2))
    if line.reproducer:
        yield Padding(Text(line.reproducer), (0, 0, 0, 4))
    for note in line.notes:
        yield Padding(Text(note, style="dim"), (0, 0, 0, 2))


def _mend(line: LineReport) -> str:
    """Where the mend stands and how it reads, several lines one below the other."""
    if not line.fix:
        return line.place or ""
    head = _head(line)
    return head + line.fix.replace("\n", "\n" + " " * len(head))


def _head(line: LineReport) -> str:
    return f"{line.place}, write: " if line.place else "write: "


def shape_told(shape: tuple[int, ...] | None) -> str:
    """`(64,)`, `(1, 64)`."""
    if shape is None:
        return "unknown"
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"


def to_html(report: Report) -> str:
    """The report for a notebook: one table, and what is wrong below it."""
    columns = _columns(report)
    head = "".join(f"<th style='text-align:left'>{HEADINGS[i]}</th>" for i in columns)
    body = []
    for line in _written(report):
        cells = _row(line)
        colour = COLOURS[STYLES[line.verdict]]
        row = "".join(
            f"<td style='text-align:left{f';color:{colour}' if i < 2 else ''}'>"
            f"{html.escape(cells[i])}</td>"
            for i in columns
        )
        body.append(f"<tr>{row}</tr>")
    parts = [f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"]
    if report.todo:
        parts.append(f"<p>{html.escape(todo(report))}</p>")
    for line in report.wrong:
        kind = f" ({html.escape(line.kind)})" if line.kind else ""
        said = [f"<b style='color:#cf222e'>{html.escape(line.name)}: {line.verdict}{kind}</b>"]
        if line.source:
            number = f"line {line.line}: " if line.line is not None else ""
            said.append(f"{number}<code>{html.escape(line.source)}</code>")
        if line.verdict == Verdict.WRONG_SHAPE:
            said.append(
                f"shape {shape_told(line.shape)}, it should be {shape_told(line.expected_shape)}"
            )
        if line.diagnosis:
            said.append(html.escape(line.diagnosis))
        if line.fix:
            fix = html.escape(line.fix).replace("\n", "<br>")
            said.append(f"{html.escape(_head(line))}<code style='color:#1a7f37'>{fix}</code>")
        elif line.place:
            said.append(html.escape(line.place))
        said += [f"<small>{html.escape(note)}</small>" for note in line.notes]
        parts.append(f"<p>{'<br>'.join(said)}</p>")
    parts.append(f"<p>{html.escape(summary(report))}</p>")
    parts.append(f"<small>{html.escape(report.tolerance)}</small>")
    return "".join(parts)
