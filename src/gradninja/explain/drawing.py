"""The forward as a graph, laid out in layers: inputs above their first use, the output below.

Sugiyama's method (Sugiyama, Tagawa and Toda 1981): layers by longest path, points on the long edges
between, order within a layer by the mean of the neighbours, then places: within an order, the ones
nearest to the neighbours are found by pooling adjacent violators (Ayer et al. 1955).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from gradninja.explain.walkthrough import Walkthrough

HEIGHT, LAYER = 46.0, 84.0  # of a box, and from one layer's top to the next, in pixels
GAP = 22.0  # between two boxes of a layer
CHARACTER = 7.0  # about the width of one, in pixels
LONGEST = 30  # characters of a line that a box shows
SWEEPS = 12
REACH = 12  # layers over which an input's box is looked for; further down it is drawn again
STRAIGHT = 60  # layers beyond which an edge goes straight, else the work grows with their square


@dataclass(eq=False)
class Box:
    """An input or a line; `key` tells which (`-1 - i` an input, `i` a line). x is its centre."""

    key: int
    name: str
    below: str
    shape: str
    kind: str  # "input", "given" (an input without gradient), "line", "constant", "output"
    layer: int = 0
    x: float = 0.0
    width: float = 0.0  # 0 for a point on a long edge
    up: list[Box] = field(default_factory=list)
    down: list[Box] = field(default_factory=list)

    @property
    def y(self) -> float:
        return self.layer * LAYER


@dataclass(frozen=True)
class Edge:
    """From an operand to the line that reads it, through points; `flows`: a gradient goes back."""

    start: Box
    end: Box
    points: tuple[tuple[float, float], ...]
    flows: bool


@dataclass(frozen=True)
class Graph:
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    width: float
    height: float


def layout(walk: Walkthrough) -> Graph:
    """The graph of a walk's tensors, with a place for every box and edge."""
    boxes, pairs = _boxes(walk)
    if not boxes:
        return Graph((), (), 0.0, 0.0)
    _layers(pairs)
    pairs = _again(boxes, pairs)
    chains = [_chain(start, end) for start, end in pairs]
    everything = [*boxes, *(point for chain in chains for point in chain[1:-1])]
    rows: list[list[Box]] = [[] for _ in range(max(box.layer for box in boxes) + 1)]
    for box in everything:
        rows[box.layer].append(box)
    _order(rows)
    _place(rows)
    left = min(box.x - box.width / 2 for box in everything)
    for box in everything:
        box.x -= left
    edges = [
        Edge(chain[0], chain[-1], _points(chain), _flows(chain[0], chain[-1])) for chain in chains
    ]
    width = max(box.x + box.width / 2 for box in everything)
    return Graph(tuple(boxes), tuple(edges), width, (len(rows) - 1) * LAYER + HEIGHT)


def _flows(start: Box, end: Box) -> bool:
    return start.kind not in ("given", "constant") and end.kind != "constant"


def _boxes(walk: Walkthrough) -> tuple[list[Box], list[tuple[Box, Box]]]:
    """A box for every tensor input that is read and every line that gives one; who reads whom."""
    values = walk.back.program.values
    outputs = set(walk.back.program.outputs)
    by_name: dict[str, Box] = {}
    boxes: list[Box] = []
    pairs: list[tuple[Box, Box]] = []
    read: set[str] = set()
    for index, given in enumerate(walk.inputs):
        if given.tensor:
            kind = "input" if given.differentiable else "given"
            by_name[given.name] = Box(-1 - index, given.name, "", given.shape, kind)
    for step in walk.steps:
        targets = step.line.targets
        shapes = [walk.shapes.told(tuple(values[t].shape)) for t in targets if _tensor(values[t])]
        if not shapes:
            continue
        kind = "line" if step.differentiable else "constant"
        kind = "output" if outputs & set(targets) else kind
        below = walk.back.program.say(step.line.code).partition(" = ")[2]
        box = Box(step.index, ", ".join(targets), _cut(below), _cut(" ".join(shapes)), kind)
        readers = [by_name[name] for name in step.reads if name in by_name]
        for operand in readers:
            if operand.key < 0 and operand.name not in read:
                read.add(operand.name)
                boxes.append(operand)
            pairs.append((operand, box))
        boxes.append(box)
        by_name.update(dict.fromkeys(targets, box))
    for box in boxes:
        longest = max(len(box.name) + len(box.shape) + 1, len(box.below))
        box.width = max(64.0, longest * CHARACTER + 22)
    return boxes, pairs


def _tensor(value: object) -> bool:
    return hasattr(value, "shape")


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _layers(pairs: list[tuple[Box, Box]]) -> None:
    """Lines as high as their operands allow, inputs just above their first use."""
    # A line's operands come before it in `pairs`, so one pass is enough.
    for start, end in pairs:
        end.layer = max(end.layer, start.layer + 1)
    first_use: dict[Box, int] = {}
    for start, end in pairs:
        if start.key < 0:
            first_use[start] = min(first_use.get(start, end.layer), end.layer)
    for box, layer in first_use.items():
        box.layer = layer - 1


def _again(boxes: list[Box], pairs: list[tuple[Box, Box]]) -> list[tuple[Box, Box]]:
    """The pairs with an input's box drawn again near uses that are far below its first."""
    latest: dict[Box, Box] = {}
    found = []
    for start, end in sorted(pairs, key=lambda pair: pair[1].layer):
        near = latest.get(start, start)
        if start.key < 0 and end.layer - near.layer > REACH:
            near = latest[start] = replace(start, layer=end.layer - 1, up=[], down=[])
            boxes.append(near)
        found.append((near, end))
    return found


def _chain(start: Box, end: Box) -> list[Box]:
    """The boxes from start to end, a point on each layer between, linked."""
    between = range(start.layer + 1, end.layer)
    points = [Box(0, "", "", "", "point", layer) for layer in between if len(between) < STRAIGHT]
    chain = [start, *points, end]
    for above, below in pairwise(chain):
        above.down.append(below)
        below.up.append(above)
    return chain


def _order(rows: list[list[Box]]) -> None:
    """Fewer crossings: each layer in the order of the means of its neighbours."""
    for sweep in range(SWEEPS):
        downwards = sweep % 2 == 0
        for row in rows if downwards else reversed(rows):
            for at, box in enumerate(row):
                box.x = float(at)
        for row in rows[1:] if downwards else reversed(rows[:-1]):
            means = {id(box): _mean(box.up if downwards else box.down, box.x) for box in row}
            row.sort(key=lambda box: means[id(box)])
            for at, box in enumerate(row):
                box.x = float(at)


def _mean(boxes: list[Box], otherwise: float) -> float:
    return sum(box.x for box in boxes) / len(boxes) if boxes else otherwise


def _place(rows: list[list[Box]]) -> None:
    for row in rows:
        offsets = _offsets(row)
        for box, offset in zip(row, offsets, strict=True):
            box.x = offset - offsets[-1] / 2
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wished = [_mean([*box.up, *box.down], box.x) for box in row]
            # Long edges should be straight: their points weigh more.
            weights = [4.0 if box.width == 0 else 1.0 for box in row]
            for box, x in zip(row, _apart(wished, weights, _offsets(row)), strict=True):
                box.x = x


def _offsets(row: list[Box]) -> list[float]:
    """Each box's least distance from the first."""
    found = [0.0]
    for left, right in pairwise(row):
        found.append(found[-1] + (left.width + right.width) / 2 + GAP)
    return found


def _apart(wished: list[float], weights: list[float], offsets: list[float]) -> list[float]:
    """The places nearest to the wished ones that keep the order and the distances."""
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for want, weight, offset in zip(wished, weights, offsets, strict=True):
        mean, total, count = want - offset, weight, 1
        while pools and pools[-1][0] > mean:
            before = pools.pop()
            both = total + before[1]
            mean = (mean * total + before[0] * before[1]) / both
            total, count = both, count + before[2]
        pools.append((mean, total, count))
    means = [mean for mean, _, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _points(chain: list[Box]) -> tuple[tuple[float, float], ...]:
    def through() -> Iterator[tuple[float, float]]:
        yield chain[0].x, chain[0].y + HEIGHT
        for point in chain[1:-1]:
            yield point.x, point.y
            yield point.x, point.y + HEIGHT
        yield chain[-1].x, chain[-1].y

    return tuple(through())
