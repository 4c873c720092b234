"""Calling a backward that is no lines: each kind in its own way, gradients by input."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from gradninja.check.given.backward_text import EMPTY
from gradninja.check.given.backwards import is_autograd_function, is_function_of
from gradninja.check.given.execution import copy_of, counted, precision, quiet
from gradninja.check.given.subject import Subject
from gradninja.check.reference.tolerance import distance
from gradninja.check.reference.truth import gapped, size
from gradninja.check.tell.findings import CheckError
from gradninja.check.walks.trials import Trial
from gradninja.lines.scope import vjp

OUTPUT = ""  # among the gradients of a Function: how far its output is from the forward's lines'
Gradients = dict[str, Any]
Runner = Callable[[Trial, torch.dtype], Gradients]


def runner(backward: Any) -> Runner:
    if isinstance(backward, tuple) and len(backward) == 2:
        return _pair(*backward)
    if is_autograd_function(backward):
        return _autograd_function(backward)
    if callable(backward):
        return _callable(backward)
    raise CheckError(
        f"a {type(backward).__name__} is no backward",
        hint="give a function, a torch.autograd.Function class, or a pair (fwd, bwd)",
    )


def takes(backward: Any) -> Callable[[str], bool]:
    """Whether the output's gradient, by its name, is handed to a backward.

    A pair has no signature, and the one of a torch.autograd.Function takes any values.
    """
    try:
        parameters = inspect.signature(backward).parameters
    except (TypeError, ValueError):
        return lambda name: True
    several = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters.values())
    return lambda name: several or name in parameters


def asked_of(backward: Any) -> set[str]:
    """The names of the parameters of a plain callable."""
    if isinstance(backward, tuple) or is_autograd_function(backward):
        return set()
    try:
        return set(inspect.signature(backward).parameters)
    except (TypeError, ValueError):
        return set()


def _values(trial: Trial, dtype: torch.dtype) -> dict[str, Any]:
    """Fresh copies of the forward's inputs, in its order."""
    values = trial.truth(dtype).state
    return {given.name: copy_of(values[given.name]) for given in trial.draw.program.inputs}


def _cotangents(trial: Trial, dtype: torch.dtype) -> list[torch.Tensor]:
    given = trial.truth(dtype).cotangents.values()
    return [gapped(g) if trial.draw.gapped and g.ndim else g.clone() for g in given]


def _autograd_function(function: Any) -> Runner:
    def run(trial: Trial, dtype: torch.dtype) -> Gradients:
        values = _values(trial, dtype)
        wanted = trial.draw.program.differentiable
        for name in wanted:
            values[name] = values[name].requires_grad_()
        with torch.enable_grad():
            # A Function may write into what it is given, which a leaf is not for.
            taken = {n: v.clone() if n in wanted else v for n, v in values.items()}
            output = function.apply(*_arguments(function.forward, taken, skip=1))
            outputs = output if isinstance(output, tuple) else (output,)
            off = _same_output(trial, dtype, outputs)
            floats = [o for o in outputs if isinstance(o, torch.Tensor) and o.requires_grad]
            if not floats:
                return {}
            found = vjp(
                floats,
                [values[name] for name in wanted],
                _cotangents(trial, dtype)[: len(floats)],
            )
        return {**dict(zip(wanted, found, strict=True)), OUTPUT: off}

    return run


def _arguments(function: Any, values: Mapping[str, Any], skip: int = 0) -> list[Any]:
    """The inputs that a function takes: by name where it has all of its names, else in order.

    `skip`: parameters before them, such as `ctx`.
    """
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return list(values.values())
    if names[:1] == ["ctx"]:
        names = names[skip:]
    if names and set(names) <= set(values):
        return [values[name] for name in names]
    return list(values.values())[: max(len(names), 1)]


def _same_output(trial: Trial, dtype: torch.dtype, outputs: Sequence[Any]) -> float:
    """How far off it is, relative; far, and gradients of the two would be compared in vain."""
    said = _other_output(trial, dtype, outputs)
    if said is not None:
        raise CheckError(
            f"its own forward gives {said}, so the gradients are of another function",
            hint="let both compute the same, with the inputs in the same order",
        )
    truth_ = trial.truth(dtype)
    rows = zip(trial.draw.program.outputs, outputs, strict=False)
    pairs = [(torch.as_tensor(mine).detach(), truth_.state[name]) for name, mine in rows]
    return max((distance(m, t) / (size(t) or 1.0) for m, t in pairs), default=0.0)


def _other_output(trial: Trial, dtype: torch.dtype, outputs: Sequence[Any]) -> str | None:
    """What outputs have that is not the forward's, in words."""
    truth_ = trial.truth(dtype)
    for name, mine in zip(trial.draw.program.outputs, outputs, strict=False):
        true = truth_.state[name]
        array = torch.as_tensor(mine)
        if array.shape != true.shape:
            return f"the shape {tuple(array.shape)} where the forward's is {tuple(true.shape)}"
        if not torch.allclose(
            array.detach().to(true.dtype), true, rtol=1e-3, atol=1e-3 * size(true), equal_nan=True
        ):
            return "other values than the forward's"
    return None


def forward_as_called(subject: Subject, trials: Sequence[Trial]) -> None:
    """Hold that what the forward's name is bound to gives what the forward's lines give.

    Raises:
        CheckError: a decorator, or another value of that name, changes it.
    """
    source = subject.source
    assert source is not None
    name = source.function.name
    live = subject.forward if callable(subject.forward) else subject.namespace.get(name)
    if not callable(live) or is_function_of(live, source.function, source.file):
        return
    for trial in trials[:1]:
        dtype = torch.float32
        try:
            with precision(dtype, trial.draw.seed), quiet(), counted(), torch.no_grad():
                found = live(*_values(trial, dtype).values())
        except Exception:  # it is decorated for a library that is not there: its lines are read
            return
        outputs = found if isinstance(found, tuple | list) else (found,)
        if all(isinstance(o, torch.Tensor) for o in outputs):
            why = _other_output(trial, dtype, outputs)
            if why is not None:
                raise CheckError(
                    f"`{name}`, called as it is bound, gives {why}, so its lines are not what it "
                    "computes",
                    spot=source.spot(source.function),
                    hint="take its decorator away, or write what it does into the lines",
                )


def _pair(fwd: Callable[..., Any], bwd: Callable[..., Any]) -> Runner:
    """`fwd(*inputs) -> (output, residuals)`, `bwd(residuals, cotangent) -> gradients`."""

    def run(trial: Trial, dtype: torch.dtype) -> Gradients:
        values = _values(trial, dtype)
        arrays = {name: _array(value) for name, value in values.items()}
        taken = _arguments(fwd, arrays)
        output, residuals = _forward_of_pair(fwd, taken)
        outputs = output if isinstance(output, tuple) else (output,)
        _same_output(trial, dtype, [np.asarray(o) for o in outputs])
        given = tuple(_array(g) for g in _cotangents(trial, dtype))
        found = bwd(residuals, given if isinstance(output, tuple) else given[0])
        taken_names = [n for n, a in arrays.items() if any(a is t for t in taken)]
        return _named(found, taken_names, trial.draw.program.differentiable)

    return run


def _forward_of_pair(fwd: Callable[..., Any], values: Sequence[Any]) -> tuple[Any, Any]:
    result = fwd(*values)
    if not isinstance(result, tuple) or len(result) != 2:
        raise CheckError(
            f"`{name_of(fwd)}` does not return two values",
            hint="return the output and the residuals, as for jax.custom_vjp",
        )
    return result


def as_function(fwd: Callable[..., Any], bwd: Callable[..., Any]) -> type[torch.autograd.Function]:
    """A pair on arrays of one output as a `torch.autograd.Function`."""

    class Pair(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *values: Any) -> torch.Tensor:
            output, ctx.residuals = _forward_of_pair(fwd, [_array(value) for value in values])
            return torch.as_tensor(np.array(output))

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            found = bwd(ctx.residuals, _array(cotangents[0]))
            several = iter(found if isinstance(found, tuple | list) else (found,))
            wanted = ctx.needs_input_grad
            every = isinstance(found, tuple | list) and len(found) == len(wanted)
            # Gradients stand for every input, or only for the floats.
            return tuple(_tensor(next(several)) if every or want else None for want in wanted)

    Pair.__name__ = name_of(bwd)
    return Pair


def _array(value: Any) -> Any:
    return value.detach().numpy() if isinstance(value, torch.Tensor) else value


def _callable(backward: Callable[..., Any]) -> Runner:
    """Called by the names of its parameters; in order, inputs then cotangents, without names."""
    call = caller(backward)

    def run(trial: Trial, dtype: torch.dtype) -> Gradients:
        wanted = trial.draw.program.differentiable
        return _named(call(trial, dtype), wanted, wanted)

    return run


def caller(
    backward: Callable[..., Any], asked: Sequence[str] | None = None
) -> Callable[[Trial, torch.dtype], Any]:
    """Calls a plain function with what it asks for, and gives back what it returns.

    `asked`: the names of its parameters where its own signature does not tell. Where it returns
    nothing, what it left in the inputs' `.grad`.
    """
    try:
        parameters = dict(inspect.signature(backward).parameters)
    except (TypeError, ValueError):
        parameters = {}
    several = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    if any(p.kind in several for p in parameters.values()):
        parameters = {}
    keyword = {n for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    optional = {n for n, p in parameters.items() if p.default is not EMPTY}
    if asked is None and parameters:
        asked = list(parameters)

    def run(trial: Trial, dtype: torch.dtype) -> Any:
        truth_ = trial.truth(dtype)
        cotangents = dict(zip(truth_.cotangents, _cotangents(trial, dtype), strict=True))
        inputs = _values(trial, dtype)
        others = {
            gradient: truth_.gradients[trial.versions(name)[0]].clone()
            for gradient, name in trial.gradients.items()
            if gradient in (asked or ())
        }
        known = {**others, **copy_of(dict(truth_.values)), **inputs, **cotangents}
        plain: list[Any] = []
        named: dict[str, Any] = {}
        for name in asked if asked is not None else [*inputs, *cotangents]:
            if name not in known and (name in optional or not parameters):
                continue
            if name not in known:
                raise CheckError(
                    f"it wants `{name}`, which is no name of the forward",
                    hint=f"its parameters are the forward's names and {', '.join(cotangents)}",
                )
            if name not in keyword and _leads(asked, name, plain):
                plain.append(known[name])
            else:
                named[name] = known[name]
        with torch.no_grad():
            found = backward(*plain, **named)
        left = {n: v.grad for n, v in inputs.items() if isinstance(v, torch.Tensor)}
        if found is None and any(g is not None for g in left.values()):
            return {name: gradient for name, gradient in left.items() if gradient is not None}
        return found

    return run


def _leads(asked: Sequence[str] | None, name: str, plain: Sequence[Any]) -> bool:
    """Whether nothing was left out before this parameter."""
    return asked is None or list(asked).index(name) == len(plain)


def _named(found: Any, order: Sequence[str], wanted: Sequence[str]) -> Gradients:
    """Gradients by input: from a dict, or from a tuple in the order of the inputs."""
    if isinstance(found, Mapping):
        return {name: _tensor(found.get(f"d{name}", found.get(name))) for name in wanted}
    if found is None:
        raise CheckError(
            "it writes no `d<name>` of a float tensor of the forward, and returns nothing",
            hint=f"write a line for each input: {', '.join(f'd{name} = ...' for name in wanted)}",
        )
    several = found if isinstance(found, tuple | list) else (found,)
    names = list(order) if len(several) == len(order) else list(wanted)
    if len(several) != len(names):
        raise CheckError(
            f"it returns {len(several)} gradients where the forward has {len(wanted)} float inputs",
            hint=f"return them in this order: {', '.join(f'd{name}' for name in wanted)}",
        )
    return {name: _tensor(g) for name, g in zip(names, several, strict=True) if name in wanted}


def _tensor(value: Any) -> Any:
    if value is None or isinstance(value, torch.Tensor):
        return value
    return torch.as_tensor(np.asarray(value))


def name_of(backward: Any) -> str:
    """What to call it in a report."""
    if isinstance(backward, tuple):
        return name_of(backward[1])
    return str(getattr(backward, "__name__", type(backward).__name__))
