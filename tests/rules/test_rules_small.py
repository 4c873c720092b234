"""Every row where one of its sizes is 1, or 0: autograd's gradient, or a refusal in plain words."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import pytest

from catalogue import autograd, cotangents, differences
from gradninja.derive import derive
from gradninja.errors import GradninjaError
from gradninja.rules import Rule
from rule_inputs import Trial, book_rows, trials_of

TOLERANCE = 1e-9
OURS = "please report"  # how an error calls itself a mistake of ours
# Keys and values of unequal number: PyTorch's kernel writes outside of its memory.
UNEVEN = {"scaled_dot_product_attention"}

pytestmark = pytest.mark.filterwarnings("ignore")


def small(row: Rule) -> Iterator[tuple[Trial, str]]:
    """One of the row's texts with one of its sizes 1, and 0; and the style to derive it in."""
    drawn = zlib.crc32(row.name.encode())
    texts = [t for t in trials_of(row) if any(s > 1 for given in t.inputs for s in given.sizes)]
    if texts and row.name not in UNEVEN:
        trial = texts[drawn % len(texts)]
        sizes = sorted({size for given in trial.inputs for size in given.sizes if size > 1})
        yield trial.resized(sizes[drawn % len(sizes)], 1), "exact"
        yield trial.resized(sizes[drawn // 2 % len(sizes)], 0), "readable"


@pytest.mark.parametrize("row", book_rows(), ids=lambda row: row.name)
def test_a_row_at_small_sizes_is_right_or_refused(row: Rule) -> None:
    for made, style in small(row):
        inputs = made.draw(0)
        try:
            truth, grads = autograd(made.forward, inputs, lambda out: cotangents(out, 0, "plain"))
        except (RuntimeError, IndexError, ValueError, AssertionError, ArithmeticError):
            continue  # not a call that PyTorch takes
        told = f"{made.source}{ {name: tuple(v.shape) for name, v in inputs.items()} }, {style}"
        try:
            back = derive(made.source, inputs, style=style)
            got = back(inputs, grads if len(grads) > 1 else grads[0])
        except GradninjaError as error:
            assert OURS not in str(error), f"{told}\n{error}"
            continue
        finite = {name: want for name, want in truth.items() if want.isfinite().all()}
        wrong = differences({name: got[name] for name in finite}, finite, TOLERANCE)
        assert not wrong, f"{told}: {wrong}\n{back.source}"
