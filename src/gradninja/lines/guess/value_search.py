"""The search for values that a forward runs on: each is chosen when the run first needs it."""

from __future__ import annotations

import ast
import copy
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

import numpy as np
import torch

from gradninja.lines.guess.likeliest import (
    KEYED,
    LABEL,
    LAYERS,
    Choice,
    Hints,
    choices,
    leaf,
    learned,
)
from gradninja.lines.guess.unknown import Keyed, Need, Needed, Unknown

RUNS = 2500
SECONDS = 30.0  # the last resort: what is found must not depend on the machine
MOST = 80  # guesses that are handed out
LAYERED = ("W1", "b1", "W2", "b2")


@dataclass(frozen=True)
class Guess:
    """`values`: by parameter; `parts`: by path, `params['W1']`; `doubt`: how unlikely it is."""

    values: Mapping[str, Any]
    parts: Mapping[str, Any]
    doubt: float = 0.0


@dataclass(frozen=True, eq=False)
class Guesser:
    """What is run: `call` with all of `names`, those of `given` as they are; `hints`: its lines'.

    `around`: arrays that it reads from around it. What it returns must be finite. `beside` tells,
    on values that it runs on, the arrays that it makes on its way, by which labels are drawn.
    """

    call: Callable[..., Any]
    names: Sequence[str]
    hints: Hints = field(default_factory=Hints)
    given: Mapping[str, Any] = field(default_factory=dict)
    around: Mapping[str, Any] = field(default_factory=dict)
    beside: Callable[[Mapping[str, Any]], list[Any]] | None = None


class _Spent(Exception):
    """Too many runs."""


def guesses(guesser: Guesser) -> Iterator[Guess]:
    """Values on which it runs, the likeliest first; then the same with one of them another.

    Every axis gets a size of its own first. The state of a cell that is added to what is made of
    it cannot have one, and so is tried as wide as that where nothing else runs.
    """
    found, sequence = None, bool(guesser.hints.ranks)  # whose turns carry a state on
    for states in (sequence, not sequence):
        hints = replace(guesser.hints, states=states)
        for found in _guesses(_Search(replace(guesser, hints=hints))):
            yield found
        if found is not None:
            return


def _guesses(search: _Search) -> Iterator[Guess]:
    try:
        first = search.completed({}, 0.0)
        if first is None:
            return
        yield search.dressed(first)
        prefix: dict[str, Any] = {}
        steps: list[tuple[dict[str, Any], Need, float]] = []
        doubt = 0.0  # of what stays as it is
        for path, value in first.parts.items():
            if path in search.needs:
                need = search.needs[path]
                steps.append((dict(prefix), need, doubt))
                alike = (c.doubt for c in search.choices(need, prefix) if _same(c.value, value))
                doubt += next(alike, 0.0)
            prefix[path] = value
        count = itertools.count(1)
        for before, need, doubt in reversed(steps):
            for choice in search.choices(need, before):
                if _same(choice.value, first.parts[need.path]):
                    continue
                found = search.completed({**before, need.path: choice.value}, doubt + choice.doubt)
                if found is not None:
                    yield search.dressed(found)
                    if next(count) >= MOST:
                        return
    except _Spent:
        return


class _Search:
    def __init__(self, guesser: Guesser) -> None:
        self.guesser, self.runs, self.until = guesser, 0, time.monotonic() + SECONDS
        self.needs: dict[str, Need] = {}

    def completed(self, parts: dict[str, Any], doubt: float) -> Guess | None:
        """The first way to choose the rest so that it runs."""
        found = self.run(parts)
        if found is None:
            return None
        if isinstance(found, Guess):
            return Guess(found.values, found.parts, doubt)
        self.needs.setdefault(found.path, found)
        for choice in self.choices(found, parts):
            more = self.completed({**parts, found.path: choice.value}, doubt + choice.doubt)
            if more is not None:
                return more
        return None

    def choices(self, need: Need, parts: Mapping[str, Any]) -> Iterator[Choice]:
        guesser = self.guesser
        return choices(need, {**guesser.around, **guesser.given, **parts}, guesser.hints)

    def run(self, parts: Mapping[str, Any]) -> Guess | Need | None:
        """What the run needs next, or the guess where it needs no more; None where it fails."""
        self.runs += 1
        if self.runs > RUNS or time.monotonic() > self.until:
            raise _Spent
        needs: list[Need] = []
        made = {
            n: _made(n, parts, needs) for n in self.guesser.names if n not in self.guesser.given
        }
        state = np.random.get_state()
        np.random.seed(0)
        try:
            with np.errstate(all="ignore"):
                found = self.guesser.call(**copy.deepcopy(dict(self.guesser.given)), **made)
        except Needed as needed:
            return replace(needs[0], beside=_shapes_in(needed.__traceback__))
        except (KeyboardInterrupt, MemoryError):
            raise
        except BaseException:  # it does not fit, or somebody held the error of what is needed
            return needs[0] if needs else None
        finally:
            np.random.set_state(state)
        if needs:
            return needs[0]
        if not _finite(found):
            tame = _tame(parts)
            return None if tame is None else self.run(tame)
        values = {name: _plain(value, parts, name) for name, value in made.items()}
        return Guess(values, dict(parts))

    def dressed(self, guess: Guess) -> Guess:
        """The same with labels as labels are: a row of probabilities is answered by one of them."""
        if self.guesser.beside is None:
            return guess
        parts = dict(guess.parts)
        for path, value in guess.parts.items():
            floats = isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim > 0
            if floats and LABEL.fullmatch(leaf(path)):
                parts[path] = _label(value, self.guesser.beside(guess.values))
        try:
            found = self.run(parts)
        except _Spent:
            return guess
        return Guess(found.values, parts, guess.doubt) if isinstance(found, Guess) else guess


def _shapes_in(trace: TracebackType | None) -> tuple[tuple[int, ...], ...]:
    """The shapes of the arrays that the frames of a run hold, the last first."""
    found: list[tuple[int, ...]] = []
    while trace is not None:
        values = trace.tb_frame.f_locals.values()
        arrays = (v for v in values if isinstance(v, np.ndarray | torch.Tensor) and v.ndim)
        found += [tuple(v.shape) for v in arrays]
        trace = trace.tb_next
    return tuple(dict.fromkeys(reversed(found)))


def _tame(parts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The same with the data between 0 and 1, for a logarithm; None where they are."""
    found = dict(parts)
    for path, value in parts.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not learned(path):
            found[path] = 0.1 + 0.8 / (1 + np.exp(-value))
            if ((value > 0.1) & (value < 0.9)).all():
                return None
    return found if any(found[path] is not parts[path] for path in parts) else None


def _label(value: np.ndarray[Any, Any], beside: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Labels in the place of random numbers, by the arrays of this shape that are made beside."""
    like = [one for one in beside if isinstance(one, np.ndarray) and one.shape == value.shape]
    like = [one for one in like if one is not value and one.dtype.kind == "f"]
    for one in like:
        for axis in reversed(range(one.ndim)):
            if one.shape[axis] > 1 and (one >= 0).all() and np.allclose(one.sum(axis), 1):
                picked = np.arange(value.size // value.shape[axis]) * 2 % value.shape[axis]
                rows = np.eye(value.shape[axis])[picked]
                lying = np.moveaxis(value, axis, -1).shape
                labels: np.ndarray[Any, Any] = np.moveaxis(rows.reshape(lying), -1, axis)
                return labels.copy()
    if any(((one > 0) & (one < 1)).all() for one in like):
        return (np.arange(value.size).reshape(value.shape) % 3 < 1).astype(float)
    return value


def _made(path: str, parts: Mapping[str, Any], needs: list[Need]) -> Any:
    if path not in parts:
        return Unknown(path, needs)
    value = parts[path]
    if isinstance(value, str) and value in (KEYED, LAYERS):
        found = Keyed(lambda key: _made(f"{path}[{key!r}]", parts, needs))
        if value == LAYERS:
            found.update((key, _made(f"{path}[{key!r}]", parts, needs)) for key in LAYERED)
        return found
    return copy.deepcopy(value)


def _plain(value: Any, parts: Mapping[str, Any], path: str) -> Any:
    """A value as it is handed out, before the run has changed anything of it."""
    if isinstance(value, Keyed):
        keys = [key for key in value if f"{path}[{key!r}]" in parts]
        return {key: _plain(value[key], parts, f"{path}[{key!r}]") for key in keys}
    if path not in parts:  # no line has used it
        return None
    return copy.deepcopy(parts[path])


def _finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, tuple | list):
        return all(map(_finite, value))
    if isinstance(value, np.ndarray | np.generic | float):
        array = np.asarray(value)
        return array.dtype.kind != "f" or bool(np.isfinite(array).all())
    return True


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.shape == other.shape and np.array_equal(one, other)
    return type(one) is type(other) and not isinstance(one, np.ndarray) and bool(one == other)


def reached(node: ast.AST, functions: Mapping[str, ast.AST]) -> ast.Module:
    """A definition and the functions that it calls, by name, as far as the text tells."""
    found, left = [node], [node]
    while left:
        for name in (n.id for n in ast.walk(left.pop()) if isinstance(n, ast.Name)):
            other = functions.get(name)
            if other is not None and other not in found:
                found.append(other)
                left.append(other)
    return ast.Module(found, [])  # type: ignore[arg-type]


def hints_of(tree: ast.AST) -> Hints:
    """What the lines tell: names in brackets pick something, names are compared with words."""
    indices: set[str] = set()
    texts: dict[str, dict[str, None]] = {}
    parts = [1]
    made_of: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for name, value in _bound(node.targets[0], node.value):
                made_of.setdefault(name, set()).update(_same_elements(value))
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            made_of.setdefault(node.target.id, set()).update(_same_elements(node.iter))
        if isinstance(node, ast.Slice):
            parts += [_times(n) + 1 for n in ast.walk(node) if _times(n)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("split"):
            parts += [n.value for n in node.args[1:2] if _whole(n)]  # type: ignore[attr-defined]
        if isinstance(node, ast.Subscript):
            indices |= {n.id for n in ast.walk(node.slice) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("add.at", "one_hot")):
            indices |= {n.id for part in node.args[1:2] for n in _names(part)}
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            words = [s.value for s in sides if isinstance(s, ast.Constant)]
            said = [word for word in words if isinstance(word, str)]
            for side in sides:
                key = _key(side)
                if key is not None and said:
                    texts.setdefault(key, {}).update(dict.fromkeys(said))
    counted = [n.target for n in ast.walk(tree) if isinstance(n, ast.For) and _counts(n.iter)]
    indices -= {
        n.id for target in counted for n in _names(target)
    }  # a helper's `for x in range(k)`
    left = list(indices)
    while left:  # `y_flat = y.reshape(-1)` picks what `y` picks
        more = made_of.pop(left.pop(), set()) - indices
        indices |= more
        left += more
    told = {name: tuple(words) for name, words in texts.items()}
    return Hints(frozenset(indices), told, max(parts) if max(parts) > 1 else None)


def ranks_of(tree: ast.AST) -> dict[str, int]:
    """How many axes a name has at least: `xs[t].T` is a matrix, and `xs` has one axis more."""
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and node.attr in ("T", "t", "mT")):
            continue
        part = node.value
        one = ast.Name | ast.Constant | ast.BinOp
        if isinstance(part, ast.Subscript) and isinstance(part.slice, one):
            found[ast.unparse(part.value)] = 3
    return found


def _bound(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, other in zip(target.elts, value.elts, strict=False):
            yield from _bound(one, other)


def _counts(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "range"


def _same_elements(node: ast.expr) -> Iterator[str]:
    """`y` of `y.reshape(-1).astype(int)`, of `np.ravel(y)`."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr not in {"reshape", "ravel", "flatten", "astype", "squeeze", "copy"}:
            return
        owner = node.func.value
        library = isinstance(owner, ast.Name) and owner.id in {"np", "numpy"}
        node = node.args[0] if library and node.args else owner
    if isinstance(node, ast.Name):
        yield node.id


def _times(node: ast.AST) -> int:
    """3 of `3 * H`; 0 of anything else."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)):
        return 0
    sides = [s.value for s in (node.left, node.right) if isinstance(s, ast.Constant)]
    return next((side for side in sides if isinstance(side, int)), 0)


def _whole(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


def _names(node: ast.AST) -> Iterator[ast.Name]:
    return (n for n in ast.walk(node) if isinstance(n, ast.Name))


def _key(node: ast.expr) -> str | None:
    """`mode` of `mode` and of `bn_param["mode"]`."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value)
    return node.id if isinstance(node, ast.Name) else None


def told(parts: Mapping[str, Any]) -> str:
    """What was guessed, in words."""
    shown = []
    for path, value in parts.items():
        if isinstance(value, str) and value in (KEYED, LAYERS):
            continue
        array = isinstance(value, np.ndarray)
        what = f"{value.shape}" if array else repr(value)
        shown.append(f"{path} {'ints ' if array and value.dtype.kind == 'i' else ''}{what}")
    return f"no values are given, these are guessed: {', '.join(shown)}; a function inputs() says"
