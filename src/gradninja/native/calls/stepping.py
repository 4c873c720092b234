"""One call of a forward and its backward as a compiled function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gradninja.lines import Program
from gradninja.native.cache import Say
from gradninja.native.calls.blocks import empty
from gradninja.native.calls.given_arrays import Array, flat
from gradninja.native.calls.outside import Outside, size_names, taken_apart
from gradninja.native.machine.build import Machine
from gradninja.native.maps.compiled_text import module
from gradninja.native.maps.graph import Leaf, Node
from gradninja.native.maps.lowering import Lowering
from gradninja.native.plan.arena import Memory
from gradninja.native.plan.emit import Writer
from gradninja.native.plan.fusing import Plan
from gradninja.native.reading.refusal import NativeError


class Specialised:
    """A step for one set of shapes, strides and types.

    Attributes:
        source: the text that is compiled.
        names: of what it gives, in order.
        gradients: what its gradient lines are: "given", "fused" or "derived".
    """

    def __init__(
        self,
        lowering: Lowering,
        program: Program,
        values: Mapping[str, Any],
        names: Sequence[str],
        say: Say | None,
        gradients: str = "given",
    ) -> None:
        self.names = tuple(names)
        self.gradients = gradients
        self._say = say
        self._function: Callable[..., None] | None = None
        outputs = _apart(lowering)
        plan = Plan(lowering.graph, outputs)
        writer = Writer(plan, size_names(values, program))
        body = writer.body()
        memory = Memory(plan, outside=outputs)
        self._outside = Outside.of(memory, writer)
        self._inputs = list(lowering.leaves.values())
        self._outputs = [(node.shape, node.dtype) for node in outputs]
        arguments = [leaf.buffer.name for leaf in self._inputs]
        arguments += [plan.buffers[node].name for node in outputs]
        head = f"def step({', '.join([*arguments, *self._outside.arguments])}):"
        self.source = module(
            head, [*taken_apart(memory, writer), *body], lowering.constants.values()
        )

    def __call__(self, arrays: Mapping[str, Any]) -> dict[str, Array]:
        """The outputs by name, for arrays as they were compiled for."""
        outputs = [empty(shape, dtype) for shape, dtype in self._outputs]
        given = [flat(arrays[leaf.label], leaf) for leaf in self._inputs]
        arguments = [*given, *(o.reshape(-1) for o in outputs), *self._outside.values(self._say)]
        if self._function is None:
            self._function = Machine(self.source, arguments, self._say)
        try:
            self._function(*arguments)
        except IndexError as error:
            raise NativeError(str(error)) from None
        return dict(zip(self.names, outputs, strict=True))


def _apart(lowering: Lowering) -> list[Node]:
    """The outputs, each an array of its own: copies of what is an input, or another output."""
    found: list[Node] = []
    for node in lowering.outputs:
        if isinstance(node, Leaf) or node in found:
            node = lowering.graph.copy(node)
        found.append(node)
    return found
