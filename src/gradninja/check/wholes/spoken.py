"""A report in NumPy's words, and what NumPy itself gives where all lines are right."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gradninja.check.given.arrays.numpy_types import NumpySubject
from gradninja.check.given.backward_text import Written
from gradninja.check.given.execution import counted, precision, quiet
from gradninja.check.reference.truth import Truth
from gradninja.check.tell.findings import LineReport, Report, Verdict
from gradninja.errors import GradninjaError
from gradninja.lines.ndarray import as_arrays, said
from gradninja.lines.plain import parts_of

QUOTED = re.compile(r"`([^`]+)`")
TOLERANCE = 1e-7  # between NumPy's numbers and torch's for the same lines, in float64


def in_numpy(report: Report, subject: NumpySubject, truth: Truth) -> Report:
    """The report with its mends and words as the person speaks."""
    names = subject.names or {}
    rows = [row_in_numpy(line, names) for line in report.lines]
    if report.ok:
        why = _otherwise(subject, truth)
        if why is not None:
            rows.append(LineReport("return", None, "", Verdict.ERROR, kind="numpy", diagnosis=why))
    return replace(report, lines=tuple(rows), notes=tuple(_words(n) for n in report.notes))


def row_in_numpy(line: LineReport, names: Mapping[str, str]) -> LineReport:
    """A row in NumPy's words; `names`: plain ones -> as the person writes them."""
    fix = None if line.fix is None else _statement(line.fix, names)
    diagnosis = None if line.diagnosis is None else _words(line.diagnosis)
    notes = tuple(_words(note) for note in line.notes)
    return replace(line, fix=fix, diagnosis=diagnosis, notes=notes)


def _words(text: str) -> str:
    """A sentence with the code in it in NumPy's words."""
    told = QUOTED.sub(lambda found: f"`{_code(found[1])}`", text)
    return re.sub(r"\bkeepdim\b", "keepdims", told)


def _code(text: str) -> str:
    try:
        return said(text)
    except (GradninjaError, SyntaxError, ValueError):
        return text


def _statement(text: str, names: Mapping[str, str]) -> str:
    """A mend, in several lines perhaps, with the names that the person writes."""
    found = []
    for row in text.splitlines():
        code, mark, comment = row.partition("  #")
        indent = code[: len(code) - len(code.lstrip())]
        told = _code(code.strip())
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


def _otherwise(subject: NumpySubject, truth: Truth) -> str | None:
    """What NumPy does otherwise than the lines as they were judged; None where nothing."""
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
            found = _numbers(real(*as_arrays(list(given.values()))))
        except Exception as error:  # whatever the person's own code raises
            first = str(error).strip().partition("\n")[0]
            return f"NumPy itself does not run it: {type(error).__name__}: {first}"
    same = len(mine) == len(found) and all(
        one.shape == other.shape and np.allclose(one, other, TOLERANCE, TOLERANCE, equal_nan=True)
        for one, other in zip(mine, found, strict=True)
    )
    return None if same else "NumPy gives other numbers for it than torch does for the same lines"


def _numbers(returned: Any) -> list[np.ndarray[Any, Any]]:
    parts = (p.detach().numpy() if isinstance(p, torch.Tensor) else p for p in parts_of(returned))
    return [np.asarray(p) for p in parts if p is not None and not isinstance(p, str)]
