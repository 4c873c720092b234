"""What is judged: the forward's text, the backward's statements, and the names around them."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gradninja.check.given.backward_text import Written
from gradninja.check.given.backwards import beside, definitions, elsewhere, named, pair_of, pasted
from gradninja.check.given.module import call_inputs, run_module, without_gradient
from gradninja.check.given.plan import bound
from gradninja.check.given.texts import text_at
from gradninja.check.tell.findings import CheckError
from gradninja.choices import Under
from gradninja.derive import Backward, derive, read_program
from gradninja.derive.holding.dtypes import default_dtype
from gradninja.errors import ReadError
from gradninja.files import is_named, is_text
from gradninja.lines import Program
from gradninja.lines.given.signature import parameters
from gradninja.lines.given.source import Source, load, where_to_put
from gradninja.lines.modules.finding import MAKER, found_live
from gradninja.lines.program import Input
from gradninja.lines.scope import LIBRARY, OF_INPUTS, seeded, with_text
from gradninja.rules import BOOK, Book


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
    book: Book = BOOK
    under: tuple[Under, ...] = ()  # what a Function is called under besides

    @property
    def unwanted(self) -> frozenset[str]:
        """The float inputs that are given as such that no gradient is wanted for."""
        return without_gradient(self.inputs or {})

    @property
    def asked(self) -> frozenset[str]:
        """The inputs that are given as such that a gradient is wanted for."""
        given = (self.inputs or {}).items()
        return frozenset(name for name, value in given if getattr(value, "requires_grad", False))


def resolve(forward: Any, backward: Any, inputs: Mapping[str, Any] | None) -> Subject:
    """Find the texts and run what stands around them.

    Raises:
        ReadError, CheckError: a file or function is missing, is no Python, or does not run.
    """
    if isinstance(backward, Backward):
        # It is in names that are bound once, and so must be the forward that it is judged with.
        values = {given.name: given.value for given in backward.program.inputs}
        forward, backward, inputs = once_bound(backward.program), backward.code, inputs or values
    else:
        forward, backward, inputs = _of_module(forward, backward, inputs)
    if isinstance(forward, types.FunctionType):
        return _of_function(forward, backward, inputs)
    pair = isinstance(forward, tuple) and len(forward) == 2 and all(map(callable, forward))
    if not (pair or callable(forward)):
        return _of_text(forward, backward, inputs)
    if backward is not None:
        raise CheckError(
            f"{forward!r} is not a plain function",
            hint="give a forward written with `def`: its lines are what is differentiated",
        )
    return Subject(None, None, forward, {}, inputs, getattr(forward, "__module__", "") or "")


def _of_text(forward: str | Path, backward: Any, inputs: Mapping[str, Any] | None) -> Subject:
    """From a file, or a text: with the backward that stands in it, unless another is given."""
    here = text_at(forward, "<text>")
    name = here.name
    if name is not None:
        here.must_have(name)
        other = name in here.classes or "backward" in name or _is_op(here.functions.get(name))
        if backward is None and other:
            backward, name = name, None  # FILE.py:backward_fused asks for that backward
    where = str(forward) if here.path is None else here.file
    wanted = f"{where}:{name}" if name else where
    source = load(wanted) if name or "forward" in here.functions else None
    ops = any(word in here.text for word in ("custom_op", "triton_op"))
    if source is None and not (here.classes or ops) and pair_of(here) is None:
        raise ReadError(
            f"{here.path or 'the text'} has no function named forward",
            hint=where_to_put(here.file),
        )
    loose = pasted(here, source) if backward is None else []
    run = definitions(here.tree, loose) if loose else here.tree
    namespace: Mapping[str, Any] = run_module(run, here.file)
    given = _given(inputs, namespace, source)
    if loose:
        found: Any = Written("backward", here.file, here.text, tuple(loose), {}, False)
    elif backward is None:
        found = beside(here, source, namespace)
    elif isinstance(backward, str) and backward.isidentifier():
        here.must_have(backward)
        found = named(backward, here, namespace)
    else:
        found, namespace = elsewhere(backward, namespace)
    return Subject(wanted, source, found, namespace, given, here.file)


def _is_op(node: ast.FunctionDef | None) -> bool:
    """Whether a function of a text is a custom op."""
    decorators = [] if node is None else map(ast.unparse, node.decorator_list)
    return any("custom_op(" in one or "triton_op(" in one for one in decorators)


def _of_function(
    forward: types.FunctionType, backward: Any, inputs: Mapping[str, Any] | None
) -> Subject:
    """From a live function, with the names around it."""
    source = load(forward)
    around = {**forward.__globals__, **inspect.getclosurevars(forward).nonlocals}
    given = _given(inputs, forward.__globals__, source)
    if backward is None:
        backward = forward.__globals__.get("backward")
    if backward is None:
        raise CheckError(
            f"no backward is given for `{forward.__name__}`",
            hint="call gradninja.check(forward, backward)",
        )
    found, namespace = elsewhere(backward, around)
    return Subject(forward, source, found, namespace, given, source.file)


def _given(
    inputs: Mapping[str, Any] | None, namespace: Mapping[str, Any], source: Source | None
) -> Mapping[str, Any] | None:
    """The inputs that are given, or those of a function `inputs()` beside the forward."""
    beside = namespace.get("inputs")
    if inputs is None and isinstance(beside, types.FunctionType):
        return call_inputs(beside, source)
    return inputs


def _of_module(forward: Any, backward: Any, inputs: Any) -> tuple[Any, Any, Any]:
    """A module's forward as the lines that it is read as, which a backward answers."""
    named = is_named(forward)
    path, _, name = str(forward).partition(".py:") if named else ("", "", "")
    if backward is None and not (named and (name or _says(str(forward)))):
        return forward, backward, inputs
    held = found_live(forward)
    if held is None or (held.takes_self and named != bool(name)):
        return forward, backward, inputs
    if inputs is None and held.beside is not None:
        with seeded(OF_INPUTS):
            inputs = held.beside()
    with default_dtype(torch.float64):
        program = read_program(held.instance, inputs)
        if _parameters(backward) - set(program.values):  # derived, it names parts of lines
            program = derive(held.instance, inputs).program
    values = {given.name: _said(given) for given in program.inputs}
    beside = f"{path.removesuffix('.py')}.py:backward"
    return once_bound(program), beside if backward is None else backward, values


def _says(file: str) -> bool:
    """Whether a file says what its forward is: a function with another name may call a Function."""
    here = text_at(file, "<text>")
    names = {name for statement in here.tree.body for name in bound(statement)}
    return bool(names & {"forward", MAKER}) or not set(here.functions) - {"inputs"}


def _said(given: Input) -> Any:
    """An input's value; of a buffer it is said that no gradient is wanted."""
    value = given.value
    if isinstance(value, torch.Tensor) and value.is_floating_point() and not given.differentiable:
        value = value.detach()
        value._no_gradient = True  # type: ignore[attr-defined]
    return value


def _parameters(backward: Any) -> set[str]:
    """What a backward that is given as a text or as a function takes without a default."""
    if isinstance(backward, types.FunctionType):
        formals = inspect.signature(backward).parameters.values()
        return {f.name for f in formals if f.default is f.empty}
    if not is_text(backward):
        return set()
    try:
        source = load(backward, default="backward")
    except ReadError:  # loose lines, which take nothing
        return set()
    return {f.name for f in parameters(source, source.function) if f.default is None}


def once_bound(program: Program) -> Any:
    """A program in which every name is bound once: as text, or where it applies Functions of the
    person's as a function, which has them around it."""
    given = [f"{g.name}={g.value!r}" if g.optional else g.name for g in program.inputs]
    lines = []
    for line in program.lines:
        stops = any(part.differentiable for part in line.expr.walk())
        quiet = stops and not line.expr.differentiable
        lines += ["with torch.no_grad():", f"    {line.code}"] if quiet else [line.code]
    lines.append(f"return {', '.join(program.outputs)}")
    text = f"def forward({', '.join(given)}):\n" + "".join(f"    {line}\n" for line in lines)
    if not any(isinstance(value, type) for value in program.namespace.values()):
        return text
    around = {"__name__": "forward", **LIBRARY, **program.namespace}
    return with_text(text, "forward", around, f"<{program.name}>")
