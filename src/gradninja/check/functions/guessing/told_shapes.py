"""What a Function's text tells of the shapes of its inputs, whatever they are called."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

CONVOLUTION = re.compile(r"conv(?:_transpose)?([123])d")
POOLING = re.compile(r"(?:max_|avg_|adaptive_avg_)pool([123])d")
IDS = frozenset("target targets label labels index indices idx ids token tokens".split())
SPREAD = frozenset("view reshape".split())


@dataclass(frozen=True)
class Told:
    """Ranks and sizes that a text tells.

    `ranks`: by the name of an input; `usual`: of those that nothing is told of; `lasts`: how many
    parts the last axis is unbound into; `sizes`: the whole numbers that shapes are made with;
    `parts`: how many gates stand side by side; `joined`: whether tensors are put together;
    `window`: how many axes a convolution goes along; `saved`: what `save_for_backward` takes;
    `single`: whether a gradient is put into a shape of (1,).
    """

    ranks: dict[str, int] = field(default_factory=dict)
    usual: int = 0
    lasts: dict[str, int] = field(default_factory=dict)
    sizes: tuple[int, ...] = ()
    parts: tuple[int, ...] = ()
    joined: bool = False
    window: int = 0
    saved: frozenset[str] = frozenset()
    single: bool = False


def told_shapes(functions: Sequence[ast.FunctionDef]) -> Told:
    """What a forward and a backward tell."""
    nodes = [node for function in functions for node in ast.walk(function)]
    ranks: dict[str, int] = {}
    lasts: dict[str, int] = {}
    saved: set[str] = set()
    usual, window, joined, single = 0, 0, False, False
    sizes: list[int] = []
    parts: list[int] = []
    for node in nodes:
        if isinstance(node, ast.Tuple):
            usual = max(usual, _axes(node))
        elif isinstance(node, ast.Assign):
            _unpacked(node, ranks, lasts)
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            usual = max(usual, _spread_by_index(node, ranks))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, numbers = node.func.attr, [_number(part) for part in node.args]
            numbers += [_number(part.value) for part in node.keywords]
            single = (
                single
                or (numbers == [1] and name in SPREAD)
                or (numbers == [0] and name == "unsqueeze")
            )
            found = CONVOLUTION.search(name) or POOLING.search(name)
            if found:
                usual = max(usual, int(found[1]) + 2)
                window = int(found[1]) if CONVOLUTION.search(name) else window
            elif name in SPREAD:
                sizes += [n for n in numbers if n is not None and n > 1]
                if numbers.count(-1) == 1 and set(numbers) == {1, -1}:
                    usual = max(usual, len(numbers))
                    if isinstance(node.func.value, ast.Name):
                        ranks.setdefault(node.func.value.id, 1)
            elif name == "save_for_backward":
                saved |= {part.id for part in node.args if isinstance(part, ast.Name)}
            elif name == "chunk":
                parts += [n for n in numbers[-2:] if n is not None and n > 1]
            joined = joined or name in ("cat", "concat", "hstack")
    known = tuple(dict.fromkeys(sizes))
    gates = tuple(dict.fromkeys(parts))
    return Told(ranks, usual, lasts, known, gates, joined, window, frozenset(saved), single)


def _axes(node: ast.Tuple) -> int:
    """How many axes there are at least, where a tuple lists several of them."""
    numbers = [_number(part) for part in node.elts]
    listed = [n for n in numbers if n is not None]
    rising = len(listed) == len(numbers) > 1 and listed == sorted(set(listed))
    return listed[-1] + 1 if rising and listed[0] >= 0 and listed[-1] <= 3 else 0


def _unpacked(node: ast.Assign, ranks: dict[str, int], lasts: dict[str, int]) -> None:
    """`b, c, h, w = x.shape` and `w, x, y, z = quat.unbind(-1)`."""
    target, value = node.targets[0], node.value
    if not isinstance(target, ast.Tuple) or any(isinstance(t, ast.Starred) for t in target.elts):
        return
    called = value.func if isinstance(value, ast.Call) else value
    if not isinstance(called, ast.Attribute) or not isinstance(called.value, ast.Name):
        return
    owner, count = called.value.id, len(target.elts)
    arguments = value.args if isinstance(value, ast.Call) else []
    if called.attr in ("shape", "size") and not arguments:
        ranks[owner] = count
    elif called.attr == "unbind" and arguments and _number(arguments[0]) == -1:
        lasts[owner] = count


def _spread_by_index(node: ast.Subscript, ranks: dict[str, int]) -> int:
    """`scale[:, None]`: as many axes as are not put in. How many it has with them.

    `table[ids]` are rows.
    """
    assert isinstance(node.value, ast.Name)
    if isinstance(node.slice, ast.Name) and node.slice.id in IDS:
        ranks.setdefault(node.value.id, 2)
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else []
    new = [isinstance(p, ast.Constant) and p.value is None for p in parts]
    if not any(new) or any(isinstance(p, ast.Constant) and p.value is ... for p in parts):
        return 0
    ranks.setdefault(node.value.id, len(parts) - sum(new))
    return len(parts)


def _number(node: ast.expr) -> int | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    return None
