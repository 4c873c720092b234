"""Every row of the rule book, tried on its own test texts.

The truth is autograd, and finite differences, in float64; in float32 the exact style is autograd's
bit for bit.
"""

from __future__ import annotations

from functools import cache

import mpmath
import pytest
import torch
from rule_spellings import respelled
from rules_not_exact import NOT_EXACT
from torch import Tensor

from catalogue import autograd, cotangents, differences, outputs_of
from gradninja.derive import Backward, derive, read_program
from gradninja.rules import BOOK, Rule, Site
from rule_inputs import Trial, book_rows, trials_of

# Relative to the largest element: a right formula in another order is within some tens of
# roundings, which are 1e-16 each.
TOLERANCE = 1e-12
LAYOUTS = ("plain", "gapped", "expanded")
# The number of results depends on the sizes: derived for one number, other numbers are refused.
COUNTED = {"split", "unbind"}

# What PyTorch thinks of the sizes in a test text is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = book_rows()
rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
styles = pytest.mark.parametrize("style", ["readable", "exact"])


@cache
def derived(trial: Trial, style: str) -> Backward:
    return derive(trial.source, trial.draw(0), style=style)


def compare(
    trial: Trial, style: str, layout: str, seed: int, dtype: torch.dtype, times: int = 1
) -> tuple[dict[str, Tensor], dict[str, Tensor], str]:
    """What was derived, what autograd gives, and the text, on inputs other than those read."""
    inputs = trial.draw(seed, dtype, times)
    truth, grads = autograd(
        trial.forward,
        inputs,
        lambda out: [g.to(out[0].dtype) for g in cotangents(out, seed, layout)],
    )
    back = derived(trial, style)
    return back(inputs, grads if len(grads) > 1 else grads[0]), truth, back.source


@rows
def test_every_row_explains_itself(row: Rule) -> None:
    assert row.tests, "a row without tests"
    assert row.why and row.source
    assert not row.why.endswith(".")
    assert set(row.exact) <= set(row.backward)


# Of these only some calls give a view; what is written of them is looked at as it is written.
SOMETIMES = {"index", "einsum"}


@rows
def test_what_gives_a_view_says_so(row: Rule) -> None:
    """Nothing may be added in place into what shares another tensor's memory."""
    for trial in trials_of(row):
        inputs = trial.draw(0)
        memory = {t.untyped_storage().data_ptr() for t in inputs.values() if t.numel()}
        for out in outputs_of(trial.forward(**inputs)):
            shares = out.numel() and out.untyped_storage().data_ptr() in memory
            assert row.view or row.name in SOMETIMES or not shares, str(trial)


def test_no_row_hides_another() -> None:
    spelled = [text for row in ROWS for text in row.spellings]
    assert sorted(spelled) == sorted(set(spelled))


@styles
@rows
def test_row_equals_autograd_in_float64(row: Rule, style: str) -> None:
    wrong = []
    for trial in trials_of(row):
        for seed, layout in enumerate(LAYOUTS):
            got, truth, source = compare(trial, style, layout, seed, torch.float64)
            found = differences(got, truth, TOLERANCE)
            wrong += [f"{trial}, {layout}: {text}\n{source}" for text in found]
    assert not wrong, "\n".join(wrong)


@rows
def test_row_equals_autograd_on_other_sizes(row: Rule) -> None:
    """A row may not write down the sizes that it was read with."""
    wrong = []
    for trial in trials_of(row):
        times = trial.larger()
        if times > 1 and row.name not in COUNTED:
            got, truth, source = compare(trial, "readable", "gapped", 0, torch.float64, times)
            found = differences(got, truth, TOLERANCE * times)
            wrong += [f"{trial}: {text}\n{source}" for text in found]
    assert not wrong, "\n".join(wrong)


# Their slope is the difference of two functions that come together far out, for autograd as for us:
# float32 has no digits of it left at 1e9. They are held to be no further off than autograd is.
COMING_TOGETHER = {"i0e", "i1e"}
# Autograd's own formula loses all digits far out, in float64 too; central differences do not.
LOST_BY_AUTOGRAD = {"log_ndtr", "tanhshrink"}


@pytest.mark.parametrize("scale", [1e9, 1e-9])
@pytest.mark.parametrize("row", [r for r in ROWS if r.elementwise], ids=lambda row: row.name)
def test_elementwise_rows_keep_their_digits_far_from_one(row: Rule, scale: float) -> None:
    """In float32 `1 + a - y` is 0 where a and y are 1e9, and `1 + (a - y)` is 1."""
    for trial in trials_of(row):
        drawn = trial.draw(0, torch.float32)
        inputs = {n: v * scale if v.is_floating_point() else v for n, v in drawn.items()}
        wide = {n: v.double() if v.is_floating_point() else v for n, v in inputs.items()}
        truth, grads = autograd(trial.forward, wide, lambda out: cotangents(out, 0, "plain"))
        if row.name in LOST_BY_AUTOGRAD:
            truth = {f"d{name}": slope(trial, wide, name) * grads[0] for name in wide}
        got = derived(trial, "readable")(inputs, grads[0].float())
        own = truth
        if row.name in COMING_TOGETHER:
            own, _ = autograd(trial.forward, inputs, lambda out, g=grads[0]: (g.float(),))
        for name, expected in truth.items():
            finite = expected.abs() < torch.finfo(torch.float32).max
            off = (got[name].double() - expected).abs().where(finite, 0)
            largest = expected.abs().where(finite, 0).amax()
            lost = (own[name].double() - expected).abs().where(finite, 0).amax()
            allowed = 1e-5 * largest + 1.1 * lost
            assert bool((off <= allowed).all()), f"{trial}: {name}"


def slope(trial: Trial, inputs: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """The slope of an elementwise function by central differences, in float64.

    Where an input is next to nothing beside its own tanh, in 60 digits.
    """
    if trial.row == "tanhshrink":
        with mpmath.workdps(60):
            found = [
                float(mpmath.diff(lambda a: a - mpmath.tanh(a), value))
                for value in inputs[name].flatten().tolist()
            ]
        return torch.tensor(found, dtype=torch.float64).view(inputs[name].shape)
    step = 1e-6 * inputs[name].abs().clamp(min=1.0)
    (above,), (below,) = (
        outputs_of(trial.forward(**{**inputs, name: inputs[name] + s})) for s in (step, -step)
    )
    return (above - below) / (2 * step)


def test_most_texts_take_other_sizes() -> None:
    every = [trial for row in ROWS for trial in trials_of(row)]
    assert sum(trial.larger() > 1 for trial in every) > 0.8 * len(every)


@rows
def test_exact_style_equals_autograd_bit_for_bit(row: Rule) -> None:
    wrong = []
    for trial in trials_of(row):
        if row.name in NOT_EXACT or trial.text in NOT_EXACT:
            continue
        for times in {1, trial.larger() if row.name not in COUNTED else 1}:
            for layout in LAYOUTS:
                got, truth, source = compare(trial, "exact", layout, 3, torch.float32, times)
                for name, expected in truth.items():
                    off = int((got[name] != expected).sum())
                    if off:
                        size = expected.numel()
                        wrong.append(f"{trial}, {layout}: {name}, {off} of {size}\n{source}")
    assert not wrong, "\n".join(wrong)


def test_the_rows_that_are_not_exact_exist() -> None:
    texts = {text for row in ROWS for text in row.tests}
    assert set(NOT_EXACT) <= texts | {row.name for row in ROWS}


def sites(trial: Trial, row: Rule) -> list[Site]:
    """Where a trial uses its row."""
    program = read_program(trial.source, trial.draw(0))
    found = []
    for line in program.lines:
        for expr in line.expr.walk():
            site = BOOK.find(expr) if expr.differentiable else None
            if site is not None and site.rule is row:
                found.append(site)
    return found


@rows
def test_texts_reach_every_gradient_of_a_row(row: Rule) -> None:
    reached: set[str] = set()
    for trial in trials_of(row):
        found = sites(trial, row)
        assert found, f"{trial} does not use this row"
        reached |= {formal for site in found for formal in site.bound if site.flows(formal)}
    assert reached == set(row.backward)


@rows
def test_every_spelling_of_a_row(row: Rule) -> None:
    """Each spelling, with the operands of the row's own texts, means the same."""
    left = set(row.spellings)
    for trial in trials_of(row):
        for site in sites(trial, row):
            for spelling, expression in respelled(site):
                if spelling not in left:
                    continue
                other = Trial(row.name, expression, trial.inputs)
                inputs = other.draw(0)
                truth, grads = autograd(
                    other.forward, inputs, lambda out: cotangents(out, 0, "gapped")
                )
                back = derive(other.source, inputs)
                got = back(inputs, grads if len(grads) > 1 else grads[0])
                wrong = differences(got, truth, TOLERANCE)
                assert not wrong, f"{other}: {wrong}\n{back.source}"
                left.discard(spelling)
    assert not left, f"spellings that no text of the row fits: {left}"


STEP = 1e-6


@rows
def test_row_equals_finite_differences(row: Rule) -> None:
    """Along one random direction, central differences, for the row's first smooth text."""
    smooth = [t for t in trials_of(row) if all(given.kind != "ties" for given in t.inputs)]
    trial = smooth[0]
    inputs = trial.draw(0)
    floats = {name for name, value in inputs.items() if value.is_floating_point()}
    generator = torch.Generator().manual_seed(1)
    way = {
        name: torch.randn(inputs[name].shape, generator=generator, dtype=torch.float64)
        for name in sorted(floats)
    }
    grads = cotangents(trial.forward(**inputs), 2, "plain")

    def value(step: float) -> float:
        moved = {n: v + step * way[n] if n in floats else v for n, v in inputs.items()}
        pairs = zip(trial.forward(**moved), grads, strict=True)
        return sum(float((output * grad).sum()) for output, grad in pairs)

    measured = (value(STEP) - value(-STEP)) / (2 * STEP)
    got = derived(trial, "readable")(inputs, grads if len(grads) > 1 else grads[0])
    told = sum(float((got[f"d{name}"] * way[name]).sum()) for name in floats)
    assert told == pytest.approx(measured, rel=1e-6, abs=1e-7), str(trial)


def test_a_wrong_row_is_seen() -> None:
    """The comparison above is not blind: neither to a factor nor to a lost axis."""
    trial = next(t for t in trials_of(BOOK["mean"]) if "keepdim" in t.source)
    got, truth, _ = compare(trial, "readable", "plain", 0, torch.float64)
    assert not differences(got, truth, TOLERANCE)
    assert differences({"da": got["da"] * (1 + 1e-11)}, truth, TOLERANCE)
    assert differences({"da": got["da"][:1]}, truth, TOLERANCE)
