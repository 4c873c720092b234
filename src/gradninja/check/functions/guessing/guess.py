"""Values for a Function that come with none: guessed, from names and from what its lines take."""

from __future__ import annotations

import ast
import heapq
import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch

from gradninja.check.functions.function_text import Text
from gradninja.check.functions.guessing.fit import Fit, fit_of
from gradninja.check.functions.guessing.likely_values import SMALL, before, choices, likeliest
from gradninja.check.functions.guessing.told_shapes import Told, told_shapes
from gradninja.check.functions.held import Held
from gradninja.check.functions.return_places import given_none
from gradninja.check.given.draws import draws
from gradninja.check.given.execution import counted, quiet
from gradninja.check.given.subject import Subject
from gradninja.check.wholes.as_called import can_fork
from gradninja.lines.given.source import Source
from gradninja.lines.guess.unknown import Needed, Unknown

MOST = 600  # guesses that are tried
DEEPER = 2.0  # what one that fits is worth, beside a choice nearer to the first
FEW = 60  # of those that the forward runs on, given to the backward: a fork tells which
ROUNDS = 3  # of so many, while it runs on none


@dataclass(frozen=True)
class Guesses:
    """What values of a Function are guessed by.

    `plain`: its forward as a plain function, `node`: its `def`; `call`: its `apply`.
    """

    plain: Callable[..., Any]
    node: ast.FunctionDef
    call: Callable[..., Any]
    constant: frozenset[str]  # those that the backward gives None for
    told: Told

    def guessed(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """Values that the forward runs on, the backward too if any does; None where no guess does.

        Args:
            given: those that are known; the parameters without a default are guessed.
        """
        arguments = [*self.node.args.posonlyargs, *self.node.args.args]
        free = [a.arg for a in arguments[: len(arguments) - len(self.node.args.defaults)]]
        free = [name for name in free if name not in given]
        return self._first(self._completed(dict(given), free))

    def _completed(self, known: dict[str, Any], free: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Values that the forward runs on, the nearest to the first choices first.

        Each is chosen when a line first needs it.
        """
        order, runs = count(), 0
        waiting = [(0.0, next(order), known)]
        while waiting and runs < MOST:
            far, _, values = heapq.heappop(waiting)
            runs += 1
            name = before(self._needed(values, free), values, free, self.told)
            if name is None:
                continue
            if name:
                for at, choice in enumerate(self._choices(name, values)):
                    near = (far + at**0.5 - DEEPER, next(order), {**values, name: choice})
                    heapq.heappush(waiting, near)
                continue
            left = [name for name in free if name not in values]
            found = {**values, **{name: next(self._choices(name, values)) for name in left}}
            yield {name: found[name] for name in [*(n for n in found if n not in free), *free]}

    def _needed(self, known: Mapping[str, Any], free: Sequence[str]) -> str | None:
        """What a line needs first; "" where the forward runs, None where these do not fit."""
        left = [name for name in free if name not in known]
        waiting = {name: Unknown(name, []) for name in left}
        taken = {n: v.clone() if isinstance(v, torch.Tensor) else v for n, v in known.items()}
        try:
            with torch.no_grad(), quiet():
                self.plain(**taken, **waiting)
        except Needed as needed:
            return needed.need.path
        except Exception as error:  # it does not fit, or a line takes no such thing
            asked = [need.path for one in waiting.values() for need in one._needs]
            if not left or not (asked or Unknown.__name__ in str(error)):
                return None
            return asked[0] if asked else left[0]
        return ""

    def _choices(self, name: str, known: Mapping[str, Any]) -> Iterator[Any]:
        return likeliest(name, known, self.told, constant=name in self.constant)

    def filled(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Tensors for the parameters that are None unless they are given, where one matters.

        Args:
            values: those that are known, which the forward runs on.
        """
        found = dict(values)
        for name in optional(self.node):
            if found.get(name) is None:
                shapes = _shapes_beside(self.plain, found)
                tensors = [c for c in choices(name, shapes) if isinstance(c, torch.Tensor)]
                tried = ({**found, name: one} for one in tensors)
                found = self._first(v for v in tried if self._matters(v, name)) or found
        return {name: value for name, value in found.items() if name not in values}

    def _first(self, guesses: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
        """The first that the backward is right on; else of its shapes; else that it runs on.

        Nobody means values on which nothing that is written is right: a wrong backward is wrong
        on the likeliest as well.
        """
        running = (values for values in guesses if _runs(self.plain, values))
        first = list(itertools.islice(running, 1))
        if not first or self._best(first)[1] is Fit.RIGHT:
            return next(iter(first), None)
        every, at, fit = first, 0, Fit.NOT
        for _ in range(ROUNDS):
            if fit is Fit.NOT and (more := list(itertools.islice(running, FEW))):
                every = [every[at], *more]
                at, fit = self._best(every)
        if fit is Fit.SHAPES and (small := self._small()):
            without = {**every[at], **dict.fromkeys(small, 0.0)}
            return without if self._best([without])[1] is Fit.RIGHT else every[at]
        return every[at]

    def _small(self) -> list[str]:
        """What is added against a division by zero, which a backward may leave out on purpose."""
        arguments = [*self.node.args.posonlyargs, *self.node.args.args]
        given = arguments[len(arguments) - len(self.node.args.defaults) :]
        return [a.arg for a in given if a.arg in SMALL]

    def _best(self, guesses: Sequence[Mapping[str, Any]]) -> tuple[int, Fit]:
        """The place of the one that fits best, and how, found in a fork: nothing is run yet."""
        if not can_fork(engine=True):
            return self._best_of(guesses)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other threads: torch's own, which stay idle
            pid = os.fork()
        if pid == 0:
            found, fit = 0, Fit.NOT
            try:
                torch.set_num_threads(1)
                for stream in (0, 1, 2):
                    os.dup2(os.open(os.devnull, os.O_RDWR), stream)
                found, fit = self._best_of(guesses)
            finally:
                os._exit(len(Fit) * found + fit)
        code = max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        return code // len(Fit), Fit(code % len(Fit))

    def _best_of(self, guesses: Sequence[Mapping[str, Any]]) -> tuple[int, Fit]:
        """As `_best`; one that hides a mistake is not better than the first that is in shape."""
        best, at = Fit.NOT, 0
        for place, values in enumerate(guesses):
            fit = fit_of(self.plain, self.call, values)
            if fit is Fit.RIGHT and best is Fit.SHAPES and _hides(values, guesses[at]):
                continue
            if fit > best:
                best, at = fit, place
            if best is Fit.RIGHT:
                break
        return at, best

    def _matters(self, values: Mapping[str, Any], name: str) -> bool:
        """Whether what is returned is another one without it."""
        with torch.no_grad(), quiet(), counted():
            try:
                found = self.plain(**values)
            except Exception:  # it does not fit
                return False
            try:
                without = self.plain(**{**values, name: None})
            except Exception:  # it cannot be left out beside these
                return True
        one, other = (list(p) if isinstance(p, tuple) else [p] for p in (found, without))
        return not (len(one) == len(other) and all(map(_same, one, other)))


def values_of(
    subject: Subject, source: Source, held: Held, text: Text
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The inputs by the names of the forward: given, those of a plain forward, or guessed.

    And what is said of them.
    """
    given = subject.inputs
    if given is None and subject.source is not None:
        given = draws(subject.source, subject.forward, None)[0].inputs
    if given is not None:
        if not set(given) & set(held.inputs):  # other names: in the order of the forward
            given = dict(zip(held.inputs, given.values(), strict=False))
        known = {name: value for name, value in given.items() if name in held.inputs}
    else:
        known = {}
    assert source.live is not None
    constant = given_none(text) & set(held.inputs)
    told_by = told_shapes([text.forward, text.backward])
    guesses = Guesses(
        source.live, source.function, subject.backward.apply, frozenset(constant), told_by
    )
    arguments = source.function.args
    free = arguments.args[: len(arguments.args) - len(arguments.defaults)]
    bare = [a.arg for a in free if a.annotation is None or "[" not in ast.unparse(a.annotation)]
    made: dict[str, Any] = {}
    if not set(bare) <= set(known):
        found = guesses.guessed(known)
        if found is None:
            return known or None, ()
        made = {name: value for name, value in found.items() if name not in known}
    if set(optional(source.function)) - set(known):  # nobody says that they are None
        values = {**known, **made}
        values = values or draws(source, source, None)[0].inputs
        made |= guesses.filled(values)
        known = {**values, **known} if made else known
    return {**known, **made} or None, (told(made),) if made else ()


def optional(node: ast.FunctionDef) -> list[str]:
    """The parameters whose default is None."""
    arguments = node.args
    plain = [*arguments.posonlyargs, *arguments.args]
    pairs = [
        *zip(plain[len(plain) - len(arguments.defaults) :], arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return [a.arg for a, d in pairs if isinstance(d, ast.Constant) and d.value is None]


def told(values: Mapping[str, Any]) -> str:
    """What was guessed, in words."""
    shown = (
        f"{name} {tuple(value.shape)}" if isinstance(value, torch.Tensor) else f"{name} {value!r}"
        for name, value in values.items()
    )
    said = f"no values are given, these are guessed: {', '.join(shown)}; a function inputs() says"
    for name in sorted(SMALL & set(values)):
        if values[name] == 0.0:
            said += f"; with its default `{name}` is not right, and taken as left out on purpose"
    return said


def _shapes_beside(plain: Callable[..., Any], values: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """The shapes that a parameter beside known ones may have: a row of what is returned, first."""
    with torch.no_grad(), quiet(), counted():
        try:
            found = plain(**values)
        except Exception:  # it cannot be left out
            found = ()
    outputs = list(found) if isinstance(found, tuple) else [found]
    shapes = [tuple(v.shape) for v in (*outputs, *values.values()) if isinstance(v, torch.Tensor)]
    sizes = dict.fromkeys(size for shape in shapes for size in reversed(shape))
    return [*((size,) for size in sizes), *dict.fromkeys(shapes)]


def _hides(values: Mapping[str, Any], beside: Mapping[str, Any]) -> bool:
    """Whether a mistake may be right on values for being fewer: other numbers, an axis of one."""
    for name, value in values.items():
        other = beside[name]
        if isinstance(value, torch.Tensor) and isinstance(other, torch.Tensor):
            if value.ndim < other.ndim or 1 in value.shape:
                return True
        elif type(value) is not type(other) or value != other:
            return True
    return False


def _runs(plain: Callable[..., Any], values: Mapping[str, Any]) -> bool:
    """Whether something finite comes out."""
    taken = {n: v.clone() if isinstance(v, torch.Tensor) else v for n, v in values.items()}
    try:
        with torch.no_grad(), quiet(), counted():
            found = plain(**taken)
    except Exception:  # a guess that does not fit
        return False
    several = found if isinstance(found, tuple) else (found,)
    floats = [o for o in several if isinstance(o, torch.Tensor) and o.is_floating_point()]
    return bool(floats) and all(bool(torch.isfinite(o).all()) for o in floats)


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return type(one) is type(other)
    return one.shape == other.shape and torch.equal(one, other)
