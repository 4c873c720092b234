"""A Function's forward as a plain function: `ctx` taken out, and what it holds written down."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from typing import TypeVar

from gradninja.check.functions.function_text import Text, Unreadable
from gradninja.check.functions.held import (
    QUIET,
    Context,
    Held,
    changed,
    elements,
    fresh,
    names,
    names_in,
    pairs,
    place,
    tells_sizes,
)
from gradninja.check.given.backward_text import Within
from gradninja.check.given.plan import bound, written
from gradninja.lines.given.source import Source, of_live
from gradninja.lines.scope import run_tree

Node = TypeVar("Node", bound=ast.AST)
Note = Callable[[str], object]
TELLING = frozenset({"mark_dirty", "set_materialize_grads"})


def plain_forward(text: Text) -> tuple[ast.FunctionDef, Held]:
    """The forward without `ctx`, each statement where it stood; and what `ctx` holds after it.

    Raises:
        Unreadable: `ctx` is used in a way that is not followed.
    """
    return _Forward(text).made()


def source_of(text: Text, forward: ast.FunctionDef) -> Source:
    """The plain forward with what stands around it: a function of our own, in its own module."""
    scope = dict(text.namespace)
    run_tree([forward], scope, text.file)
    live = scope[forward.name]
    return of_live(text.text, text.file, text.tree, forward, live)


class _Forward:
    def __init__(self, text: Text) -> None:
        self.text = text
        self.function = deepcopy(text.forward)
        arguments = self.function.args
        for star in (arguments.vararg, arguments.kwarg):
            if star is not None:
                raise Unreadable(f"`{star.arg}` of its forward stands for any number of values")
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        if text.setup is None:
            first = arguments.posonlyargs or arguments.args
            if not first:
                raise Unreadable("its forward takes no `ctx`")
            self.ctx, every = first.pop(0).arg, every[1:]
        else:
            self.ctx = ""
        self.held = Held(inputs=[argument.arg for argument in every])
        self.marked: set[str] = set()  # values that are marked as having no gradient
        self.optional = {
            a.arg
            for a, default in zip(every[::-1], arguments.defaults[::-1], strict=False)
            if isinstance(default, ast.Constant) and default.value is None
        }
        self.taken = {n.id for n in ast.walk(self.function) if isinstance(n, ast.Name)}
        self.taken |= {argument.arg for argument in every} | _own_names(text.backward)
        self.changed = changed(self.function.body)
        methods = [node for node in (self.function, text.setup) if node is not None]
        parts = [part for method in methods for part in ast.walk(method)]
        self.often = Counter(
            part.attr
            for part in parts
            if isinstance(part, ast.Attribute)
            and (isinstance(part.ctx, ast.Store) or part.attr == "save_for_backward")
        )

    def made(self) -> tuple[ast.FunctionDef, Held]:
        function = self.function
        function.decorator_list, function.returns = [], None
        own = self._own_inputs()
        body = self.read(function.body)
        if self.text.setup is not None:
            body = self._with_setup(body, self.text.setup)
        function.body = [*own, *body]
        last = function.body[-1] if function.body else None
        if not isinstance(last, ast.Return) or last.value is None:
            raise Unreadable("its forward does not end in one `return`")
        parts = last.value.elts if isinstance(last.value, ast.Tuple) else [last.value]
        if self.marked:
            function.body[-1:] = self._without_gradient(last, parts)
        self.held.outputs = [
            None if isinstance(part, ast.Constant) else ast.unparse(part) for part in parts
        ]
        function.body = self._without_lines_for_backward(function.body)
        ast.fix_missing_locations(function)
        return function, self.held

    def _without_gradient(self, last: ast.Return, parts: list[ast.expr]) -> list[ast.stmt]:
        """The return with outputs that are marked as such detached: autograd asks nothing of them.

        `parts` are changed.
        """
        found: list[ast.stmt] = []
        for at, part in enumerate(parts):
            if isinstance(part, ast.Name) and part.id in self.marked:
                name = self.fresh(f"{part.id}_")
                value = ast.parse(f"{part.id}.detach()", mode="eval").body
                found.append(self._bound(name, place(value, part), last))
                parts[at] = ast.copy_location(ast.Name(name, ast.Load()), part)
        value = ast.Tuple(parts, ast.Load()) if isinstance(last.value, ast.Tuple) else parts[0]
        return [*found, ast.copy_location(ast.Return(ast.copy_location(value, last)), last)]

    def _without_lines_for_backward(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """A gradient that is made in the forward and kept is a line of the backward."""
        held, kept = set(self.held.names), list[ast.stmt]()
        needed = names_in(body[-1])
        for statement in reversed(body[:-1]):
            changes = {*bound(statement), *written(statement)}
            mine = changes and changes <= self.early(body) and not changes & needed
            if mine and changes & held and not tells_sizes(statement):
                held |= names_in(statement)
                self.held.made.insert(0, statement)
            else:
                needed |= names_in(statement)
                kept.insert(0, statement)
        return [*kept, body[-1]]

    def early(self, body: list[ast.stmt]) -> set[str]:
        """The names that plain statements alone change."""
        plain = [s for s in body if isinstance(s, ast.Assign | ast.AugAssign | ast.Expr)]
        others = [s for s in body if s not in plain]
        return set(changed(plain)) - set(changed(others)) - set(self.held.inputs)

    def _own_inputs(self) -> list[ast.stmt]:
        """A parameter that is bound anew or written into: from then on it is another value."""
        found: list[ast.stmt] = []
        for name in self.held.inputs:
            if name in self.changed:
                mine = self.fresh(f"{name}_")
                _Renamed(name, mine).visit(ast.Module(self.function.body, []))
                self.changed[mine] = self.changed.pop(name)
                text = f"{name}.clone()"
                if name in self.optional:
                    text = f"None if {name} is None else {text}"
                copy = ast.parse(text, mode="eval").body
                made = ast.Assign([ast.Name(mine, ast.Store())], copy)
                found.append(ast.copy_location(made, self.function.body[0]))
        return found

    def fresh(self, base: str) -> str:
        name = fresh(base, self.taken)
        self.taken.add(name)
        return name

    # -- statements -------------------------------------------------------------------------

    def read(self, body: list[ast.stmt]) -> list[ast.stmt]:
        return [made for statement in body for made in self._statement(statement)]

    def _statement(self, node: ast.stmt) -> list[ast.stmt]:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return []
        if (
            isinstance(node, ast.With)
            and {ast.unparse(i.context_expr) for i in node.items} <= QUIET
        ):
            return self.read(node.body)  # nothing is recorded in a Function's forward anyway
        if isinstance(node, ast.If | ast.For):
            node.body, node.orelse = self.read(node.body), self.read(node.orelse)
            head = "test" if isinstance(node, ast.If) else "iter"
            setattr(node, head, self.without(getattr(node, head)))
            if isinstance(node, ast.If) and isinstance(node.test, ast.Constant):
                return node.body if node.test.value else node.orelse
            empty = ast.copy_location(ast.Pass(), node)
            node.body = node.body or [empty]
            return [node]
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            owner = call.func.value
            if isinstance(owner, ast.Name) and owner.id == self.ctx:
                if call.func.attr == "save_for_backward":
                    return self._saved(call, node)
                if call.func.attr in TELLING:
                    return []
                if call.func.attr == "mark_non_differentiable":
                    self.marked |= set().union(*map(names_in, call.args))
                    return []
        if isinstance(node, ast.Assign) and self._keeps(node):
            return self._kept(node)
        return [self.without(node)]

    def without(self, node: Node) -> Node:
        """The same without `ctx`, and without the `.detach()` that means nothing here."""
        found: Node = _Attached().visit(Context(self.ctx, self._attribute).visit(node))
        return found

    def _attribute(self, name: str, node: ast.Attribute) -> ast.expr:
        if name == "needs_input_grad":
            true: list[ast.expr] = [ast.Constant(True) for _ in self.held.inputs]
            return ast.Tuple(true, ast.Load())
        if isinstance(node.ctx, ast.Store):
            self.held.kept.setdefault(name, self.fresh(name))
        if name not in self.held.kept:
            raise Unreadable(f"`{self.ctx}.{name}` is read before it is set (line {node.lineno})")
        return ast.Name(self.held.kept[name], node.ctx)

    def _saved(self, call: ast.Call, node: ast.stmt) -> list[ast.stmt]:
        args = elements(ast.Tuple(call.args, ast.Load()))
        if args is None:
            raise Unreadable(f"what is saved is not listed by name (line {node.lineno})")
        if self.often["save_for_backward"] == 1:
            return [
                made
                for at, part in enumerate(args)
                for made in self._named(part, f"saved_{at}", node, self.held.saved.append)
            ]
        if not self.held.saved:  # in branches: the same names in each
            self.held.saved += [self.fresh(f"saved_{at}") for at in range(len(args))]
        if len(self.held.saved) != len(args):
            raise Unreadable(f"branches save different numbers of values (line {node.lineno})")
        pairs = zip(self.held.saved, args, strict=True)
        return [self._bound(name, self.without(part), node) for name, part in pairs]

    def _bound(self, name: str, value: ast.expr, node: ast.stmt) -> ast.stmt:
        return ast.copy_location(ast.Assign([ast.Name(name, ast.Store())], value), node)

    def _named(self, value: ast.expr, base: str, node: ast.stmt, note: Note) -> list[ast.stmt]:
        """A value that is handed on, by its own name where that goes on holding it."""
        part, value = value, self.without(value)
        if isinstance(value, ast.Name) and max(self.changed.get(value.id, [0])) <= node.lineno:
            note(value.id)
            return []
        name = self.fresh(base)
        note(name)
        made = self._bound(name, value, node)
        if isinstance(node, ast.Expr):  # `ctx.save_for_backward(t * t)`
            made.within = Within(node, part)  # type: ignore[attr-defined]
        return [made]

    def _keeps(self, node: ast.Assign) -> bool:
        """Whether it is `ctx.a = ...`, `ctx.a, ctx.b = ...`, with what each is given."""
        parts = pairs(node)
        return parts is not None and all(
            isinstance(target, ast.Attribute)
            and isinstance(target.value, ast.Name)
            and target.value.id == self.ctx
            for target, _ in parts
        )

    def _kept(self, node: ast.Assign) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for target, value in pairs(node) or ():
            assert isinstance(target, ast.Attribute)
            if self.often[target.attr] > 1:  # in branches, or anew: one name for all
                name = self.held.kept.get(target.attr) or self.fresh(target.attr)
                self.held.kept[target.attr] = name
                found.append(self._bound(name, self.without(value), node))
                continue

            def note(name: str, attribute: str = target.attr) -> None:
                self.held.kept[attribute] = name

            found += self._named(value, target.attr, node, note)
        return found

    # -- setup_context ----------------------------------------------------------------------

    def _with_setup(self, body: list[ast.stmt], setup: ast.FunctionDef) -> list[ast.stmt]:
        """The statements of `setup_context(ctx, inputs, output)` before the forward's return."""
        setup = deepcopy(setup)
        arguments = [*setup.args.posonlyargs, *setup.args.args, *setup.args.kwonlyargs]
        last = body[-1] if body else None
        if len(arguments) != 3 or not isinstance(last, ast.Return) or last.value is None:
            raise Unreadable("its forward does not end in one `return`")
        self.ctx, inputs, output = (argument.arg for argument in arguments)
        several = isinstance(last.value, ast.Tuple)
        parts = last.value.elts if isinstance(last.value, ast.Tuple) else [last.value]
        made: list[ast.stmt] = []
        returned: list[str] = []
        for at, part in enumerate(parts):
            if isinstance(part, ast.Name):
                returned.append(part.id)
                continue
            returned.append(self.fresh("out" if not several else f"out_{at}"))
            bound = ast.Assign([ast.Name(returned[-1], ast.Store())], part)
            made.append(ast.copy_location(bound, last))
        whole = names(returned) if several else ast.Name(returned[0], ast.Load())
        known: dict[str, ast.expr] = {inputs: names(self.held.inputs), output: whole}
        mine = {n.id for s in setup.body for n in ast.walk(s) if isinstance(n, ast.Name)}
        rest: list[ast.stmt] = []
        for statement in setup.body:
            statement = Put(known).visit(statement)
            told = pairs(statement) if isinstance(statement, ast.Assign) else None
            several_told = list(told or ())
            if several_told and all(
                isinstance(t, ast.Name) and isinstance(v, ast.Name | ast.Tuple)
                for t, v in several_told
            ):
                known.update({t.id: v for t, v in several_told if isinstance(t, ast.Name)})
            else:
                rest.append(statement)
        module = ast.Module(rest, [])
        for name in changed(rest):
            if name in self.taken and name in mine:
                _Renamed(name, self.fresh(name)).visit(module)
        self.changed = {}  # all that was bound is bound by then
        end = ast.copy_location(ast.Return(whole), last)
        return [*body[:-1], *made, *self.read(rest), end]


def _own_names(backward: ast.FunctionDef) -> set[str]:
    """The names that a backward binds to something else than `ctx`'s attribute of that name."""
    nodes = list(ast.walk(backward))
    stored = [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    handed = [
        target.id
        for node in nodes
        if isinstance(node, ast.Assign)
        for target, value in pairs(node) or ()
        if isinstance(target, ast.Name)
        and isinstance(value, ast.Attribute)
        and value.attr == target.id
    ]
    return {*(Counter(stored) - Counter(handed))}


class _Attached(ast.NodeTransformer):
    """`x.detach()` and `x.data` are `x` where nothing is recorded."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        func = node.func
        bare = isinstance(func, ast.Attribute) and func.attr == "detach" and not node.args
        return func.value if bare and isinstance(func, ast.Attribute) else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        return node.value if node.attr == "data" else node


class _Renamed(ast.NodeTransformer):
    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id == self.old:
            node.id = self.new
        return node


class Put(ast.NodeTransformer):
    """Values, or other names, in the place of names."""

    def __init__(self, known: dict[str, ast.expr]) -> None:
        self.known = known

    def visit_Name(self, node: ast.Name) -> ast.AST:
        found = self.known.get(node.id)
        if found is None or not isinstance(node.ctx, ast.Load):
            return node
        return place(deepcopy(found), node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        return Context("", lambda name, at: at).visit_Subscript(node)
