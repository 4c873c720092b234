"""Statements, one after the other: what is bound, decided, left out, returned."""

from __future__ import annotations

import ast
import operator
from dataclasses import replace

from gradninja.lines.given import source as sources
from gradninja.lines.plain import is_object
from gradninja.lines.program import STATIC, TUPLE, Expr
from gradninja.lines.reading.containers import GROWS, grow
from gradninja.lines.reading.in_place.through import unseen
from gradninja.lines.reading.in_place.writing import (
    asked_for,
    in_place,
    write_operator,
    write_part,
    write_to,
)
from gradninja.lines.reading.inlining import Returned, leaves_precision
from gradninja.lines.reading.members import write_member
from gradninja.lines.reading.naming import add_line, bind, fresh, reference
from gradninja.lines.reading.state import Function, Reading, Runs
from gradninja.lines.reading.values import decide, dotted, elements_of, static_operation, truth_of

# Contexts that leave the numbers what they are.
HARMLESS_CONTEXTS = frozenset(
    "record_function profile sdp_kernel sdpa_kernel nullcontext set_detect_anomaly "
    "detect_anomaly save_on_cpu range".split()
)


QUIET = frozenset({"print", "warnings.warn", "torch._assert"})  # calls that change nothing


def run_pass(reading: Reading, node: ast.Pass) -> None: ...


def run_assert(reading: Reading, node: ast.Assert) -> None: ...


def run_import(reading: Reading, node: ast.Import | ast.ImportFrom) -> None:
    found = sources.aliases(ast.Module([node], []))
    reading.source = replace(reading.source, aliases={**reading.source.aliases, **found})


def run_def(reading: Reading, node: ast.FunctionDef) -> None:
    # What it sees is what stands around it when it is called.
    reading.local_functions[node.name] = Function(
        node.name, reading.source, node, None, reading.scope
    )


def run_expr(reading: Reading, node: ast.Expr) -> None:
    call = node.value
    if isinstance(call, ast.Constant):
        return
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
        owner = call.func.value
        named = isinstance(owner, ast.Name | ast.Attribute | ast.Subscript)
        grows = named and call.func.attr in GROWS and dotted(reading, call.func) is None
        if grows and grow(reading, node, call, reading.read(owner)):
            return
    if isinstance(call, ast.Call) and ast.unparse(call.func) in QUIET:
        return
    found = reading.read(call)
    writes = isinstance(call, ast.Call) and in_place(ast.unparse(call.func))
    if writes or (found.op == STATIC and found.value is None):
        return
    reading.fail(node, "this value goes nowhere", "give it a name, or leave the line out")


def run_assign(reading: Reading, node: ast.Assign) -> None:
    expr = reading.read(node.value)
    for target in node.targets:
        expr = reading.assign(target, expr)


def run_annotated(reading: Reading, node: ast.AnnAssign) -> None:
    if node.value is not None:
        reading.assign(node.target, reading.read(node.value))


def assign(reading: Reading, target: ast.expr, expr: Expr) -> Expr:
    """Let a target hold a value: a name, several, an attribute, a part."""
    if isinstance(target, ast.Name):
        return bind(reading, target.id, expr)
    if isinstance(target, ast.Tuple | ast.List):
        return _unpack(reading, target, expr)
    if isinstance(target, ast.Attribute):
        owner = reading.read(target.value)
        if owner.op == STATIC and is_object(owner.value):
            return write_member(reading, owner, target.attr, expr)
        if owner.is_tensor and expr.is_tensor and target.attr == "data":
            return write_to(reading, target.value, owner, unseen(reading, target, owner, expr))
        if owner.is_tensor and target.attr == "requires_grad" and asked_for(owner, [expr]):
            return expr
    if isinstance(target, ast.Subscript):
        write_part(reading, target, expr)
        return expr
    reading.fail(target, f"`{ast.unparse(target)} = ...` is outside of what is read")


def _unpack(reading: Reading, target: ast.Tuple | ast.List, expr: Expr) -> Expr:
    names = target.elts
    plain = all(isinstance(n, ast.Name) for n in names)
    several = expr.op not in (TUPLE, STATIC) and isinstance(expr.value, tuple)
    if several and plain and len(names) == len(expr.value):
        targets = tuple(fresh(reading, n.id) for n in names if isinstance(n, ast.Name))
        add_line(reading, targets, expr)
        for n, t, value in zip(names, targets, expr.value, strict=True):
            if isinstance(n, ast.Name):
                reading.scope[n.id] = reference(t, value, expr)
        return expr
    elements = elements_of(reading, target, expr)
    stars = [i for i, n in enumerate(names) if isinstance(n, ast.Starred)]
    if stars:
        after = len(names) - stars[0] - 1
        middle = elements[stars[0] : len(elements) - after]
        packed = reading.container(target, middle, list)
        elements = [*elements[: stars[0]], packed, *elements[len(elements) - after :]]
    if len(elements) != len(names):
        reading.fail(target, f"{len(elements)} values for {len(names)} names")
    for n, element in zip(names, elements, strict=True):
        reading.assign(n.value if isinstance(n, ast.Starred) else n, element)
    return expr


def run_augmented(reading: Reading, node: ast.AugAssign) -> None:
    held = reading.read(node.target)
    if held.is_tensor:
        write_operator(reading, node, held)
        return
    plain = ast.copy_location(ast.BinOp(node.target, node.op, node.value), node)
    reading.assign(node.target, reading.read(plain))


def run_delete(reading: Reading, node: ast.Delete) -> None:
    for target in node.targets:
        if isinstance(target, ast.Name):
            reading.scope.pop(target.id, None)


def run_if(reading: Reading, node: ast.If) -> None:
    reading.run(node.body if decide(reading, node.test) else node.orelse)


def run_match(reading: Reading, node: ast.Match) -> None:
    """The case that a plain value falls under; patterns are values, `|` and `_`."""
    subject = reading.read(node.subject)
    for case in node.cases:
        if _falls_under(reading, case.pattern, subject) and (
            case.guard is None or decide(reading, case.guard)
        ):
            reading.run(case.body)
            return


def _falls_under(reading: Reading, pattern: ast.pattern, subject: Expr) -> bool:
    if isinstance(pattern, ast.MatchOr):
        return any(_falls_under(reading, part, subject) for part in pattern.patterns)
    if isinstance(pattern, ast.MatchSingleton):
        return subject.value is pattern.value
    if isinstance(pattern, ast.MatchValue):
        same = ast.copy_location(ast.Constant(None), pattern.value)
        found = static_operation(
            reading, same, operator.eq, (subject, reading.read(pattern.value)), same
        )
        return truth_of(reading, found, pattern)
    if isinstance(pattern, ast.MatchAs) and pattern.pattern is None:
        if pattern.name is not None:
            bind(reading, pattern.name, subject)
        return True
    reading.fail(pattern, "this pattern is outside of what is read", "write `if` and `elif`")


def run_raise(reading: Reading, node: ast.Raise) -> None:
    reading.fail(node, "the forward raises here", "give inputs that it takes")


def run_try(reading: Reading, node: ast.Try) -> None:
    """What runs; where it does not, that is told."""
    for part in (node.body, node.orelse, node.finalbody):
        reading.run(part)


def run_with(reading: Reading, node: ast.With) -> None:
    before = reading.grad_enabled
    for item in node.items:
        call = item.context_expr
        told = ast.unparse(call.func if isinstance(call, ast.Call) else call)
        name = told.rpartition(".")[2]
        if name in {"no_grad", "inference_mode"}:
            reading.grad_enabled = False
        elif name == "enable_grad":
            reading.grad_enabled = True
        elif name == "set_grad_enabled" and isinstance(call, ast.Call):
            reading.grad_enabled = decide(reading, call.args[0])
        elif name not in HARMLESS_CONTEXTS and not (
            name == "autocast" and leaves_precision(reading, call)
        ):
            reading.fail(
                node,
                f"`with {ast.unparse(call)}` is outside; torch.no_grad() is read",
                "leave the precision to who calls the forward: take the lines out of the `with`"
                if name == "autocast"
                else None,
            )
    try:
        reading.run(node.body)
    finally:
        reading.grad_enabled = before


def run_return(reading: Reading, node: ast.Return) -> None:
    if node.value is None and reading.depth:
        raise Returned(reading.static(node, None, ast.Constant(None)), node)
    if node.value is None:
        reading.fail(node, "nothing is returned", "return the loss, or the output")
    raise Returned(reading.read(node.value), node)


RUNS: dict[type, Runs] = {
    ast.Pass: run_pass,
    ast.Assert: run_assert,
    ast.Import: run_import,
    ast.ImportFrom: run_import,
    ast.FunctionDef: run_def,
    ast.Expr: run_expr,
    ast.Assign: run_assign,
    ast.AnnAssign: run_annotated,
    ast.AugAssign: run_augmented,
    ast.Delete: run_delete,
    ast.If: run_if,
    ast.Match: run_match,
    ast.Raise: run_raise,
    ast.Try: run_try,
    ast.With: run_with,
    ast.Return: run_return,
}
