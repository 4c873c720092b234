"""From a forward, a backward and a split to one rank's text, which is held to the whole."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradninja.derive import Backward, derive
from gradninja.derive.holding.against_autograd import cotangents_of
from gradninja.derive.holding.dtypes import default_dtype
from gradninja.derive.holding.sizes import points
from gradninja.derive.temporaries import taken_names
from gradninja.errors import DeriveError
from gradninja.lines import Program
from gradninja.lines.given.source import load
from gradninja.lines.scope import LIBRARY
from gradninja.ranks.mesh import cut, same
from gradninja.ranks.rank_lines import merged
from gradninja.ranks.rank_values import Value, constant
from gradninja.ranks.rank_walk import Walk
from gradninja.ranks.sharded import Part, Sharded
from gradninja.ranks.split import Split, splitting
from gradninja.ranks.types import R, Type
from gradninja.rules import Book

RANKS = 2  # along each axis, while lines are gone through
SEED = 11
AGREE = 1e-9  # of the largest gradient: how much ranks may differ from the whole

Statements = list[tuple[ast.stmt, str]]  # each with the forward's line that it answers


def made(
    forward: str | Path | Callable[..., Any] | Backward,
    backward: str | Path | Callable[..., Any] | Backward | None,
    asked: Mapping[str, str],
    inputs: Any,
    wrt: Iterable[str] | None,
    book: Book,
) -> Sharded:
    """See `gradninja.shard`."""
    if isinstance(backward, Backward):
        back = backward
    else:
        back = forward if isinstance(forward, Backward) else derive(forward, inputs, wrt, book=book)
    program = back.program
    refuse_random(program)
    own = None
    if backward is not None and not isinstance(backward, Backward):
        own = written(backward, back)
    with torch.no_grad(), default_dtype(program.default):
        statements, gradients = own or derived(back)
        sharded = _sharded(back, statements, gradients, asked)
        hold(sharded, back)
    return sharded


def refuse_random(program: Program) -> None:
    """Raise DeriveError where numbers are drawn: ranks would have to draw each other's."""
    for line in program.lines:
        for part in line.expr.walk():
            if part.random and not any(o.random for o in part.operands):
                raise DeriveError(
                    f"`{part}` draws random numbers, which ranks would draw otherwise",
                    spot=part.spot,
                    hint="draw outside of the forward and give the numbers as an input",
                )


def derived(back: Backward) -> tuple[Statements, dict[str, str]]:
    """A derived backward's statements, and the gradient that each wanted input ends with."""
    found: Statements = [(ast.parse(text).body[0], "") for text in back._seed]
    found += [(s.tree(), s.line.code) for s in back.statements]
    return found, {name: back.gradient_names[name] for name in back.program.differentiable}


def written(
    backward: str | Path | Callable[..., Any], back: Backward
) -> tuple[Statements, dict[str, str]]:
    """A person's own backward: straight lines that return the gradients.

    Raises:
        DeriveError: it is none.
    """
    function = load(backward).function
    body = list(function.body)
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    wanted = back.program.differentiable
    if not body or not isinstance(body[-1], ast.Return) or body[-1].value is None:
        raise DeriveError(f"`{function.name}` does not end in a return of the gradients")
    value = body.pop().value  # type: ignore[attr-defined]
    returned = value.elts if isinstance(value, ast.Tuple) else [value]
    if len(returned) != len(wanted):
        raise DeriveError(
            f"`{function.name}` returns {len(returned)} gradients and the forward has "
            f"{len(wanted)} float inputs",
            hint=f"return those of: {', '.join(wanted)}",
        )
    found: Statements = [(ast.parse(text).body[0], "") for text in _seed(function, back)]
    for node in body:
        if not isinstance(node, ast.Assign | ast.AugAssign | ast.Expr):
            raise DeriveError(
                f"`{ast.unparse(node).splitlines()[0]}` is no plain line",
                hint="a backward to be split is assignments and a return",
            )
        targets = node.targets if isinstance(node, ast.Assign) else [None]
        found += [
            (node if t is None else ast.Assign([t], node.value, lineno=0), "") for t in targets
        ]
    names = {}
    for name, part in zip(wanted, returned, strict=True):
        if isinstance(part, ast.Name):
            names[name] = part.id
        else:
            names[name] = f"d{name}"
            found.append((ast.Assign([ast.Name(f"d{name}", ast.Store())], part, lineno=0), ""))
    return found, names


def _seed(function: ast.FunctionDef, back: Backward) -> list[str]:
    """The cotangent 1 of a loss, where the backward asks for it."""
    asked = {argument.arg for argument in function.args.args}
    return back._seed if back.cotangents[0] in asked else []


def _sharded(
    back: Backward, statements: Statements, gradients: dict[str, str], asked: Mapping[str, str]
) -> Sharded:
    program = back.program
    taken = taken_names(program) | set(back.gradient_names.values()) | set(LIBRARY)
    taken |= {n.id for s, _ in statements for n in ast.walk(s) if isinstance(n, ast.Name)}
    split = splitting(program, asked, RANKS, taken)
    values: dict[str, Value] = {}
    for given in program.inputs:
        syntax = ast.Name(given.name, ast.Load())
        values[given.name] = constant(given.value, syntax, split.mesh)
        if isinstance(given.value, Tensor):
            values[given.name] = tensor(given.value, split.types(given.name), syntax, split)
    scope = {**LIBRARY, **program.namespace}
    walk = Walk(split, scope, values, taken, back.book)
    for line in program.lines:
        walk.line(ast.parse(line.code).body[0])
    types: dict[str, tuple[Type, ...]] = {i.name: split.types(i.name) for i in program.inputs}
    returned = []
    for name in program.outputs:
        returned.append(_whole(walk, name, f"return {name}"))
        types[name] = _types(walk, returned[-1])
    forward = len(walk.lines)
    cotangents: tuple[str, ...] = ()
    if not back.scalar:
        cotangents = back.cotangents
        drawn = cotangents_of(program, program.values, SEED)
        for of, name in zip(back.outputs, cotangents, strict=True):
            syntax = ast.Name(name, ast.Load())
            types[name] = types[of]
            walk.values[name] = tensor(drawn[of], types[of], syntax, split)
    for node, answers in statements:
        walk.line(node, answers)
    given_back = []
    for name, gradient in gradients.items():
        types[f"d{name}"] = types[name]
        given_back.append(walk.make(gradient, types[name], f"return {gradient}"))
    return Sharded(
        program,
        split,
        Part(merged(walk.lines[:forward]), tuple(returned)),
        Part(merged(walk.lines[forward:], start=forward), tuple(given_back)),
        Part(merged(walk.lines), (*returned, *given_back)),
        tuple(gradients),
        cotangents,
        types,
        back.scalar,
        back,
    )


def tensor(whole: Tensor, types: Sequence[Type], syntax: ast.expr, split: Split) -> Value:
    """A value that ranks are given."""
    return Value(whole, list(cut(whole, types, split.mesh)), tuple(types), syntax)


def _whole(walk: Walk, name: str, why: str) -> str:
    """An output: shares of it stay shares, what is partial is summed."""
    value = walk.values[name]
    if value.types is None:
        return name
    kinds = [R if kind.partial else kind for kind in value.types]
    return walk.make(name, kinds, why)


def _types(walk: Walk, name: str) -> tuple[Type, ...]:
    return walk.values[name].types or (R,) * len(walk.mesh.axes)


def hold(sharded: Sharded, back: Backward) -> None:
    """Compare what simulated ranks give with the whole, on other numbers than those read.

    Raises:
        DeriveError: they differ: a text that is wrong is refused, never handed out.
    """
    program = back.program
    own = {i.name: i.value for i in program.inputs}
    tried = 0
    for ranks, given in zip((2, 3, 2), (own, *points(program, program.values)), strict=False):
        try:
            values = back.forward_values(given)
        except DeriveError:
            continue
        cotangents = cotangents_of(program, values, SEED + ranks)
        true = back.run(values, cotangents)
        truth = {name: torch.as_tensor(values[name]) for name in program.outputs}
        truth.update({f"d{name}": gradient for name, gradient in true.items()})
        if not all(bool(t.isfinite().all()) for t in truth.values()):
            continue
        sizes = [min(ranks, axis.size) for axis in sharded.split.axes]
        grad = [cotangents[of] for of in back.outputs] if sharded.cotangents else None
        try:
            found = sharded(given, grad, sizes)
        except DeriveError as error:
            raise DeriveError(
                f"split over {sizes[0]} ranks, the text does not run: {error.message}",
                hint="what it decides by sizes may not hold for a share; split another axis",
            ) from error
        beside = list(true.values())
        wrong = [n for n, t in found.items() if not same(t, truth[n], *beside, share=AGREE)]
        if wrong:
            raise DeriveError(
                f"split over {sizes[0]} ranks, `{wrong[0]}` is not what it is on the whole",
                hint="please report the forward; or split another axis",
            )
        tried += 1
    if not tried:
        raise DeriveError("the forward is not finite on the values that it was read with")
