"""Where a forward's text comes from: a file, a live function, or text itself."""

from __future__ import annotations

import ast
import inspect
import linecache
import operator
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from gradninja.errors import NOT_PYTHON, ReadError, Spot
from gradninja.files import file_and_name, is_text, read_python
from gradninja.lines.given.notebook_cells import without_magics
from gradninja.lines.given.which_forward import meant
from gradninja.lines.ndarray import NUMPY, TORCH, dialect_of, drawers, forward_of, translated

# What the usual short names mean where a text does not import them itself.
USUAL_ALIASES = {
    "torch": "torch",
    "F": "torch.nn.functional",
    "nn": "torch.nn",
    "math": "math",
    "np": "numpy",
    "Tensor": "torch.Tensor",
}


@dataclass(frozen=True, eq=False)
class Source:
    """A function's text and what is around it: other functions, constants, import aliases."""

    file: str
    text: str
    function: ast.FunctionDef
    functions: Mapping[str, ast.FunctionDef]
    aliases: Mapping[str, str]
    constants: Mapping[str, Any] = field(default_factory=dict)
    live: Callable[..., Any] | None = None
    dialect: str = TORCH  # that the text speaks; its functions are in torch's words all the same
    kept: tuple[int, ...] | None = None  # the places of what it returns that are outputs
    spoken: Callable[..., Any] | None = None  # as NumPy runs it, where the text alone does not tell
    beside: Callable[[], Any] | None = None  # `inputs()` of the file that its object is made in

    @property
    def is_method(self) -> bool:
        """Whether this is the text of a live class's method."""
        return "." in getattr(self.live, "__qualname__", "").rpartition("<locals>.")[2]

    @cached_property
    def outside(self) -> Mapping[str, Any]:
        """The names around a live function: of its module, and of the functions it stands in."""
        function = self.live
        if not isinstance(function, types.FunctionType):
            return {}
        found = dict(function.__globals__)
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            try:
                found[name] = cell.cell_contents
            except ValueError:  # not bound yet
                continue
        return found

    @cached_property
    def text_lines(self) -> list[str]:
        return self.text.splitlines()

    def spot(self, node: ast.AST) -> Spot:
        """Where a syntax node stands in the text (its first line, when it covers several)."""
        number = getattr(node, "lineno", self.function.lineno)
        text = self.text_lines[number - 1] if 0 < number <= len(self.text_lines) else ""
        column = _characters(text, getattr(node, "col_offset", 0))
        end = getattr(node, "end_col_offset", None)
        if getattr(node, "end_lineno", number) != number or end is None:
            return Spot(self.file, number, text, column)
        return Spot(self.file, number, text, column, _characters(text, end))

    def statement(self, node: ast.stmt) -> str:
        """The statement as the person wrote it, on one line where it was on one."""
        end = node.end_lineno or node.lineno
        if not 0 < node.lineno <= end <= len(self.text_lines):
            return ast.unparse(node)
        lines = self.text_lines[node.lineno - 1 : end]
        lines[-1] = lines[-1].encode()[: node.end_col_offset].decode(errors="ignore")
        lines[0] = lines[0].encode()[node.col_offset :].decode(errors="ignore")
        return textwrap.dedent("\n".join(lines))


@dataclass(frozen=True, eq=False)
class Standing(Source):
    """A text of our own that stands in a person's place: what is told of it is told of that."""

    place: Spot | None = None
    said: str = ""

    def spot(self, node: ast.AST) -> Spot:
        assert self.place is not None
        return self.place

    def statement(self, node: ast.stmt) -> str:
        return self.said


def _characters(text: str, utf8_offset: int) -> int:
    """Python counts columns in UTF-8 bytes; carets stand under characters."""
    return len(text.encode()[:utf8_offset].decode(errors="ignore"))


def load(
    forward: str | Path | Callable[..., Any] | Source,
    default: str = "forward",
    dialect: str | None = None,
    whole: bool = False,
) -> Source:
    """The source of a function, of `FILE.py`, of `FILE.py:name`, or of the text itself.

    `dialect`: what it speaks, where that is known; `whole`: with the cache that it returns.
    A Source that was made already is handed back.

    Raises:
        ReadError: the file or function is missing, or the text is no Python.
    """
    if isinstance(forward, Source):
        return forward
    if callable(forward) and not isinstance(forward, str | Path):
        return _from_function(forward, dialect, whole)
    if is_text(forward):
        return parse(forward, "<text>", None, default, dialect)
    file, name = file_and_name(forward)
    text = read_python(file, "a function named forward, or FILE.py:name")
    return parse(text, str(file), name or None, default, dialect)


def parse(
    text: str,
    file: str,
    name: str | None,
    default: str = "forward",
    dialect: str | None = None,
    around: Mapping[str, Any] | None = None,
    whole: bool = False,
) -> Source:
    """The source of function `name` in `text`; without a name `forward`, or the only function.

    `around`: the values of the names around it.
    """
    text = without_magics(text)
    try:
        tree = ast.parse(text)
    except NOT_PYTHON as error:
        raise ReadError.of_syntax(error, text, file) from None
    known = {**USUAL_ALIASES, **modules_of(around or {}), **aliases(tree)}
    plain = {**plain_of(around or {}), **constants(tree)}
    told = dialect_of(tree, known)  # `np.sqrt(2)` among a module's lines makes no NumPy of them
    dialect = told if told == TORCH else dialect or told or _spoken(around or {})
    if dialect == NUMPY:
        tree = translated(tree, {**known, **drawers(around or {})}, frozenset(plain))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if not functions:
        raise ReadError(
            f"{file} has no function",
            hint=where_to_put(file),
        )
    wanted = name or meant(tree, default)
    if wanted is None or wanted not in functions:
        missing = f"no function named {name or default}"
        raise ReadError(
            f"{file} has {missing}", hint=f"it has: {', '.join(functions)}; give FILE.py:name"
        )
    function, kept = functions[wanted], None
    if dialect == NUMPY and not whole:
        function, kept = forward_of(function)
    return Source(
        file=file,
        text=text,
        function=function,
        functions=functions,
        aliases=known,
        constants=plain,
        dialect=dialect,
        kept=kept,
    )


def where_to_put(file: str) -> str:
    """What to do where a file has no function."""
    if file.endswith(".ipynb"):
        return (
            "a notebook's loose lines are judged in the notebook: `%load_ext gradninja`, then "
            "`gn.cmp`; here they must stand in `def forward(...):`"
        )
    return "put the lines in `def forward(...):` and return the loss"


def _from_function(function: Callable[..., Any], dialect: str | None, whole: bool) -> Source:
    if not isinstance(function, types.FunctionType):
        if isinstance(function, type):
            raise ReadError(
                f"{function.__name__} is a class",
                hint=f"give an instance, whose parameters are there: {function.__name__}(...)",
            )
        raise ReadError(
            f"a {type(function).__name__} is not a plain function",
            hint="give a function written with `def`: its lines are what is derived",
        )
    if function.__name__ == "<lambda>":
        raise ReadError(
            "a lambda has no lines to read", hint="write it as `def forward(...):` with a return"
        )
    file = inspect.getsourcefile(function) or "<unknown>"
    linecache.checkcache(file)
    try:
        # Of its code: what a decorator of the person's made is not what it was made of.
        lines, first = inspect.getsourcelines(function.__code__)
    except (OSError, TypeError):
        raise ReadError(
            f"the source text of {function.__name__} cannot be found",
            hint="give the path of the file, or the text itself",
        ) from None
    # Blank lines put the function on its own line numbers, so that carets point into the file.
    text = "\n" * (first - 1) + textwrap.dedent("".join(lines))
    name = function.__code__.co_name
    source = parse(text, file, name, "", dialect, _around(function), whole)
    return replace(source, live=function)


def of_live(
    text: str, file: str, tree: ast.Module, node: ast.FunctionDef, function: types.FunctionType
) -> Source:
    """The source of a live function whose `def` is known, in the text of its file."""
    known = {**USUAL_ALIASES, **modules_of(_around(function)), **aliases(tree)}
    plain = {**plain_of(_around(function)), **constants(tree)}
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    return Source(file, text, node, functions, known, plain, function)


def of_lambda(function: Callable[..., Any]) -> Source:
    """The source of a live lambda, as a function that returns its one expression.

    Raises:
        ReadError: its text cannot be found.
    """
    assert isinstance(function, types.FunctionType)
    code = function.__code__
    try:
        lines, _ = inspect.findsource(function)
        tree = ast.parse("".join(lines))
    except (OSError, TypeError, SyntaxError):
        raise ReadError(
            "the source text of a lambda cannot be found", hint="write it with `def`"
        ) from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno:
            body = ast.copy_location(ast.Return(node.body), node.body)
            made = ast.copy_location(ast.FunctionDef("lambda_", node.args, [body], []), node)
            if _names_of(node) == _code_names(code):
                file = inspect.getsourcefile(function) or "<unknown>"
                return of_live("".join(lines), file, tree, made, function)
    raise ReadError("the source text of a lambda cannot be found", hint="write it with `def`")


def _names_of(node: ast.Lambda) -> tuple[set[str], set[str]]:
    arguments = {a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)}
    names = {n.id for n in ast.walk(node.body) if isinstance(n, ast.Name)}
    attributes = {n.attr for n in ast.walk(node.body) if isinstance(n, ast.Attribute)}
    return arguments, (names - arguments) | attributes


def _code_names(code: types.CodeType) -> tuple[set[str], set[str]]:
    arguments = set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    return arguments, {*code.co_names, *code.co_freevars}


def _around(function: types.FunctionType) -> dict[str, Any]:
    """The names around a live function."""
    return {**function.__globals__, **inspect.getclosurevars(function).nonlocals}


def modules_of(names: Mapping[str, Any]) -> dict[str, str]:
    return {n: value.__name__ for n, value in names.items() if isinstance(value, types.ModuleType)}


def _spoken(names: Mapping[str, Any]) -> str:
    """The dialect of a module that has these names."""
    libraries = {path.partition(".")[0] for path in modules_of(names).values()}
    return NUMPY if "numpy" in libraries and "torch" not in libraries else TORCH


def plain_of(names: Mapping[str, Any]) -> dict[str, Any]:
    """The names of plain values; a named tuple is an object, with attributes."""
    plain = (bool, int, float, str, type(None), tuple)
    return {
        name: value
        for name, value in names.items()
        if isinstance(value, plain) and not name.startswith("__") and not hasattr(value, "_fields")
    }


def aliases(tree: ast.Module) -> dict[str, str]:
    """`import torch.nn.functional as F` -> {"F": "torch.nn.functional"}, and so on."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            for name in node.names:
                found[name.asname or name.name.partition(".")[0]] = (
                    name.name if name.asname else name.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in node.names:
                found[name.asname or name.name] = f"{node.module}.{name.name}"
    return found


def constants(tree: ast.Module) -> dict[str, Any]:
    """Module-level `NAME = literal`, `N, M = 64, 100`, `HALF: int = N // 2`."""
    found: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            continue  # it is not run where the file is only read
        known = dict(found)  # what stands on the right is as it was before
        stores = (n for n in ast.walk(node) if isinstance(n, ast.Name))
        for name in stores:
            if isinstance(name.ctx, ast.Store):  # bound to something else, in a loop say
                found.pop(name.id, None)
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            for bound, value in _each_bound(target, node.value):
                try:
                    found[bound] = _literal(value, known)
                except (ValueError, TypeError, ArithmeticError, MemoryError, RecursionError):
                    continue
    return found


STEPS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


def _literal(node: ast.expr, known: Mapping[str, Any]) -> Any:
    """The value of a literal, or of arithmetic on numbers and earlier ones; ValueError else."""
    if isinstance(node, ast.Name) and node.id in known:
        return known[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in STEPS:
        both = [_literal(node.left, known), _literal(node.right, known)]
        if all(type(value) in (int, float) for value in both):
            return STEPS[type(node.op)](*both)
    return ast.literal_eval(node)


def _each_bound(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """The names of a target with what each is bound to, as far as the text tells."""
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List):
        plain = not any(isinstance(e, ast.Starred) for e in (*target.elts, *value.elts))
        if plain and len(target.elts) == len(value.elts):
            for one, other in zip(target.elts, value.elts, strict=True):
                yield from _each_bound(one, other)
