"""Reading a forward, statement by statement, with real values: text -> Program.

Every binding of a name gets a version of its own (`x`, `x_1`, ...), calls of plain functions are
inlined, loops over constant ranges are unrolled. What is outside of the fence is refused.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from gradninja.errors import ReadError
from gradninja.lines import fence
from gradninja.lines.given import source as sources
from gradninja.lines.given.source import Source
from gradninja.lines.modules.live import Live
from gradninja.lines.plain import is_object
from gradninja.lines.program import (
    NAME,
    STATIC,
    TUPLE,
    Assumption,
    Expr,
    Input,
    Line,
    Loop,
    Program,
    names_in,
    needed,
)
from gradninja.lines.reading.bounds import bounds
from gradninja.lines.reading.containers import GROWS
from gradninja.lines.reading.inlining import Function, Returned
from gradninja.lines.reading.looping import Looping
from gradninja.lines.reading.numbers import hold_reckoned
from gradninja.lines.vocabulary import Vocabulary

# Contexts that leave the numbers what they are.
HARMLESS_CONTEXTS = frozenset(
    "record_function profile sdp_kernel sdpa_kernel nullcontext set_detect_anomaly "
    "detect_anomaly save_on_cpu range".split()
)
QUIET = frozenset({"print", "warnings.warn", "torch._assert"})  # calls that change nothing


class Reader(Looping):
    """Reads one function; `book` says what there is to be read."""

    def __init__(self, source: Source, book: Vocabulary) -> None:
        self.source = source
        self.book = book
        self.grad_enabled = True
        self.of_object = False
        self.scope: dict[str, Expr] = {}
        self.lines: list[Line] = []
        self.assumptions: list[Assumption] = []
        self.bounds: dict[int, int] = {}  # storage of an index tensor -> size of what it indexes
        self.local_functions: dict[str, Function] = {}
        self.loaded: dict[Callable[..., Any], Source] = {}
        self.frames: list[dict[str, Expr]] = []
        self.handed: frozenset[str] = frozenset()
        self.tensors: dict[int, Expr] = {}
        self.twins: Mapping[int, Any] = {}
        self.state: dict[tuple[int, str], Expr] = {}
        self.objects: list[Any] = []
        self.loops: list[Loop] = []
        self.whole_names: set[str] = set()
        self.turns: list[tuple[int, int]] = []
        self.depth = 0
        self.statement: ast.stmt = source.function
        self.spent, self.whole = 0, source.function.body
        self.outermost = source.spot(source.function)  # the forward's own statement that is read
        self.taken: set[str] = {"torch", "F", "math", "np"}  # which the text itself uses
        self.inputs: tuple[Input, ...] = ()
        self.own_state: frozenset[str] = frozenset()
        self.overwritten: dict[str, tuple[int, str]] = {}
        self.made: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        self.reserved = {
            node.id
            for node in ast.walk(source.function)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }

    def spend(self) -> None:
        self.spent += 1
        if self.spent > fence.MOST_LINES:
            raise ReadError(
                f"this unrolls to more than {fence.MOST_LINES:,} lines, more than are read",
                spot=self.outermost,
                hint="loops, comprehensions and calls are written out, turn by turn: give it fewer "
                "turns, or say the same with operations on whole tensors",
            )

    # -- statements -------------------------------------------------------------------------

    def run(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self.statement = statement
            if body is self.whole:
                self.outermost = self.source.spot(statement)
            self.spend()
            hint = fence.STATEMENTS.get(type(statement))
            if hint is not None:
                self.fail(statement, f"this is outside of what is read: {hint}")
            method = getattr(self, f"run_{type(statement).__name__}", None)
            if method is None:
                self.fail(statement, "this statement is outside of what is read")
            method(statement)

    def run_Pass(self, node: ast.Pass) -> None: ...

    def run_Assert(self, node: ast.Assert) -> None: ...

    def run_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        found = sources.aliases(ast.Module([node], []))
        self.source = replace(self.source, aliases={**self.source.aliases, **found})

    run_ImportFrom = run_Import

    def run_FunctionDef(self, node: ast.FunctionDef) -> None:
        # What it sees is what stands around it when it is called.
        self.local_functions[node.name] = Function(node.name, self.source, node, None, self.scope)

    def run_Expr(self, node: ast.Expr) -> None:
        call = node.value
        if isinstance(call, ast.Constant):
            return
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            owner = call.func.value
            named = isinstance(owner, ast.Name | ast.Attribute | ast.Subscript)
            grows = named and call.func.attr in GROWS and self.dotted(call.func) is None
            if grows and self.grow(node, call, self.read(owner)):
                return
        if isinstance(call, ast.Call) and ast.unparse(call.func) in QUIET:
            return
        found = self.read(call)
        writes = isinstance(call, ast.Call) and self.in_place(ast.unparse(call.func))
        if writes or (found.op == STATIC and found.value is None):
            return
        self.fail(node, "this value goes nowhere", "give it a name, or leave the line out")

    def run_Assign(self, node: ast.Assign) -> None:
        expr = self.read(node.value)
        for target in node.targets:
            expr = self.assign(target, expr)

    def run_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.assign(node.target, self.read(node.value))

    def assign(self, target: ast.expr, expr: Expr) -> Expr:
        if isinstance(target, ast.Name):
            return self.bind(target.id, expr)
        if isinstance(target, ast.Tuple | ast.List):
            return self._unpack(target, expr)
        if isinstance(target, ast.Attribute):
            owner = self.read(target.value)
            if owner.op == STATIC and is_object(owner.value):
                return self.write_member(owner, target.attr, expr)
        if isinstance(target, ast.Subscript):
            self.write_part(target, expr)
            return expr
        self.fail(target, f"`{ast.unparse(target)} = ...` is outside of what is read")

    def _unpack(self, target: ast.Tuple | ast.List, expr: Expr) -> Expr:
        names = target.elts
        plain = all(isinstance(n, ast.Name) for n in names)
        several = expr.op not in (TUPLE, STATIC) and isinstance(expr.value, tuple)
        if several and plain and len(names) == len(expr.value):
            targets = tuple(self.fresh(n.id) for n in names if isinstance(n, ast.Name))
            self.add_line(targets, expr)
            for n, t, value in zip(names, targets, expr.value, strict=True):
                if isinstance(n, ast.Name):
                    self.scope[n.id] = self.reference(t, value, expr)
            return expr
        elements = self.elements_of(target, expr)
        stars = [i for i, n in enumerate(names) if isinstance(n, ast.Starred)]
        if stars:
            after = len(names) - stars[0] - 1
            middle = elements[stars[0] : len(elements) - after]
            packed = self.container(target, middle, list)
            elements = [*elements[: stars[0]], packed, *elements[len(elements) - after :]]
        if len(elements) != len(names):
            self.fail(target, f"{len(elements)} values for {len(names)} names")
        for n, element in zip(names, elements, strict=True):
            self.assign(n.value if isinstance(n, ast.Starred) else n, element)
        return expr

    def run_AugAssign(self, node: ast.AugAssign) -> None:
        held = self.read(node.target)
        if held.is_tensor:
            self.write_operator(node, held)
            return
        plain = ast.copy_location(ast.BinOp(node.target, node.op, node.value), node)
        self.assign(node.target, self.read(plain))

    def run_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.scope.pop(target.id, None)

    def run_If(self, node: ast.If) -> None:
        self.run(node.body if self.decide(node.test) else node.orelse)

    def run_Match(self, node: ast.Match) -> None:
        """The case that a plain value falls under; patterns are values, `|` and `_`."""
        subject = self.read(node.subject)
        for case in node.cases:
            if self._falls_under(case.pattern, subject) and (
                case.guard is None or self.decide(case.guard)
            ):
                self.run(case.body)
                return

    def _falls_under(self, pattern: ast.pattern, subject: Expr) -> bool:
        if isinstance(pattern, ast.MatchOr):
            return any(self._falls_under(part, subject) for part in pattern.patterns)
        if isinstance(pattern, ast.MatchSingleton):
            return subject.value is pattern.value
        if isinstance(pattern, ast.MatchValue):
            same = ast.copy_location(ast.Constant(None), pattern.value)
            found = self._static_operation(
                same, operator.eq, (subject, self.read(pattern.value)), same
            )
            return self.truth(found, pattern)
        if isinstance(pattern, ast.MatchAs) and pattern.pattern is None:
            if pattern.name is not None:
                self.bind(pattern.name, subject)
            return True
        self.fail(pattern, "this pattern is outside of what is read", "write `if` and `elif`")

    def run_Raise(self, node: ast.Raise) -> None:
        self.fail(node, "the forward raises here", "give inputs that it takes")

    def run_Try(self, node: ast.Try) -> None:
        """What runs; where it does not, that is told."""
        for part in (node.body, node.orelse, node.finalbody):
            self.run(part)

    def run_With(self, node: ast.With) -> None:
        before = self.grad_enabled
        for item in node.items:
            call = item.context_expr
            told = ast.unparse(call.func if isinstance(call, ast.Call) else call)
            name = told.rpartition(".")[2]
            if name in {"no_grad", "inference_mode"}:
                self.grad_enabled = False
            elif name == "enable_grad":
                self.grad_enabled = True
            elif name == "set_grad_enabled" and isinstance(call, ast.Call):
                self.grad_enabled = self.decide(call.args[0])
            elif name not in HARMLESS_CONTEXTS and not (
                name == "autocast" and self.leaves_precision(call)
            ):
                self.fail(
                    node,
                    f"`with {ast.unparse(call)}` is outside; torch.no_grad() is read",
                    "leave the precision to who calls the forward: take the lines out of the `with`"
                    if name == "autocast"
                    else None,
                )
        try:
            self.run(node.body)
        finally:
            self.grad_enabled = before

    def run_Return(self, node: ast.Return) -> None:
        if node.value is None and self.depth:
            raise Returned(self.static(node, None, ast.Constant(None)), node)
        if node.value is None:
            self.fail(node, "nothing is returned", "return the loss, or the output")
        raise Returned(self.read(node.value), node)

    def assume(self, expr: Expr) -> None:
        if expr.sized and expr.op == STATIC:
            self.assumptions.append(Assumption(expr.syntax, expr.value, expr.spot))

    def assume_length(self, over: Expr) -> None:
        length = ast.Call(ast.Name("len", ast.Load()), [over.syntax], [])
        self.assumptions.append(Assumption(length, len(over.value), over.spot))

    def note_bounds(self, op: str, args: tuple[Expr, ...], kwargs: Mapping[str, Expr]) -> None:
        for index, size in bounds(op, args, kwargs):
            if index.is_tensor:  # a view of an input is told by its memory
                key = index.value.untyped_storage().data_ptr()
                self.bounds[key] = min(size, self.bounds.get(key, size))

    # -- the whole function -----------------------------------------------------------------

    def program(
        self,
        inputs: tuple[Input, ...],
        axis_names: Mapping[int, str],
        live: Live | None = None,
        packed: Mapping[str, Any] | None = None,
    ) -> Program:
        """The program of the function, read with these inputs; `live`: the object whose it is."""
        function = self.source.function
        self.of_object = live is not None
        self.inputs = inputs
        self.own_state = frozenset(() if live is None else live.tensors)
        self.twins = {} if live is None else live.twins
        settings = (given.name for given in inputs if isinstance(given.value, dict))
        self.handed = frozenset((*settings, *(packed or ())))
        for given in inputs:
            self._take(given, live)
        for name, structure in (packed or {}).items():
            self.scope[name] = self._together(structure)
        if live is not None:
            if live.takes_self:
                itself = function.args.args[0].arg
                syntax = ast.Name(itself, ast.Load())
                self.scope[itself] = self.static(function, live.instance, syntax)
            for star, empty in ((function.args.vararg, ()), (function.args.kwarg, {})):
                if star is not None:  # a module is called with what its forward names
                    self.scope[star.arg] = self.static(star, empty, ast.Tuple([], ast.Load()))
        try:
            self.run(function.body)
        except Returned as reached:
            self.statement = reached.node
            outputs = self._outputs(reached)
        else:
            self.fail(
                function, "the function does not end in `return`", "return the loss or output"
            )
        if live is not None:
            told = [n for a in self.assumptions for n in names_in(a.syntax)]
            self.lines = needed(self.lines, [*outputs, *told])
            read = {n for line in self.lines for n in names_in(line.expr.syntax)}
            read.update(outputs, told)
            inputs = tuple(i for i in inputs if i.name in read or i.name not in live.tensors)
        return Program(
            name=function.name if live is None else live.name,
            file=self.source.file,
            inputs=inputs,
            lines=tuple(self.lines),
            outputs=outputs,
            assumptions=tuple(self.assumptions),
            loops=tuple(self.loops),
            packed=packed or {},
            namespace=dict(self.book.own),
            axis_names=axis_names,
            live=live,
            dialect=self.source.dialect,
            default=torch.get_default_dtype(),
        )

    def _take(self, given: Input, live: Live | None) -> None:
        """Put an input where the text finds it: in its scope, or in its object."""
        self.taken.add(given.name)
        tensor = isinstance(given.value, torch.Tensor)
        expr = Expr(
            NAME if tensor else STATIC,
            (),
            ast.Name(given.name, ast.Load()),
            given.value,
            self.source.spot(self.source.function),
            differentiable=given.differentiable,
        )
        if live is not None and given.name in live.tensors:
            self.tensors[id(live.tensors[given.name])] = expr
        else:
            self.scope[given.name] = expr

    def _together(self, structure: Any) -> Expr:
        """An input that is a dictionary or list, of the inputs that its parts are."""
        node = self.source.function
        if isinstance(structure, dict):
            entries = {key: self._together(inner) for key, inner in structure.items()}
            return self.dictionary(node, entries)
        if isinstance(structure, list | tuple):
            return self.container(node, map(self._together, structure), type(structure))
        self.whole_names.add(structure)
        return self.scope.pop(structure)

    def _outputs(self, reached: Returned) -> tuple[str, ...]:
        value, names = reached.value, []
        several = tuple(_returned(value))
        if value.op not in (TUPLE, STATIC) and isinstance(value.value, tuple):
            several = tuple(self.elements_of(reached.node, value))
        given = set(self.scope_inputs())
        for expr in several:
            hold_reckoned(expr.value)
            if not expr.is_tensor:
                self.fail(
                    reached.node, "the return value is no tensor", "return the loss or output"
                )
            self.hold_fresh(reached.node, expr)
            name = ast.unparse(expr.syntax)
            if expr.op != NAME or name in given or name in names:
                name = self.fresh("out")
                self.add_line((name,), expr)
            names.append(name)
        return tuple(names)

    def scope_inputs(self) -> tuple[str, ...]:
        """The forward's own parameters."""
        arguments = self.source.function.args
        return tuple(
            a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        )


def _returned(value: Expr) -> Iterator[Expr]:
    """What is returned, one by one; a None beside tensors is not."""
    if value.op != TUPLE:
        yield value
        return
    for part in value.args:
        if not (part.op == STATIC and part.value is None):
            yield from _returned(part)
