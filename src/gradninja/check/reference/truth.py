"""The truth: the forward's lines run under autograd, in float64 and in float32."""

from __future__ import annotations

import ast
import keyword
from collections.abc import Callable, Collection, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakSet

import torch

from gradninja.check.given.draws import Draw
from gradninja.check.given.execution import (
    compiled,
    copy_of,
    counted,
    precision,
    quiet,
    run,
    tensors_of,
)
from gradninja.check.given.module import told
from gradninja.check.given.plan import written
from gradninja.check.tell.findings import CheckError
from gradninja.derive import COTANGENT_SEED
from gradninja.lines import Line, Program
from gradninja.lines.given.packed import gathered
from gradninja.lines.given.source import Source
from gradninja.lines.scope import LIBRARY, run_code, vjp


class Flat(CheckError):
    """A forward of which there is no gradient: nothing that it returns depends on a float input."""


class Complex(CheckError):
    """A forward of complex inputs, whose lines are not judged."""


@dataclass(frozen=True, eq=False)
class Names:
    """The person's names and the program's: a name bound more than once has several versions.

    `versions` maps `h` to (`h`, `h_1`, ...), the first binding first, for the names of the forward
    itself; those of functions that it calls are not among them. `taken` are names that stand for
    something else.
    """

    versions: Mapping[str, tuple[str, ...]]
    outputs: Mapping[str, str]  # the program's output -> the person's name for it
    taken: frozenset[str] = frozenset()

    def gradient(self, name: str) -> str:
        """`dX` for X; where the forward uses that name itself, or Python does, `d_X`, as derive."""
        found = f"d{name}"
        while found in self.versions or found in self.taken or keyword.iskeyword(found):
            found = f"d_{name}" if found == f"d{name}" else found + "_"
        return found

    def of(self, version: str) -> str:
        """The person's name of a version."""
        for name, several in self.versions.items():
            if version in several:
                return name
        return version


def names_of(source: Source, program: Program) -> Names:
    """Which names of a program are the person's, and in what order they were bound."""
    stored: dict[tuple[int, str], set[str]] = {}
    for statement in _statements(source.function.body):
        found = {
            node.id
            for node in ast.walk(statement)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        key = (statement.lineno, source.statement(statement))
        stored.setdefault(key, set()).update(found, written(statement))
    versions: dict[str, list[str]] = {given.name: [given.name] for given in program.inputs}
    for line in program.lines:
        mine = stored.get((line.number, line.source), set())
        for target in line.targets:
            base, _, count = target.rpartition("_")
            name = target if target in mine else base if count.isdigit() and base in mine else None
            if name is not None:
                versions.setdefault(name, []).append(target)
    names = Names({name: tuple(several) for name, several in versions.items()}, {})
    outputs = {output: names.of(output) for output in program.outputs}
    return Names(names.versions, outputs)


def _statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements of a function, those inside of loops and branches included."""
    found: list[ast.stmt] = []
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            continue
        found.append(statement)
        for name in ("body", "orelse"):
            inner = getattr(statement, name, [])
            found.extend(_statements(inner if isinstance(inner, list) else []))
    return found


@dataclass(frozen=True, eq=False)
class Truth:
    """One draw in one precision.

    `values`: the forward's locals by the person's names, detached; `natural`: the same once more,
    with the memory that they really share. `gradients`: true gradient of every float tensor that
    depends on a float input, by the program's names. `cotangents`: what the backward is given, by
    gradient name.
    """

    draw: Draw
    dtype: torch.dtype
    values: Mapping[str, Any]
    natural: Mapping[str, Any]
    gradients: dict[str, torch.Tensor]
    cotangents: Mapping[str, torch.Tensor]
    given: Mapping[str, torch.Tensor]  # the same by the program's names of the outputs
    state: Mapping[str, Any]  # every name of the program

    def __post_init__(self) -> None:
        KNOWN.add(self)

    @cached_property
    def scale(self) -> float:
        """The largest element of any gradient."""
        return max((size(gradient) for gradient in self.gradients.values()), default=0.0)

    @cached_property
    def terms(self) -> int:
        """No sum of the forward or its backward has more terms than this."""
        return max((t.numel() for _, t in tensors_of(self.state)), default=1)

    def contributions(self, name: str) -> list[tuple[Line, torch.Tensor]]:
        """What each line that uses a variable adds to its gradient."""
        program = self.draw.program
        found = []
        for line in program.lines:
            used = {n.id for n in ast.walk(line.expr.syntax) if isinstance(n, ast.Name)}
            if name in used and line.expr.differentiable:
                part = self._through(line, name)
                if part is not None:
                    found.append((line, part))
        if name in program.outputs:
            given = self.given.get(name)
            if given is not None and found:
                found.append((program.lines[-1], given))
        return found

    def _through(self, line: Line, name: str) -> torch.Tensor | None:
        scope: dict[str, Any] = {**LIBRARY, **self.draw.program.namespace, **self.state}
        leaf = scope[name] = self.state[name].detach().clone().requires_grad_()
        wide = self.dtype == torch.float64
        with precision(self.dtype), quiet(), torch.enable_grad():
            run(compiled(ast.parse(line.code).body, "<forward>", widen=wide), scope)
        pairs = [
            (scope[target], self.gradients[target])
            for target in line.targets
            if target in self.gradients and scope[target].requires_grad
        ]
        if not pairs:
            return None
        outputs, upstream = [p[0] for p in pairs], [p[1] for p in pairs]
        part: torch.Tensor | None
        (part,) = vjp(outputs, [leaf], upstream)
        return part


KNOWN: WeakSet[Truth] = WeakSet()  # all that is known in this process


def truth(
    draw: Draw,
    dtype: torch.dtype,
    source: Source,
    names: Names,
    namespace: Mapping[str, Any],
    takes: Callable[[str], bool],
    frozen: Collection[str] = (),
) -> Truth:
    """Run the forward on a draw, and autograd back through it.

    `takes`: whether the backward takes the output's gradient, by its name. That of a 0-dim output
    is 1 where it does not. `frozen`: the inputs that no gradient is wanted for, which autograd is
    not asked for where it refuses.

    Raises:
        CheckError: autograd cannot go through it, or nothing that is returned needs it.
    """
    program = draw.program
    inputs = {given.name: _cast(given.value, dtype) for given in program.inputs}
    scope: dict[str, Any] = {**LIBRARY, **program.namespace, **inputs}
    leaves = {}
    for name in program.differentiable:
        if inputs[name].is_complex():
            raise Complex(
                f"`{name}` is complex, and gradients of complex inputs are not judged",
                hint="take its parts as inputs, with `torch.view_as_complex` in the forward",
            )
        leaves[name] = scope[name] = inputs[name].detach().clone().requires_grad_()
    with precision(dtype, draw.seed), quiet():  # as the backward is called
        try:
            _run_lines(program, scope, dtype)
        except RuntimeError as error:
            if not frozen or "not differentiable" not in str(error):
                raise CheckError(
                    f"the forward does not run in {dtype}: {told(error)}",
                    spot=source.spot(source.function),
                ) from None
            scope.update({name: inputs[name] for name in frozen})
            _run_lines(program, scope, dtype)
        whole = gathered(program.packed, inputs)
        natural = _locals(source, namespace, whole, dtype, draw.seed, names.outputs.values())
    names_bound = [*inputs, *(t for line in program.lines for t in line.targets)]
    state = {name: scope[name] for name in names_bound}
    flowing = {n: t for n, t in tensors_of(state) if t.requires_grad and t.is_floating_point()}
    outputs = [name for name in program.outputs if name in flowing]
    if not outputs or not leaves:
        raise Flat(
            f"the output of `{program.name}` does not depend on a float input",
            spot=source.spot(source.function),
            hint="return the loss, or the output, that the inputs lead to",
        )
    cotangents = {
        name: _cotangent(
            flowing[name],
            draw,
            place,
            one=len(outputs) == 1 and not takes(names.gradient(names.outputs[name])),
        )
        for place, name in enumerate(outputs)
    }
    try:
        with torch.enable_grad():
            found = vjp(
                [flowing[name] for name in outputs],
                list(flowing.values()),
                [cotangents[name] for name in outputs],
            )
    except RuntimeError as error:
        raise CheckError(
            f"autograd cannot go through `{program.name}`: {error}",
            spot=source.spot(source.function),
        ) from None
    gradients = {
        name: torch.zeros_like(tensor).detach() if gradient is None else gradient.detach().clone()
        for (name, tensor), gradient in zip(flowing.items(), found, strict=True)
    }
    values = dict(natural)
    for name, versions in names.versions.items():
        if versions[-1] in scope and not isinstance(natural.get(name), list | tuple | dict):
            value = scope[versions[-1]]
            values[name] = value.detach() if isinstance(value, torch.Tensor) else value
    for output in program.outputs:
        values.setdefault(names.outputs[output], scope[output].detach())
    return Truth(
        draw,
        dtype,
        values,
        natural,
        gradients,
        {names.gradient(names.outputs[name]): grad for name, grad in cotangents.items()},
        cotangents,
        {n: v.detach() if isinstance(v, torch.Tensor) else v for n, v in state.items()},
    )


def _run_lines(program: Program, scope: dict[str, Any], dtype: torch.dtype) -> None:
    seen = {id(value): value for _, value in tensors_of(scope)}
    for line in program.lines:
        with torch.set_grad_enabled(line.expr.differentiable):
            code = ast.parse(line.code).body
            run(compiled(code, program.file, widen=dtype == torch.float64), scope)
            for target in line.targets:
                value = scope[target]
                # `y = x` is one tensor with two names; each has a gradient of its own.
                if not isinstance(value, torch.Tensor):
                    continue
                if id(value) in seen and value.requires_grad:
                    scope[target] = value = value.view_as(value)
                seen[id(value)] = value


class _Locals(ast.NodeTransformer):
    """`return loss` -> `return locals()`."""

    def visit_Return(self, node: ast.Return) -> ast.AST:
        call = ast.Call(ast.Name("locals", ast.Load()), [], [])
        kept = ast.Tuple([call, node.value or ast.Constant(None)], ast.Load())
        return ast.copy_location(ast.Return(kept), node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node

    visit_Lambda = visit_FunctionDef  # type: ignore[assignment]


def _locals(
    source: Source,
    namespace: Mapping[str, Any],
    inputs: Mapping[str, Any],
    dtype: torch.dtype,
    seed: int,
    outputs: Iterable[str],
) -> dict[str, Any]:
    """The forward's locals as Python leaves them: lists and ranges, too, that no line holds.

    `outputs`: the names for what is returned; it has none of its own where it is an expression.
    """
    function = deepcopy(source.function)
    transformer = _Locals()
    function.body = [transformer.visit(statement) for statement in function.body]
    function.decorator_list = []
    function.returns = None
    for argument in [*function.args.args, *function.args.posonlyargs, *function.args.kwonlyargs]:
        argument.annotation = None
    scope: dict[str, Any] = {**LIBRARY, **namespace}
    given = {
        name: copy_of(value)  # which the forward may write to
        for name, value in inputs.items()
    }
    with precision(dtype, seed), torch.no_grad():
        run_code(compiled([function], source.file, widen=dtype == torch.float64), scope)
        with counted():
            found, returned = scope[function.name](**given)
    several = returned if isinstance(returned, tuple | list) else (returned,)
    return {**dict(zip(outputs, several, strict=False)), **found}


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.detach().to(dtype)
    return value


def _cotangent(output: torch.Tensor, draw: Draw, place: int, *, one: bool) -> torch.Tensor:
    """1 for a 0-dim output where that is meant; else random, with gaps where the draw has them."""
    if one and output.ndim == 0:
        return torch.ones_like(output).detach()
    generator = torch.Generator().manual_seed(draw.seed + COTANGENT_SEED + place)
    gradient = torch.randn(output.shape, generator=generator, dtype=torch.float32)
    return gapped(gradient.to(output.dtype)) if draw.gapped else gradient.to(output.dtype)


def gapped(tensor: torch.Tensor) -> torch.Tensor:
    """The same values with the axes the other way round in memory and gaps between elements."""
    room = torch.empty((*reversed(tensor.shape), 2), dtype=tensor.dtype)[..., 0]
    return room.permute(tuple(range(tensor.ndim))[::-1]).copy_(tensor)


def size(tensor: torch.Tensor) -> float:
    """The largest finite element, without its sign."""
    finite = tensor[torch.isfinite(tensor)]
    return float(finite.abs().max()) if finite.numel() else 0.0
