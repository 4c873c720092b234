"""A network's prediction as an ONNX file, for any number of rows of letters at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradninja.errors import RunError
from gradninja.training.export.prediction import INPUT, Graph, Line, Linear, of_any_rows
from gradninja.training.network import Network

_OPSET = 18
_UNARY = {
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "relu": "Relu",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "neg": "Neg",
    "clone": "Identity",
}
_BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow"}


def to_onnx(network: Network) -> bytes:
    """The bytes of a model: `tokens`, int64 (n, context), in; `logits`, float32, out.

    Raises:
        RunError: the package `onnx` is missing, or the prediction does what is not translated.
    """
    try:
        import onnx
    except ImportError:
        raise RunError(
            "ONNX files are written with the package `onnx`, which is not installed",
            hint="pip install 'gradninja[export]', or --format html or json.",
        ) from None
    graph = of_any_rows(network)
    nodes = _Nodes(graph)
    for line in graph.lines:
        nodes.write(line, network.model.name)
    nodes.add("Identity", [nodes.names[graph.output]], "logits")
    context, vocab = network.config.context, len(network.config.vocabulary)
    whole = network.model.whole_words
    helper, kinds = onnx.helper, onnx.TensorProto
    made = helper.make_graph(
        nodes.nodes,
        network.model.name,
        [helper.make_tensor_value_info(INPUT, kinds.INT64, ["n", context])],
        [
            helper.make_tensor_value_info(
                "logits", kinds.FLOAT, ["n", context, vocab] if whole else ["n", vocab]
            )
        ],
        nodes.constants,
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        producer_name="gradninja",
        ir_version=9,
    )
    helper.set_model_props(model, {"vocabulary": "".join(network.config.vocabulary)})
    onnx.checker.check_model(model)
    found: bytes = model.SerializeToString()
    return found


class _Nodes:
    """ONNX nodes as they are written, and the names of values so far."""

    def __init__(self, graph: Graph) -> None:
        import onnx

        self._onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.names: dict[str, str] = {INPUT: INPUT}
        self.several: dict[str, list[str]] = {}
        self._count = 0
        self._shapes: dict[str, tuple[int, ...]] = {INPUT: (0, 0)}
        for name, value in graph.constants.items():
            self.names[name] = self.constant(value.numpy(), name)
            self._shapes[name] = tuple(value.shape)
        for line in graph.lines:
            if line.shape is not None:
                self._shapes[line.name] = line.shape

    def constant(self, value: Any, name: str | None = None) -> str:
        array = np.array(value, order="C")
        name = name or self.fresh()
        self.constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def fresh(self) -> str:
        self._count += 1
        return f"_{self._count}"

    def add(self, kind: str, inputs: list[str], output: str | None = None, **given: Any) -> str:
        output = output or self.fresh()
        self.nodes.append(self._onnx.helper.make_node(kind, inputs, [output], **given))
        return output

    def write(self, line: Line, model: str) -> None:
        """The nodes of a line. Raises RunError where it has none."""
        op, args = line.op, line.args
        if op in _UNARY:
            self.names[line.name] = self.add(_UNARY[op], [self.of(args[0])])
        elif op in _BINARY:
            right = args[1]
            if len(args) > 2 and args[2] != 1:  # a + alpha * b
                right = self.add("Mul", [self.of(right), self.number(args[2])])
                self.names[right] = right
            self.names[line.name] = self.add(_BINARY[op], [self.of(args[0]), self.of(right)])
        elif (writer := _WRITERS.get(op)) is not None:
            found = writer(self, line)
            if isinstance(found, list):
                self.several[line.name] = found
            else:
                self.names[line.name] = found
        else:
            raise RunError(
                f"`{op}`, which the prediction of {model} does, is not translated to ONNX",
                hint="Write it in plainer operations, or export with --format json.",
            )

    def of(self, value: Any) -> str:
        """The name of an argument: of a line, or of a number that is made a constant."""
        return self.names[value] if isinstance(value, str) else self.number(value)

    def number(self, value: float) -> str:
        return self.constant(np.float32(value))

    def rank(self, name: str) -> int:
        return len(self._shapes[name])

    def axis(self, name: str, axis: int) -> int:
        return axis % self.rank(name)

    def ints(self, values: list[int]) -> str:
        return self.constant(np.array(values, np.int64))

    def shape(self, values: list[Any]) -> str:
        """A shape, of which numbers may depend on how many rows there are."""
        if not any(isinstance(value, Linear) for value in values):
            return self.ints(values)
        rows = self.add("Shape", [INPUT], start=0, end=1)
        parts = []
        for value in values:
            if isinstance(value, Linear):
                scaled = self.add("Mul", [rows, self.ints([value.slope])])
                parts.append(self.add("Add", [scaled, self.ints([value.start])]))
            else:
                parts.append(self.ints([value]))
        return self.add("Concat", parts, axis=0)

    def slice(self, name: str, axis: int, start: int, stop: int) -> str:
        bounds = [self.ints([start]), self.ints([stop]), self.ints([self.axis(name, axis)])]
        return self.add("Slice", [self.names[name], *bounds])


def _reduce(kind: str) -> Callable[[_Nodes, Line], str]:
    def write(nodes: _Nodes, line: Line) -> str:
        name, *rest = line.args
        axes = rest[0] if rest and rest[0] else list(range(nodes.rank(name)))
        keep = int(bool(rest[1])) if len(rest) > 1 else 0
        axes = [axes] if isinstance(axes, int) else axes
        return nodes.add(kind, [nodes.names[name], nodes.ints(axes)], keepdims=keep)

    return write


def _cat(nodes: _Nodes, line: Line) -> str:
    parts, axis = line.args[0], line.args[1] if len(line.args) > 1 else 0
    return nodes.add("Concat", [nodes.names[p] for p in parts], axis=nodes.axis(parts[0], axis))


def _stack(nodes: _Nodes, line: Line) -> str:
    parts, axis = line.args[0], line.args[1] if len(line.args) > 1 else 0
    axis %= nodes.rank(parts[0]) + 1
    wide = [nodes.add("Unsqueeze", [nodes.names[part], nodes.ints([axis])]) for part in parts]
    return nodes.add("Concat", wide, axis=axis)


def _select(nodes: _Nodes, line: Line) -> str:
    name, axis, index = line.args
    at = nodes.constant(np.int64(index))
    return nodes.add("Gather", [nodes.names[name], at], axis=nodes.axis(name, axis))


def _slice(nodes: _Nodes, line: Line) -> str:
    name, axis, start, stop = (*line.args, *(0, 0, None)[len(line.args) - 1 :])[:4]
    return nodes.slice(name, axis, start or 0, 2**62 if stop is None else min(stop, 2**62))


def _split(nodes: _Nodes, line: Line) -> list[str]:
    name, size, axis = (*line.args, 0)[:3]
    whole = nodes._shapes[name][axis]
    starts = range(0, whole, size)
    return [nodes.slice(name, axis, start, start + size) for start in starts]


def _transpose(nodes: _Nodes, line: Line) -> str:
    name, *axes = line.args
    order = list(range(nodes.rank(name)))
    a, b = (nodes.axis(name, axis) for axis in (axes or (0, 1)))
    order[a], order[b] = b, a
    return nodes.add("Transpose", [nodes.names[name]], perm=order)


def _permute(nodes: _Nodes, line: Line) -> str:
    order = [nodes.axis(line.args[0], axis) for axis in line.args[1]]
    return nodes.add("Transpose", [nodes.names[line.args[0]]], perm=order)


def _view(nodes: _Nodes, line: Line) -> str:
    return nodes.add("Reshape", [nodes.names[line.args[0]], nodes.shape(line.args[1])])


def _expand(nodes: _Nodes, line: Line) -> str:
    sizes = [1 if size == -1 else size for size in line.args[1]]  # -1 stays as it is
    return nodes.add("Expand", [nodes.names[line.args[0]], nodes.shape(sizes)])


def _masked(nodes: _Nodes, line: Line) -> str:
    name, mask, value = line.args
    return nodes.add("Where", [nodes.names[mask], nodes.number(value), nodes.names[name]])


def _softmax(kind: str) -> Callable[[_Nodes, Line], str]:
    return lambda nodes, line: nodes.add(
        kind, [nodes.names[line.args[0]]], axis=nodes.axis(line.args[0], line.args[1])
    )


def _squeeze(nodes: _Nodes, line: Line) -> str:
    name, *axes = line.args
    dims = axes[0] if axes else [k for k, size in enumerate(nodes._shapes[name]) if size == 1]
    dims = [dims] if isinstance(dims, int) else dims
    return nodes.add("Squeeze", [nodes.names[name], nodes.ints(dims)])


def _addmm(nodes: _Nodes, line: Line) -> str:
    bias, a, b = (nodes.names[name] for name in line.args[:3])
    return nodes.add("Add", [nodes.add("MatMul", [a, b]), bias])


def _product(nodes: _Nodes, line: Line) -> str:
    return nodes.add("MatMul", [nodes.names[name] for name in line.args])


_WRITERS: dict[str, Callable[[_Nodes, Line], str | list[str]]] = {
    "index": lambda n, line: n.add("Gather", [n.names[line.args[0]], n.names[line.args[1][0]]]),
    "embedding": lambda n, line: n.add("Gather", [n.names[a] for a in line.args[:2]]),
    "mm": _product,
    "bmm": _product,
    "addmm": _addmm,
    "rsub": lambda n, line: n.add("Sub", [n.of(line.args[1]), n.of(line.args[0])]),
    "rsqrt": lambda n, line: n.add("Reciprocal", [n.add("Sqrt", [n.of(line.args[0])])]),
    "mean": _reduce("ReduceMean"),
    "sum": _reduce("ReduceSum"),
    "_softmax": _softmax("Softmax"),
    "_log_softmax": _softmax("LogSoftmax"),
    "cat": _cat,
    "stack": _stack,
    "select": _select,
    "slice": _slice,
    "split": _split,
    "getitem": lambda n, line: n.several[line.args[0]][line.args[1]],
    "view": _view,
    "_unsafe_view": _view,
    "reshape": _view,
    "expand": _expand,
    "permute": _permute,
    "transpose": _transpose,
    "t": _transpose,
    "unsqueeze": lambda n, line: n.add(
        "Unsqueeze",
        [n.names[line.args[0]], n.ints([line.args[1] % (n.rank(line.args[0]) + 1)])],
    ),
    "squeeze": _squeeze,
    "masked_fill": _masked,
}
