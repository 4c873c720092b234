"""From a forward to its fused backward."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch

import gradninja.algebra.ops.table  # noqa: F401 - it fills the table
from gradninja.algebra.dtypes import loses_digits, other_dtype
from gradninja.algebra.engine import Engine
from gradninja.algebra.find.cuts import cuts_of
from gradninja.algebra.find.once import length, no_longer, put_in
from gradninja.algebra.find.repeats import Sharing
from gradninja.algebra.fused import Dropped, Fused, FusedLines
from gradninja.algebra.index.normal import Normal
from gradninja.algebra.measure.cost import Cost, cost_of, elements
from gradninja.algebra.measure.footprint import peak
from gradninja.algebra.measure.hard import broken_at
from gradninja.algebra.measure.precision import Errors, compare
from gradninja.algebra.measure.prices import PREFER
from gradninja.algebra.ops.lowering import Lowering
from gradninja.algebra.sizes import differs
from gradninja.algebra.tell.steps import complete, rewritten
from gradninja.algebra.widened import Widened, as_valued, widened
from gradninja.algebra.write.inplace import InPlace
from gradninja.choices import FusedStyle, Prefer
from gradninja.derive import Backward, derive
from gradninja.derive.holding.against_autograd import cotangents_of, drawn_like
from gradninja.derive.holding.dtypes import hold_dtypes
from gradninja.derive.statement import Statement
from gradninja.derive.temporaries import name_temporaries
from gradninja.derive.walk import Walk
from gradninja.errors import DeriveError
from gradninja.lines import Program
from gradninja.lines.scope import LIBRARY, run
from gradninja.memory import within_what_is_there
from gradninja.rules import BOOK, Book

CLEARLY = 0.8  # of the derived cost: what is worth more operations, or longer lines
# Ways of writing, the shortest first: whether sums stay in one piece, whether products are written
# out by what they are of, and whether all factors of matrix products get gradients with names.
MODES = (
    (False, True, False),
    (False, True, True),
    (True, True, False),
    (True, True, True),
    (True, False, False),
)
ATTEMPTS = 12  # readings of a program: parts named, failing passes dropped


def fuse(
    forward: str | Path | Callable[..., Any],
    inputs: Mapping[str, Any] | tuple[Any, ...] | torch.Tensor | None = None,
    wrt: Iterable[str] | None = None,
    *,
    prefer: Prefer = "speed",
    style: FusedStyle = "readable",
    book: Book = BOOK,
) -> Fused:
    """The backward pass of a forward, all in one go, as plain PyTorch with the forward's names.

    Every gradient is compared in float64 with what is derived line by line, and in float32 with
    what that loses; what fails is dropped (see `Fused.dropped`) and the derived lines stay. The
    result is never worse than the derived backward by the cost model.

    Args:
        forward, inputs, wrt: as for `gradninja.derive`.
        prefer: "speed" (memory traffic counts), "memory" (what the forward must keep counts more)
            or "short" (fewer operations).
        style: "readable", or "in place": cross-entropy as the lecture's three lines.

    Raises:
        ReadError: the forward is outside of what is read; with line and caret.
        DeriveError: an operation has no rule, or there is no such preference or style.
        GradninjaError: there is not enough memory for it.
    """
    if prefer not in PREFER:
        raise DeriveError(f"there is no preference {prefer!r}", hint=f"it is {', '.join(PREFER)}")
    if style not in (styles := get_args(FusedStyle)):
        raise DeriveError(f"there is no style {style!r}", hint=f"styles are: {', '.join(styles)}")
    derived = derive(forward, inputs, wrt, book=book)
    with within_what_is_there(), derived.as_read(), torch.no_grad():
        return _chosen(derived, book, prefer, style)


def _chosen(derived: Backward, book: Book, prefer: str, style: str) -> Fused:
    """The fused form; what is to spare memory is the best of several, lines in place among them."""
    if prefer != "memory":
        fused = _fuse(derived, book, prefer)
        return _in_place(fused, derived, lean=False) if style == "in place" else fused
    readable = [_fuse(derived, book, by, prefer) for by in ("memory", "speed")]
    written = [_in_place(fused, derived, lean=True) for fused in readable]
    forms = written if style == "in place" else [*written, *readable]
    return min(forms, key=lambda fused: fused.cost.total(prefer))


def _in_place(fused: Fused, derived: Backward, lean: bool, hots: bool = False) -> Fused:
    """The same in place, in the lines with and without a seed; only one-hots, if `hots`."""
    dropped = list(fused.dropped)
    rewrite = InPlace(_values(fused), lean, hots).run
    seeded = _rewritten(fused.seeded, rewrite, "in place", dropped)
    same = fused.statements is fused.seeded.statements
    plain = seeded if same else _rewritten(fused, rewrite, "in place", dropped)
    found = replace(
        fused,
        statements=plain.statements,
        seeded=seeded,
        steps=complete(
            rewritten(fused.steps, fused.statements, plain.statements), plain.statements
        ),
        dropped=tuple(dict.fromkeys(dropped)),
    )
    try:
        _hold_dtypes(found, derived)
        errors = () if _is_random(fused.program) else _digits(found, derived)
    except WrongForm as wrong:
        return replace(fused, dropped=(*dropped, wrong.dropped))
    return replace(found, cost=_cost(found), errors=errors)


def _fuse(derived: Backward, book: Book, by: str, prefer: str | None = None) -> Fused:
    """Fuse, dropping what fails: in the end the derived lines stay.

    `by`: the prices that forms are found by; `prefer`: those that it must be worth it by.
    """
    prefer = prefer or by
    program = widened(derived.program)
    dropped: list[Dropped] = []
    derived_lines: set[int] = set()
    modes = list(MODES)
    for _ in range(ATTEMPTS):
        engine: Engine | None = None
        try:
            lowering = Lowering(program, book)
            if lowering.left:
                program = name_temporaries(program, lowering.left)
                continue
            cotangents, truth = _truth(program, book)
            found: list[Engine] = []
            plain, written_out, factors = modes[0]
            cuts = cuts_of(lowering, factors)
            for seeded in (False, True) if derived.scalar else (True,):
                normal = Normal(lowering.graph, written_out)
                engine = Engine(
                    lowering,
                    normal,
                    truth,
                    cuts,
                    derived_lines,
                    chosen=bool(found),
                    plain=plain,
                    prices=PREFER[by],
                )
                with as_valued(program):
                    engine.run(cotangents, seeded)
                if engine.walk.needs:
                    break
                found.append(engine)
                cuts = set(engine.finished)
            if engine is not None and engine.walk.needs:
                program = name_temporaries(program, engine.walk.needs)
                continue
        except Exception as error:  # a pass that fails is dropped, whatever it fails by
            dropped.append(Dropped(engine.at if engine else "", f"{type(error).__name__}: {error}"))
            lines = engine.stretch() if engine else set()
            if not lines - derived_lines:
                break
            derived_lines |= lines
            continue
        try:
            fused = _built(program, found, derived, dropped)
            if not _is_random(program):
                fused = replace(fused, errors=_compared(fused, derived))
            cheapest = _cheapest(fused, derived, prefer)
            if cheapest is not None:
                return cheapest
            break
        except WrongForm as wrong:
            dropped += [wrong.dropped] if wrong.dropped not in dropped else []
            modes.pop(0)  # what was multiplied or written out is what loses digits
            if not (wrong.of_form and modes):
                break
        except Exception as error:
            dropped.append(Dropped("", f"{type(error).__name__}: {error}"))
            break
    return _as_derived(derived, dropped)


class WrongForm(Exception):
    """Raised where fused lines are not right everywhere; `of_form`: other forms may be."""

    def __init__(self, name: str, why: str, of_form: bool = False) -> None:
        super().__init__(why)
        self.dropped = Dropped(name, why)
        self.of_form = of_form


def _compared(fused: Fused, derived: Backward) -> tuple[Errors, ...]:
    """The errors in float32 of what is right on other sizes, in all dtypes and at hard points.

    Raises:
        WrongForm: a gradient is not the derived one, or loses digits that the derived one has.
    """
    name = differs(fused.seeded, derived)
    if name:
        raise WrongForm(name, "on other sizes it is not the derived gradient")
    _hold_dtypes(fused, derived)
    name = loses_digits(fused, derived)
    if name:
        raise WrongForm(name, "of float64 inputs it is computed in float32", of_form=True)
    return _digits(fused, derived)


def _hold_dtypes(fused: Fused, derived: Backward) -> None:
    """Raise WrongForm where a gradient is of another dtype than its input."""
    name = other_dtype(fused, derived) or other_dtype(fused.seeded, derived)
    if name:
        raise WrongForm(name, "it is of another dtype than its input")


def _digits(fused: Fused, derived: Backward) -> tuple[Errors, ...]:
    """The errors in float32, where no gradient has larger ones than the derived one.

    Raises:
        WrongForm: one has, or is wrong at a hard point.
    """
    errors = tuple(compare(fused, derived))
    worse = next((error for error in errors if not error.kept), None)
    if worse is not None:
        raise WrongForm(worse.name, str(worse), of_form=True)
    broken = broken_at(fused.forms, fused, derived)
    if broken is not None:
        raise WrongForm(broken[0], f"at {broken[1]} it is not the derived gradient", of_form=True)
    return errors


def _cheapest(fused: Fused, derived: Backward, prefer: str) -> Fused | None:
    """The fused form, with or without one-hots in place; None where it is not worth it."""
    wide = isinstance(fused.program, Widened)  # then both are counted on such values
    limit = _cost(replace(derived, program=widened(derived.program)) if wide else derived)
    total, most = fused.cost.total(prefer), limit.total(prefer)
    short = len(fused.statements) <= len(derived.statements)
    if total < most or (total == most and short):
        return fused
    fused = _in_place(fused, derived, lean=True, hots=True)
    # More operations, if smaller ones, are to be worth it.
    longer = fused.cost.calls > limit.calls
    return fused if fused.cost.total(prefer) < (CLEARLY if longer else 1.0) * most else None


def _is_random(program: Program) -> bool:
    return any(expr.random for line in program.lines for expr in line.expr.walk())


def _built(
    program: Program, engines: list[Engine], derived: Backward, dropped: list[Dropped]
) -> Fused:
    """The fused backward from its walks, without and with a seed."""
    plain, seeded = (
        _shared(program, e.walk.statements, e.walk.gradient_names, derived, dropped)
        for e in (engines[0], engines[-1])
    )
    for back in (plain, seeded):
        if other_dtype(back, derived):
            hold_dtypes(back)
    fused = Fused(
        program,
        "fused",
        plain.statements,
        plain.gradient_names,
        seeded,
        complete(engines[0].record.steps, plain.statements),
        tuple(dropped),
        Cost(),
        (),
        book=derived.book,
    )
    return replace(fused, cost=_cost(fused))


def _shared(
    program: Program,
    statements: Sequence[Statement],
    names: Mapping[str, str],
    derived: Backward,
    dropped: list[Dropped],
) -> Backward:
    """A backward in which what was written twice has a name, and no part of a line that is not.

    Fused lines are no more than the derived ones by that, where a name saves little. Of derived
    lines as they are, the text becomes longer only where it is clearly cheaper.
    """
    back: Backward = FusedLines(program, "fused", tuple(statements), dict(names))
    own = {name for of, name in names.items() if of in derived.program.values}
    back = _rewritten(back, lambda lines: put_in(lines, own), "parts without names", dropped)
    taken = {name for s in statements for name in (s.target, s.of)}
    taken |= set(program.values) | set(names.values())

    def shared(lines: Sequence[Statement]) -> Sequence[Statement]:
        found = put_in(Sharing(_values(back), taken).run(lines), own)
        if statements is not derived.statements:
            return no_longer(found, own, derived.statements, _values(back))
        if length(found) <= length(lines):
            return found
        costs = [_cost(replace(back, statements=tuple(s))).total() for s in (found, lines)]
        return found if costs[0] < CLEARLY * costs[1] else lines

    return _rewritten(back, shared, "names for what is written twice", dropped)


def _rewritten(
    back: Backward,
    rewrite: Callable[[Sequence[Statement]], Iterable[Statement]],
    what: str,
    dropped: list[Dropped],
) -> Backward:
    """A backward with other lines; as it was, where they do not give the same gradients."""
    try:
        with as_valued(back.program):
            after = replace(back, statements=tuple(rewrite(back.statements)))
            before_it, after_it = _gradients(back), _gradients(after)
        for name, want in before_it.items():
            if not _same(after_it[name], want):
                raise ValueError(f"another gradient: {name}")
    except Exception as error:  # a pass that fails is dropped, whatever it fails by
        dropped.append(Dropped(what, f"{type(error).__name__}: {error}"))
        return back
    return after


def _same(mine: torch.Tensor, want: torch.Tensor) -> bool:
    """As `torch.testing.assert_close`, which imports what is distributed and SymPy first."""
    same = mine.dtype == want.dtype and mine.shape == want.shape
    return same and torch.allclose(mine, want, rtol=1e-9, atol=1e-12, equal_nan=True)


def _gradients(back: Backward) -> dict[str, torch.Tensor]:
    """What the statements of a backward give on the values that the program was read with."""
    scope = {
        name: value.clone() if isinstance(value, torch.Tensor) else value
        for name, value in _values(back).items()
    }
    run(back.statements, scope)
    return {name: scope[back.gradient_names[name]] for name in back.program.differentiable}


def _as_derived(derived: Backward, dropped: list[Dropped]) -> Fused:
    """The derived lines, with names for what they compute more than once."""
    back = _shared(derived.program, derived.statements, derived.gradient_names, derived, dropped)
    try:
        cost = _cost(back)
    except Exception as error:  # it is told, and no more; the lines are right
        dropped.append(Dropped("", f"{type(error).__name__}: {error}"))
        cost = Cost()
    return Fused(
        back.program,
        "fused",
        back.statements,
        back.gradient_names,
        back,
        complete((), back.statements),
        tuple(dict.fromkeys(dropped)),
        cost,
        (),
        book=derived.book,
    )


def _cost(back: Backward) -> Cost:
    values = _values(back)
    kept = sum(elements(v) for n in back.kept if isinstance(v := values[n], torch.Tensor))
    wanted = {back.gradient_names[name] for name in back.program.differentiable}
    with as_valued(back.program):
        found = cost_of((s.tree() for s in back.statements), values, kept)
        return replace(found, peak=peak(back.program, back.statements, values, wanted))


def _values(back: Backward) -> dict[str, Any]:
    """Everything that the statements of a backward may name, as when the program was read."""
    values = {**LIBRARY, **back.program.namespace, **back.program.values}
    generator = torch.Generator().manual_seed(0)
    for name, seed in zip(back.outputs, back.cotangents, strict=True):
        like = values[name]
        values[seed] = drawn_like(like, generator)
    return values


def _truth(program: Program, book: Book) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Cotangents, and the derived gradient of every variable for them."""
    cotangents = cotangents_of(program, program.values, seed=0)
    walk = Walk(program, book, "readable")
    walk.run(cotangents)
    return cotangents, walk.totals
