"""Calls of plain functions: their lines stand in the caller's place."""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import torch

from gradninja.lines.given import source as sources
from gradninja.lines.given.signature import parameters
from gradninja.lines.given.source import Source, Standing
from gradninja.lines.modules.layers import COMPUTED
from gradninja.lines.modules.live import live_defaults
from gradninja.lines.modules.wrappers import HARMLESS, QUIET, decorator_name, module_of, unwrapped
from gradninja.lines.plain import is_plain, literal
from gradninja.lines.program import NAME, STATIC, Expr
from gradninja.lines.reading.naming import name_argument, name_value
from gradninja.lines.reading.state import Function, Reading, Reads
from gradninja.lines.reading.values import decide, dotted, value_of

DEEPEST_CALL = 40


LIBRARIES = ("gradninja.", "torch.")  # whose text stands where the person calls it


OUTSIDE = frozenset({"torch", "einops"})  # whose functions are known by name


class Returned(Exception):
    """The return statement was reached."""

    def __init__(self, value: Expr, node: ast.Return) -> None:
        self.value, self.node = value, node


def find_function(reading: Reading, name: str) -> Function | None:
    """The function that a name stands for: of this function, of its file, of what is around."""
    if name in reading.local_functions:
        return reading.local_functions[name]
    if name in reading.source.functions:
        return Function(name, reading.source, reading.source.functions[name])
    live = unwrapped(reading.source.outside.get(name))
    if isinstance(live, types.FunctionType) and module_of(live).partition(".")[0] not in OUTSIDE:
        return Function(name, live=live)
    return None


def read_lambda(reading: Reading, node: ast.Lambda) -> Expr:
    body = ast.copy_location(ast.Return(node.body), node.body)
    function = ast.copy_location(ast.FunctionDef("lambda", node.args, [body], []), node)
    return reading.static(
        node, Function("lambda", reading.source, function, None, reading.scope), node
    )


def _text_of(
    reading: Reading, node: ast.expr, function: Function
) -> tuple[Source, ast.FunctionDef]:
    """The text of a function; one of our own stands where the person calls it."""
    if function.source is not None and function.node is not None:
        return function.source, function.node
    live = function.live
    assert live is not None
    if live not in reading.loaded:
        lambdas = getattr(live, "__name__", "") == "<lambda>"
        reading.loaded[live] = (
            sources.of_lambda(live)
            if lambdas
            else sources.load(live, dialect=_dialect(reading, live), whole=True)
        )
    found = reading.loaded[live]
    if module_of(live).startswith(LIBRARIES):
        parts = {f.name: getattr(found, f.name) for f in fields(Source)}
        said = reading.source.statement(reading.statement)
        found = Standing(**parts, place=reading.source.spot(node), said=said)
    return found, found.function


def _dialect(reading: Reading, live: Callable[..., Any]) -> str | None:
    """A function of the person's speaks as its caller does."""
    return None if module_of(live).startswith(LIBRARIES) else reading.source.dialect


def enter(
    reading: Reading,
    node: ast.expr,
    function: Function,
    args: list[Expr],
    kwargs: Mapping[str, Expr],
) -> Expr:
    """What a function returns for these arguments; its lines stand before this one."""
    if function.live in COMPUTED and all(e.op == STATIC for e in args):
        return _computed(reading, node, function, args)
    source, definition = _text_of(reading, node, function)
    name = function.name
    if reading.depth >= DEEPEST_CALL:
        reading.fail(node, f"`{name}` calls itself, or calls go {DEEPEST_CALL} deep")
    given, more = _match(reading, node, name, source, definition, args, kwargs)
    defaults = live_defaults(function.live)
    inner = dict(function.around or {})
    plain = isinstance(source, Standing) and _used_once(definition)
    reading.depth += 1
    for formal in parameters(source, definition, stars=True):
        if formal.name in given:
            value = given[formal.name]
            inner[formal.name] = value if plain else name_argument(reading, formal.name, value)
        elif formal.name in defaults:
            default = defaults[formal.name]
            syntax = literal(default) if is_plain(default) else ast.Constant(None)
            inner[formal.name] = value_of(reading, node, default, syntax)
        elif formal.default is not None:
            inner[formal.name] = reading.read(formal.default)
        else:
            reading.fail(node, f"`{name}` needs a value for `{formal.name}`")
    for star, several in more.items():
        inner[star] = several if several.op == STATIC else name_argument(reading, star, several)
    quiet = _decorated(reading, node, function, source, definition)
    outer = (reading.source, reading.scope, reading.statement, dict(reading.local_functions))
    recorded = reading.grad_enabled
    reading.grad_enabled = recorded and not quiet
    reading.frames.append(reading.scope)
    reading.source, reading.scope = source, inner
    try:
        reading.run(definition.body)
        value = reading.static(node, None, ast.Constant(None))
    except Returned as reached:
        value = reached.value
        quiet = not reading.grad_enabled
    finally:
        reading.frames.pop()
        reading.grad_enabled = recorded
        reading.source, reading.scope, reading.statement, reading.local_functions = outer
        reading.depth -= 1
    if quiet and recorded and value.op not in (NAME, STATIC):
        return name_value(reading, name, value)  # in a line of its own, which no gradient enters
    return value


def _computed(reading: Reading, node: ast.expr, function: Function, args: list[Expr]) -> Expr:
    """A function of our own that gives plain values of plain values."""
    assert function.live is not None
    try:
        value = function.live(*(e.value for e in args))
    except (KeyError, ValueError) as error:
        reading.fail(node, f"this line does not run: {type(error).__name__}: {error}")
    return reading.static(node, value, literal(value))


def _decorated(
    reading: Reading,
    node: ast.AST,
    function: Function,
    source: Source,
    definition: ast.FunctionDef,
) -> bool:
    """Whether a function runs without gradients.

    What else decorates a live one is around it no more; of a text it is not guessed at.
    """
    quiet = False
    for decorator in definition.decorator_list:
        told = decorator_name(decorator)
        if told == "autocast" and leaves_precision(reading, decorator):
            continue
        if told in QUIET:
            quiet = True
        elif told not in HARMLESS and function.live is None:
            reading.fail(
                node,
                f"`{function.name}` is decorated with `@{ast.unparse(decorator)}`, "
                "which may change what it gives",
                "call the function without it",
            )
    return quiet


def leaves_precision(reading: Reading, context: ast.expr) -> bool:
    """Whether an `autocast` is off, or for another device than the one that this is read on."""
    if not isinstance(context, ast.Call):
        return False
    named = {k.arg: k.value for k in context.keywords}
    enabled = named.get("enabled")
    if enabled is not None and not decide(reading, enabled):
        return True
    path = dotted(reading, context.func) or ast.unparse(context.func)
    told = context.args[0] if context.args else named.get("device_type")
    device = "cuda" if ".cuda." in path else told and reading.read(told).value
    here = {i.value.device.type for i in reading.inputs if isinstance(i.value, torch.Tensor)}
    return isinstance(device, str) and device not in here


def _match(
    reading: Reading,
    node: ast.expr,
    name: str,
    source: Source,
    definition: ast.FunctionDef,
    args: list[Expr],
    kwargs: Mapping[str, Expr],
) -> tuple[dict[str, Expr], dict[str, Expr]]:
    """The arguments by name, and what `*args` and `**kwargs` take."""
    arguments = definition.args
    only_named = {a.arg for a in arguments.kwonlyargs}
    formals = [f.name for f in parameters(source, definition, stars=True)]
    places = [name for name in formals if name not in only_named]
    given = dict(zip(places, args, strict=False))
    rest = args[len(places) :]
    extra: dict[str, Expr] = {}
    if rest and arguments.vararg is None:
        reading.fail(node, f"`{name}` takes {len(places)} values and is given {len(args)}")
    for key, value in kwargs.items():
        if key in given or (key not in formals and arguments.kwarg is None):
            reading.fail(node, f"`{name}` takes no `{key}` here")
        (given if key in formals else extra)[key] = value
    more = {}
    if arguments.vararg is not None:
        more[arguments.vararg.arg] = reading.container(node, rest)
    if arguments.kwarg is not None:
        values = {key: value.value for key, value in extra.items()}
        plain = all(value.op == STATIC for value in extra.values())
        more[arguments.kwarg.arg] = (
            reading.static(node, values, ast.Constant(None))
            if plain
            else reading.dictionary(node, extra)
        )
    return given, more


def _used_once(definition: ast.FunctionDef) -> bool:
    """Whether each parameter is read once on every way to a `return`, so needs no name."""
    tests = [n for n in ast.walk(definition) if isinstance(n, ast.Return)]
    within = {id(n) for one in tests for n in ast.walk(one)}
    names = {a.arg for a in definition.args.args[1:]}

    def reads(among: list[ast.AST]) -> int:
        found = [n.id for n in among if isinstance(n, ast.Name) and n.id in names]
        return max((found.count(name) for name in found), default=0)

    outside = [n for n in ast.walk(definition) if id(n) not in within]
    return reads(outside) == 0 and all(reads(list(ast.walk(one))) <= 1 for one in tests)


READS: dict[type, Reads] = {
    ast.Lambda: read_lambda,
}
