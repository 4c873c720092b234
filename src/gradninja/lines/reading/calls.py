"""Reading one call: a torch function, a tensor's method, Python on plain values, or a def."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from gradninja.lines import fence
from gradninja.lines.plain import is_object, is_plain, literal
from gradninja.lines.program import STATIC, TUPLE, Expr
from gradninja.lines.reading import numbers
from gradninja.lines.reading.expressions import Expressions


class Calls(Expressions):
    """Evaluates calls; the statement reader supplies `inline`."""

    def read_Call(self, node: ast.Call) -> Expr:
        func = node.func
        if isinstance(func, ast.Name) and func.id not in self.scope:
            if func.id in self.book.own:
                return self._call(node, func.id, func, self.book.own[func.id])
            if self.is_function(func.id):
                args, kwargs = self._arguments(node)
                return self.inline(node, func.id, args, kwargs)
        path = self.dotted(func)
        if path is not None:
            found = fence.find(path)
            if isinstance(found, type) and not self.book.knows(path):
                args, kwargs = self._arguments(node)
                return self.call_value(node, self.static(node, found, func), args, kwargs)
            return self.module_call(node, path)
        if isinstance(func, ast.Name) and func.id not in self.scope:
            outside = self.source.outside.get(func.id)
            if outside is None or isinstance(outside, torch.Tensor):
                args, kwargs = self._arguments(node)
                return self.builtin(node, func.id, args, kwargs)
        if isinstance(func, ast.Attribute):
            return self._method(node, func)
        callee = self.read(func)
        if callee.op != STATIC:
            self.fail(node, f"`{ast.unparse(func)}` is not a function that can be read")
        args, kwargs = self._arguments(node)
        return self.call_value(node, callee, args, kwargs)

    def call_value(
        self, node: ast.Call, callee: Expr, args: list[Expr], kwargs: Mapping[str, Expr]
    ) -> Expr:
        raise NotImplementedError

    def is_function(self, name: str) -> bool:
        raise NotImplementedError

    def inline(
        self, node: ast.Call, name: str, args: list[Expr], kwargs: Mapping[str, Expr]
    ) -> Expr:
        raise NotImplementedError

    def note_bounds(self, op: str, args: tuple[Expr, ...], kwargs: Mapping[str, Expr]) -> None:
        raise NotImplementedError

    def _arguments(self, node: ast.Call) -> tuple[list[Expr], dict[str, Expr]]:
        kwargs: dict[str, Expr] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                held = self.read(keyword.value)
                if not isinstance(held.value, dict):
                    self.fail(node, "`**` in a call is outside", "write the keyword arguments out")
                if held.op == TUPLE:
                    kwargs.update(zip(held.value, held.args, strict=True))
                    continue
                for key, value in held.value.items():
                    kwargs[key] = self.value_of(
                        keyword.value, value, literal(value) if is_plain(value) else node
                    )
                continue
            if keyword.arg == "out":
                self.fail(node, "`out=` writes in place", "use the value that is returned")
            if keyword.arg in kwargs:
                self.fail(node, f"the keyword argument `{keyword.arg}` is repeated")
            kwargs[keyword.arg] = self._operand(self.read(keyword.value))
        return [self._operand(arg) for arg in self._elements(node.args)], kwargs

    def _operand(self, expr: Expr) -> Expr:
        """An argument; the outputs of an operation that gives several are named one by one."""
        if expr.op in (STATIC, TUPLE) or not isinstance(expr.value, tuple):
            return expr
        return self.name_outputs(expr.op.rpartition(".")[2], expr)

    def name_outputs(self, base: str, expr: Expr) -> Expr:
        raise NotImplementedError

    def operation(
        self,
        node: ast.AST,
        op: str,
        args: tuple[Expr, ...],
        syntax: ast.expr,
        run: Callable[..., Any],
        kwargs: Mapping[str, Expr] | None = None,
    ) -> Expr:
        found = super().operation(node, op, args, syntax, run, kwargs)
        self.note_bounds(op, args, kwargs or {})
        return found

    def _call(
        self, node: ast.Call, op: str, func: ast.expr, run: Callable[..., Any], *first: Expr
    ) -> Expr:
        args, kwargs = self._arguments(node)
        return self._apply(node, op, func, run, args, kwargs, *first)

    def _apply(
        self,
        node: ast.AST,
        op: str,
        func: ast.expr,
        run: Callable[..., Any],
        args: list[Expr],
        kwargs: Mapping[str, Expr],
        *first: Expr,
    ) -> Expr:
        syntax = ast.Call(
            func,
            [e.syntax for e in args],
            [ast.keyword(name, e.syntax) for name, e in kwargs.items()],
        )
        return self.operation(node, op, (*first, *args), syntax, run, kwargs)

    def module_call(
        self,
        node: ast.Call,
        path: str,
        args: list[Expr] | None = None,
        kwargs: Mapping[str, Expr] | None = None,
    ) -> Expr:
        """A call of torch's function, or of another module's, by its path."""
        function = fence.find(path)
        if function is None or not callable(function):
            self.fail(node, f"there is no function `{path}`")
        self._refuse_outside(node, path)
        if path in fence.STATIC_FUNCTIONS:
            if args is None or kwargs is None:
                args, kwargs = self._arguments(node)
            if kwargs or any(e.op != STATIC for e in args):
                self.fail(
                    node, f"`{path}` takes plain numbers here", "use torch's function instead"
                )
            syntax = ast.Call(fence.callee_syntax(path), [e.syntax for e in args], [])
            return self._static_operation(node, function, tuple(args), syntax)
        if not self.book.knows(path) or path.startswith(
            "np."
        ):  # what is left of NumPy is no word of torch's
            self.fail(
                node,
                f"there is no rule for `{path}`",
                "write it with operations that have one, or give it a rule with gradninja.rule",
            )
        if args is None or kwargs is None:
            args, kwargs = self._arguments(node)
        return self._apply(node, path, fence.callee_syntax(path), function, args, kwargs)

    def _refuse_outside(self, node: ast.AST, op: str) -> None:
        name = op.rpartition(".")[2]
        if op in fence.REFUSED:
            self.fail(node, f"`{name}` is outside of what is read", fence.REFUSED[op])
        if name.endswith("_") and not name.endswith("__"):
            plain = name.rstrip("_")
            self.fail(
                node,
                f"`{name}` changes a tensor in place, so its earlier value is lost to the backward",
                f"write `y = ...` with `{plain}` instead",
            )

    def _method(self, node: ast.Call, func: ast.Attribute) -> Expr:
        return self.method_of(node, func, self.read(func.value))

    def method_of(self, node: ast.Call, func: ast.Attribute, owner: Expr) -> Expr:
        """A call of a method of what was read."""
        attribute = ast.Attribute(owner.syntax, func.attr, ast.Load())
        if owner.is_tensor:
            op = f"Tensor.{func.attr}"
            if func.attr in numbers.METHODS:
                self._arguments(node)
                return self.taken_out(
                    self.source.spot(node), owner, func.attr, ast.Call(attribute, [], [])
                )
            if self._hands_on(node, func.attr, owner):
                return owner
            if self.in_place(op):
                return self.write_method(node, func, owner)
            self._refuse_outside(node, op)
            function = getattr(torch.Tensor, func.attr, None)
            if function is None or not callable(function):
                self.fail(node, f"a tensor has no method `{func.attr}`")
            if not self.book.knows(op):
                self.fail(
                    node,
                    f"there is no rule for the method `{func.attr}`",
                    "write it with operations that have one, or give it a rule with gradninja.rule",
                )
            return self._call(node, op, attribute, function, owner)
        if owner.op in (STATIC, TUPLE) and isinstance(owner.value, list | tuple | dict):
            args, _ = self._arguments(node)
            found = self.container_method(node, owner, func.attr, args)
            if found is not None:
                return found
        if owner.op in (STATIC, TUPLE) and isinstance(owner.value, list | tuple):
            if func.attr in {"append", "extend", "insert", "clear", "reverse", "remove", "sort"}:
                self.fail(
                    node, f"`{func.attr}` can only stand as a line of its own, on a list's name"
                )
            if func.attr in {"numel", "index", "count"}:
                args, _ = self._arguments(node)
                syntax = ast.Call(attribute, [e.syntax for e in args], [])
                method = getattr(owner.value, func.attr, None)
                if method is not None and all(e.op == STATIC for e in args):
                    return self._static_operation(node, method, tuple(args), syntax)
        if owner.op == STATIC and is_object(owner.value):
            callee = self.member(func, owner, func.attr)
            if callee.op == STATIC:
                args, kwargs = self._arguments(node)
                return self.call_value(node, callee, args, kwargs)
        self.hold_single(node, (owner,), (dict, list, tuple))
        self.fail(node, f"`.{func.attr}()` is outside of what is read")

    def _hands_on(self, node: ast.Call, name: str, owner: Expr) -> bool:
        """Whether a method gives the tensor itself: what is on the CPU, or asks for no gradient."""
        if name == "cpu":
            return not node.args and owner.value.device.type == "cpu"
        given = [*node.args, *(k.value for k in node.keywords)]
        off = len(given) == 1 and isinstance(given[0], ast.Constant) and given[0].value is False
        return name == "requires_grad_" and off and not owner.differentiable

    def builtin(
        self, node: ast.Call, name: str, args: list[Expr], kwargs: Mapping[str, Expr]
    ) -> Expr:
        """A call of Python's own function."""
        if name not in fence.STATIC_BUILTINS:
            self.fail(
                node,
                f"`{name}` is not a function that can be read",
                "define it with `def` in the same file, or use torch's functions",
            )
        func = ast.Name(name, ast.Load())
        syntax = ast.Call(
            func, [e.syntax for e in args], [ast.keyword(k, e.syntax) for k, e in kwargs.items()]
        )
        if args and args[0].is_tensor and name in {"abs", "pow"}:
            run = getattr(builtins, name)
            return self.operation(node, f"torch.{name}", tuple(args), syntax, run, kwargs)
        if args and args[0].is_tensor and name in numbers.BUILTINS:
            return self.taken_out(self.source.spot(node), args[0], name, syntax)
        if name == "len" and len(args) == 1 and not kwargs:
            return self._length(node, args[0], syntax)
        if name in {"list", "tuple", "zip", "enumerate", "reversed", "sum"} and not kwargs:
            found = self._rearranged(node, name, args)
            if found is not None:
                return found
        if name == "map" and len(args) > 1 and args[0].op == STATIC:
            rows = zip(*(self.elements_of(node, e) for e in args[1:]), strict=False)
            mapped = [self.call_value(node, args[0], list(row), {}) for row in rows]
            return self.container(node, mapped, list)
        if name == "isinstance" and len(args) == 2 and args[1].op == STATIC:
            of_kind = isinstance(args[0].value, args[1].value)
            return self.static(node, of_kind, ast.Constant(of_kind))
        if any(e.op != STATIC for e in [*args, *kwargs.values()]):
            self.fail(
                node,
                f"`{name}` of a tensor leaves the lines",
                f"use torch's function, torch.{name} say, if there is one",
            )
        for e in kwargs.values():
            self.fail(node, f"`{name}` takes no keyword arguments here ({e})")
        run = getattr(builtins, name)
        if name in {"zip", "enumerate", "reversed"}:  # read once as a list, it is there again
            listed = ast.Call(ast.Name("list", ast.Load()), [syntax], [])
            return self._static_operation(node, lambda *v: list(run(*v)), tuple(args), listed)
        return self._static_operation(node, run, tuple(args), syntax)

    def container_method(
        self, node: ast.Call, owner: Expr, name: str, args: list[Expr]
    ) -> Expr | None:
        raise NotImplementedError

    def in_place(self, op: str) -> bool:
        raise NotImplementedError

    def write_method(self, node: ast.Call, func: ast.Attribute, owner: Expr) -> Expr:
        raise NotImplementedError

    def _length(self, node: ast.AST, of: Expr, syntax: ast.expr) -> Expr:
        if of.op == TUPLE:
            return self.static(node, len(of.args), ast.Constant(len(of.args)))
        try:
            length = len(of.value)
        except TypeError as error:
            self.fail(node, f"this line does not run: {error}")
        found = self.static(node, length, syntax, (of,))
        return replace(found, sized=of.is_tensor or of.sized)

    def _rearranged(self, node: ast.Call, name: str, args: list[Expr]) -> Expr | None:
        """Python's functions on sequences that hold tensors; None where only plain values enter."""
        if all(e.op == STATIC for e in args):
            return None
        rows = [self.elements_of(node, e) for e in args[: 1 if name != "zip" else None]]
        if name in {"list", "tuple"}:
            return self.container(node, rows[0], list if name == "list" else tuple)
        if name == "reversed":
            return self.container(node, rows[0][::-1], list)
        if name == "zip":
            pairs = [self.container(node, row) for row in zip(*rows, strict=False)]
            return self.container(node, pairs, list)
        if name == "enumerate":
            start = args[1].value if len(args) > 1 else 0
            return self.container(
                node,
                [
                    self.container(node, (self.static(node, i, ast.Constant(i)), element))
                    for i, element in enumerate(rows[0], start)
                ],
                list,
            )
        total = args[1] if len(args) > 1 else None
        for element in rows[0]:
            if total is None:
                total = element
            else:
                syntax = ast.BinOp(total.syntax, ast.Add(), element.syntax)
                total = self.operation(node, "+", (total, element), syntax, lambda a, b: a + b)
        return total
