"""Loops, read turn by turn: each line knows the loops that it stands in, and which turn it is."""

from __future__ import annotations

import ast

from gradninja.lines import fence
from gradninja.lines.program import STATIC, TUPLE, Expr, Loop
from gradninja.lines.reading.state import Reading, Reads, Runs
from gradninja.lines.reading.values import assume, decide, elements_of


class Broke(Exception):
    """The innermost loop is left."""


class Continued(Exception):
    """Its next turn comes."""


def run_for(reading: Reading, node: ast.For) -> None:
    over = reading.read(node.iter)
    assume(reading, over)
    elements = elements_of(reading, node.iter, over)
    if len(elements) > fence.MOST_STEPS:
        reading.fail(node.iter, f"{len(elements):,} steps are more than are unrolled")
    number = len(reading.loops)
    reading.loops.append(Loop(over, len(elements)))
    for turn, element in enumerate(elements):
        reading.statement = node
        reading.turns.append((number, turn))
        try:
            _loop_variable(reading, node.target, element)
            reading.run(node.body)
        except Continued:
            continue
        except Broke:
            return
        finally:
            reading.turns.pop()
    reading.run(node.orelse)


def run_while(reading: Reading, node: ast.While) -> None:
    """Turn by turn, where its condition is one on plain values."""
    while decide(reading, node.test):
        reading.statement = node
        reading.spend()
        try:
            reading.run(node.body)
        except Continued:
            continue
        except Broke:
            return
    reading.run(node.orelse)


def run_break(reading: Reading, node: ast.Break) -> None:
    raise Broke


def run_continue(reading: Reading, node: ast.Continue) -> None:
    raise Continued


def _loop_variable(reading: Reading, target: ast.expr, element: Expr) -> None:
    """A loop's int is written out as a number; a tensor gets a name like any other."""
    if isinstance(target, ast.Name) and element.op == STATIC:
        reading.scope[target.id] = element
    elif isinstance(target, ast.Tuple) and element.op in (TUPLE, STATIC):
        for inner, part in zip(target.elts, elements_of(reading, target, element), strict=False):
            _loop_variable(reading, inner, part)
    else:
        reading.assign(target, element)


def read_list_comprehension(reading: Reading, node: ast.ListComp) -> Expr:
    return reading.container(node, comprehension(reading, node), list)


def read_generator(reading: Reading, node: ast.GeneratorExp) -> Expr:
    return reading.container(node, comprehension(reading, node), list)


def comprehension(reading: Reading, node: ast.ListComp | ast.GeneratorExp) -> list[Expr]:
    before, found = reading.scope, list[Expr]()
    reading.scope = dict(before)

    def turns(loops: list[ast.comprehension]) -> None:
        if not loops:
            found.append(reading.read(node.elt))
            return
        loop, *rest = loops
        over = reading.read(loop.iter)
        assume(reading, over)
        elements = elements_of(reading, node, over)
        if len(elements) > fence.MOST_STEPS:
            reading.fail(node, f"{len(elements):,} steps are more than are unrolled")
        for element in elements:
            reading.spend()
            _loop_variable(reading, loop.target, element)
            if all(decide(reading, test) for test in loop.ifs):
                turns(rest)

    turns(node.generators)
    reading.scope = before
    return found


READS: dict[type, Reads] = {
    ast.ListComp: read_list_comprehension,
    ast.GeneratorExp: read_generator,
}


RUNS: dict[type, Runs] = {
    ast.For: run_for,
    ast.While: run_while,
    ast.Break: run_break,
    ast.Continue: run_continue,
}
