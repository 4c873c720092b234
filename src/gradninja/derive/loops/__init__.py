"""Loops that stay loops: a forward and its backward as text, for any number of turns.

A loop is read turn by turn. Where its turns are the same lines again, one turn is derived as a
forward of its own, and both texts are written with a `for`. They are run, and held to the gradients
that were derived turn by turn and, at one turn less, to autograd's; what fails stays written out.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from gradninja.derive.loops.body import body_of
from gradninja.derive.loops.loop_text import Segment, Texts, fresh, joined
from gradninja.derive.loops.turns import Differs, turns_of
from gradninja.lines import STATIC, Line, Program
from gradninja.lines.program import names_in
from gradninja.lines.scope import LIBRARY, run, vjp

if TYPE_CHECKING:
    from gradninja.derive.backward import Backward

FEWEST = 4  # turns that are worth a loop
HOLES = (Differs, RuntimeError, ArithmeticError, LookupError, TypeError, ValueError, NameError)


def looped(back: Backward) -> str:
    """Both texts with their loops; empty where there is no loop, or its turns differ."""
    for depth in range(max((len(line.turns) for line in back.program.lines), default=0)):
        try:
            found = _written(back, depth)
            if found:
                return found
        except HOLES:
            continue
    return ""


def _written(back: Backward, depth: int) -> str:
    texts = _texts(back, depth)
    if texts is None:
        return ""
    backward, free = texts.backward()
    given = {i.name for i in back.program.inputs}
    kept = [name for name in free if name not in given]
    forward = texts.forward(kept)
    if len(backward.splitlines()) + 3 > len(back.statements):
        return ""
    program = back.program
    _hold(back, program, forward, backward, {i.name: i.value for i in program.inputs})
    if not _held_at_fewer(back, forward, backward, texts):
        return ""
    return joined(forward, backward)


def _texts(back: Backward, depth: int) -> Texts | None:
    program = back.program
    segments: list[Segment] = []
    number: int | None = None
    for line in program.lines:
        own = line.turns[depth][0] if len(line.turns) > depth else None
        own = own if own is not None and program.loops[own].turns >= FEWEST else None
        if not segments or own != number:
            segments.append(Segment([]))
            number = own
        segments[-1].lines.append(line)
    taken = {*program.values, *back.gradient_names.values()}

    def named(base: str) -> str:
        name = fresh(base, taken)
        taken.add(name)
        return name

    any_loop = False
    for at, segment in enumerate(segments):
        first = segment.lines[0]
        own = first.turns[depth][0] if len(first.turns) > depth else None
        if own is None or program.loops[own].turns < FEWEST:
            continue
        after = {n for s in segments[at + 1 :] for line in s.lines for n in _read(line)}
        after |= set(program.outputs)
        turns = turns_of(segment.lines, own)
        segment.body = body_of(program, turns, after, back.book, back.style, named)
        if segment.body is None:
            continue
        segment.length = _length(program, own)
        any_loop = True
    if not any_loop:
        return None
    return Texts(
        program,
        segments,
        back.statements,
        dict(back.gradient_names),
        back.outputs,
        back.scalar,
    )


def _read(line: Line) -> set[str]:
    return set(names_in(line.expr.syntax))


def _length(program: Program, number: int) -> str:
    """How many turns, in the person's words where these are `range(n)`."""
    over = program.loops[number].over
    syntax = over.syntax
    known = {*program.values, "torch", "math", "len"}
    ranged = isinstance(syntax, ast.Call) and ast.unparse(syntax.func) == "range"
    if ranged and over.op == STATIC and set(names_in(syntax)) - {"range"} <= known:
        assert isinstance(syntax, ast.Call)
        bounds = [ast.unparse(argument) for argument in syntax.args]
        if len(bounds) == 1:
            return bounds[0]
        if len(bounds) == 2:
            return f"{bounds[1]} - {bounds[0]}"
    if over.is_tensor and set(names_in(syntax)) <= known:
        return f"len({ast.unparse(syntax)})"
    return str(program.loops[number].turns)


# -- what it is held to -------------------------------------------------------------------------


def _run(
    back: Backward, forward: str, backward: str, inputs: Mapping[str, Any], seed: int
) -> tuple[dict[str, Any], dict[str, torch.Tensor], tuple[torch.Tensor, ...]]:
    """The forward's values under autograd, the backward's gradients, and the cotangents."""
    scope: dict[str, Any] = {**LIBRARY, **back.program.namespace}
    run([forward, backward], scope, "<loops>")
    found = scope["forward"](**inputs)
    several = found if isinstance(found, tuple) else (found,)
    names = _returned(forward)
    values = dict(zip(names, several, strict=True))
    generator = torch.Generator().manual_seed(seed)
    outputs = zip(back.program.outputs, several, strict=False)
    flowing = [o for name, o in outputs if name in back.outputs]
    cotangents = tuple(
        torch.ones_like(o)
        if back.scalar
        else torch.randn(o.shape, generator=generator, dtype=o.dtype)
        for o in flowing
    )
    code = scope["backward"].__code__
    given = code.co_varnames[: code.co_argcount]
    places = () if back.scalar else given[len(given) - len(cotangents) :]
    taken = {n: {**inputs, **values}[n] for n in given if n not in places}
    with torch.no_grad():
        plain = {n: _detached(value) for n, value in taken.items()}
        seeds = dict(zip(places, cotangents, strict=False))
        gradients = scope["backward"](**plain, **seeds)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    wanted = back.program.differentiable
    return values, dict(zip(wanted, gradients, strict=True)), (*flowing, *cotangents)


def _detached(value: Any) -> Any:
    if isinstance(value, list):
        return [_detached(part) for part in value]
    return value.detach() if isinstance(value, torch.Tensor) else value


def _returned(forward: str) -> list[str]:
    last = ast.parse(forward).body[0].body[-1]  # type: ignore[attr-defined]
    value = last.value
    parts = value.elts if isinstance(value, ast.Tuple) else [value]
    return [ast.unparse(part) for part in parts]


def _hold(
    back: Backward, program: Program, forward: str, backward: str, inputs: Mapping[str, Any]
) -> None:
    """Hold both texts to autograd on the forward's text at these inputs.

    Raises:
        Differs: a gradient is another one, or the output is not the program's.
    """
    leaves = {
        name: value.detach().clone().requires_grad_(name in program.differentiable)
        if isinstance(value, torch.Tensor)
        else value
        for name, value in inputs.items()
    }
    torch.manual_seed(0)
    with torch.enable_grad():
        _, found, ends = _run(back, forward, backward, leaves, seed=5)
        half = len(ends) // 2
        true = vjp(
            [o for o in ends[:half] if o.requires_grad],
            [leaves[name] for name in program.differentiable],
            [g for o, g in zip(ends[:half], ends[half:], strict=True) if o.requires_grad],
        )
    for name, want in zip(program.differentiable, true, strict=True):
        want = torch.zeros_like(leaves[name]) if want is None else want
        torch_close(found[name], want)


def torch_close(mine: torch.Tensor, true: torch.Tensor) -> None:
    digits = 1e-9 if true.dtype in (torch.float64, torch.complex128) else 1e-3
    scale = max(1.0, float(true.abs().amax())) if true.numel() else 1.0
    if mine.shape != true.shape or not torch.allclose(mine, true, digits, digits * scale):
        raise Differs


def _held_at_fewer(back: Backward, forward: str, backward: str, texts: Texts) -> bool:
    """Whether the texts hold with one turn less, too: by sizes, or by the number there."""
    program = back.program
    counts = {s.body.turns.count: s.length for s in texts.segments if s.body is not None}
    given = {i.name: i.value for i in program.inputs}
    if all(length.isdigit() for length in counts.values()):
        for count in counts:
            old, new = f"range({count})", f"range({count - 1})"
            forward, backward = forward.replace(old, new), backward.replace(old, new)
        _hold(back, program, forward, backward, given)
        return True
    for shrunk in _smaller(given, set(counts)):
        try:
            _hold(back, program, forward, backward, shrunk)
        except Differs:
            return False
        except HOLES:
            continue
        return True
    return False


def _smaller(given: Mapping[str, Any], counts: set[int]) -> list[dict[str, Any]]:
    """Inputs with one turn less: along all axes of a loop's size, or along one of each."""
    places = [
        (name, axis)
        for name, value in given.items()
        if isinstance(value, torch.Tensor)
        for axis, size in enumerate(value.shape)
        if size in counts
    ]
    found = [dict(given), *(dict(given) for _ in places)]
    for inputs, cut in zip(found, [places, *([place] for place in places)], strict=True):
        for name, axis in cut:
            inputs[name] = inputs[name].narrow(axis, 0, inputs[name].shape[axis] - 1)
    return found
