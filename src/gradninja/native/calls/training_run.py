"""A whole run of training steps as one compiled function."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gradninja.errors import GradninjaError, Spot
from gradninja.lines.given.source import parse
from gradninja.native.cache import Say, ours, put, recalled
from gradninja.native.calls.meeting import Meeting
from gradninja.native.calls.outside import Outside, size_names, taken_apart
from gradninja.native.kernels.threads import Team
from gradninja.native.machine.build import Machine
from gradninja.native.maps.compiled_text import module
from gradninja.native.maps.graph import Leaf
from gradninja.native.ops.collectives import stand_ins
from gradninja.native.ops.table import lowered
from gradninja.native.plan.arena import Memory
from gradninja.native.plan.emit import INDENT, Writer
from gradninja.native.plan.fusing import Plan
from gradninja.native.reading.read import read_step
from gradninja.native.reading.refusal import NativeError
from gradninja.rules import BOOK

# The batch: the tokens at its positions, and before each, the nearest last, those of its word,
# which follows the end mark 0 of the one before; from there backwards all are 0.
_LOOP = """\
for step in range(steps):
    for example in range({batch}):
        position = positions[{batch} * step + example]
        Yb[example] = stream[position]
        inside = True
        for back in range(1, {context} + 1):
            token = 0
            if inside and position >= back:
                token = int64(stream[position - back])
            inside = token != 0
            Xb[{context} * example + {context} - back] = token
"""
# Whole words: a row of letters from the position on, up to the end mark 0; then -1, and in Xb 0.
_WORDS = """\
for step in range(steps):
    for example in range({batch}):
        position = positions[{batch} * step + example]
        Xb[{context} * example] = 0
        inside = True
        for place in range({context}):
            token = -1
            if inside:
                token = int64(stream[position + place])
            inside = token > 0
            Yb[{context} * example + place] = token
            back = 0
            if inside:
                back = token
            if place + 1 < {context}:
                Xb[{context} * example + place + 1] = back
"""
_GIVEN = ("stream", "positions", "rates", "losses", "Xb", "Yb", "steps")


@dataclass(eq=False)
class Kernel:
    """A compiled run of steps.

    Attributes:
        source: the text that was compiled.
        names: the parameters and what else is kept, in the order in which the text takes them.
        dtype: of the parameters and losses.
        scalars: how many numbers each step is told; none but the rate where it is 0.
        threads: how many share the large matrix products; the results are the same bit for bit.
        collectives: the functions by which ranks work together.
    """

    source: str
    names: tuple[str, ...]
    dtype: np.dtype[Any]
    shapes: Mapping[str, tuple[int, ...]]
    context: int
    batch: int
    outside: Outside = field(repr=False)
    say: Say | None = field(default=None, repr=False)
    threads: int = 1
    scalars: int = 0
    columns: int = 1
    collectives: Any = None
    meeting: Meeting | None = field(default=None, repr=False)
    team: Team | None = field(default=None, repr=False)
    function: Callable[..., None] | None = field(default=None, repr=False)
    held: list[Any] | None = field(default=None, repr=False)  # its own memory, from call to call

    def run(
        self,
        parameters: Mapping[str, np.ndarray[Any, Any]],
        stream: np.ndarray[Any, Any],
        positions: np.ndarray[Any, Any],
        rates: np.ndarray[Any, Any],
        losses: np.ndarray[Any, Any],
    ) -> None:
        """Take steps; the parameters are changed in place.

        Args:
            parameters: C-contiguous arrays of the kernel's dtype and shapes, by name; also of what
                is kept beside them.
            stream: tokens, as in a `Split`.
            positions: (steps, batch), int64: each row is a step's examples.
            rates: (steps,), float64; or (steps, scalars).
            losses: (steps,) of the kernel's dtype; filled.

        Raises:
            NativeError: an array does not fit, or an index of a batch lies outside of what it
                indexes.
        """
        flat = [self._flat(name, parameters[name]) for name in self.names]
        if positions.ndim != 2 or positions.shape[1] != self.batch:
            raise NativeError(f"positions {positions.shape} are not of batches of {self.batch}")
        places = np.ascontiguousarray(positions, np.int64)
        rates = np.ascontiguousarray(rates).reshape(-1)
        flat += [np.zeros(1, self.dtype) for _ in range(self.scalars)]
        if self.threads > 1 and self.team is None:
            self.team, self.held = Team(self.dtype.name, self.threads, self.say), None
        if self.held is None:
            contexts = np.zeros(self.batch * self.context, np.int64)
            targets = np.zeros(self.batch * self.columns, np.int64)
            if self.outside.collectives:
                self.meeting = Meeting(self.outside.collectives, self.collectives)
            held = self.outside.values(self.say, self.team, self.meeting)
            self.held = [contexts, targets, *held]
        contexts, targets, *rest = self.held
        arguments = [*flat, stream, places.reshape(-1), rates, losses, contexts, targets]
        arguments += [len(places), *rest]
        if self.function is None:
            self.function = Machine(self.source, arguments, self.say)
        try:
            with nullcontext() if self.team is None else self.team.at_work():
                self.function(*arguments)
        except IndexError as error:
            if self.meeting is not None and self.meeting.error is not None:
                raise self.meeting.error from None
            raise NativeError(str(error)) from None
        if self.team is not None and not self.team.shared:
            self.threads, self.team, self.held = 1, None, None
            if self.say is not None:
                self.say("the products of a step are too small to be shared: one thread takes it")

    def _flat(self, name: str, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        fits = value.shape == self.shapes[name] and value.dtype == self.dtype
        if not fits or not value.flags.c_contiguous:
            raise NativeError(
                f"`{name}` is {value.dtype} {value.shape}; the kernel was compiled for contiguous "
                f"{self.dtype} {self.shapes[name]}"
            )
        return value.reshape(-1)


def compile_training(
    text: str,
    values: Mapping[str, Any],
    parameters: Sequence[str],
    say: Say | None = None,
    spot: Callable[[Spot], Spot] = lambda place: place,
    threads: int = 1,
    stores: Mapping[str, str] | None = None,
    scalars: Sequence[str] = (),
    collectives: Any = None,
    ranks: int = 1,
) -> Kernel:
    """Compile the steps of a model.

    Args:
        text: one function, the forward's lines and below them the backward's, whose locals are
            the `loss` and a `d<name>` for each parameter.
        values: what the function takes by name: NumPy arrays for the parameters and the batch
            (`Xb` (n, context) and `Yb` (n,), int64; or whole words, `Yb` (n, context)), plain
            values for the rest.
        parameters: the names of those that are trained: W -= rate * dW.
        say: told what takes its time, before it does (compiling, when the kernel runs first).
        spot: where a place in the text stands for the person who wrote it (`Step.spot`).
        threads: how many share the large matrix products.
        stores: in place of W -= rate * dW: what is kept from step to step, and the local that
            each becomes after a step.
        scalars: values of no axes that each step is told anew, in the columns of `rates`.
        collectives: has the functions by which the text has so many `ranks` work together, as
            methods named as PyTorch's functional collectives; each step then calls them.

    Raises:
        ReadError, NativeError: a line that is not compiled, with the place in it.
    """
    try:
        key = _key(text, values, parameters, stores, scalars) if ranks == 1 else None
        found = recalled(key, say) if key is not None else None
        if found is not None:
            kernel = _recalled(found)
        else:
            kernel = _compile_training(text, values, parameters, stores, scalars, ranks)
            if key is not None:
                put(key, _kept(kernel))
    except GradninjaError as error:
        if error.spot is not None:
            error.spot = spot(error.spot)
        raise
    kernel.say, kernel.threads, kernel.collectives = say, threads, collectives
    return kernel


# What a kernel is made of beside its machine code: the text is planned once for all runs of a list.
_PLAIN = ("source", "names", "shapes", "context", "batch", "scalars", "columns")


def _key(
    text: str,
    values: Mapping[str, Any],
    parameters: Sequence[str],
    stores: Mapping[str, str] | None,
    scalars: Sequence[str],
) -> str | None:
    """All that a kernel depends on; None where that cannot be told by words."""
    if BOOK.own:
        return None
    told: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            told[name] = [str(value.dtype), *value.shape]
        elif type(value) in (int, float, bool, str):
            told[name] = repr(value)
        else:
            return None
    given = [text, told, list(parameters), None if stores is None else dict(stores), list(scalars)]
    return f"a run of steps; torch {torch.__version__}\n{ours()}\n{json.dumps(given)}"


def _kept(kernel: Kernel) -> bytes:
    plain = {name: getattr(kernel, name) for name in _PLAIN}
    outside = {k: v for k, v in vars(kernel.outside).items() if k != "collectives"}
    return json.dumps({**plain, "dtype": kernel.dtype.name, "outside": outside}).encode()


def _recalled(content: bytes) -> Kernel:
    found = json.loads(content)
    found["names"] = tuple(found["names"])
    found["shapes"] = {name: tuple(shape) for name, shape in found["shapes"].items()}
    found["dtype"], found["outside"] = np.dtype(found["dtype"]), Outside(**found["outside"])
    return Kernel(**found)


def _compile_training(
    text: str,
    values: Mapping[str, Any],
    parameters: Sequence[str],
    stores: Mapping[str, str] | None,
    scalars: Sequence[str],
    ranks: int,
) -> Kernel:
    given = {
        name: torch.from_numpy(np.ascontiguousarray(value))
        if isinstance(value, np.ndarray)
        else value
        for name, value in values.items()
    }
    kept = {name: f"d{name}" for name in parameters} if stores is None else stores
    source, wanted = parse(text, "<step>", None), list(kept.values())
    program, _ = read_step(source, given, wanted, whole=stand_ins(ranks))
    lowering = lowered(program)
    loss, *gradients = lowering.outputs
    if loss.shape != ():
        raise NativeError(f"the loss has shape {loss.shape}; it must be one number")
    updates: list[tuple[Leaf, Any]] = []
    for (name, becomes), gradient in zip(kept.items(), gradients, strict=True):
        leaf = lowering.leaves.get(name)
        if leaf is None or gradient.shape != leaf.shape or gradient.dtype != leaf.dtype:
            raise NativeError(f"`{becomes}` is not of the shape and type of `{name}`")
        if isinstance(gradient, Leaf):  # another parameter, which an update may change first
            gradient = lowering.graph.copy(gradient)
        updates.append((leaf, gradient))
    if not {"Xb", "Yb"} <= set(lowering.leaves):
        raise NativeError("the lines take no batch", hint="a forward takes `Xb` and `Yb`")
    if stores is None:
        plan = Plan(lowering.graph, [loss], updates)
    else:
        plan = Plan(lowering.graph, [loss, *(node for _, node in updates)])
    memory, writer = Memory(plan), Writer(plan, size_names(values, program))
    told = [lowering.leaves[name].buffer.name for name in scalars if name in lowering.leaves]
    body = [f"rate = {loss.dtype}(rates[step])"] if stores is None else []
    for column, name in enumerate(scalars):
        if name in lowering.leaves:
            number = f"rates[{len(scalars)} * step + {column}]"
            body.append(f"{lowering.leaves[name].buffer.name}[0] = {loss.dtype}({number})")
    body += [*writer.body(), f"losses[step] = {plan.buffers[loss].name}[0]"]
    if stores is not None:
        for leaf, node in updates:
            body.append(f"for place in range({leaf.buffer.size}):")
            body.append(f"{INDENT}{leaf.buffer.name}[place] = {plan.buffers[node].name}[place]")
    batch, context = given["Xb"].shape
    whole = given["Yb"].dim() == 2
    loop = (_WORDS if whole else _LOOP).format(batch=batch, context=context).splitlines()
    loop += [INDENT + line for line in body]
    given_names = [*(leaf.buffer.name for leaf, _ in updates), *told]
    outside = Outside.of(memory, writer)
    head = f"def run({', '.join([*given_names, *_GIVEN, *outside.arguments])}):"
    lines = [*taken_apart(memory, writer), *loop]
    return Kernel(
        source=module(head, lines, lowering.constants.values()),
        names=tuple(leaf.label for leaf, _ in updates),
        dtype=np.dtype(loss.dtype),
        shapes={leaf.label: leaf.shape for leaf, _ in updates},
        context=context,
        batch=batch,
        outside=outside,
        scalars=len(told),
        columns=context if whole else 1,
    )
