"""A torch.autograd.Function of the person's as a row: its gradient is what its `backward` says.

`forward` and `backward` are read with the same context, at each place anew, since what they do may
depend on shapes and plain values. What `backward` returns is then written in the arguments of
`apply`, the result and the cotangents: what the context keeps is computed again.
"""

from __future__ import annotations

import ast
import copy
import inspect
from functools import partial
from typing import Any

import torch

from gradninja.lines import NAME, STATIC, TUPLE, Expr
from gradninja.lines.given.source import load
from gradninja.lines.operators import output_syntax
from gradninja.lines.reader import reading_of
from gradninja.lines.reading.inlining import enter
from gradninja.lines.reading.state import Function, Reading
from gradninja.lines.reading.values import elements_of
from gradninja.lines.vocabulary import Vocabulary
from gradninja.rules.rule import Formal, Refusal, Rule, Site, Spelling

TAKEN = frozenset({"d", "g", "gs", "y", "keep", "count"})  # that stand for something in a row


class Context:
    """What `ctx` is while the two are read."""

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None: ...

    def set_materialize_grads(self, value: bool) -> None: ...


def row_of(callee: str, kind: type, book: Vocabulary) -> tuple[Spelling, Rule]:
    """The row of a Function, and how a call of its `apply` is spelled: by place."""
    parameters = list(inspect.signature(kind.forward).parameters.values())  # type: ignore[attr-defined]
    given = parameters if _has_setup(kind) else parameters[1:]
    formals = tuple(
        Formal(
            f"{p.name}_" if p.name in TAKEN else p.name,
            p.default is p.empty,
            None if p.default is p.empty else p.default,
        )
        for p in given
    )
    row = Rule(
        kind.__name__,
        (),
        {formal.name: partial(_gradient, kind, book, formal.name) for formal in formals},
        why=f"its own `backward` says so, {kind.__name__}.backward",
        source="given by its user",
        tests=(),
    )
    return Spelling(callee, formals), row


def _has_setup(kind: type) -> bool:
    """Whether the context is set up beside a `forward` that does not take it."""
    return bool(kind.setup_context is not torch.autograd.Function.setup_context)  # type: ignore[attr-defined]


def _gradient(kind: type, book: Vocabulary, formal: str, site: Site) -> str:
    """The text of one argument's gradient.

    Raises:
        ReadError: the Function's lines are not read, with the line.
        Refusal: it keeps what is drawn, or gives another number of gradients.
    """
    backward: Any = kind.backward  # type: ignore[attr-defined]
    reading = reading_of(load(backward, whole=True), book)
    reading.taken |= {*site.bound, "y"}
    node = ast.copy_location(ast.Call(ast.Name(kind.__name__), [], []), reading.source.function)
    given = [_named(site, name, name, of.value) for name, of in site.bound.items()]
    context = Context(tuple(of.differentiable for of in site.bound.values()))
    held = reading.static(node, context, node)
    meant: dict[str, ast.expr] = {}
    _forward(reading, node, kind, held, given, meant)
    results = site.y if isinstance(site.y, tuple) else (site.y,)
    named = ["g"] if len(results) == 1 else [f"g{i}" for i in range(len(results))]
    handed = [_named(site, g, g, torch.ones_like(y)) for g, y in zip(named, results, strict=True)]
    found = enter(reading, node, Function.of(backward, "backward"), [held, *handed], {})
    several = elements_of(reading, node, found) if found.op == TUPLE else [found]
    if len(several) != len(site.bound):
        told = f"{len(several)} gradients for {len(site.bound)} inputs"
        raise Refusal(f"{kind.__name__}.backward gives {told}")
    mine = several[list(site.bound).index(formal)]
    if mine.op == STATIC and mine.value is None:
        return f"torch.zeros_like({formal})"
    return ast.unparse(_written(reading, mine.syntax, meant, kind.__name__))


def _named(site: Site, name: str, called: str, value: Any) -> Expr:
    op = NAME if isinstance(value, torch.Tensor) else STATIC
    return Expr(op, (), ast.Name(called, ast.Load()), value, site.expr.spot)


def _forward(
    reading: Reading,
    node: ast.Call,
    kind: type,
    context: Expr,
    given: list[Expr],
    meant: dict[str, ast.expr],
) -> None:
    """Read the forward, for what it keeps; what it returns is the result, `y`, to who reads on."""
    forward = Function.of(kind.forward, "forward")  # type: ignore[attr-defined]
    own = _has_setup(kind)
    found = enter(reading, node, forward, given if own else [context, *given], {})
    if found.op == TUPLE:
        for i, part in enumerate(found.args):
            meant[str(part)] = ast.Subscript(ast.Name("y"), ast.Constant(i), ast.Load())
    elif found.op == NAME and found not in given:
        meant[str(found)] = ast.Name("y", ast.Load())
    if own:
        setup = Function.of(kind.setup_context, "setup_context")  # type: ignore[attr-defined]
        enter(reading, node, setup, [context, reading.container(node, given), found], {})


def _written(
    reading: Reading, syntax: ast.expr, meant: dict[str, ast.expr], called: str
) -> ast.expr:
    """An expression in the arguments, the result and the cotangents: other names are put in."""
    for line in reading.lines:
        for i, target in enumerate(line.targets):
            if target in meant:
                continue
            if any(part.random for part in line.expr.walk()):
                meant[target] = ast.Name("", ast.Load())
                continue
            text = line.expr.syntax
            meant[target] = output_syntax(line.expr.op, text, i) if line.several else text
    return _Put(meant, called).visit(copy.deepcopy(syntax))  # type: ignore[no-any-return]


class _Put(ast.NodeTransformer):
    def __init__(self, meant: dict[str, ast.expr], called: str) -> None:
        self.meant, self.called = meant, called

    def visit_Name(self, node: ast.Name) -> ast.expr:
        found = self.meant.get(node.id)
        if found is None:
            return node
        if isinstance(found, ast.Name) and not found.id:
            raise Refusal(f"{self.called} keeps random numbers that it drew: hand them in")
        put: ast.expr = self.visit(copy.deepcopy(found))
        return put
