"""A mend as patches of the person's text."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gradninja.check.diagnosis.candidates.statement_edits import Change
from gradninja.check.diagnosis.candidates.tree_edits import Style
from gradninja.check.given.backward_text import in_place_of


@dataclass(frozen=True)
class Patch:
    """Lines `first` to `last` of a text (from 1, both included) become `lines`.

    With `last` one less than `first` nothing is taken out: the lines go in before `first`.
    """

    first: int
    last: int
    lines: tuple[str, ...]


def apply(patches: Sequence[Patch], text: str) -> str:
    """The text with the patches in."""
    lines = text.splitlines()
    for patch in sorted(patches, key=lambda p: (p.first, p.last), reverse=True):
        lines[patch.first - 1 : patch.last] = patch.lines
    return "\n".join(lines) + "\n"


def narrowed(change: Change) -> Change:
    """The change of one statement inside of a loop or a branch, where nothing else is changed.

    What an edit leaves as it is, it shares with what was there.
    """
    old, new = change.old, change.new
    if old is None or new is None or type(old) is not type(new):
        return change
    differing = []
    for field, was in ast.iter_fields(old):
        now = getattr(new, field, None)
        if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
            differing += [pair for pair in zip(was, now, strict=True) if pair[0] is not pair[1]]
        elif now is not was:
            differing.append((was, now))
    if len(differing) != 1 or not all(isinstance(part, ast.stmt) for part in differing[0]):
        return change
    return narrowed(Change(*differing[0]))


def patches(
    changes: Sequence[Change],
    style: Style,
    written: Sequence[ast.stmt],
    body: Sequence[ast.stmt],
) -> tuple[Patch, ...] | None:
    """What the changes are in the text; None where they cannot be put into it line by line.

    Args:
        written: the statements that write the gradient.
        body: the whole backward, in order.
    """
    found: list[Patch] = []
    inserted: dict[int, tuple[list[str], int]] = {}
    first = _first_use(changes, written, body)
    for change in changes:
        old, new = change.old, change.new
        if old is None:
            assert new is not None
            place = insertion_line(change, first, body)
            if place is None:
                return None
            line, column = place
            texts, _ = inserted.setdefault(line, ([], column))
            texts.append(style.statement(new))
        elif old.end_lineno is None or _shares_lines(old, body, style):
            return None
        elif new is None:
            filler = ("pass",) if len(body) == 1 or _alone(old, style) else ()
            found.append(Patch(old.lineno, old.end_lineno, _indented(filler, old.col_offset)))
        else:
            text = style.statement(new, old)
            comment = style.comment_after(old)
            lines = text.splitlines()
            if comment and len(lines) == 1:
                lines[0] += f"  {comment}"
            found.append(Patch(old.lineno, old.end_lineno, _indented(lines, old.col_offset)))
    for line, (texts, column) in inserted.items():
        lines = [part for text in texts for part in text.splitlines()]
        found.append(Patch(line, line - 1, _indented(lines, column)))
    return tuple(found)


def _alone(node: ast.stmt, style: Style) -> bool:
    """Whether a statement is all that a branch has."""
    above = style.line(node.lineno - 1) if node.lineno > 1 else ""
    if not above.partition("#")[0].rstrip().endswith(":"):
        return False
    below = (style.line(number) for number in range(_end(node) + 1, style.count + 1))
    line = next((line for line in below if line.strip()), "")
    return len(line) - len(line.lstrip()) < node.col_offset


def stands(
    changes: Sequence[Change],
    style: Style,
    written: Sequence[ast.stmt],
    body: Sequence[ast.stmt],
) -> str:
    """Where a mend stands, in words: `in place of line 17`, `after line 20`, `take out line 21`."""
    first = _first_use(changes, written, body)
    old = sorted({c.old for c in changes if c.old is not None}, key=lambda node: node.lineno)
    if old and all(change.new is None for change in changes):
        return in_place_of(*old).replace("in place of", "take out", 1)
    told = [in_place_of(*old)] if old else []
    if len(old) == 1 and _shares_lines(old[0], body, style):
        told = [f"in place of `{style.segment(old[0])}` in line {old[0].lineno}"]
    taken = {number for node in old for number in range(node.lineno, _end(node) + 1)}
    for change in changes:
        place = insertion_line(change, first, body) if change.old is None else None
        if place is None:
            continue
        above = place[0] - 1
        while above and not style.line(above).strip():
            above -= 1
        if above not in taken:
            told.append(f"after line {above}" if above else f"before line {place[0]}")
    return " and ".join(dict.fromkeys(told))


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def signature_patch(function: ast.FunctionDef, names: Sequence[str], text: str) -> Patch | None:
    """The signature asking for more values of the forward."""
    arguments = [*function.args.posonlyargs, *function.args.args]
    if not arguments or function.args.defaults:
        return None
    last = arguments[-1]
    node = last.annotation or last
    number, column = node.end_lineno, node.end_col_offset
    if number is None or column is None:
        return None
    line = text.splitlines()[number - 1].encode()
    added = "".join(f", {name}" for name in names).encode()
    return Patch(number, number, ((line[:column] + added + line[column:]).decode(),))


def insertion_line(
    change: Change, first: ast.stmt | None, body: Sequence[ast.stmt]
) -> tuple[int, int] | None:
    """The number that a new statement's line gets, and how far it is indented.

    It stands above the first that uses it, or else below all that it needs: the statements it
    comes after, and those that write what it reads.
    """
    assert change.new is not None
    if change.after is None and first is not None:
        return first.lineno, first.col_offset
    reads = {n.id for n in ast.walk(change.new) if isinstance(n, ast.Name)}
    reads -= {name for name in reads if writes(change.new, {name})}
    needs = [s for s in body if writes(s, reads)]
    if change.after is not None:
        needs.append(change.after)
    if needs:
        last = max(needs, key=lambda s: s.end_lineno or s.lineno)
        return (last.end_lineno or last.lineno) + 1, last.col_offset
    return (body[0].lineno, body[0].col_offset) if body else None


def _first_use(
    changes: Sequence[Change], written: Sequence[ast.stmt], body: Sequence[ast.stmt]
) -> ast.stmt | None:
    """The first statement that uses what new lines bind, which stand together above it."""
    new = [c.new for c in changes if c.old is None and c.after is None and c.new is not None]
    bound = {
        node.id
        for statement in new
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    uses = (s for s in body for n in ast.walk(s) if isinstance(n, ast.Name) and n.id in bound)
    return next(uses, written[0] if written else None)


def writes(statement: ast.stmt, names: Collection[str]) -> bool:
    """Whether a statement binds one of the names, or changes it in place."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and node.id in names and isinstance(node.ctx, ast.Store):
            return True
        if isinstance(node, ast.Subscript):
            if isinstance(node.ctx, ast.Store) and _root(node.value) in names:
                return True
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            changes = node.func.attr.endswith("_") and not node.func.attr.endswith("__")
            if changes and _root(node.func.value) in names:
                return True
    return False


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Subscript | ast.Attribute | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _shares_lines(statement: ast.stmt, body: Sequence[ast.stmt], style: Style) -> bool:
    """`a = 1; b = 2`: a line that is not one statement's own."""
    if style.line(statement.lineno).encode()[: statement.col_offset].strip():
        return True  # with a statement that is none of the body's: `a, b = ctx.saved_tensors; ...`
    mine = getattr(statement, "within", None)
    inside = set(map(id, ast.walk(statement)))
    return any(
        id(other) not in inside
        and not any(part is statement for part in ast.walk(other))  # a loop around it
        and not (mine is not None and getattr(other, "within", mine).statement is mine.statement)
        and other.lineno <= (statement.end_lineno or statement.lineno)
        and (other.end_lineno or other.lineno) >= statement.lineno
        for node in body
        for other in ast.walk(node)
        if isinstance(other, ast.stmt)
    )


def _indented(lines: Sequence[str], column: int) -> tuple[str, ...]:
    return tuple(textwrap.indent(line, " " * column) for line in lines)
