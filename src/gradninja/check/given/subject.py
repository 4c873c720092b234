"""What is judged: the forward's text, the backward's statements, and the names around them."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gradninja.check.given.module import call_inputs, run_module, without_gradient
from gradninja.check.given.statements import EMPTY, Written
from gradninja.check.tell.types import CheckError
from gradninja.derive import Backward, read_program
from gradninja.derive.dtypes import default_dtype
from gradninja.errors import ReadError, Spot
from gradninja.files import read_text
from gradninja.lines import Program
from gradninja.lines.modules.finding import found_live
from gradninja.lines.source import Source, load


@dataclass(frozen=True, eq=False)
class Subject:
    """A forward and its backward.

    `backward` is Written, or something to call as a whole. `forward` is what `lines.read` takes.
    """

    forward: Any
    source: Source | None
    backward: Any
    namespace: Mapping[str, Any]
    inputs: Mapping[str, Any] | None
    file: str

    @property
    def unwanted(self) -> frozenset[str]:
        """The float inputs that are given as such that no gradient is wanted for."""
        return without_gradient(self.inputs or {})


def resolve(forward: Any, backward: Any, inputs: Mapping[str, Any] | None) -> Subject:
    """Find the texts and run what stands around them.

    Raises:
        ReadError, CheckError: a file or function is missing, is no Python, or does not run.
    """
    if isinstance(backward, Backward):
        # It is in names that are bound once, and so must be the forward that it is judged with.
        values = {given.name: given.value for given in backward.program.inputs}
        forward, backward, inputs = once_bound(backward.program), backward.source, inputs or values
    else:
        forward, backward, inputs = _of_module(forward, backward, inputs)
    if isinstance(forward, tuple) or (callable(forward) and not isinstance(forward, str | Path)):
        return _live(forward, backward, inputs)
    path, name = _split(forward)
    text = _text(forward)
    tree = _parse(text, str(path or "<text>"))
    defs = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    classes = {n.name for n in tree.body if isinstance(n, ast.ClassDef)}
    if name is not None and name not in defs and name not in classes:
        raise ReadError(
            f"{path} has no function or class named {name}",
            hint=f"it has: {', '.join([*defs, *classes]) or 'none'}",
        )
    if name is not None and backward is None and (name in classes or "backward" in name):
        backward, name = name, None  # FILE.py:backward_fused asks for that backward
    where = str(path) if path is not None else forward
    wanted = f"{where}:{name}" if name else where
    source = load(wanted) if name or "forward" in defs else None
    if source is None and not classes and _pairs(defs) is None:
        raise ReadError(
            f"{path or 'the text'} has no function named forward",
            hint="put the lines in `def forward(...):` and return the loss",
        )
    loose = _loose(tree, source) if backward is None and not _backward_of(source, defs) else []
    whole_beside = bool(classes) or _pairs(defs) is not None
    pasted = bool(loose) and not whole_beside
    namespace: Mapping[str, Any] = run_module(
        _definitions(tree, loose) if pasted else tree, str(path or "<text>")
    )
    if inputs is None and isinstance(namespace.get("inputs"), types.FunctionType):
        inputs = call_inputs(namespace["inputs"], source)
    found: Any = backward
    if pasted:
        found = Written("backward", str(path or "<text>"), text, tuple(loose), {}, False)
    elif backward is None:
        found = _beside(source, defs, namespace, text, str(path or "<text>"))
    elif isinstance(backward, str) and backward in {*defs, *classes}:
        found = _named(backward, defs, namespace, text, str(path or "<text>"))
    elif isinstance(backward, str) and backward.isidentifier():
        raise ReadError(
            f"{path or 'the text'} has no function or class named {backward}",
            hint=f"it has: {', '.join([*defs, *classes]) or 'none'}",
        )
    elif isinstance(backward, str | Path):
        found, namespace = _from_text(backward, namespace)
    elif isinstance(backward, types.FunctionType):
        found, namespace = _from_function(backward, namespace)
    return Subject(wanted, source, found, namespace, inputs, str(path or "<text>"))


def _of_module(forward: Any, backward: Any, inputs: Any) -> tuple[Any, Any, Any]:
    """A module's forward as the lines that it is read as, which a backward answers."""
    named = isinstance(forward, str | Path) and "\n" not in str(forward)
    path, _, name = str(forward).partition(".py:") if named else ("", "", "")
    if backward is None and not named:
        return forward, backward, inputs
    held = found_live(forward)
    if held is None or (held.takes_self and named != bool(name)):
        return forward, backward, inputs
    with default_dtype(torch.float64):
        program = read_program(held.instance, inputs)
    values = {given.name: given.value for given in program.inputs}
    beside = f"{path.removesuffix('.py')}.py:backward"
    return once_bound(program), beside if backward is None else backward, values


def once_bound(program: Program) -> str:
    """A program as text in which every name is bound once."""
    given = [f"{g.name}={g.value!r}" if g.optional else g.name for g in program.inputs]
    lines = []
    for line in program.lines:
        stops = any(part.differentiable for part in line.expr.walk())
        quiet = stops and not line.expr.differentiable
        lines += ["with torch.no_grad():", f"    {line.code}"] if quiet else [line.code]
    lines.append(f"return {', '.join(program.outputs)}")
    return f"def forward({', '.join(given)}):\n" + "".join(f"    {line}\n" for line in lines)


def _live(forward: Any, backward: Any, inputs: Mapping[str, Any] | None) -> Subject:
    if not isinstance(forward, types.FunctionType):
        if backward is not None:
            raise CheckError(
                f"{forward!r} is not a plain function",
                hint="give a forward written with `def`: its lines are what is differentiated",
            )
        return Subject(None, None, forward, {}, inputs, getattr(forward, "__module__", "") or "")
    source = load(forward)
    namespace: Mapping[str, Any] = {
        **forward.__globals__,
        **inspect.getclosurevars(forward).nonlocals,
    }
    beside = forward.__globals__.get("inputs")
    if inputs is None and isinstance(beside, types.FunctionType):
        inputs = call_inputs(beside, source)
    if backward is None:
        backward = forward.__globals__.get("backward")
        if backward is None:
            raise CheckError(
                f"no backward is given for `{forward.__name__}`",
                hint="call gradninja.check(forward, backward)",
            )
    if isinstance(backward, str | Path):
        backward, namespace = _from_text(backward, namespace)
    elif isinstance(backward, types.FunctionType):
        backward, namespace = _from_function(backward, namespace)
    return Subject(forward, source, backward, namespace, inputs, source.file)


def _split(forward: str | Path) -> tuple[Path | None, str | None]:
    if isinstance(forward, str) and "\n" in forward:
        return None, None
    path, _, name = str(forward).partition(".py:")
    return (Path(path + ".py"), name) if name else (Path(forward), None)


def _text(forward: str | Path) -> str:
    path, _ = _split(forward)
    if path is None:
        return str(forward)
    try:
        return read_text(path)
    except OSError as error:
        raise ReadError(
            f"cannot read {path}: {error.strerror or error}",
            hint="give the path of a Python file with the functions forward and backward",
        ) from None
    except UnicodeDecodeError:
        raise ReadError(f"{path} is not a text file in UTF-8") from None


def _parse(text: str, file: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError as error:
        number = error.lineno or 1
        lines = text.splitlines()
        line = lines[number - 1] if 0 < number <= len(lines) else ""
        column = max((error.offset or 1) - 1, 0)
        raise ReadError(
            f"this is not Python: {error.msg}", spot=Spot(file, number, line, column, column + 1)
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ReadError(f"this is not Python: {error}") from None


# -- finding the backward ---------------------------------------------------------------------


def _backward_of(source: Source | None, defs: Mapping[str, ast.FunctionDef]) -> str | None:
    """The function beside a forward that is its backward."""
    name = source.function.name if source is not None else "forward"
    usual = [f"{name}_backward", f"backward_{name}", "backward"]
    return next((n for n in usual if n in defs and n != name), None)


def _pairs(defs: Mapping[str, ast.FunctionDef]) -> tuple[str, str] | None:
    """A JAX-style pair: `fwd` and `bwd`, or `name_fwd` and `name_bwd`."""
    for name in defs:
        if name == "fwd" or name.endswith("_fwd"):
            other = name.removesuffix("fwd") + "bwd"
            if other in defs:
                return name, other
    return None


def _loose(tree: ast.Module, source: Source | None) -> list[ast.stmt]:
    """The statements of a body pasted below the forward."""
    if source is None:
        return []
    return loose_from(tree, (source.function.end_lineno or 0) + 1)


def loose_from(tree: ast.Module, first: int) -> list[ast.stmt]:
    """The statements from a line on that are no definitions, imports or docstrings."""
    defined = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
    return [
        node
        for node in tree.body
        if node.lineno >= first
        and not beside_the_point(node)
        and not isinstance(node, defined)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]


def beside_the_point(node: ast.stmt) -> bool:
    """What a notebook's cell has around a backward, to compare it with autograd's."""
    if isinstance(node, ast.For):
        return all(beside_the_point(inner) for inner in node.body)
    if isinstance(node, ast.Assign):
        targets = node.targets
        return all(isinstance(t, ast.Attribute) and t.attr == "grad" for t in targets)
    call = node.value if isinstance(node, ast.Expr) else None
    if not isinstance(call, ast.Call):
        return False
    if isinstance(call.func, ast.Attribute):
        return call.func.attr in {"retain_grad", "backward", "zero_grad"}
    return isinstance(call.func, ast.Name) and call.func.id in {"cmp", "print"}


def _definitions(tree: ast.Module, loose: list[ast.stmt]) -> ast.Module:
    kept = [node for node in tree.body if node not in loose and not beside_the_point(node)]
    return ast.Module(kept, [])


def _beside(
    source: Source | None,
    defs: Mapping[str, ast.FunctionDef],
    namespace: Mapping[str, Any],
    text: str,
    file: str,
) -> Any:
    name = _backward_of(source, defs)
    if name is not None:
        return _named(name, defs, namespace, text, file)
    pair = _pairs(defs)
    if pair is not None:
        return namespace[pair[0]], namespace[pair[1]]
    functions = [value for value in namespace.values() if is_autograd_function(value)]
    if len(functions) == 1:
        return functions[0]
    raise CheckError(
        f"{file} has no function named backward",
        hint="write `def backward(...)`, or the lines of one below the forward; "
        "gradninja derive FILE.py shows one",
    )


def is_autograd_function(value: Any) -> bool:
    """Whether this is a person's `torch.autograd.Function` class."""
    return (
        isinstance(value, type)
        and issubclass(value, torch.autograd.Function)
        and not value.__module__.startswith("torch")
    )


def _named(
    name: str,
    defs: Mapping[str, ast.FunctionDef],
    namespace: Mapping[str, Any],
    text: str,
    file: str,
) -> Any:
    if name not in defs:
        return namespace[name]
    function, live = defs[name], namespace.get(name)
    if not callable(live):
        raise CheckError(
            f"`{name}` is bound to {live!r} where the file ends",
            spot=Written(name, file, text, (), {}, True).spot(function),
            hint="bind that to another name: a caller gets what the name holds",
        )
    for other in defs.values():
        if is_function_of(live, other, file):
            function = other  # `backward = another`: a caller calls that one
    return _written(function, text, file, namespace, live)


def is_function_of(live: Any, function: ast.FunctionDef, file: str) -> bool:
    """Whether an object is the function that a `def` of a file makes, decorated by nothing."""
    code = getattr(live, "__code__", None)
    first = min([function.lineno, *(node.lineno for node in function.decorator_list)])
    return code is not None and (code.co_filename, code.co_firstlineno) == (file, first)


def _from_function(
    function: types.FunctionType, namespace: Mapping[str, Any]
) -> tuple[Any, Mapping[str, Any]]:
    """A live function's text; the function itself where it has none."""
    inner = inspect.unwrap(function)
    around = {**inner.__globals__, **inspect.getclosurevars(inner).nonlocals}
    try:
        source = load(inner)
    except ReadError:
        return function, namespace
    return _written(source.function, source.text, source.file, around, function), around


def _from_text(
    backward: str | Path, namespace: Mapping[str, Any]
) -> tuple[Written, Mapping[str, Any]]:
    """A backward from another file, or from text: a `def`, or only the lines."""
    path, name = _split(backward)
    text, file = _text(backward), str(path or "<backward>")
    tree = _parse(text, file)
    defs = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    if name is not None and name not in defs:
        raise ReadError(f"{path} has no function named {name}")
    single = name or ("backward" if "backward" in defs else None)
    plain = ast.FunctionDef | ast.Import | ast.ImportFrom | ast.Expr
    if single is None and len(defs) == 1 and all(isinstance(n, plain) for n in tree.body):
        single = next(iter(defs))
    if single is None:
        lines = tuple(node for node in tree.body if not beside_the_point(node))
        return Written("backward", file, text, lines, {}, False), namespace
    around = {**namespace, **run_module(tree, file)}
    return _written(defs[single], text, file, around), around


def _written(
    function: ast.FunctionDef,
    text: str,
    file: str,
    namespace: Mapping[str, Any],
    live: Callable[..., Any] | None = None,
) -> Written:
    arguments = function.args
    spot = Written(function.name, file, text, (), {}, True).spot
    for star in (arguments.vararg, arguments.kwarg):
        if star is not None:
            raise CheckError(
                f"`{star.arg}` stands for any number of values",
                spot=spot(star),
                hint="name the forward's values that the backward wants",
            )
    positional = [*arguments.posonlyargs, *arguments.args]
    none: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = [
        *zip(positional, [*none, *arguments.defaults], strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    parameters: dict[str, Any] = {}
    for argument, default in pairs:
        parameters[argument.arg] = EMPTY
        if default is not None:
            try:
                code = compile(ast.Expression(default), file, "eval")
                parameters[argument.arg] = eval(code, dict(namespace))
            except Exception as error:  # the person's own expression
                raise CheckError(
                    f"the default of `{argument.arg}` does not evaluate: {error}",
                    spot=spot(default),
                ) from None
    body = [
        node
        for node in function.body
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]
    found = live or namespace.get(function.name)
    return Written(function.name, file, text, tuple(body), parameters, True, found)
