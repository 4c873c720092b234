"""What a compiled function is given beside its arrays: sizes, memory, what it calls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradninja.lines import STATIC, Program
from gradninja.native.cache import Say
from gradninja.native.calls.blocks import empty
from gradninja.native.calls.meeting import Meeting
from gradninja.native.kernels.gemm_calls import address_of_gemm
from gradninja.native.kernels.threads import Team
from gradninja.native.maps.compiled_text import RESERVED
from gradninja.native.maps.graph import Collective
from gradninja.native.plan.arena import Memory, work_name
from gradninja.native.plan.emit import Writer


@dataclass(eq=False)
class Outside:
    """What stands beside the arrays that a caller has.

    Attributes:
        sizes: the numbers that the text takes as `sizes`.
        work: elements of the memory of each dtype.
        products: the dtypes of the matrix products that are called.
        collectives: those that are called, in that order.
    """

    sizes: Sequence[int]
    work: Mapping[str, int]
    products: Sequence[str]
    collectives: Sequence[Collective] = ()

    @staticmethod
    def of(memory: Memory, writer: Writer) -> Outside:
        """`writer` has written its body."""
        sizes, products = list(writer.sizes), sorted(writer.products)
        return Outside(sizes, dict(memory.sizes), products, tuple(writer.collectives))

    @property
    def arguments(self) -> list[str]:
        """The names of `values`."""
        products = [f"product_{dtype}" for dtype in self.products]
        collectives = ["collectives"] if self.collectives else []
        return ["sizes", *map(work_name, self.work), *products, *collectives]

    def values(
        self, say: Say | None = None, team: Team | None = None, meeting: Meeting | None = None
    ) -> list[Any]:
        """The arguments' values; the memory is fresh. A team shares the products of its dtype, and
        in a meeting the collectives are done.
        """
        found: list[Any] = [np.array(self.sizes, np.int64)]
        found += [aligned(size, dtype) for dtype, size in self.work.items()]
        found += [
            address_of_gemm(dtype, say) if team is None or team.dtype != dtype else team.address
            for dtype in self.products
        ]
        return found + ([] if meeting is None else [meeting.address])


def taken_apart(memory: Memory, writer: Writer) -> list[str]:
    """The lines that give each size and array its name.

    What a size is a multiple of is told: LLVM leaves out what would be left over.
    """
    sizes = [
        f"{name} = sizes[{place}] & -{size & -size}  # {size}"
        for place, (size, name) in enumerate(writer.sizes.items())
    ]
    return sizes + memory.lines()


def aligned(size: int, dtype: str) -> np.ndarray[Any, Any]:
    """An array that begins at a multiple of 64 bytes."""
    kind = np.dtype(dtype)
    memory = empty((size * kind.itemsize + 64,), "uint8")
    start = -memory.ctypes.data % 64
    return memory[start : start + size * kind.itemsize].view(kind)


def size_names(values: Mapping[str, Any], program: Program) -> dict[int, str]:
    """The person's names for sizes, where only one name has the number."""
    found: dict[int, set[str]] = defaultdict(set)
    plain = {name: value for name, value in values.items() if type(value) is int}
    for line in program.lines:
        if line.expr.op == STATIC and type(line.expr.value) is int:
            plain[line.name] = line.expr.value
    for name, value in plain.items():
        found[value].add(name)
    return {
        size: name
        for size, (name, *more) in ((size, sorted(names)) for size, names in found.items())
        if size > 1 and not more and name not in RESERVED
    }
