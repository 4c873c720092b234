"""A report in NumPy's words, and what NumPy itself gives where all lines are right."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gradninja.check.given.arrays.array_types import ArraySubject
from gradninja.check.given.backward_text import Written
from gradninja.check.given.execution import counted, precision, quiet
from gradninja.check.reference.truth import Truth
from gradninja.check.tell.findings import LineReport, Report, Verdict
from gradninja.errors import GradninjaError
from gradninja.lines.ndarray import NUMPY, as_arrays, said
from gradninja.lines.plain import parts_of

QUOTED = re.compile(r"`([^`]+)`")
TOLERANCE = 1e-7  # between NumPy's numbers and torch's for the same lines, in float64


def as_spoken(report: Report, subject: ArraySubject, truth: Truth) -> Report:
    """The report with its mends and words as the person speaks."""
    names = subject.names or {}
    numpy = subject.source is not None and subject.source.dialect == NUMPY
    rows, notes = [*report.lines], report.notes
    if numpy:
        rows, notes = [row_in_numpy(line, names) for line in rows], tuple(map(_words, notes))
    elif names:
        rows = [_row_of_object(line, names) for line in rows]
    if report.ok:
        why = _otherwise(subject, truth, numpy)
        if why is not None:
            kind = "numpy" if numpy else "called"
            rows.append(LineReport("return", None, "", Verdict.ERROR, kind=kind, diagnosis=why))
    return replace(report, lines=tuple(rows), notes=notes)


def row_in_numpy(line: LineReport, names: Mapping[str, str]) -> LineReport:
    """A row in NumPy's words; `names`: plain ones -> as the person writes them."""
    fix = None if line.fix is None else _statement(line.fix, names, _code)
    diagnosis = None if line.diagnosis is None else _words(line.diagnosis)
    notes = tuple(_words(note) for note in line.notes)
    return replace(line, fix=fix, diagnosis=diagnosis, notes=notes)


def _row_of_object(line: LineReport, names: Mapping[str, str]) -> LineReport:
    """A row with its mend in the object's names."""
    return line if line.fix is None else replace(line, fix=_statement(line.fix, names, str))


def _words(text: str) -> str:
    """A sentence with the code in it in NumPy's words."""
    told = QUOTED.sub(lambda found: f"`{_code(found[1])}`", text)
    return re.sub(r"\bkeepdim\b", "keepdims", told)


def _code(text: str) -> str:
    try:
        return said(text)
    except (GradninjaError, SyntaxError, ValueError):
        return text


def _statement(text: str, names: Mapping[str, str], say: Callable[[str], str]) -> str:
    """A mend, in several lines perhaps, with the names that the person writes."""
    found = []
    for row in text.splitlines():
        code, mark, comment = row.partition("  #")
        indent = code[: len(code) - len(code.lstrip())]
        told = say(code.strip())
        found.append(indent + _named(told, names) + mark + comment)
    return "\n".join(found)


def _named(code: str, names: Mapping[str, str]) -> str:
    """`dW = x.T @ dout` as `self.dW = self.x.T @ dout`, where these are the object's."""
    if not names:
        return code
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return code

    class Put(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:
            if node.id not in names:
                return node
            return ast.parse(names[node.id], mode="eval").body

    return ast.unparse(Put().visit(tree))


def _otherwise(subject: ArraySubject, truth: Truth, numpy: bool) -> str | None:
    """What the person's own code does otherwise than the lines that were judged, or None."""
    if subject.called is None:
        return None
    real, twin = subject.called
    written = subject.backward
    assert isinstance(written, Written)
    values = {**truth.values, **truth.cotangents}
    formals = [a.arg for a in subject.source.function.args.args] if subject.source else []
    names = formals if subject.within else list(written.parameters)
    given = {name: values[name] for name in names if name in values}
    with precision(torch.float64), quiet(), counted(), torch.no_grad(), np.errstate(all="ignore"):
        try:
            mine = _numbers(twin(**copy.deepcopy(given)))
        except Exception:  # it was judged line by line, and is told there
            return None
        try:
            # By place: a cotangent may have a name of the person's own.
            taken = copy.deepcopy(list(given.values()))
            found = _numbers(real(*(as_arrays(taken) if numpy else taken)))
        except Exception as error:  # whatever the person's own code raises
            first = str(error).strip().partition("\n")[0]
            told = f"{type(error).__name__}: {first}"
            return f"{'NumPy itself' if numpy else 'torch itself'} does not run it: {told}"
    same = len(mine) == len(found) and all(
        one.shape == other.shape and np.allclose(one, other, TOLERANCE, TOLERANCE, equal_nan=True)
        for one, other in zip(mine, found, strict=True)
    )
    if same:
        return None
    if numpy:
        return "NumPy gives other numbers for it than torch does for the same lines"
    return "called as it is bound, it gives other numbers than its lines do"


def _numbers(returned: Any) -> list[np.ndarray[Any, Any]]:
    parts = (p.detach().numpy() if isinstance(p, torch.Tensor) else p for p in parts_of(returned))
    return [np.asarray(p) for p in parts if p is not None and not isinstance(p, str)]
