"""What else is right once a mend is put in: one mistake is told once."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from gradninja.check.diagnosis import Patch, apply
from gradninja.check.given.backward_text import EMPTY, Written
from gradninja.check.given.backwards import loose_from
from gradninja.check.verdicts.review import Review


def mended_by(review: Review, patches: Sequence[Patch]) -> set[str]:
    """The names of the rows that accuse no more when the text with the patches in is judged."""
    again = Review(review.trials.of(patched(review.trials.written, patches)))
    left = {row.name for row in again.rows if row.accuses}
    return {row.name for row in review.rows if row.accuses} - left


def patched(written: Written, patches: Sequence[Patch]) -> Written:
    """The backward that the text with the patches in has."""
    text = apply(patches, written.text)
    if written.again is not None:
        return written.again(text)
    tree = ast.parse(text)
    if not written.is_function:
        begin = min(written.statements[0].lineno, *(patch.first for patch in patches))
        return replace(written, text=text, statements=tuple(loose_from(tree, begin)))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    function = next(node for node in functions if node.name == written.name)
    asked = {a.arg: EMPTY for a in (*function.args.posonlyargs, *function.args.args)}
    parameters = {**asked, **written.parameters}
    return replace(written, text=text, statements=tuple(function.body), parameters=parameters)
