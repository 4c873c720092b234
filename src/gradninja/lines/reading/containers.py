"""Lists and dictionaries that hold tensors: read by place and by key, and written to as they are.

A list that is appended to, or a dictionary that takes a key, is a new value for all names of it.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from gradninja.lines.plain import is_plain, literal
from gradninja.lines.program import STATIC, TUPLE, Expr
from gradninja.lines.reading.calls.arguments import read_arguments
from gradninja.lines.reading.looping import comprehension
from gradninja.lines.reading.naming import name_element, name_leaf
from gradninja.lines.reading.state import Reading, Reads
from gradninja.lines.reading.values import elements_of, value_of

GROWS = frozenset({"append", "extend", "insert", "update", "pop", "clear", "reverse"})


def read_dict(reading: Reading, node: ast.Dict) -> Expr:
    entries: dict[object, Expr] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        held = reading.read(value)
        if key is None:
            entries.update(_entries(reading, value, held))
        else:
            entries[_key(reading, key)] = held
    return reading.dictionary(node, entries)


def read_dict_comprehension(reading: Reading, node: ast.DictComp) -> Expr:
    pair = ast.copy_location(ast.Tuple([node.key, node.value], ast.Load()), node)
    pairs = ast.copy_location(ast.ListComp(pair, node.generators), node)
    entries: dict[object, Expr] = {}
    for found in comprehension(reading, pairs):
        key, value = elements_of(reading, node, found)
        entries[_plain_key(reading, node, key)] = value
    return reading.dictionary(node, entries)


def _key(reading: Reading, node: ast.expr) -> object:
    return _plain_key(reading, node, reading.read(node))


def _plain_key(reading: Reading, node: ast.AST, key: Expr) -> object:
    if key.op != STATIC or not is_plain(key.value):
        reading.fail(node, "a key must be a number or a text")
    return tuple(key.value) if isinstance(key.value, list) else key.value


def _entries(reading: Reading, node: ast.AST, held: Expr) -> dict[object, Expr]:
    """The entries of a dictionary, read or live."""
    if held.op == TUPLE and isinstance(held.value, dict):
        return dict(zip(held.value, held.args, strict=True))
    if held.op == STATIC and isinstance(held.value, dict):
        return {
            key: value_of(reading, node, value, literal(value) if is_plain(value) else held.syntax)
            for key, value in held.value.items()
        }
    reading.fail(node, "this is no dictionary")


def container_method(
    reading: Reading, node: ast.Call, owner: Expr, name: str, args: list[Expr]
) -> Expr | None:
    """`d.items()`, `d.get(key, default)`, `xs.copy()`; None where it is another method."""
    if name == "copy" and not args and owner.op == TUPLE:
        return _anew(reading, node, owner)
    if name == "pop":
        return _popped(reading, node, owner, args)
    if not isinstance(owner.value, dict):
        return None
    entries = _entries(reading, node, owner)
    if name == "get" and args:
        key = _plain_key(reading, node, args[0])
        absent = args[1] if len(args) > 1 else reading.static(node, None, ast.Constant(None))
        return entries.get(key, absent)
    keys = [reading.static(node, key, literal(key)) for key in entries]
    if args or name not in {"keys", "values", "items"}:
        return None
    if name == "items":
        pairs = zip(keys, entries.values(), strict=True)
        return reading.container(node, [reading.container(node, pair) for pair in pairs], list)
    return reading.container(node, keys if name == "keys" else entries.values(), list)


def _popped(reading: Reading, node: ast.Call, owner: Expr, args: list[Expr]) -> Expr:
    """`hs.pop()`, `kwargs.pop("mask", None)`: what is taken out; the rest stays."""
    assert isinstance(node.func, ast.Attribute)
    if isinstance(owner.value, dict):
        entries = _entries(reading, node, owner)
        key = _plain_key(reading, node, args[0])
        if key not in entries and len(args) < 2:
            reading.fail(node, f"this line does not run: KeyError: {key!r}")
        found = entries.pop(key) if key in entries else args[1]
        rest = reading.dictionary(node, entries, type(owner.value))
    else:
        elements = elements_of(reading, node, owner)
        at = args[0].value if args else -1
        try:
            found = elements.pop(at)
        except (IndexError, TypeError) as error:
            reading.fail(node, f"this line does not run: {error}")
        rest = reading.container(node, elements, list)
    replace_container(reading, node.func.value, owner, rest)
    return found


def _anew(reading: Reading, node: ast.AST, several: Expr) -> Expr:
    if isinstance(several.value, dict):
        return reading.dictionary(node, _entries(reading, node, several))
    return reading.container(node, several.args, type(several.value))


def grow(reading: Reading, node: ast.Expr, call: ast.Call, held: Expr) -> bool:
    """`hs.append(h)`; False where it is another method."""
    assert isinstance(call.func, ast.Attribute)
    name = call.func.attr
    if name == "pop":
        args, _ = read_arguments(reading, call)
        _popped(reading, call, held, args)
        return True
    if name == "update" and isinstance(held.value, dict):
        args, named = read_arguments(reading, call)
        more: dict[object, Expr] = dict(named.items())
        for given in args:
            more = {**_entries(reading, call, given), **more}
        entries = {**_entries(reading, call, held), **_leaves(reading, more)}
        replace_container(reading, call.func.value, held, reading.dictionary(node, entries))
        return True
    if not isinstance(held.value, list) or name == "update":
        return False
    elements = elements_of(reading, node, held)
    if name in {"clear", "reverse"}:
        elements = elements[::-1] if name == "reverse" else []
        replace_container(reading, call.func.value, held, reading.container(node, elements, list))
        return True
    element = reading.read(call.args[-1])
    if name == "insert":
        at = reading.read(call.args[0])
        if at.op != STATIC:
            reading.fail(node, "a place in a list is a plain int")
        elements.insert(at.value, name_leaf(reading, "item", element))
    else:
        added = [element] if name == "append" else elements_of(reading, node, element)
        base = ast.unparse(call.func.value).rpartition(".")[2]
        base = base if base.isidentifier() else "item"
        elements += [name_leaf(reading, base, part) for part in added]
    replace_container(reading, call.func.value, held, reading.container(node, elements, list))
    return True


def _leaves(reading: Reading, entries: Mapping[object, Expr]) -> dict[object, Expr]:
    return {key: name_leaf(reading, _name_of(key), value) for key, value in entries.items()}


def write_item(reading: Reading, target: ast.Subscript, owner: Expr, value: Expr) -> None:
    """`hs[t] = h`, `cache["x"] = x`."""
    if isinstance(owner.value, dict):
        key = _key(reading, target.slice)
        base = ast.unparse(target.value).rpartition(".")[2]
        base = key if isinstance(key, str) and key.isidentifier() else base
        held = name_element(reading, base if str(base).isidentifier() else "item", value)
        new = reading.dictionary(target, {**_entries(reading, target, owner), key: held})
    else:
        at = reading.read(target.slice)
        elements = elements_of(reading, target, owner)
        if at.op != STATIC or not isinstance(at.value, int):
            reading.fail(target, "a place in a list is a plain int")
        if not -len(elements) <= at.value < len(elements):
            reading.fail(target, "this line does not run: list assignment index out of range")
        elements[at.value] = name_element(reading, "item", value)
        new = reading.container(target, elements, list)
    replace_container(reading, target.value, owner, new)


def replace_container(reading: Reading, target: ast.expr, old: Expr, new: Expr) -> None:
    """Let all that holds a list or dictionary hold what it is now."""
    if old.op == STATIC:
        reading.assign(target, new)
        return

    known = {id(old): new}  # what is one thing under two names stays one
    held = False

    def put(expr: Expr) -> Expr:
        nonlocal held
        held = held or expr is old
        if id(expr) not in known and expr.op == TUPLE:
            parts = [put(part) for part in expr.args]
            known[id(expr)] = reading.rebuilt(reading.statement, expr, parts)
        return known.get(id(expr), expr)

    for scope in (reading.scope, *reading.frames):
        for name, expr in scope.items():
            scope[name] = put(expr)
    for key, expr in reading.state.items():
        reading.state[key] = put(expr)
    if not held and isinstance(target, ast.Attribute | ast.Subscript):  # an object's, as it is
        reading.assign(target, new)


def _name_of(key: object) -> str:
    return key if isinstance(key, str) and key.isidentifier() else "item"


READS: dict[type, Reads] = {
    ast.Dict: read_dict,
    ast.DictComp: read_dict_comprehension,
}
