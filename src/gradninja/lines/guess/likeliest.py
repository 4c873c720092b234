"""What a value may be, the likeliest first: by its name, by how it is used, beside what is known.

Every axis gets a size of its own wherever the lines allow it, so that a wrong axis is seen.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradninja.lines.guess.unknown import Need

SIZES = (5, 4, 3, 6, 7, 2, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19)
IMAGES = (2, 2, 4, 2)
UNLIKELY = 2.0
HIDING = 1.25  # more than one gradient must be right by it
CLASSES = 3  # ints are drawn below: no axis of a guess is shorter but a batch of images
KEYED = "a dictionary"
LAYERS = "a dictionary of layers"

VECTOR = re.compile(
    r"b(ias(es)?)?_?\w?\d*|b[a-z]\d*|\w*_b(ias)?\d*|\w*bias\w*|gamma|beta|scale|shift"
    r"|(running|moving)_\w+"
)
MATRIX = re.compile(
    r"[WU]\w*|w\d*|w_\w+|\w*weights?\w*|kernels?|filters?|theta\d*|Theta\d*|coef\w*|params?|emb\w*|C"
)
LABEL = re.compile(
    r"y|Y|t|T|y_?(true|batch|train|hot|onehot)|Y_?(true|batch|train)|targets?|labels?|gt|truth|tgt"
)
IDS = re.compile(r"ix|ids?|idx|indices|index|tokens?|words?|context|center|negatives?|inputs|x|X")
MASKS = re.compile(r"mask\w*|\w+_mask|causal")
POSITIVE = re.compile(r"\w*var(iance)?\d*|\w*std|sigma\w*|probs?|p_\w+|\w*_probs?|pi")
UNIT = re.compile(r"\w*(pred|preds|hat|probs?|predictions?|y_prob|p)|A[2L]")
SETTINGS: dict[str, tuple[Any, ...]] = {
    r"stride\w*": (2, 1),
    r"pad(ding)?": (1, 0),
    r"\w*(height|width)|(pool|kernel|filter|window)_[hw]|f|k|(kernel|filter|pool)_size|HH|WW": (
        2,
        3,
    ),
    r"eps(ilon)?": (1e-5,),
    r"momentum|decay|rho": (0.9,),
    r"p|keep_prob|drop(out)?(_p|_prob|_rate|_ratio)?|rate|ratio": (0.6, 0.5),
    r"lr|learning_rate|eta|reg|lam|lamb(da)?_?|lambd|l[12]\w*|alpha|weight_decay|step_size": (0.1,),
    r"seed|random_state": (0,),
    r"axis|dim": (-1, 1, 0),
    r"\w*train(ing)?\w*|use_\w+|is_\w+|causal": (True, False),
    r"delta|margin|temperature|tau": (1.0, 0.5),
    r"num_heads|n_heads?|heads|h": (2,),
}
SINGLE = re.compile(r"\w+(Idx|Index)")  # one of them, `outsideWordIdx`
ROW = re.compile(r"\w+(Vec|_vec|Vector|_vector)")
STATE = re.compile(r"(prev_)?[ahcs](_?(prev|0|t_1|tm1))?|(prev_|init_)?(hidden|state)(_prev|0)?")
LISTS = re.compile(r"inputs|targets|tokens|words|indices|seq\w*|ids|ixs?|outputs|labels?")


@dataclass(frozen=True)
class Hints:
    """What the lines tell: `indices`, names that something is picked by; `texts`, the words that
    a name is compared with."""

    indices: frozenset[str] = frozenset()
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parts: int | None = None  # into how many equal ones an axis is cut
    ranks: Mapping[str, int] = field(default_factory=dict)  # axes that a name has at least
    states: bool = False  # whether what is carried on is as wide as what is made of it


@dataclass(frozen=True)
class Choice:
    """A value, and how unlikely it is: 0, or more where an axis is one that it should not have."""

    value: Any
    doubt: float = 0.0


def leaf(path: str) -> str:
    """`W1` of `params['W1']`."""
    found = re.search(r"\['(\w+)'\]$", path)
    return found[1] if found else path


def learned(path: str) -> bool:
    """Whether a value is a weight or a bias, by its name."""
    name = leaf(path).lstrip("_")
    return bool(MATRIX.fullmatch(name) or VECTOR.fullmatch(name))


def choices(need: Need, known: Mapping[str, Any], hints: Hints) -> Iterator[Choice]:
    """All that a value may be, beside those that are known."""
    name = leaf(need.path)
    bare = name.lstrip("_")
    if need.touch == "key" or (need.touch == "attribute" and need.key in {"get", "keys", "items"}):
        yield Choice(KEYED)
        return
    if need.touch == "len" and bare.startswith(("param", "weight")):
        yield Choice(LAYERS)
    texts = hints.texts.get(name, ())
    if need.touch == "text" or texts:
        yield from map(Choice, sorted(texts, key=lambda text: text != "train"))
        if isinstance(need.key, str) and need.key not in texts:
            yield Choice(need.key)
        if need.touch == "text":
            return
    sizes = Sizes.of(known)
    picks = name in hints.indices
    if need.touch == "index" and not picks:
        yield from _settings(bare)
        yield from (Choice(size) for size in sizes.fresh(len(SIZES)))
        return
    yield from _settings(bare)
    if need.touch == "bool":
        yield from (Choice(True), Choice(False))
    if need.touch == "call":
        yield Choice(np.tanh)
        return
    for shape, doubt in _shapes(bare, sizes, picks, hints, need):
        for value in _drawn(need, bare, shape, picks):
            yield Choice(value, doubt)
    yield from (Choice(0.5, UNLIKELY), Choice(2, UNLIKELY))


def _settings(name: str) -> Iterator[Choice]:
    """A setting by its name, the usual one first: another is for lines that do not run on that."""
    values = next((v for form, v in SETTINGS.items() if re.fullmatch(form, name)), ())
    yield from (Choice(value, UNLIKELY if at else 0.0) for at, value in enumerate(values))


def _drawn(need: Need, name: str, shape: tuple[int, ...], picks: bool) -> Iterator[Any]:
    """Values of a shape: what kind, by the name and by how it is used."""
    rng = np.random.default_rng(zlib.crc32(need.path.encode()))
    ints = rng.integers(0, CLASSES, shape)
    if ints.size > 2:
        ints.flat[:3] = (2, 0, 2)  # repeated, so that what is added twice is seen
    if picks and len(shape) < 3:
        if need.touch in {"len", "item"} and LISTS.fullmatch(name) and len(shape) == 1:
            yield [int(one) for one in ints[:3]]
        yield ints
    if MASKS.fullmatch(name):
        yield (rng.random(shape) > 0.4).astype(float)
    drawn = rng.standard_normal(shape)
    if UNIT.fullmatch(name):  # where a cross-entropy clips nothing
        drawn = 0.1 + 0.8 / (1 + np.exp(-drawn))
    yield np.abs(drawn) + 0.2 if POSITIVE.fullmatch(name) else drawn


@dataclass(frozen=True)
class Sizes:
    """The sizes of the arrays that are known: of the data, and of what is learned."""

    data: tuple[tuple[int, ...], ...]
    learned: tuple[tuple[int, ...], ...]
    single: bool = False  # whether there is a weight for one output: a vector, a row, a column

    @classmethod
    def of(cls, known: Mapping[str, Any]) -> Sizes:
        shapes: dict[bool, list[tuple[int, ...]]] = {True: [], False: []}
        for path, value in known.items():
            if isinstance(value, np.ndarray):
                shapes[learned(path)].append(value.shape)
            elif isinstance(value, list):
                shapes[learned(path)].append((len(value),))
            elif type(value) is int and value > 2:
                shapes[learned(path)].append((value,))
        matrices = [v for p, v in known.items() if MATRIX.fullmatch(leaf(p).lstrip("_"))]
        single = any(
            isinstance(v, np.ndarray) and (v.ndim < 2 or 1 in v.shape[-2:]) for v in matrices
        )
        return cls(tuple(shapes[False]), tuple(shapes[True]), single)

    @property
    def weights(self) -> list[int]:
        """The sizes of what is learned, the last first."""
        return _recent(self.learned)

    @property
    def all(self) -> list[int]:
        """All sizes, the last first, those of the data before the others."""
        return list(dict.fromkeys([*_recent(self.data), *_recent(self.learned)]))

    @property
    def inner(self) -> list[int]:
        """All sizes, those last that stand at one place in several data, as a batch does."""
        places = [(at, size) for shape in self.data for at, size in enumerate(shape)]
        return sorted(self.all, key=lambda s: any(places.count((at, s)) > 1 for at in (0, 1)))

    def fresh(self, count: int) -> tuple[int, ...]:
        """Sizes that no axis has yet."""
        taken = {size for shape in (*self.data, *self.learned) for size in shape}
        return tuple(size for size in SIZES if size not in taken)[:count]


def _recent(shapes: tuple[tuple[int, ...], ...]) -> list[int]:
    sizes = (size for shape in reversed(shapes) for size in reversed(shape))
    return list(dict.fromkeys(size for size in sizes if size > 1))


Shapes = Iterator[tuple[tuple[int, ...], float]]


def _shapes(
    name: str,
    sizes: Sizes,
    picks: bool,
    hints: Hints,
    need: Need,
) -> Shapes:
    """Shapes, each once, the likeliest first."""
    if VECTOR.fullmatch(name):
        found = _of_vector(sizes)
    elif picks:
        found = _of_ids(sizes)
        if SINGLE.fullmatch(name):
            found = itertools.chain([((), 0.0)], found)
    elif ROW.fullmatch(name):
        found = (((s,), 0.0) for s in (*sizes.all, *sizes.fresh(1)))
    elif MATRIX.fullmatch(name):
        found = _of_matrix(sizes, hints.parts)
        if hints.states:  # each gate has the same
            gates = ((shape, 0.0) for shape in sizes.learned if len(shape) == 2)
            found = itertools.chain(gates, found)
        if need.touch == "elementwise" and need.beside and len(need.beside[0]) > 1:  # a scale
            found = itertools.chain([((need.beside[0][-1],), 0.0)], found)
    elif LABEL.fullmatch(name) and (sizes.data or sizes.learned):
        outputs = ((shape, 0.0) for shape in need.beside)
        found = itertools.chain(outputs, _of_labels(sizes))
    elif hints.states and STATE.fullmatch(name):
        rows = [n for shape in sizes.data for n in shape[: max(len(shape) - 1, 1)]]
        carried = (((n, s), 0.0) for n in rows for s in sizes.weights)
        found = itertools.chain(carried, _of_data(sizes))
    else:
        found = _of_data(sizes)
    seen = set()
    for shape, doubt in found:
        if shape not in seen and len(shape) >= hints.ranks.get(name, 0):
            seen.add(shape)
            yield shape, doubt + _hiding(shape, name)


def _hiding(shape: tuple[int, ...], name: str) -> float:
    """How much a shape hides: axes of one size, or of size 1, look alike when they are mistaken."""
    if VECTOR.fullmatch(name):
        return 0.0
    alike = len(shape) == 2 and shape[0] == shape[1]
    return HIDING if alike or (1 in shape and len(shape) < 4) else 0.0


def _of_vector(sizes: Sizes) -> Shapes:
    """A bias has the axis of a weight, and not that of the batch, unless nothing else fits."""
    (fresh,) = sizes.fresh(1)
    own = sizes.weights or sizes.all
    if sizes.single:
        yield (), 0
    if not sizes.weights:  # of a weight that comes after it
        yield (fresh,), 0
    for several, doubt in ((own, 0.0), ([k * s for s in own for k in (2, 3, 4)], 0.0)):
        yield from (((s,), doubt) for s in several)
        yield from (((1, s), doubt) for s in several)
        yield from (((s, 1), doubt) for s in several)
    yield (), UNLIKELY
    others = [s for s in sizes.all if s not in own]
    yield from ((shape, 1.5) for s in others for shape in ((s,), (1, s), (s, 1)))
    yield from (((1, s, 1, 1), 0.5) for s in sizes.all)
    yield (1,), 0.5
    yield (1, 1), 0.5
    yield from _of_data(sizes)


def _of_matrix(sizes: Sizes, parts: int | None) -> Shapes:
    known = sizes.inner
    a, b = sizes.fresh(2)
    if parts:  # the gates of a cell lie side by side
        yield from (((s, parts * t), 0) for s in known for t in known if s != t)
        yield from (((parts * t, s), 0) for s in known for t in known if s != t)
        yield from (((s, parts * s), 0) for s in known)
        yield from (((parts * s, s), 0) for s in known)
    images = [shape for shape in sizes.data if len(shape) == 4]
    if images:
        yield (3, images[-1][1], 2, 2), 0
        yield (3, images[-1][1], 3, 3), 0
        yield (2, 2, images[-1][-1], 3), 0
    yield from (((s, a), 0) for s in known)
    yield from (((a, s), 0) for s in known)
    if not known:
        yield (a, b), 0
    yield from (((1, s), 0) for s in known)
    pairs = [(s, t) for s in known for t in known]
    yield from ((pair, 0) for pair in pairs if pair[0] != pair[1])
    yield from ((pair, 0) for pair in pairs if pair[0] == pair[1])
    for k in (4, 3, 2):
        yield from (((s, k * t), 0) for s, t in pairs)
        yield from (((k * s, t), 0) for s, t in pairs)
    yield from (((s + t, u), 0) for s, t in pairs if s < t for u in (a, *known))
    yield from (((u, s + t), 0) for s, t in pairs if s < t for u in (a, *known))
    yield from (((s,), 0) for s in known)
    yield from (((s, 1), 0) for s in known)
    if not known:
        yield (a,), 0
    yield (a, b), 0
    yield (), UNLIKELY
    c = sizes.fresh(3)[-1]
    yield from (((2, s, a), 0) for s in known)
    yield (a, b, c), 0
    yield (a, 2, 2, 2), 0


def _of_ids(sizes: Sizes) -> Shapes:
    """Ints that pick: one for each row of the data, or some."""
    (a,) = sizes.fresh(1)
    rows = list(dict.fromkeys(shape[0] for shape in sizes.data if shape and shape[0] > 1))
    yield from (((n,), 0) for n in rows)
    yield from ((shape[:2], 0) for shape in sizes.data if len(shape) > 2)
    yield (a,), 0
    yield from (((n, a), 0) for n in rows)
    yield (5, a) if a != 5 else (4, a), 0
    yield from (((n, 1), 0) for n in rows)
    yield (), UNLIKELY


def _of_labels(sizes: Sizes) -> Shapes:
    """One beside each output: the axes of the data and of what is learned, in pairs."""
    known = sizes.all
    last = list(reversed(sizes.data))
    rows = list(dict.fromkeys(shape[0] for shape in sizes.data if shape))
    ends = list(dict.fromkeys(shape[-1] for shape in sizes.data if shape))
    yield from (((n, s), 0) for n in rows for s in sizes.weights if s != n)
    yield from (((s, n), 0) for n in ends for s in sizes.weights if s != n)
    yield from ((shape, 0) for shape in last)
    yield from (((*shape[:-1], s), 0) for shape in last for s in sizes.weights if len(shape) > 2)
    yield from (((s, t), 0) for s in known for t in known if s != t)
    yield from (((n,), 0) for n in (*rows, *ends, *known))
    yield from (((n, 1), 0) for n in known)
    yield from (((1, n), 0) for n in known)
    yield from _of_data(sizes)


def _of_data(sizes: Sizes) -> Shapes:
    """Data have as many axes as other data, unless nothing else fits."""
    ranks = {len(shape) for shape in sizes.data}
    for shape, doubt in _any_data(sizes):
        yield shape, doubt if not ranks or len(shape) in ranks else doubt + 0.1


def _any_data(sizes: Sizes) -> Shapes:
    a, b, c = sizes.fresh(3)
    rows = list(dict.fromkeys(shape[0] for shape in sizes.data if shape))
    weights = sizes.weights
    last = list(reversed(sizes.data))
    yield from (((n, a), 0) for n in rows)
    if not rows:
        yield from (((a, s), 0) for s in weights)
        yield from (((s, a), 0) for s in weights)
        yield from (((s,), 0) for s in weights)
        yield from (((s, 1), 0) for s in weights)
    for shape in last:
        for at in reversed(range(len(shape))):
            yield (*shape[:at], a, *shape[at + 1 :]), 0
    yield from ((shape, 0) for shape in last)
    if not rows:
        yield (a, b), 0
    yield (a, b, c), 0
    yield IMAGES, 0
    yield from (((IMAGES[0], s, *IMAGES[2:]), 0) for s in weights)
    yield from (((n, s), 0) for n in rows for s in sizes.all)
    yield from (((s, t), 0) for s in sizes.all for t in sizes.all)
    yield from (((n, a, b), 0) for n in rows)
    yield from (((s,), 0) for s in sizes.all)
    yield (a,), 0
    yield (a, b), 0
    yield from (((n, s, t), 0) for n in rows for s in sizes.all for t in sizes.all)
    yield from (((a, s, b), 0.25) for s in sizes.all)
    yield from (((n, k * s), 0) for n in rows for s in sizes.all for k in (2, 3, 4))
    yield from (((s, 1), 0) for s in sizes.all)
    yield (a, 1), 0
    yield from (((1, s), 0) for s in sizes.all)
    yield (6, 6), 0
    yield (), UNLIKELY
