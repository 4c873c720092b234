"""Values for a NumPy forward that come with none: those on which its backward is most nearly right.

A guess that fits the forward's shapes may still not be the one that is meant: `b` may be a row or a
column, `w` a vector or a matrix. So the backward is run as well, as the person wrote it, and held
to differences of the forward: the guess on which most of its gradients agree is taken, an unlikely
one only where it makes up for that.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import numpy as np

from gradninja.check.given.execution import quiet
from gradninja.lines.guess import Guess, Guesser, Hints, guesses, leaf
from gradninja.lines.ndarray import as_arrays, meant_by
from gradninja.lines.plain import parts_of

STEP = 1e-5
NEAR = 1e-4  # relative, between a gradient and a difference
WORK = 500_000  # calls that are made while guesses are compared: some two seconds
SECONDS = 30.0  # the last resort
Values = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Person:
    """A person's forward and backward as NumPy runs them.

    `forward`: by name, what it returns; `outputs`: of that, what is differentiated; `backward`:
    what the person's backward returns, of the names at the forward's end, of what that returned and
    of cotangents; None where the forward's own lines go back. `codes`: of both.
    """

    forward: Callable[..., Any]
    outputs: Callable[[Any, Mapping[str, Any]], Sequence[Any]]
    backward: Callable[[Mapping[str, Any], Any, Sequence[Any]], Any] | None
    codes: tuple[CodeType, ...]
    names: Sequence[str]
    hints: Hints
    around: Values = field(default_factory=dict)
    made: int = 0  # how many of the names are arguments of the object's own making


def guessed(person: Person, given: Values) -> Guess | None:
    """The values that are missing beside those that are given; None where none are found."""
    guesser = Guesser(
        person.forward,
        person.names,
        person.hints,
        given,
        person.around,
        lambda values: [
            part
            for part in parts_of(_traced(person, {**given, **values})[1])
            if isinstance(part, np.ndarray)
        ],
    )
    best, most, bonus, left, each = None, -math.inf, 0.0, WORK, 0
    until = time.monotonic() + SECONDS
    with quiet():
        for guess in guesses(guesser):
            each = each or _calls_of(person, {**given, **guess.values})
            left -= each * (2 + 2 * len(guess.parts))
            agree, wanted, raised = _agreeing(person, guess, given)
            if best is None and raised:  # it raises: one on which all is right counts more
                bonus = 0.5
            score = agree - guess.doubt + bonus * (agree == wanted > 0)
            if score > most:
                best, most = guess, score
            if agree == wanted and (best is guess or guess.doubt < 1):
                break
            if left < 0 or time.monotonic() > until:
                break
    return best


def _calls_of(person: Person, values: Values) -> int:
    """How many calls one run of the forward makes: what it costs, on any machine."""
    made = 1

    def count(frame: Any, event: str, _: Any) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    _watched(count, lambda: person.forward(**copy.deepcopy(dict(values))))
    return made


def _traced(person: Person, values: Values) -> tuple[Any, dict[str, Any]]:
    """What the forward returns, and its names where it ends."""
    found: list[dict[str, Any]] = []

    def watch(frame: Any, event: str, _: Any) -> None:
        if event == "return" and frame.f_code in person.codes:
            found.append(as_arrays(dict(frame.f_locals)))

    returned = _watched(watch, lambda: person.forward(**copy.deepcopy(dict(values))))
    return returned, found[-1] if found else {}


def _watched(watch: Any, call: Callable[[], Any]) -> Any:
    before, state = sys.getprofile(), np.random.get_state()
    np.random.seed(0)
    sys.setprofile(watch)
    try:
        with np.errstate(all="ignore"):
            return call()
    finally:
        sys.setprofile(before)
        np.random.set_state(state)


def _agreeing(person: Person, guess: Guess, given: Values) -> tuple[float, int, int]:
    """How many gradients agree with differences, less for another shape, and of how many.

    Last, whether the backward raised.
    """
    values = {**given, **guess.values}
    floats = {
        path: value
        for path, value in [*guess.parts.items(), *given.items()]
        if isinstance(value, float | np.ndarray) and np.asarray(value).dtype.kind == "f"
    }
    try:
        gradients, cotangents, raised = _gradients(person, values)
    except Exception:  # it is mistaken, or the guess does not fit: the lines will tell
        return -1.0, len(floats), 1
    wanted = {
        path: gradients[leaf(path)] for path in floats if gradients.get(leaf(path)) is not None
    }
    held = {n: v for n, v in person.around.items() if n in gradients and n not in floats}
    misfits = sum(np.shape(gradients[name]) != np.shape(value) for name, value in held.items())
    agree = -0.5 * (raised + misfits)
    for path, gradient in wanted.items():
        value = np.asarray(floats[path])
        if np.shape(gradient) != value.shape:
            agree -= 0.5
            continue
        rng = np.random.default_rng(len(path))
        way = rng.standard_normal(value.shape)
        try:
            ends = [
                _total(person, _moved(values, path, floats[path] + sign * STEP * way), cotangents)
                for sign in (1, -1)
            ]
        except Exception:  # it ends where the forward is not defined
            continue
        slope = (ends[0] - ends[1]) / (2 * STEP)
        mine = float(np.sum(np.asarray(gradient) * way))
        agree += bool(abs(mine - slope) <= NEAR * max(abs(slope), abs(mine), 1e-3))
    return agree, len(wanted), raised


def _gradients(person: Person, values: Values) -> tuple[dict[str, Any], list[Any], int]:
    """The gradients that the backward has, by what they are of, and the cotangents.

    Last, whether it raised.
    """
    returned, names = _traced(person, values)
    outputs = person.outputs(returned, names)
    rng = np.random.default_rng(1)
    cotangents = [
        np.ones(()) if np.ndim(o) == 0 else rng.standard_normal(np.shape(o)) for o in outputs
    ]
    if person.backward is None:
        return dict(_by_name(person, names, returned)), cotangents, 0
    found: list[dict[str, Any]] = []

    def watch(frame: Any, event: str, _: Any) -> None:
        if event == "return" and frame.f_code in person.codes:
            found.append(as_arrays(dict(frame.f_locals)))

    backward, back, raised = person.backward, None, 0
    handed = copy.deepcopy(({**values, **names}, returned, cotangents))
    try:
        back = _watched(watch, lambda: backward(*handed))
    except Exception:  # a mistake, or a guess that does not fit: what it had until then counts
        raised = 1
    gradients = dict(_by_name(person, found[-1] if found else {}, back))
    asked = person.names[person.made :]
    if isinstance(back, np.ndarray) and asked:  # `return dout * mask`: of the first
        gradients.setdefault(asked[0], back)
    if isinstance(back, tuple) and len(back) == len(asked):  # `return dout * b, dout * a`
        gradients = {**dict(zip(asked, back, strict=True)), **gradients}
    return gradients, cotangents, raised


def _by_name(person: Person, names: Mapping[str, Any], returned: Any) -> Iterator[tuple[str, Any]]:
    """What each gradient is of: `dW`, `grad_W`, `gradVec`, `self.dW`, `grads["W"]`."""
    itself = names.get("self")
    more = vars(itself) if hasattr(itself, "__dict__") else {}
    grads = [v for v in (*names.values(), *more.values(), returned) if isinstance(v, Mapping)]
    for name, value in (*more.items(), *names.items()):
        for start in ("grad_", "d_", "d"):
            if name.startswith(start):
                yield name.removeprefix(start), value
                break
        meant = meant_by(name, person.names)
        if meant is not None:
            yield meant, value
        if name.endswith("_grad"):
            yield name.removesuffix("_grad"), value
    for held in grads:
        for key, value in held.items():
            if isinstance(key, str) and any(word in "".join(names) for word in ("grad", "d")):
                yield key.removeprefix("d"), value


def _total(person: Person, values: Values, cotangents: Sequence[Any]) -> float:
    returned, names = _traced(person, values)
    outputs = person.outputs(returned, names)
    return float(sum(np.sum(o * g) for o, g in zip(outputs, cotangents, strict=True)))


def _moved(values: Values, path: str, value: Any) -> dict[str, Any]:
    """The same values with another at a path: `x`, `params['W1']`."""
    found = copy.deepcopy(dict(values))
    if path in found:
        found[path] = value
    else:
        holder = found[path.partition("[")[0]]
        keys = path.removesuffix("']").split("['")[1:]
        for key in keys[:-1]:
            holder = holder[key]
        holder[keys[-1]] = value
    return found
