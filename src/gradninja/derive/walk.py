"""The reverse walk: lines -> backward lines, the last line first.

Contributions to a variable's gradient are added up in reverse order of use, which is autograd's
order. Each is evaluated as it is written, so shapes are facts.
"""

from __future__ import annotations

import ast
import keyword
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from gradninja.derive import template as templates
from gradninja.derive.broadcast import Fit, expand, sum_broadcast
from gradninja.derive.holes import HOLES, uncovered
from gradninja.derive.printing import Printer
from gradninja.derive.statement import Statement, is_view
from gradninja.derive.template import Gradient
from gradninja.derive.temporaries import taken_names, temporary_name
from gradninja.errors import DeriveError
from gradninja.lines import ITEM, NAME, STATIC, TUPLE, Expr, Line, Program
from gradninja.rules import Book, Refusal, Rule, Site

LONGEST = 64  # characters of a cotangent's text that may stand inside another expression


@dataclass
class _Node:
    """What is known of one operation's cotangent on the way down a line."""

    gradient: Gradient | None = None
    several: dict[int, Gradient] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    notes: tuple[str, ...] = ()


class Walk:
    """One reverse walk. After `run`: `statements`, and `needs`, the parts that want names first."""

    def __init__(self, program: Program, book: Book, style: str) -> None:
        self.program = program
        self.book = book
        self.style = style
        self.statements: list[Statement] = []
        self.printer = Printer(program, book)
        self.totals: dict[str, torch.Tensor] = {}
        self.first: dict[str, Statement] = {}
        self.taken = taken_names(program)
        self.gradient_names: dict[str, str] = {}
        self.nodes: dict[int, _Node] = {}
        # Memory that tensors lie in; they are held, so that no other comes to lie there.
        self.in_use = {_memory(v): v for v in program.values.values() if _is_tensor(v)}

    def gradient_name(self, variable: str) -> str:
        """`dX` for X; where the person uses that name, or Python does, `d_X`."""
        if variable not in self.gradient_names:
            name = f"d{variable}"
            while name in self.taken or keyword.iskeyword(name):
                name = f"d_{variable}" if name == f"d{variable}" else name + "_"
            self.taken.add(name)
            self.gradient_names[variable] = name
        return self.gradient_names[variable]

    @property
    def needs(self) -> list[Expr]:
        return self.printer.needs

    # -- the walk ---------------------------------------------------------------------------

    def run(self, cotangents: dict[str, torch.Tensor]) -> None:
        """Walk the lines, last first, from the cotangents of the outputs."""
        for name, value in cotangents.items():
            self.gradient_name(name)
            self._total(name, value)
        for line in reversed(self.program.lines):
            if line.expr.differentiable and any(t in self.totals for t in line.targets):
                self._line(line)
        for given in self.program.inputs:
            if given.differentiable and given.name not in self.totals:
                self._untouched(given.name, given.value)

    def _untouched(self, name: str, value: torch.Tensor) -> None:
        source = f"{name} does not influence the output"
        last = self.program.lines[-1] if self.program.lines else None
        if last is None:
            raise DeriveError("the forward has no lines", hint="its output is an input as it is")
        call = ast.parse(f"torch.zeros_like({name})", mode="eval").body
        self.totals[name] = torch.zeros_like(value)
        statement = Statement(
            self.gradient_name(name), name, last, tuple(value.shape), value=call, notes=(source,)
        )
        self.statements.append(statement)

    def _line(self, line: Line) -> None:
        root = _Node()
        if not line.several:
            name = line.targets[0]
            syntax = ast.Name(self.gradient_name(name), ast.Load())
            root.gradient = Gradient(syntax, self.totals[name])
        for index, name in enumerate(line.targets if line.several else ()):
            if name in self.totals:
                syntax = ast.Name(self.gradient_name(name), ast.Load())
                root.several[index] = Gradient(syntax, self.totals[name])
        self.nodes = {id(line.expr): root}
        self.current = self.printer.current = line
        if line.expr.op == NAME:
            assert root.gradient is not None
            root.notes = (f"{line.name} is another name for {line.expr}: one tensor, one gradient",)
            self._contribute(line.expr, Fit(root.gradient), root)
            return
        for expr in reversed([e for e in line.expr.walk() if e.op not in (NAME, STATIC, TUPLE)]):
            node = self.nodes.get(id(expr))
            if node is not None and expr.differentiable:
                self._operation(expr, node)

    def _operation(self, expr: Expr, node: _Node) -> None:
        if expr.op == ITEM:
            several, at = expr.args
            assert node.gradient is not None
            below = self.nodes.setdefault(id(several), _Node(rules=node.rules, notes=node.notes))
            below.several[at.value] = self._full(node.gradient, expr)
            return
        site = self.book.find(expr)
        if site is None:
            names = " or ".join(str(e) for e in expr.operands if e.differentiable)
            raise DeriveError(
                f"no rule covers this call with a gradient to {names}",
                spot=expr.spot,
                hint="`.detach()` what stays constant, or write the step with other operations",
            )
        if node.gradient is None:
            site = replace(site, reached=frozenset(node.several))
        try:
            self._rule(site, node)
            node.several.clear()  # handed on: another item of it in this line comes by itself
        except Refusal as refusal:
            raise DeriveError(str(refusal), spot=expr.spot) from None
        except HOLES as error:
            raise uncovered(site, error) from error

    def _rule(self, site: Site, node: _Node) -> None:
        """Apply a row: each operand that a gradient flows to gets its contribution."""
        plan = self._plan(site)
        used = sum(templates.uses(tree, "g") for _, tree, _ in plan)
        if all(templates.is_passing(tree) for _, tree, _ in plan) and used == 1:
            used = 0  # handed on as it is: a name for it would only be a second one
        # Adding into a part of a tensor broadcasts by itself, and so does elementwise work.
        broadcasts = site.rule.elementwise or all(isinstance(t, ast.AugAssign) for _, t, _ in plan)
        cotangents = self._cotangents(site, node, used, broadcasts)
        for operand, tree, statement in plan:
            self._apply(site, node, cotangents, operand, tree, statement)

    def _plan(self, site: Site) -> list[tuple[Expr, ast.stmt, bool]]:
        """Each operand that a gradient flows to, with the text for it."""
        plan: list[tuple[Expr, ast.stmt, bool]] = []
        for formal, operand in site.bound.items():
            if not operand.differentiable:
                continue
            found = site.rule.template(formal, self.style)
            text = found(site) if callable(found) else found
            assert text is not None
            conjugate = partial(templates.conjugated, templates.complex_in(site))
            if operand.op == TUPLE:
                assert isinstance(text, list), site.rule.name
                for part, part_text in zip(operand.args, text, strict=True):
                    if part.differentiable:
                        tree = conjugate(templates.expand_macros(site, part_text))
                        plan.append((part, tree, False))
            else:
                assert isinstance(text, str), site.rule.name
                is_statement = templates.is_statement(text)
                tree = conjugate(templates.expand_macros(site, text))
                plan.append((operand, tree, is_statement))
        return plan

    # -- cotangents -------------------------------------------------------------------------

    def _cotangents(
        self, site: Site, node: _Node, used: int, broadcasts: bool
    ) -> dict[str, Gradient]:
        """`g`, or `g0`, `g1`, ... and `gs`: named first where they would be written many times."""
        expr = site.expr
        if node.gradient is not None:
            gradient = node.gradient
            if not broadcasts:
                gradient = self._full(gradient, expr)
            return {"g": self._named(gradient, expr, node, used)}
        found: dict[str, Gradient] = {}
        for index, value in enumerate(expr.value):
            if index in node.several:
                found[f"g{index}"] = self._named(node.several[index], expr, node, 1)
            else:
                like = self.printer.output(expr, index)
                zeros = ast.Call(
                    ast.Attribute(ast.Name("torch", ast.Load()), "zeros_like", ast.Load()),
                    [like],
                    [],
                )
                found[f"g{index}"] = Gradient(zeros, torch.zeros_like(value))
        return found

    def _named(self, gradient: Gradient, expr: Expr, node: _Node, used: int) -> Gradient:
        """The cotangent itself, or a name for it where writing it out would repeat or sprawl."""
        if gradient.is_name:
            return gradient
        text = ast.unparse(gradient.syntax)
        if used == 0 or (used == 1 and len(text) <= LONGEST):
            return gradient
        name = temporary_name(self.current, expr, self.taken)
        target = self.gradient_name(name)
        note = f"{name} stands for {ast.unparse(expr.syntax)}"
        self._state(
            Statement(
                target,
                name,
                self.current,
                tuple(gradient.value.shape),
                value=gradient.syntax,
                rules=node.rules,
                notes=(*node.notes, note),
            )
        )
        self.in_use[_memory(gradient.value)] = gradient.value
        node.rules, node.notes = (), ()
        return Gradient(ast.Name(target, ast.Load()), gradient.value)

    def _full(self, gradient: Gradient, expr: Expr) -> Gradient:
        """The cotangent with the whole shape of its value."""
        if tuple(gradient.value.shape) == expr.shape:
            return gradient
        return expand(gradient, expr.shape, lambda: self.printer.like(expr, typed=False)).gradient

    # -- contributions ----------------------------------------------------------------------

    def _apply(
        self,
        site: Site,
        node: _Node,
        cotangents: dict[str, Gradient],
        operand: Expr,
        tree: ast.stmt,
        statement: bool,
    ) -> None:
        values: dict[str, Any] = {name: e.value for name, e in site.bound.items()}
        values["y"] = site.expr.value
        values.update({name: g.value for name, g in cotangents.items()})
        values["gs"] = [g.value for g in cotangents.values()]
        values.update(self.program.namespace)
        if statement:
            self._scatter(site, node, cotangents, operand, tree, values)
            return
        value = templates.evaluate(tree, values)
        if site.rule.elementwise and tuple(value.shape) != site.expr.shape and "g" in cotangents:
            full = self._full(cotangents["g"], site.expr)
            cotangents = {"g": full}
            value = templates.evaluate(tree, {**values, "g": full.value})
        assert isinstance(tree, ast.Expr)
        syntax = self.printer.fill(site, cotangents, tree.value)
        if value.is_complex() and not operand.value.is_complex():
            syntax, value = ast.Attribute(syntax, "real", ast.Load()), value.real
        fit = sum_broadcast(Gradient(syntax, value), operand.shape)
        gradient = fit.gradient
        if gradient.value.dtype != operand.value.dtype:
            dtype = ast.Attribute(self.printer.like(operand), "dtype", ast.Load())
            cast = ast.Call(ast.Attribute(gradient.syntax, "to", ast.Load()), [dtype], [])
            gradient = Gradient(cast, gradient.value.to(operand.value.dtype))
        below = _Node(rules=(*node.rules, site.rule), notes=node.notes)
        if fit.summed:
            below.notes = (*below.notes, self.printer.note_summed(operand, value, fit.summed))
        if operand.op == NAME:
            self._contribute(operand, Fit(gradient, fit.summed), below)
        else:
            below.gradient = gradient
            self.nodes[id(operand)] = below

    def _scatter(
        self,
        site: Site,
        node: _Node,
        cotangents: dict[str, Gradient],
        operand: Expr,
        tree: ast.stmt,
        values: dict[str, Any],
    ) -> None:
        """A statement that adds into the gradient so far; a part of a line gets a name for it."""
        if operand.op == NAME:
            variable = ast.unparse(operand.syntax)
        else:
            variable = temporary_name(self.current, operand, self.taken)
        target = self.gradient_name(variable)
        rules = (*node.rules, site.rule)
        if variable not in self.totals:
            zeros = ast.parse("torch.zeros_like(_)", mode="eval").body
            start = templates.substitute(zeros, {"_": lambda: self.printer.like(operand)})
            self._total(variable, torch.zeros_like(operand.value))
            self._state(
                Statement(target, variable, self.current, operand.shape, value=start, rules=rules)
            )
        into = ast.Name(target, ast.Load())
        # `d` is put in together with all else: a person may have a name `d`, too.
        filled = self.printer.fill(site, {**cotangents, "d": Gradient(into, operand.value)}, tree)
        self._total(variable, templates.execute(tree, values, self.totals[variable].clone()))
        self._freshen(variable)
        self._state(
            Statement(
                target,
                variable,
                self.current,
                operand.shape,
                scatter=filled,
                adds=True,
                rules=rules,
                notes=node.notes,
            )
        )
        if operand.op != NAME:
            self.nodes[id(operand)] = _Node(Gradient(into, self.totals[variable]))

    def _contribute(self, operand: Expr, fit: Fit, node: _Node) -> None:
        """`dX = ...` the first time, `dX += ...` from then on."""
        variable = ast.unparse(operand.syntax)
        gradient, notes = fit.gradient, node.notes
        adds = variable in self.totals
        if tuple(gradient.value.shape) != operand.shape:
            full = expand(gradient, operand.shape, lambda: operand.syntax)
            notes = (*notes, self.printer.note_expanded(operand, full.expanded))
            # An addition broadcasts by itself, so there the expansion need not be written.
            gradient = Gradient(
                gradient.syntax if adds else full.gradient.syntax, full.gradient.value
            )
        shared = not adds and self._shares(gradient.value)
        if adds:
            self._freshen(variable)
        total = self.totals[variable] + gradient.value if adds else gradient.value
        self._total(variable, total)
        self._state(
            Statement(
                self.gradient_name(variable),
                variable,
                self.current,
                operand.shape,
                value=gradient.syntax,
                adds=adds,
                shared=shared,
                rules=node.rules,
                notes=notes,
            )
        )

    def _shares(self, value: torch.Tensor) -> bool:
        """Whether a value lies in the memory of another that is in use, or twice in its own."""
        memory = _memory(value)
        return memory in self.in_use or any(
            stride == 0 and size > 1
            for stride, size in zip(value.stride(), value.shape, strict=True)
        )

    def _total(self, variable: str, value: torch.Tensor) -> None:
        self.totals[variable] = value
        self.in_use[_memory(value)] = value

    def _state(self, statement: Statement) -> None:
        self.statements.append(statement)
        self.first.setdefault(statement.of, statement)

    def _freshen(self, variable: str) -> None:
        """Before something is added in place: the first value must not be another's memory."""
        first = self.first.get(variable)
        if first is None:  # a cotangent that was handed in: its owner keeps it as it is
            name = ast.Name(self.gradient_name(variable), ast.Load())
            shape = tuple(self.totals[variable].shape)
            note = f"{variable} is returned and used again, so its gradient is added up in a copy"
            self._state(
                Statement(
                    name.id, variable, self.current, shape, value=name, clone=True, notes=(note,)
                )
            )
        elif first.value is not None and not first.adds:
            first.clone = first.shared or is_view(first.value, self.book)


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)


def _memory(value: torch.Tensor) -> int:
    return value.untyped_storage().data_ptr()
