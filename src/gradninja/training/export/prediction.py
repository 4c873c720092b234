"""What a network's prediction comes to: constants and lines of PyTorch's own small operations.

The prediction is run once, and what it does is written down; loops are laid out in a row. What does
not depend on the letters is worked out beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from gradninja.training.network import Network

INPUT = "tokens"


@dataclass(frozen=True)
class Line:
    """`name = op(args)`: args are names (text), numbers, None, and lists of such.

    `shape` is that of its value, None for a list of several.
    """

    name: str
    op: str
    args: tuple[Any, ...]
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Linear:
    """A number that depends on how many rows the letters have: slope * rows + start."""

    slope: int
    start: int


@dataclass(frozen=True)
class Graph:
    """Lines in order, the constants that they read, and the name of the logits."""

    lines: tuple[Line, ...]
    constants: dict[str, Tensor]
    output: str

    @property
    def operations(self) -> set[str]:
        return {line.op for line in self.lines}


def traced(network: Network, rows: int) -> Graph:
    """The logits after so many rows of letters, int64 (rows, context), named `INPUT`."""
    tokens = torch.zeros((rows, network.config.context), dtype=torch.int64)
    with torch.no_grad():
        module = make_fx(lambda given: network.logits(given))(tokens)
        module.graph.eliminate_dead_code()
        seen = _Recorder(module)
        seen.run(tokens)
    known = {
        value.data_ptr(): name
        for name, value in {**network.statistics, **network.parameters}.items()
    }
    return _written(module, seen.values, known)


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps each value."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.values[n.name] = found = super().run_node(n)
        return found


def _written(module: fx.GraphModule, values: dict[str, Any], known: dict[int, str]) -> Graph:
    names: dict[str, str] = {}  # a node's name here
    depends: set[str] = set()
    constants: dict[str, Tensor] = {}
    lines: list[Line] = []
    output = ""

    def told(value: object) -> Any:
        if isinstance(value, fx.Node):
            if value.name not in depends and value.name not in names:
                held = values[value.name]
                name = known.get(held.data_ptr(), f"constant{len(constants)}")
                constants[name] = held
                names[value.name] = name
            return names[value.name]
        if isinstance(value, list | tuple):
            return [told(part) for part in value]
        return value if isinstance(value, int | float | None) else None

    for node in module.graph.nodes:
        if node.op == "placeholder":
            names[node.name] = INPUT
            depends.add(node.name)
        elif node.op == "output":
            output = told(node.args[0])
        elif any(given.name in depends for given in node.all_input_nodes):
            depends.add(node.name)
            names[node.name] = f"v{len(lines)}"
            value = values[node.name]
            shape = tuple(value.shape) if isinstance(value, Tensor) else None
            op = getattr(node.target, "__name__", str(node.target)).partition(".")[0]
            args = [told(arg) for arg in node.args]
            if "alpha" in node.kwargs:
                args.append(node.kwargs["alpha"])
            lines.append(Line(names[node.name], op, tuple(args), shape))
    return Graph(tuple(lines), constants, output)


def of_any_rows(network: Network) -> Graph:
    """The graph for any number of rows: numbers that depend on it are `Linear`."""
    two, three = traced(network, 2), traced(network, 3)
    grown = {
        name for name, value in two.constants.items() if value.shape != three.constants[name].shape
    }
    lines = tuple(
        Line(a.name, a.op, _merged(a.args, b.args), a.shape)
        for a, b in zip(two.lines, three.lines, strict=True)
    )
    shapes = {
        name: _merged(two.constants[name].shape, three.constants[name].shape) for name in grown
    }
    return Graph((*_broadcasts(shapes, two.constants), *lines), two.constants, two.output)


def _broadcasts(shapes: dict[str, tuple[Any, ...]], constants: dict[str, Tensor]) -> Iterable[Line]:
    """Lines that widen a constant whose rows are all alike to as many as the letters have."""
    for name, shape in shapes.items():
        held = constants.pop(name)
        narrow = held
        for axis, size in enumerate(shape):
            if isinstance(size, Linear):
                narrow = narrow.narrow(axis, 0, 1)
        constants[f"{name}_row"] = narrow.contiguous()
        yield Line(name, "expand", (f"{name}_row", list(shape)), tuple(held.shape))


def _merged(a: Any, b: Any) -> Any:
    if isinstance(a, list | tuple):
        merge: Callable[[Iterable[Any]], Any] = list if isinstance(a, list) else tuple
        return merge(_merged(x, y) for x, y in zip(a, b, strict=True))
    if type(a) is int and a != b:
        return Linear(b - a, 3 * a - 2 * b)
    return a
