"""One piece of memory for all arrays of a plan: each lives from its first use to its last."""

from __future__ import annotations

from collections.abc import Sequence

from gradninja.native.maps.graph import Node
from gradninja.native.maps.scalars import Buffer
from gradninja.native.plan.fusing import Plan

_LINE = 64  # bytes: where an array begins


class Memory:
    """Where the arrays of each type lie in an array of that type. Sizes are in elements."""

    def __init__(self, plan: Plan, outside: Sequence[Node] = ()) -> None:
        """`outside`: nodes whose arrays are given."""
        self.plan = plan
        given = {plan.buffers[node] for node in outside}
        self.offsets: dict[Buffer, int] = {}
        self.sizes: dict[str, int] = {}
        last = self._last_uses()
        live: list[tuple[int, Buffer]] = []
        outputs = {plan.buffers[n] for n in plan.outputs if n in plan.buffers}
        for number, group in enumerate(plan.groups):  # its loops go on at once
            for node in group.nodes:
                buffer = plan.buffers.get(node)
                if buffer is None or buffer in self.offsets or buffer in given:
                    continue
                if any(s.kind == "check" or s.into is not None for s in group.stages):
                    continue
                self._put(buffer, [b for _, b in live])
                live.append((last[buffer], buffer))
            live = [(end, b) for end, b in live if end > number or b in outputs]

    def _last_uses(self) -> dict[Buffer, int]:
        last: dict[Buffer, int] = {}
        for number, group in enumerate(self.plan.groups):
            for node in group.nodes:
                if node in self.plan.buffers:
                    last[self.plan.buffers[node]] = number
            for buffer in (buffer for stage in group.stages for buffer in stage.reads):
                last[buffer] = number
        return last

    def _put(self, buffer: Buffer, live: list[Buffer]) -> None:
        """The first gap that is long enough."""
        line = _LINE // _BYTES[buffer.dtype]
        size = -(-max(buffer.size, 1) // line) * line
        start = 0
        taken = sorted(
            (self.offsets[b], -(-max(b.size, 1) // line) * line)
            for b in live
            if b.dtype == buffer.dtype
        )
        for offset, length in taken:
            if offset - start >= size:
                break
            start = max(start, offset + length)
        self.offsets[buffer] = start
        self.sizes[buffer.dtype] = max(self.sizes.get(buffer.dtype, 0), start + size)

    def lines(self) -> list[str]:
        """The text that gives each array its name."""
        return [
            f"{buffer.name} = {work_name(buffer.dtype)}[{start}:{start + buffer.size}]"
            for buffer, start in self.offsets.items()
        ]


def work_name(dtype: str) -> str:
    """The name of the array that the arrays of a type lie in."""
    return f"work_{dtype}"


_BYTES = {"float32": 4, "float64": 8, "int64": 8, "bool": 1}
