"""Random single mutations of a right backward pass, as text."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.MatMult: "@"}
FUNCTIONS = {
    "sum": "mean",
    "mean": "sum",
    "exp": "log",
    "log": "exp",
    "sqrt": "exp",
    "zeros_like": "ones_like",
    "index_add_": "index_copy_",
    "scatter_add_": "scatter_",
    "tanh": "sigmoid",
    "max": "min",
    "argmax": "argmin",
}
COUNTS = ("n", "d", "t")  # what the files mutated call a number of elements


@dataclass(frozen=True)
class Mutant:
    """A text with one mutation: what was done, on which line, to which gradients' statement."""

    kind: str
    line: int
    text: str
    was: str
    now: str


@dataclass(frozen=True)
class _Change:
    """In the place of a node's text: new text."""

    kind: str
    node: ast.AST
    text: str


class Text:
    """A file's text, spliced by the positions of its syntax."""

    def __init__(self, text: str, function: str = "backward") -> None:
        self.text = text
        self.data = text.encode()
        self.starts = [0]
        for line in text.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line.encode()))
        tree = ast.parse(text)
        (self.function,) = (
            n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == function
        )
        self.body = [s for s in self.function.body if not isinstance(s, ast.Return)]
        if ast.get_docstring(self.function) is not None:
            self.body = self.body[1:]

    def span(self, node: ast.AST) -> tuple[int, int]:
        return (
            self.starts[node.lineno - 1] + node.col_offset,  # type: ignore[attr-defined]
            self.starts[node.end_lineno - 1] + node.end_col_offset,  # type: ignore[attr-defined]
        )

    def of(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.data[start:end].decode()

    def put(self, node: ast.AST, text: str) -> str:
        start, end = self.span(node)
        return (self.data[:start] + text.encode() + self.data[end:]).decode()


def mutants(text: str, function: str, generator: random.Random) -> Iterator[Mutant]:
    """All mutations of a backward, in random order, each kind in its turn."""
    source = Text(text, function)
    by_kind: dict[str, list[tuple[ast.stmt, _Change]]] = {}
    for statement in source.body:
        for change in _changes(source, statement, generator):
            by_kind.setdefault(change.kind, []).append((statement, change))
    for found in by_kind.values():
        generator.shuffle(found)
    while by_kind:
        for kind in list(by_kind):
            statement, change = by_kind[kind].pop()
            if not by_kind[kind]:
                del by_kind[kind]
            mutated = source.put(change.node, change.text)
            try:
                ast.parse(mutated)
            except SyntaxError:
                continue
            line = getattr(change.node, "lineno", statement.lineno)
            yield Mutant(kind, line, mutated, source.of(change.node), change.text)


def _changes(source: Text, statement: ast.stmt, generator: random.Random) -> Iterator[_Change]:
    names = sorted(_read_names(source.function) | _written_names(source.body, statement))
    yield _Change("drop a statement", statement, "pass")
    for node in ast.walk(statement):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name | ast.Subscript):
            target, value = source.of(node.targets[0]), source.of(node.value)
            yield _Change("= / +=", node, f"{target} += {value}")
        elif isinstance(node, ast.AugAssign):
            target, value = source.of(node.target), source.of(node.value)
            yield _Change("= / +=", node, f"{target} = {value}")
            yield _Change("sign", node, f"{target} -= {value}")
        elif isinstance(node, ast.expr) and not isinstance(
            getattr(node, "ctx", ast.Load()), ast.Store
        ):
            for rule in RULES:
                for kind, text in rule(source, node, names, generator):
                    yield _Change(kind, node, text)


def _read_names(function: ast.FunctionDef) -> set[str]:
    return {argument.arg for argument in function.args.args}


def _written_names(body: list[ast.stmt], until: ast.stmt) -> set[str]:
    found = set()
    for statement in body[: body.index(until)]:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return found


Found = Iterator[tuple[str, str]]
Rule = Callable[[Text, ast.expr, list[str], random.Random], Found]


def _names(source: Text, node: ast.expr, names: list[str], generator: random.Random) -> Found:
    if not isinstance(node, ast.Name) or node.id in ("torch", "F", "range"):
        return
    for other in generator.sample(names, min(4, len(names))):
        if other != node.id:
            yield "name", other
    twin = node.id[1:] if node.id.startswith("d") else f"d{node.id}"
    if twin in names:
        yield "gradient / value", twin
    if node.id in COUNTS:
        yield "n / n-1", f"({node.id} - 1)"


def _constants(source: Text, node: ast.expr, names: list[str], generator: random.Random) -> Found:
    if not isinstance(node, ast.Constant) or type(node.value) not in (int, float):
        return
    value = node.value
    for other in (value + 1, value * 2, -value):
        if other != value:
            yield "constant or axis", repr(other) if other >= 0 else f"({other!r})"


def _operators(source: Text, node: ast.expr, names: list[str], generator: random.Random) -> Found:
    if not isinstance(node, ast.BinOp):
        return
    left, right = source.of(node.left), source.of(node.right)
    wrapped = [f"({part})" if " " in part else part for part in (left, right)]
    if type(node.op) in OPERATORS:
        symbol = OPERATORS[type(node.op)]
        others = [s for s in OPERATORS.values() if s != symbol]
        for other in generator.sample(others, 2):
            kind = "sign" if {other, symbol} == {"+", "-"} else "operator"
            yield kind, f"({wrapped[0]} {other} {wrapped[1]})"
        if symbol in "-/@":
            kind = "matmul operands" if symbol == "@" else "operands"
            yield kind, f"({wrapped[1]} {symbol} {wrapped[0]})"
        yield "drop a factor or term", f"({left})"
        yield "drop a factor or term", f"({right})"
    if isinstance(node.left, ast.BinOp) and type(node.left.op) in OPERATORS:
        first, second = source.of(node.left.left), source.of(node.left.right)
        if type(node.op) in OPERATORS:
            inner = f"({second} {OPERATORS[type(node.op)]} {wrapped[1]})"
            yield "parentheses", f"({first} {OPERATORS[type(node.left.op)]} {inner})"
    if isinstance(node.op, ast.Sub) and left in COUNTS:
        yield "n / n-1", left


def _unary(source: Text, node: ast.expr, names: list[str], generator: random.Random) -> Found:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign", f"({source.of(node.operand)})"


def _calls(source: Text, node: ast.expr, names: list[str], generator: random.Random) -> Found:
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield "drop .T", f"({source.of(node.value)})"
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return
    owner = source.of(node.func.value)
    what = node.func.attr
    inside = ", ".join(source.of(part) for part in (*node.args, *node.keywords))
    atom = isinstance(node.func.value, ast.Name | ast.Attribute | ast.Call | ast.Subscript)
    owner = owner if atom else f"({owner})"
    if owner in ("torch", "F"):
        if what in FUNCTIONS:
            yield "function", f"{owner}.{FUNCTIONS[what]}({inside})"
        return
    if what in FUNCTIONS:
        yield "function", f"{owner}.{FUNCTIONS[what]}({inside})"
    if what == "sum":
        yield "drop a sum", owner
    elif what == "clone":
        yield "drop .clone()", owner
    else:
        yield "drop a call", owner
    for keyword in node.keywords:
        rest = [source.of(p) for p in (*node.args, *node.keywords) if p is not keyword]
        yield f"drop {keyword.arg}", f"{owner}.{what}({', '.join(rest)})"


RULES: tuple[Rule, ...] = (_names, _constants, _operators, _unary, _calls)
