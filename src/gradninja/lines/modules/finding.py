"""Which object a person means: one that is given, or a class or an instance in their file."""

from __future__ import annotations

import ast
import inspect
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradninja.errors import ReadError, Spot
from gradninja.files import file_and_name, is_named, read_text
from gradninja.lines.given.notebook_cells import without_magics
from gradninja.lines.given.source import USUAL_ALIASES, aliases, constants
from gradninja.lines.given.which_forward import meant
from gradninja.lines.guess import guessed_object
from gradninja.lines.modules.live import Live, is_live, live, surrounded
from gradninja.lines.modules.surroundings import Surrounded, free_names
from gradninja.lines.ndarray import NUMPY, dialect_of
from gradninja.lines.scope import OF_FILE, run, seeded

MAKER = "module"  # the function of a file that makes its module


def found_live(forward: Any) -> Live | None:
    """The object whose forward is meant; None where a plain function or a text is.

    A file's object is `FILE.py:Class` (made with its defaults), `FILE.py:name` of an instance, or
    what a function `module()` makes in a file that has no function `forward`. A function that
    reads tensors or modules from around it is an object that holds them.

    Raises:
        ReadError: the file does not run, or its class cannot be made without arguments.
    """
    if is_named(forward):
        return _in_file(forward)
    if isinstance(forward, types.FunctionType) and forward.__name__ != "<lambda>":
        return surrounded(forward)
    return live(forward) if is_live(forward) else None


def _in_file(forward: str | Path) -> Live | None:
    file, name = file_and_name(forward)
    try:
        text = without_magics(read_text(file))
        tree = ast.parse(text)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return None  # told where the text is read
    functions = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    classes = {
        n.name: n
        for n in tree.body
        if isinstance(n, ast.ClassDef) and not any("Function" in ast.unparse(b) for b in n.bases)
    }
    if name in functions and name != MAKER:
        return _with_surroundings(text, str(file), tree, name)
    if not name:
        if "forward" in functions:
            return _with_surroundings(text, str(file), tree, "forward")
        if "forward" in _assigned(tree):  # `forward = train_step`, `forward = Model(8)`
            name = "forward"
        elif MAKER in functions:
            name = MAKER
        else:
            _unsaid(file, tree, classes, functions)
            only = meant(tree)
            return None if only is None else _with_surroundings(text, str(file), tree, only)
    if name not in {*functions, *classes, *_assigned(tree)}:
        return None
    names = run_file(text, str(file))
    found = names.get(name)
    if name in functions or (isinstance(found, type) and name in classes):
        try:
            found = found() if callable(found) else found
        except Exception as error:  # the person's own code: their error, told as such
            numpy = dialect_of(tree, {**USUAL_ALIASES, **aliases(tree)}) == NUMPY
            kind = found if numpy and isinstance(found, type) and name in classes else None
            guess = None if kind is None else guessed_object(classes[name], kind)
            if guess is not None:
                return replace(live(guess[0]), notes=(guess[1],))
            line = text.splitlines()[classes[name].lineno - 1] if name in classes else ""
            spot = Spot(str(file), classes[name].lineno, line) if name in classes else None
            raise ReadError(
                f"`{name}()` does not run: {error}",
                spot=spot,
                hint=f"add a function `{MAKER}()` that makes one, with its sizes, to the file",
            ) from None
    if isinstance(found, types.FunctionType):  # by another name: `forward = train_step`
        return _around(found)
    # The class may be from another file, or torch's own: values are given where it is made.
    return replace(live(found), beside=names.get("inputs"))


def _around(function: types.FunctionType) -> Live:
    """A function of a file that was run, with what stands around it."""
    return surrounded(function) or Live(Surrounded(function), function, {}, {}, frozenset())


def _with_surroundings(text: str, file: str, tree: ast.Module, name: str) -> Live | None:
    """A file's function with what the file has made by its end; None where it reads none of it."""
    try:
        body = compile(text, file, "exec").co_consts
    except (SyntaxError, ValueError):
        return None
    codes = {part.co_name: part for part in body if isinstance(part, types.CodeType)}
    waiting, read = [name], set[str]()
    while waiting:
        for free in free_names(codes[waiting.pop()]):
            if free in codes and free not in read:
                waiting.append(free)
            read.add(free)
    if not read & _computed(tree):
        return None
    found = run_file(text, file).get(name)
    if not isinstance(found, types.FunctionType):
        return None
    return _around(found)


def _computed(tree: ast.Module) -> set[str]:
    """The names that a file's own statements bind to more than plain values, its classes too."""
    defined = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    classes = {n.name for n in tree.body if isinstance(n, ast.ClassDef)}
    stored = {
        node.id
        for statement in tree.body
        if not isinstance(statement, defined)
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return classes | (stored - set(constants(tree)))


def _unsaid(
    file: Path, tree: ast.Module, classes: dict[str, ast.ClassDef], functions: set[str]
) -> None:
    """A file without a function `forward` and without a word on which class is meant."""
    readable = [
        name
        for name, node in classes.items()
        if any(isinstance(n, ast.FunctionDef) and n.name == "forward" for n in node.body)
    ]
    others = any(isinstance(n, ast.ClassDef) and n.name not in classes for n in tree.body)
    if readable and not others and not (functions - {"inputs"}):
        raise ReadError(
            f"{file} has no function `forward`, but a module: {', '.join(readable)}",
            hint=f"say which: {file}:{readable[-1]}",
        )


def _assigned(tree: ast.Module) -> set[str]:
    return {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def run_file(text: str, file: str) -> dict[str, Any]:
    """The names of a person's file, run as a module that can import its neighbours.

    What it prints goes to stderr: stdout is for what was asked.

    Raises:
        ReadError: it raises.
    """
    module = types.ModuleType("forward")
    module.__file__ = file
    with _importable(module, file), redirect_stdout(sys.stderr), seeded(OF_FILE):
        try:
            run([text], module.__dict__, file)
        except Exception as error:  # the person's own code: their error, told as such
            raise ReadError(
                f"{file} does not run: {type(error).__name__}: {error}", spot=_spot(error, file)
            ) from None
    return module.__dict__


def _spot(error: BaseException, file: str) -> Spot | None:
    """The deepest line of the file that an error came through."""
    trace = error.__traceback__
    frames = [] if trace is None else inspect.getinnerframes(trace)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    if not lines:
        return None
    rows = Path(file).read_text(encoding="utf-8-sig").splitlines()
    row = rows[lines[-1] - 1] if lines[-1] <= len(rows) else ""
    return Spot(file, lines[-1], row, len(row) - len(row.lstrip()))


@contextmanager
def _importable(module: types.ModuleType, file: str) -> Iterator[None]:
    """Its neighbours can be imported, and it is found under its own name (dataclasses look)."""
    folder = str(Path(file).resolve().parent)
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
        if before is None:
            sys.modules.pop(module.__name__, None)
        else:
            sys.modules[module.__name__] = before
