"""A forward, a cost beside it, and a backward of both: `forward_propagation`, `compute_cost`.

The backward asks for labels that no line of the forward has; the cost takes them.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gradninja.lines.given.source import Source
from gradninja.lines.ndarray import names_of
from gradninja.lines.ndarray.forms import is_cache

COST = re.compile(r"\w*(cost|loss|entropy|error|mse|nll|objective)\w*", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Costed:
    """The forward with its cost behind it, in our words and as NumPy runs it."""

    source: Source
    run: Callable[..., Any]


def unknown_to(source: Source, backward: ast.FunctionDef) -> list[str]:
    """What a backward asks for that is no gradient, no cache and no name of the forward."""
    known = names_of(source.function)
    free = backward.args.args[: len(backward.args.args) - len(backward.args.defaults)]
    steep = re.compile(r"d[A-Z]?\w*|grad\w*|\w*_grad\w*|g_\w+|delta\w*|upstream\w*|error\w*")
    names = [a.arg for a in free if a.arg not in known]
    return [n for n in names if not steep.fullmatch(n) and not is_cache(n)]


def with_cost(
    source: Source, backward: ast.FunctionDef, names: Mapping[str, Any], real: Callable[..., Any]
) -> Costed | None:
    """The forward up to the cost that its backward goes back from; None where there is none.

    Args:
        names: of the module.
        real: the forward as NumPy runs it, its output alone.
    """
    unknown = unknown_to(source, backward)
    last = source.function.body[-1]
    if not unknown or not isinstance(last, ast.Return) or last.value is None:
        return None
    if isinstance(last.value, ast.Tuple):
        return None
    own = {a.arg for a in ast.walk(source.function.args) if isinstance(a, ast.arg)}
    for cost in source.functions.values():
        taken = [a.arg for a in cost.args.args[: len(cost.args.args) - len(cost.args.defaults)]]
        others = [name for name in taken if name not in {*unknown, *own}]
        if COST.fullmatch(cost.name) and len(others) == 1 and set(taken) & set(unknown):
            return _costed(source, cost, taken, others[0], names, real)
    return None


def _costed(
    source: Source,
    cost: ast.FunctionDef,
    taken: list[str],
    output: str,
    names: Mapping[str, Any],
    real: Callable[..., Any],
) -> Costed:
    function = copy.deepcopy(source.function)
    last = function.body[-1]
    assert isinstance(last, ast.Return) and last.value is not None
    whole = "cost" if "cost" not in names_of(function) else "cost_of_all"
    value = last.value
    here = {name: ast.Name(name, ast.Load()) for name in taken}
    made: list[ast.stmt] = []
    if isinstance(value, ast.Name):
        here[output] = ast.Name(value.id, ast.Load())
    else:
        made.append(ast.Assign([ast.Name(output, ast.Store())], value))
    call = ast.Call(ast.Name(cost.name, ast.Load()), [here[name] for name in taken], [])
    made.append(ast.Assign([ast.Name(whole, ast.Store())], call))
    made.append(ast.Return(ast.Name(whole, ast.Load())))
    for node in made:
        ast.fix_missing_locations(ast.copy_location(node, last))
    function.body = [*function.body[:-1], *made]
    own = {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}
    more = [name for name in taken if name != output and name not in own]
    function.args.args += [ast.copy_location(ast.arg(name), function) for name in more]

    def run(**given: Any) -> Any:
        out = real(**{name: value for name, value in given.items() if name not in more})
        return names[cost.name](*(out if name == output else given[name] for name in taken))

    return Costed(replace(source, function=function, kept=None, spoken=run), run)
