"""Each part of the reader by itself: what it needs is what is handed to it."""

from __future__ import annotations

import ast
from collections.abc import Mapping

import pytest
import torch

from gradninja.errors import ReadError
from gradninja.lines.given.source import parse
from gradninja.lines.program import NAME, STATIC, Expr
from gradninja.lines.reading import containers, expressions, looping
from gradninja.lines.reading.building import Builder
from gradninja.lines.reading.naming import bind, fresh
from gradninja.lines.reading.state import Reading, Reads, Syntax
from gradninja.rules import BOOK

SOURCE = parse("def f(x):\n    return x\n", "<text>", None)
NODE = ast.parse("x", mode="eval").body


def no_call(*given: object) -> Expr:
    raise AssertionError("nothing is called here")


def by_name(reading: Reading, node: ast.Name) -> Expr:
    return reading.scope[node.id]


def reading_with(*tables: Mapping[type, Reads]) -> Reading:
    reads = {ast.Name: by_name, **{k: v for table in tables for k, v in table.items()}}
    reading = Reading(SOURCE, BOOK, Syntax(reads, looping.RUNS, no_call, no_call))
    reading.scope = {"x": tensor("x", torch.arange(3.0))}
    return reading


def tensor(name: str, value: torch.Tensor) -> Expr:
    return Expr(NAME, (), ast.Name(name), value, SOURCE.spot(SOURCE.function), differentiable=True)


def read(reading: Reading, text: str) -> Expr:
    return reading.read(ast.parse(text, mode="eval").body)


def test_an_operation_is_built_and_run() -> None:
    built = Builder(SOURCE, BOOK)
    x = tensor("x", torch.arange(3.0))
    syntax = ast.BinOp(x.syntax, ast.Mult(), x.syntax)
    found = built.operation(NODE, "*", (x, x), syntax, lambda a, b: a * b)
    assert found.value.tolist() == [0, 1, 4] and found.differentiable and str(found) == "x * x"
    with pytest.raises(ReadError, match="there is no rule for `frobnicate`"):
        built.operation(NODE, "frobnicate", (x,), syntax, torch.exp)


def test_where_no_value_decides_a_plain_one_of_a_tensor_is_refused() -> None:
    x = tensor("x", torch.arange(3.0))
    call = ast.Call(ast.Attribute(x.syntax, "allclose"), [x.syntax], [])
    asked = ("Tensor.allclose", (x, x), call, torch.Tensor.allclose)
    assert Builder(SOURCE, BOOK).operation(NODE, *asked).value is True
    with pytest.raises(ReadError, match="hold for this one value alone"):
        Builder(SOURCE, BOOK, values_decide=False).operation(NODE, *asked)


def test_each_binding_has_a_version_of_its_own() -> None:
    reading = reading_with(expressions.READS)
    assert [fresh(reading, "y") for _ in range(3)] == ["y", "y_1", "y_2"]
    bound = bind(reading, "x", read(reading, "x * 2"))
    assert [line.targets for line in reading.lines] == [("x",)] and str(bound) == "x"


def test_expressions_read_without_calls() -> None:
    reading = reading_with(expressions.READS)
    assert read(reading, "(x[0] + 2) * 3").value == 6
    assert read(reading, "[1, 2][-1] if 2 > 1 else 0").value == 2
    with pytest.raises(ReadError, match="outside of what is read"):
        read(reading, "x.sum()")


def test_lists_and_loops_read_without_statements() -> None:
    reading = reading_with(expressions.READS, containers.READS, looping.READS)
    found = read(reading, "{k: x * k for k in (1, 2)}")
    assert list(found.value) == [1, 2] and found.value[2].tolist() == [0, 2, 4]
    assert read(reading, "{'a': 1}").op != STATIC
