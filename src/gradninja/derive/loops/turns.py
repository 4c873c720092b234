"""The turns of a loop beside each other: which names and numbers are what in each of them.

A loop was read turn by turn, so its turns are lines that differ in names and numbers alone. What
is the same in all turns stands outside of the loop; what one turn makes and the next one reads is
carried; a number that grows from turn to turn is the turn's own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gradninja.lines import Line


class Differs(Exception):
    """Raised where turns are not the same lines again."""


@dataclass
class Turns:
    """The lines of a loop, turn by turn, and what was found of them.

    `names`: for each name that a turn makes, what it is called in each turn; its first turn's name
    stands for it. `carried`: such a name -> what the first turn reads in its place. `rows`: a list
    that a turn reads one element of -> its elements. `numbers`: syntax of the second turn -> what
    stands for it, in terms of `t`.
    """

    lines: list[list[Line]]
    names: dict[str, list[str]] = field(default_factory=dict)
    carried: dict[str, ast.expr] = field(default_factory=dict)
    rows: dict[str, list[str]] = field(default_factory=dict)
    numbers: dict[int, ast.expr] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.lines)

    def first(self, name: str) -> str | None:
        """The first turn's name for what a turn made; None where the loop did not make it."""
        return next((key for key, names in self.names.items() if name in names), None)

    @property
    def last(self) -> dict[str, str]:
        """The last turn's names -> the first turn's."""
        return {names[-1]: key for key, names in self.names.items()}


def turns_of(lines: Sequence[Line], number: int) -> Turns:
    """The turns of one loop.

    Raises:
        Differs: they are not the same lines with other names and numbers, or there are not three.
    """
    apart: dict[int, list[Line]] = {}
    for line in lines:
        turn = next(turn for loop, turn in line.turns if loop == number)
        apart.setdefault(turn, []).append(line)
    found = Turns([apart[turn] for turn in sorted(apart)])
    if found.count < 3 or len({len(turn) for turn in found.lines}) > 1:
        raise Differs
    for row in zip(*found.lines, strict=True):
        if len({len(line.targets) for line in row}) > 1:
            raise Differs
        for names in zip(*(line.targets for line in row), strict=True):
            found.names[names[0]] = list(names)
        if len({_shapes(line) for line in row}) > 1:
            raise Differs
    for row in zip(*found.lines, strict=True):
        _beside(found, [line.expr.syntax for line in row])
    return found


def _shapes(line: Line) -> tuple[object, ...]:
    return tuple(getattr(value, "shape", type(value)) for value in line.outputs)


def _beside(turns: Turns, nodes: Sequence[ast.AST]) -> None:
    """Go through the same place of all turns at once."""
    names = [node.id for node in nodes if isinstance(node, ast.Name)]
    if len(names) == len(nodes):
        _name(turns, names)
        return
    if names and len(names) == len(nodes) - 1 and isinstance(nodes[0], ast.Constant):
        key = turns.first(names[0])  # `loss = 0` before the first turn
        if key is not None and names == turns.names[key][:-1]:
            _carry(turns, key, nodes[0])
            return
    if len({type(node) for node in nodes}) > 1:
        raise Differs
    if isinstance(nodes[0], ast.Constant):
        _constant(turns, [node for node in nodes if isinstance(node, ast.Constant)])
        return
    for children in zip(*map(_children, nodes), strict=True):
        several = [child for child in children if isinstance(child, ast.AST)]
        if len(several) == len(nodes):
            _beside(turns, several)
        elif len({str(child) for child in children}) > 1:
            raise Differs


def _children(node: ast.AST) -> Iterator[object]:
    for name, value in ast.iter_fields(node):
        if name == "ctx":
            continue
        if isinstance(value, list):
            yield len(value)
            yield from value
        else:
            yield value


def _name(turns: Turns, names: list[str]) -> None:
    key = turns.first(names[1])
    if len(set(names)) == 1 and key is None:
        return
    if key is not None and names == turns.names[key]:
        return
    if key is not None and names[1:] == turns.names[key][:-1]:
        _carry(turns, key, ast.Name(names[0], ast.Load()))
        return
    if key is None and len(set(names)) == len(names):
        known = next((row for row in turns.rows.values() if row == names), None)
        if known is None:
            turns.rows[names[0]] = names
        return
    raise Differs


def _carry(turns: Turns, key: str, start: ast.expr) -> None:
    before = turns.carried.setdefault(key, start)
    if ast.dump(before) != ast.dump(start):
        raise Differs


def _constant(turns: Turns, nodes: list[ast.Constant]) -> None:
    values = [node.value for node in nodes]
    if all(value == values[0] and type(value) is type(values[0]) for value in values):
        return
    numbers = [value for value in values if type(value) is int]
    if len(numbers) < len(values):
        raise Differs
    start, step = numbers[0], numbers[1] - numbers[0]
    if any(number != start + step * turn for turn, number in enumerate(numbers)):
        raise Differs
    text = "t" if step == 1 else f"{step} * t"
    text = f"{text} + {start}" if start else text
    turns.numbers[id(nodes[1])] = ast.parse(text, mode="eval").body
