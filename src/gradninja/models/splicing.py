"""One training step out of two texts: the forward's body, then the backward's.

The two functions share names by design, so their bodies can stand below each other in one
function, whose locals are then the loss, every intermediate value and every gradient. The text that
is put together is the text that runs, comments included; a person can read it as `Step.source`.
"""

from __future__ import annotations

import ast
import builtins
import difflib
import symtable
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import itemgetter

from gradninja.errors import ModelError, Spot
from gradninja.models.model_text import Source, innermost

Locals = dict[str, object]
INDENT = "    "


@dataclass(frozen=True, eq=False)
class Step:
    """Forward and backward as one function.

        step = model.step()
        values = {**parameters, "Xb": Xb, "Yb": Yb}
        values["Xb"] = ...               # the same dict may serve every step
        step(values)["dW1"]

    It records nothing and changes nothing: run it under `torch.no_grad()` unless the parameters
    do not require grad anyway.

    Attributes:
        source: the spliced text.
        arguments: what the step wants, in the order that `function` takes it.
        options: what it does without, and the values taken then.
        function: the compiled text, to be called with positional arguments; what a loop that
            counts microseconds may use, but its errors are Python's own.
    """

    source: str
    arguments: tuple[str, ...]
    options: Mapping[str, object]
    function: Callable[..., Locals] = field(repr=False)
    _pick: Callable[[Mapping[str, object]], tuple[object, ...]] = field(repr=False)
    _origins: tuple[tuple[Source, int] | None, ...] = field(repr=False)

    def __call__(self, values: Mapping[str, object]) -> Locals:
        """Run one step.

        Args:
            values: at least every one of `arguments` that is not an option; more does no harm.

        Returns:
            The locals after forward and backward: {"loss": ..., "h": ..., "dW1": ..., ...}.

        Raises:
            ModelError: a value is missing, or a line of the person's text failed.
        """
        try:
            picked = self._pick(values)
        except KeyError:
            picked = self._fill(values)
        try:
            return self.function(*picked)
        except Exception as error:
            raise self._blame(error) from error

    def spot(self, place: Spot) -> Spot:
        """Where a place in `source` stands in the person's text; else as it is."""
        origin = self._origins[place.line - 1] if place.line <= len(self._origins) else None
        if origin is None:
            return place
        source, line = origin
        if source.lines[line - 1] != place.text:  # written anew: the columns are others
            return source.spot_at(line, None, None)
        return replace(place, file=source.file, line=line)

    def _fill(self, values: Mapping[str, object]) -> tuple[object, ...]:
        filled = {**self.options, **values}
        missing = [name for name in self.arguments if name not in filled]
        if missing:
            raise ModelError(
                f"the step wants `{missing[0]}`, which is not there",
                hint=f"there are: {', '.join(map(str, values)) or 'no values'}",
            )
        return self._pick(filled)

    def _blame(self, error: Exception) -> ModelError:
        spot = None
        place = innermost(error.__traceback__, self.function.__code__.co_filename)
        if place is not None and (origin := self._origins[place[0] - 1]) is not None:
            source, line = origin
            spot = source.spot_at(line, *place[1:])
        return ModelError(f"{type(error).__name__}: {error}", spot=spot)


def splice(
    file: Source,
    options: Mapping[str, object],
    backward: Source,
    name: str,
    namespace: dict[str, object],
) -> Step:
    """The forward of a file and the backward `name` of a text (the same file or another) as a step.

    Raises:
        ModelError: the backward wants a name that the forward has not, a body returns in its
            middle, or a name means one thing in the forward and another in the backward.
    """
    head, tail = file.functions["forward"], backward.functions[name]
    _check_names(file, head, backward, tail, namespace)
    lines = [
        *_body(file, head, keep="loss"),
        *_defaults(backward, tail, _locals(file, "forward")),
        *_body(backward, tail, keep=None),
    ]
    return _made(file, options, lines, name, namespace)


def alone(file: Source, options: Mapping[str, object], namespace: dict[str, object]) -> Step:
    """The forward of a file alone, as a step without gradients. Raises ModelError as `splice`."""
    lines = list(_body(file, file.functions["forward"], keep="loss"))
    return _made(file, options, lines, "forward", namespace)


def _made(
    file: Source,
    options: Mapping[str, object],
    body: list[tuple[str, tuple[Source, int] | None]],
    name: str,
    namespace: dict[str, object],
) -> Step:
    """A body as a function that gives its locals."""
    wanted = [argument.arg for argument, _ in file.arguments(file.functions["forward"])]
    lines: list[str] = [f"def step({', '.join(wanted)}):"]
    origins: list[tuple[Source, int] | None] = [None]
    for line, origin in [*body, (f"{INDENT}return locals()", None)]:
        lines.append(line)
        origins.append(origin)
    text = "\n".join(lines) + "\n"
    compiled: dict[str, Callable[..., Locals]] = {}
    try:
        code = compile(text, f"<step of {file.file}>", "exec", dont_inherit=True)
    except SyntaxError as error:
        place = origins[(error.lineno or 1) - 1]
        raise ModelError(
            f"`forward` and `{name}` cannot stand in one function: {error.msg}",
            spot=place[0].spot_at(place[1], None, None) if place else None,
        ) from None
    exec(code, namespace, compiled)
    return Step(text, tuple(wanted), options, compiled["step"], _picker(wanted), tuple(origins))


def _picker(names: list[str]) -> Callable[[Mapping[str, object]], tuple[object, ...]]:
    """What takes these names out of a mapping, as a tuple. KeyError where one is missing."""
    if len(names) > 1:  # itemgetter is the fastest, but of a single name it gives no tuple
        return itemgetter(*names)
    return lambda values: tuple(values[name] for name in names)


def _body(
    source: Source, function: ast.FunctionDef, keep: str | None
) -> Iterator[tuple[str, tuple[Source, int] | None]]:
    """The lines of a function's body and where each stands, without docstring and final return.

    What a final `return` gives is assigned to `keep`, unless it is just that name.
    """
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    last = body[-1] if body and isinstance(body[-1], ast.Return) else None
    for node in _own_nodes(function):
        if isinstance(node, ast.Return) and node is not last:
            raise ModelError(
                f"`{function.name}` returns before its end",
                spot=source.spot(node),
                hint="write straight lines, with the return as the last",
            )
        if isinstance(node, ast.Yield | ast.YieldFrom):
            raise ModelError(f"`{function.name}` yields", spot=source.spot(node))
    if keep is not None and (last is None or last.value is None):
        raise ModelError(
            f"`{function.name}` does not end in a return",
            spot=source.head(function),
            hint=f"end it in `return {keep}`",
        )
    body = body[:-1] if last is not None else body
    yield from _text(source, function, body)
    if keep is not None and last is not None and last.value is not None:
        value = ast.unparse(last.value)
        if value != keep:
            yield f"{INDENT}{keep} = {value}", (source, last.lineno)


def _text(
    source: Source, function: ast.FunctionDef, body: list[ast.stmt]
) -> Iterator[tuple[str, tuple[Source, int]]]:
    """Statements as their author wrote them; written anew where they cannot just be copied."""
    if not body:
        return
    docstring = ast.get_docstring(function) is not None
    last = function.body[-1]
    # Comments above the first statement belong to it, and those above the return to the last.
    first = (function.body[0].end_lineno or 0) + 1 if docstring else body[0].lineno
    stop = last.lineno if isinstance(last, ast.Return) else (last.end_lineno or 0) + 1
    spans = [(node.lineno, node.end_lineno or node.lineno) for node in function.body]
    apart = all(before[1] < after[0] for before, after in pairwise(spans))
    if apart and function.lineno < spans[0][0] and body[0].col_offset == len(INDENT):
        for line in range(first, stop):
            yield source.lines[line - 1], (source, line)
        return
    for node in body:
        for line_text in ast.unparse(node).split("\n"):
            yield INDENT + line_text, (source, node.lineno)


def _defaults(
    source: Source, function: ast.FunctionDef, known: set[str]
) -> Iterator[tuple[str, tuple[Source, int]]]:
    """Assignments for the backward's parameters that the forward has not but a default gives."""
    for argument, default in source.arguments(function):
        if argument.arg not in known and default is not None:
            yield f"{INDENT}{argument.arg} = {ast.unparse(default)}", (source, argument.lineno)


def _own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function's body, without those of functions and classes inside it."""
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            pending.extend(ast.iter_child_nodes(node))


def _check_names(
    file: Source,
    head: ast.FunctionDef,
    backward: Source,
    tail: ast.FunctionDef,
    namespace: Mapping[str, object],
) -> None:
    """Refuse what one function with the names of both would understand in another way."""
    forward_locals, forward_globals = _locals(file, "forward"), _globals(file, "forward")
    tail_locals, tail_globals = _locals(backward, tail.name), _globals(backward, tail.name)
    for argument, default in backward.arguments(tail):
        if argument.arg not in forward_locals and default is None:
            close = difflib.get_close_matches(argument.arg, forward_locals, 1)
            raise ModelError(
                f"`{tail.name}` wants `{argument.arg}`, but the forward has no such name",
                spot=backward.spot(argument),
                hint=f"did you mean `{close[0]}`?"
                if close
                else f"the forward has: {', '.join(sorted(forward_locals))}",
            )
    asked = {argument.arg for argument, _ in backward.arguments(tail)}
    known = namespace.keys() | vars(builtins).keys()
    clashes = (forward_globals & tail_locals - asked) | (tail_globals & forward_locals & known)
    for node in ast.walk(tail):
        if isinstance(node, ast.Name) and node.id in clashes:
            raise ModelError(
                f"`{node.id}` means one thing in `forward` and another in `{tail.name}`",
                spot=backward.spot(node),
                hint="one is the file's own name, the other is a function's: rename one",
            )


def _locals(source: Source, function: str) -> set[str]:
    return set(_table(source, function).get_locals())


def _globals(source: Source, function: str) -> set[str]:
    """The names that a function takes from its file, also inside comprehensions and lambdas."""
    found = set()
    pending: list[symtable.SymbolTable] = [_table(source, function)]
    while pending:
        table = pending.pop()
        found |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
        pending.extend(table.get_children())
    return found


def _table(source: Source, function: str) -> symtable.Function:
    tables = symtable.symtable(source.text, source.file, "exec").get_children()
    named = [table for table in tables if table.get_name() == function]
    table = named[-1]
    assert isinstance(table, symtable.Function)
    return table
