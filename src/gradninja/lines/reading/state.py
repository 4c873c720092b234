"""What is known while a function is read, and the four ways by which its parts call each other.

The parts of the reader are functions of a `Reading`, in tables by the kind of syntax. A part calls
what stands below it by name, and what may be anything by the tables: `read` an expression, `run`
statements, `call` a value, `assign` to a target.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gradninja.lines import fence
from gradninja.lines.given.source import Source
from gradninja.lines.modules.wrappers import unwrapped
from gradninja.lines.program import Assumption, Expr, Input, Line, Loop
from gradninja.lines.reading.building import Builder
from gradninja.lines.vocabulary import Vocabulary

Reads = Callable[["Reading", Any], Expr]
Runs = Callable[["Reading", Any], None]


@dataclass(frozen=True, eq=False)
class Function:
    """A function that a call may put in its place: its text, or the live thing it is read from.

    `around`: the names that a function within a function sees.
    """

    name: str
    source: Source | None = None
    node: ast.FunctionDef | None = None
    live: Callable[..., Any] | None = None
    around: Mapping[str, Expr] | None = None

    @staticmethod
    def of(live: Callable[..., Any], name: str) -> Function:
        return Function(name, live=unwrapped(live))


@dataclass(frozen=True, eq=False)
class Partly:
    """A function with some of its arguments, which are tensors: `partial(kernel, scale=s)`."""

    function: Expr
    args: tuple[Expr, ...]
    kwargs: Mapping[str, Expr]


@dataclass(frozen=True)
class Syntax:
    """What is read: a function for each kind of expression and of statement, for calls and targets.

    `values_decide`: whether a tensor's value may decide what is read, as a size does.
    """

    reads: Mapping[type, Reads]
    runs: Mapping[type, Runs]
    call: Callable[[Reading, ast.Call, Expr, list[Expr], Mapping[str, Expr]], Expr]
    assign: Callable[[Reading, ast.expr, Expr], Expr]
    values_decide: bool = True


class Reading(Builder):
    """One function, read by this syntax; `book` says which operations there are."""

    def __init__(self, source: Source, book: Vocabulary, syntax: Syntax) -> None:
        super().__init__(source, book, syntax.values_decide)
        self.syntax = syntax
        self.lines: list[Line] = []
        self.assumptions: list[Assumption] = []
        self.statement: ast.stmt = source.function
        self.whole = source.function.body
        self.depth = 0  # of the calls that are being read
        # names
        self.taken: set[str] = {"torch", "F", "math", "np"}  # which the text itself uses
        self.reserved = {
            node.id
            for node in ast.walk(source.function)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        self.counts: dict[str, int] = {}  # the number that a base's last fresh name ends in
        self.made: dict[str, int] = {}  # how deep in calls a name was made
        self.whole_names: set[str] = set()  # of the parts of inputs that are dictionaries or lists
        # loops and functions
        self.loops: list[Loop] = []
        self.turns: list[tuple[int, int]] = []  # the loops that are being read, the turn of each
        self.local_functions: dict[str, Function] = {}
        self.loaded: dict[Callable[..., Any], Source] = {}
        # inputs and objects
        self.inputs: tuple[Input, ...] = ()
        self.of_object = False  # whether an object's forward is read
        self.own_state: frozenset[str] = frozenset()  # the inputs that an object holds
        self.tensors: dict[int, Expr] = {}  # the tensors that a live object holds, by identity
        self.twins: Mapping[int, Any] = {}  # what stands for an array, or for what holds arrays
        self.state: dict[tuple[int, str], Expr] = {}  # attributes that the forward wrote
        self.functions: dict[str, type] = {}  # the torch.autograd.Functions that it applies
        self.objects: list[Any] = []  # that it made: an identity is one as long as they are there

    def read(self, node: ast.expr) -> Expr:
        """The expression that a syntax node stands for."""
        hint = fence.EXPRESSIONS.get(type(node))
        if hint is not None:
            self.fail(node, f"this is outside of what is read: {hint}")
        reads = self.syntax.reads.get(type(node))
        if reads is None:
            self.fail(node, f"`{ast.unparse(node)}` is outside of what is read")
        return reads(self, node)

    def run(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self.statement = statement
            if body is self.whole:
                self.outermost = self.source.spot(statement)
            self.spend()
            hint = fence.STATEMENTS.get(type(statement))
            if hint is not None:
                self.fail(statement, f"this is outside of what is read: {hint}")
            runs = self.syntax.runs.get(type(statement))
            if runs is None:
                self.fail(statement, "this statement is outside of what is read")
            runs(self, statement)

    def call(
        self, node: ast.Call, callee: Expr, args: list[Expr], kwargs: Mapping[str, Expr]
    ) -> Expr:
        """A call of what an expression stands for."""
        return self.syntax.call(self, node, callee, args, kwargs)

    def assign(self, target: ast.expr, expr: Expr) -> Expr:
        """Let a target hold a value; what it then is."""
        return self.syntax.assign(self, target, expr)
