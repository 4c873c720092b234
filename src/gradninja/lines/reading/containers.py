"""Lists and dictionaries that hold tensors: read by place and by key, and written to as they are.

A list that is appended to, or a dictionary that takes a key, is a new value for all names of it.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from gradninja.lines.plain import is_plain, literal
from gradninja.lines.program import STATIC, TUPLE, Expr
from gradninja.lines.reading.naming import Naming

GROWS = frozenset({"append", "extend", "insert", "update", "pop", "clear", "reverse"})


class Containers(Naming):
    """Reads and writes of lists and dictionaries."""

    def read_Dict(self, node: ast.Dict) -> Expr:
        entries: dict[object, Expr] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            held = self.read(value)
            if key is None:
                entries.update(self._entries(value, held))
            else:
                entries[self._key(key)] = held
        return self.dictionary(node, entries)

    def read_DictComp(self, node: ast.DictComp) -> Expr:
        pair = ast.copy_location(ast.Tuple([node.key, node.value], ast.Load()), node)
        pairs = ast.copy_location(ast.ListComp(pair, node.generators), node)
        entries: dict[object, Expr] = {}
        for found in self.comprehension(pairs):
            key, value = self.elements_of(node, found)
            entries[self._plain_key(node, key)] = value
        return self.dictionary(node, entries)

    def _key(self, node: ast.expr) -> object:
        return self._plain_key(node, self.read(node))

    def _plain_key(self, node: ast.AST, key: Expr) -> object:
        if key.op != STATIC or not is_plain(key.value):
            self.fail(node, "a key must be a number or a text")
        return tuple(key.value) if isinstance(key.value, list) else key.value

    def _entries(self, node: ast.AST, held: Expr) -> dict[object, Expr]:
        """The entries of a dictionary, read or live."""
        if held.op == TUPLE and isinstance(held.value, dict):
            return dict(zip(held.value, held.args, strict=True))
        if held.op == STATIC and isinstance(held.value, dict):
            return {
                key: self.value_of(node, value, literal(value) if is_plain(value) else held.syntax)
                for key, value in held.value.items()
            }
        self.fail(node, "this is no dictionary")

    def container_method(
        self, node: ast.Call, owner: Expr, name: str, args: list[Expr]
    ) -> Expr | None:
        """`d.items()`, `d.get(key, default)`, `xs.copy()`; None where it is another method."""
        if name == "copy" and not args and owner.op == TUPLE:
            return self._anew(node, owner)
        if name == "pop":
            return self._popped(node, owner, args)
        if not isinstance(owner.value, dict):
            return None
        entries = self._entries(node, owner)
        if name == "get" and args:
            key = self._plain_key(node, args[0])
            absent = args[1] if len(args) > 1 else self.static(node, None, ast.Constant(None))
            return entries.get(key, absent)
        keys = [self.static(node, key, literal(key)) for key in entries]
        if args or name not in {"keys", "values", "items"}:
            return None
        if name == "items":
            pairs = zip(keys, entries.values(), strict=True)
            return self.container(node, [self.container(node, pair) for pair in pairs], list)
        return self.container(node, keys if name == "keys" else entries.values(), list)

    def _popped(self, node: ast.Call, owner: Expr, args: list[Expr]) -> Expr:
        """`hs.pop()`, `kwargs.pop("mask", None)`: what is taken out; the rest stays."""
        assert isinstance(node.func, ast.Attribute)
        if isinstance(owner.value, dict):
            entries = self._entries(node, owner)
            key = self._plain_key(node, args[0])
            if key not in entries and len(args) < 2:
                self.fail(node, f"this line does not run: KeyError: {key!r}")
            found = entries.pop(key) if key in entries else args[1]
            rest = self.dictionary(node, entries, type(owner.value))
        else:
            elements = self.elements_of(node, owner)
            at = args[0].value if args else -1
            try:
                found = elements.pop(at)
            except (IndexError, TypeError) as error:
                self.fail(node, f"this line does not run: {error}")
            rest = self.container(node, elements, list)
        self.replace_container(node.func.value, owner, rest)
        return found

    def _anew(self, node: ast.AST, several: Expr) -> Expr:
        if isinstance(several.value, dict):
            return self.dictionary(node, self._entries(node, several))
        return self.container(node, several.args, type(several.value))

    # -- what is written to -------------------------------------------------------------------

    def grow(self, node: ast.Expr, call: ast.Call, held: Expr) -> bool:
        """`hs.append(h)`; False where it is another method."""
        assert isinstance(call.func, ast.Attribute)
        name = call.func.attr
        if name == "pop":
            args, _ = self._arguments(call)
            self._popped(call, held, args)
            return True
        if name == "update" and isinstance(held.value, dict):
            args, named = self._arguments(call)
            more: dict[object, Expr] = dict(named.items())
            for given in args:
                more = {**self._entries(call, given), **more}
            entries = {**self._entries(call, held), **self._leaves(more)}
            self.replace_container(call.func.value, held, self.dictionary(node, entries))
            return True
        if not isinstance(held.value, list) or name == "update":
            return False
        elements = self.elements_of(node, held)
        if name in {"clear", "reverse"}:
            elements = elements[::-1] if name == "reverse" else []
            self.replace_container(call.func.value, held, self.container(node, elements, list))
            return True
        element = self.read(call.args[-1])
        if name == "insert":
            at = self.read(call.args[0])
            if at.op != STATIC:
                self.fail(node, "a place in a list is a plain int")
            elements.insert(at.value, self._leaf("item", element))
        else:
            added = [element] if name == "append" else self.elements_of(node, element)
            base = ast.unparse(call.func.value).rpartition(".")[2]
            base = base if base.isidentifier() else "item"
            elements += [self._leaf(base, part) for part in added]
        self.replace_container(call.func.value, held, self.container(node, elements, list))
        return True

    def _leaves(self, entries: Mapping[object, Expr]) -> dict[object, Expr]:
        return {key: self._leaf(_name_of(key), value) for key, value in entries.items()}

    def write_item(self, target: ast.Subscript, owner: Expr, value: Expr) -> None:
        """`hs[t] = h`, `cache["x"] = x`."""
        if isinstance(owner.value, dict):
            key = self._key(target.slice)
            base = ast.unparse(target.value).rpartition(".")[2]
            base = key if isinstance(key, str) and key.isidentifier() else base
            held = self.leaf(base if str(base).isidentifier() else "item", value)
            new = self.dictionary(target, {**self._entries(target, owner), key: held})
        else:
            at = self.read(target.slice)
            elements = self.elements_of(target, owner)
            if at.op != STATIC or not isinstance(at.value, int):
                self.fail(target, "a place in a list is a plain int")
            if not -len(elements) <= at.value < len(elements):
                self.fail(target, "this line does not run: list assignment index out of range")
            elements[at.value] = self.leaf("item", value)
            new = self.container(target, elements, list)
        self.replace_container(target.value, owner, new)

    def leaf(self, base: str, value: Expr) -> Expr:
        """An element under a name, where it needs one."""
        if value.op not in (TUPLE, STATIC) and isinstance(value.value, tuple):
            return self.name_outputs(base, value)
        return self._leaf(base, value, plain=True)

    def replace_container(self, target: ast.expr, old: Expr, new: Expr) -> None:
        """Let all that holds a list or dictionary hold what it is now."""
        if old.op == STATIC:
            self.assign(target, new)
            return

        known = {id(old): new}  # what is one thing under two names stays one

        def put(expr: Expr) -> Expr:
            if id(expr) not in known and expr.op == TUPLE:
                parts = [put(part) for part in expr.args]
                known[id(expr)] = self.rebuilt(self.statement, expr, parts)
            return known.get(id(expr), expr)

        for scope in (self.scope, *self.frames):
            for name, expr in scope.items():
                scope[name] = put(expr)
        for key, expr in self.state.items():
            self.state[key] = put(expr)

    def assign(self, target: ast.expr, expr: Expr) -> Expr:
        raise NotImplementedError


def _name_of(key: object) -> str:
    return key if isinstance(key, str) and key.isidentifier() else "item"
