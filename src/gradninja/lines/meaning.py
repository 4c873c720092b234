"""An operation as the text of simpler ones, read where it stands."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping

import torch

from gradninja.lines.given.source import Source, parse
from gradninja.lines.program import Expr
from gradninja.lines.reading.state import Reading


def written_out(
    text: str, name: str, operands: Mapping[str, Expr], begin: Callable[[Source], Reading]
) -> Expr:
    """The expression that a text means, its formals' operands put in.

    Args:
        text: hidden values first, a line each, `name = expression`; then the result.
        name: what errors call it.
        operands: by formal, all names that the text may read.
        begin: the reading of a text, at its beginning.
    """
    *lines, last = text.split("\n")
    body = "".join(f"    {line}\n" for line in [*lines, f"return {last}"])
    plain = "".join(c if c.isalnum() else "_" for c in name)
    source = parse(f"def {plain}({', '.join(operands)}):\n{body}", "<row>", None)
    reading = begin(source)
    reading.scope = dict(operands)
    *hidden, returned = source.function.body
    assert isinstance(returned, ast.Return) and returned.value is not None
    with torch.no_grad():
        for line in hidden:
            assert isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)
            reading.scope[line.targets[0].id] = reading.read(line.value)
        return reading.read(returned.value)
