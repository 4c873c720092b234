"""The loops of a stage: as few as can be, with all that is worked out as far outside as can be."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod

from gradninja.native.maps.places import Index, Part, Var, index_of, unflat
from gradninja.native.maps.scalars import Buffer, Scalar, below_of

LETTERS = "ijkpqr"
_BLOCK = 16  # elements: the lines of a block stay in the first cache, whatever their distance


@dataclass(frozen=True)
class Store:
    """`buffer[at] = value`."""

    buffer: Buffer
    at: Index
    value: Scalar


Evaluate = Callable[[Sequence[Index]], list[Store]]


@dataclass(frozen=True)
class Nest:
    """Loops in segments, from the outermost, and what is stored within the innermost."""

    segments: tuple[tuple[Var, ...], ...]
    stores: tuple[Store, ...]

    @property
    def loops(self) -> tuple[Var, ...]:
        return tuple(var for segment in self.segments for var in segment)


def fit(
    segments: Sequence[Sequence[int]],
    evaluate: Evaluate,
    taken: Iterable[str],
    blocks: bool = False,
) -> Nest:
    """The best loops for spaces of these sizes.

    A loop is split where an index is divided by what divides its size (a view has cut an axis),
    and neighbours within a segment become one where every index goes through both as through one.
    `evaluate` gives the stores from an index for each size, in order.

    `blocks`: the innermost loop may stand anywhere. It is cut in blocks, which go outermost, where
    an array is turned round: gone through in long steps there, and in short ones further outside.
    """
    names = _names(taken)
    factors = [[[size] for size in segment] for segment in segments]
    for _ in range(8):
        whole, found = _split(factors, evaluate, names)
        parts = [part for store in found for part in _parts(store)]
        if not _refine(factors, whole, parts):
            break
    base = [[f for axis in segment for f in axis] for segment in factors]
    groups = [[[size] for size in segment] for segment in base]
    best, count = _joined(groups, factors, evaluate, names), _count(found)
    for number, segment in enumerate(groups):
        at = 0
        while at + 1 < len(segment):
            trial = [list(s) for s in groups]
            trial[number][at : at + 2] = [segment[at] + segment[at + 1]]
            nest = _joined(trial, factors, evaluate, names)
            if _count(nest.stores) <= count:
                groups, segment, best = trial, trial[number], nest
            else:
                at += 1
    if blocks and _turned(best):
        cut = _joined(groups, factors, evaluate, names, cut=True)
        best = cut if _count(cut.stores) <= count else best
    return best


def far_first(variables: Iterable[Var], stores: Iterable[Store]) -> tuple[Var, ...]:
    """Loops that may stand in any order: those with the longest steps through memory outside."""
    steps: dict[Var, int] = {}
    for at in (scalar.at for store in stores for scalar in store.value.walk() if scalar.at):
        for atom, step in at.terms:
            if isinstance(atom, Var):
                steps[atom] = max(abs(step), steps.get(atom, 0))
    return tuple(sorted(variables, key=lambda var: -steps.get(var, 0)))


def _turned(nest: Nest) -> bool:
    """Whether the innermost loop goes through an array in long steps, and one outside in short."""
    last = nest.loops[-1] if nest.loops else Var("", 1)
    if last.size % _BLOCK or last.size == _BLOCK:
        return False
    read = [scalar.at for store in nest.stores for scalar in store.value.walk()]
    for at in (*(store.at for store in nest.stores), *read):
        steps = {} if at is None else {a: step for a, step in at.terms if isinstance(a, Var)}
        if abs(steps.get(last, 0)) >= _BLOCK and 1 in steps.values():
            return True
    return False


def factored(
    sizes: Sequence[int], evaluate: Evaluate, most: int = 8
) -> tuple[list[Var], list[Store]]:
    """Loops of these sizes, each split where an index is divided by what divides it; the stores."""
    factors = [[[size] for size in sizes]]
    for _ in range(most):
        whole, found = _split(factors, evaluate, _names(()))
        if not _refine(factors, whole, [part for store in found for part in _parts(store)]):
            break
    return list(whole), found


def _names(taken: Iterable[str]) -> list[str]:
    held = set(taken)
    candidates = (*LETTERS, *(f"{c}{n}" for n in range(9) for c in LETTERS))
    return [name for name in candidates if name not in held]


def _split(
    factors: list[list[list[int]]], evaluate: Evaluate, names: list[str]
) -> tuple[dict[Var, tuple[int, int, int]], list[Store]]:
    """One variable for each factor; where each belongs, and the stores."""
    where: dict[Var, tuple[int, int, int]] = {}
    places = []
    fresh = iter(names)
    for s, segment in enumerate(factors):
        for a, axis in enumerate(segment):
            total = Index()
            for f, size in enumerate(axis):
                var = Var(next(fresh), size)
                where[var] = (s, a, f)
                total = total * size + index_of(var)
            places.append(total)
    return where, evaluate(places)


def _refine(
    factors: list[list[list[int]]], where: dict[Var, tuple[int, int, int]], parts: list[Part]
) -> bool:
    """Split the factor that an index divides; whether there was one."""
    for part in parts:
        if part.of.constant or len(part.of.terms) != 1:
            continue
        atom, coefficient = part.of.terms[0]
        if isinstance(atom, Var) and coefficient == 1 and atom.size % part.by == 0:
            s, a, f = where[atom]
            factors[s][a][f : f + 1] = [atom.size // part.by, part.by]
            return True
    return False


def _joined(
    groups: list[list[list[int]]],
    factors: list[list[list[int]]],
    evaluate: Evaluate,
    names: list[str],
    cut: bool = False,
) -> Nest:
    """One variable for each group of neighbours; for the last two, if it is `cut`."""
    fresh = iter(names)
    block = Var(next(fresh), prod(groups[-1][-1]) // _BLOCK) if cut else None
    segments: list[tuple[Var, ...]] = [] if block is None else [(block,)]
    factored: list[Index] = []
    for segment in groups:
        variables = []
        for sizes in segment:
            last = block is not None and sizes is groups[-1][-1]
            variables.append(Var(next(fresh), _BLOCK if last else prod(sizes)))
            at = index_of(variables[-1])
            if last and block is not None:
                at = index_of(block) * _BLOCK + at
            factored.extend(unflat(at, sizes))
        segments.append(tuple(variables))
    rest = iter(factored)
    places = []
    for segment in factors:
        for axis in segment:
            total = Index()
            for size in axis:
                total = total * size + next(rest)
            places.append(total)
    return Nest(tuple(segments), tuple(evaluate(places)))


def _count(stores: Iterable[Store]) -> int:
    return sum(1 for store in stores for _ in _parts(store))


def _parts(store: Store) -> Iterator[Part]:
    yield from _parts_of(store.at)
    for scalar in store.value.walk():
        if scalar.at is not None:
            yield from _parts_of(scalar.at)


def _parts_of(index: Index) -> Iterator[Part]:
    for atom, _ in index.terms:
        if isinstance(atom, Part):
            yield atom
            yield from _parts_of(atom.of)


# -- text -------------------------------------------------------------------------------------


class Body:
    """The text of scalars within loops: each gets a name where it is first whole, if it needs one.

    `lines[d]` are the assignments that stand within d loops.
    """

    def __init__(
        self, loops: Sequence[Var], wanted: Sequence[tuple[Scalar, int]], taken: Iterable[str]
    ) -> None:
        """`wanted`: the scalars that are used, and within how many loops."""
        self.depths = {var: depth for depth, var in enumerate(loops, 1)}
        self.taken = set(taken) | {var.name for var in loops}
        self.named: dict[Scalar, str] = {}
        self.lines: list[list[str]] = [[] for _ in range(len(loops) + 1)]
        uses: dict[Scalar, int] = {}
        deepest: dict[Scalar, int] = {}
        every: dict[Scalar, None] = {}
        for scalar, depth in wanted:
            every.update(dict.fromkeys(scalar.walk()))
            uses[scalar] = uses.get(scalar, 0) + 1
            deepest[scalar] = max(depth, deepest.get(scalar, 0))
        for scalar in every:
            for below in below_of(scalar):
                uses[below] = uses.get(below, 0) + 1
                deepest[below] = max(self.depth(scalar), deepest.get(below, 0))
        for scalar in sorted(every, key=lambda s: s.number):
            if scalar.op == "number" or (scalar.op == "index" and uses[scalar] == 1):
                continue
            if uses[scalar] > 1 or deepest[scalar] > self.depth(scalar):
                text = self.text(scalar)
                name = self._fresh(scalar)
                self.lines[self.depth(scalar)].append(f"{name} = {text}")
                self.named[scalar] = name

    def depth(self, scalar: Scalar) -> int:
        """Within how many loops a scalar is known."""
        return max((self.depths[v] for v in scalar.variables), default=0)

    def _fresh(self, scalar: Scalar) -> str:
        base = f"{scalar.buffer.name}_" if scalar.buffer is not None else "t"
        name, count = base, 0
        while name in self.taken or name == "t":
            count += 1
            name = f"{base}{count}"
        self.taken.add(name)
        return name

    def text(self, scalar: Scalar) -> str:
        """The scalar's text, in names that stand."""
        if scalar in self.named:
            return self.named[scalar]
        if scalar.op == "number":
            return number(scalar.value, scalar.dtype)
        if scalar.op == "load":
            assert scalar.buffer is not None and scalar.at is not None
            return f"{scalar.buffer.name}[{self.index(scalar.at)}]"
        if scalar.op == "index":
            assert scalar.at is not None
            return f"int64({self.index(scalar.at)})"
        if scalar.op == "cast":
            return f"{scalar.dtype}({self.text(scalar.args[0])})"
        call = _form(scalar.op)
        bare = call is not None and all(isinstance(a, ast.Name | ast.Constant) for a in call.args)
        texts = [
            self.text(a) if bare or self._whole(a) else f"({self.text(a)})" for a in scalar.args
        ]
        return scalar.op.format(*texts)

    def _whole(self, scalar: Scalar) -> bool:
        """Whether its text can stand in another without brackets."""
        if scalar in self.named or scalar.op in ("load", "index", "cast"):
            return True
        if scalar.op == "number":
            return scalar.dtype != "float64" or scalar.value >= 0
        return _form(scalar.op) is not None

    def index(self, index: Index) -> str:
        """A place as text."""
        texts = []
        for atom, coefficient in index.terms:
            if isinstance(atom, Var):
                text = atom.name
            elif isinstance(atom, Part):
                text = f"(({self.index(atom.of)}) {atom.kind} {atom.by})"
            else:
                text = self.text(atom)
                text = text if self._whole(atom) else f"({text})"
            texts.append(text if coefficient == 1 else f"{coefficient} * {text}")
        if index.constant or not texts:
            texts.append(str(index.constant))
        return " + ".join(texts).replace("+ -", "- ")


def number(value: float, dtype: str) -> str:
    """A constant, of its type."""
    text = repr(value)
    if text in ("inf", "-inf", "nan"):
        text = text.replace("inf", "np.inf").replace("nan", "np.nan")
    return text if dtype in ("float64", "bool") else f"{dtype}({text})"


@cache
def _form(template: str) -> ast.Call | None:
    """A template that is one call, as syntax; None for another."""
    tree = ast.parse(template.format(*"abcdefgh"), mode="eval").body
    return tree if isinstance(tree, ast.Call) else None
