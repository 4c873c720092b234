"""How much memory a forward and its backward hold at most: they run, and it is counted."""

from __future__ import annotations

import ast
import weakref
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gradninja.algebra.measure.cost import element
from gradninja.derive.statement import Statement
from gradninja.lines import Program
from gradninja.lines.scope import run


class Held(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the elements of memory that operations made and that some tensor still refers to.

    `most`: the most at a time, in elements of a float32: an int64 counts as two.
    """

    def __init__(self, given: Sequence[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.given = {t.untyped_storage().data_ptr() for t in given if isinstance(t, torch.Tensor)}
        self.tensors: dict[int, int] = {}  # how many there are on a memory, by its address
        self.sizes: dict[int, float] = {}
        self.held = self.most = 0.0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to be skipped by a compiler, PyTorch would import it: 2 s in each process

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs or {})) if isinstance(t, torch.Tensor)]
        made = [t for t in tree_leaves(found) if isinstance(t, torch.Tensor)]
        for tensor in made:
            self._hold(tensor)
        # Where dtypes are mixed, PyTorch makes a copy of an operand in the dtype of the result.
        casts = [t for t in tensors if t.ndim and made and t.dtype != made[0].dtype]
        cast = sum(t.numel() * element(made[0]) for t in casts if _mixes(func))
        self.most = max(self.most, cast + self.held)
        return found

    def _hold(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        at = storage.data_ptr()
        if not at or at in self.given:
            return
        if at not in self.tensors:
            self.sizes[at] = element(tensor) * storage.nbytes() / tensor.element_size()
            self.held += self.sizes[at]
        self.tensors[at] = self.tensors.get(at, 0) + 1
        weakref.finalize(tensor, self._release, at)

    def _release(self, at: int) -> None:
        self.tensors[at] -= 1
        if not self.tensors[at]:
            del self.tensors[at]
            self.held -= self.sizes.pop(at)


def _mixes(func: Any) -> bool:
    """Whether an operation is elementwise, on several tensors."""
    return torch.Tag.pointwise in func.tags and not func._schema.name.endswith("_to_copy")


def peak(
    program: Program, statements: Sequence[Statement], values: Mapping[str, Any], wanted: set[str]
) -> float:
    """The most elements that are held at a time beside what is given (inputs and cotangents).

    The forward's lines run and then the statements, each value forgotten after the last line that
    reads it; the forward's outputs and the gradients `wanted` are held to the end.
    """
    made = {name for line in program.lines for name in line.targets}
    given = {name: value for name, value in values.items() if name not in made}
    lines = [line.code for line in program.lines]
    lines += [str(statement) for statement in statements]
    text = forgetting(lines, {*program.outputs, *wanted})
    mode = Held(list(given.values()))
    with torch.no_grad(), mode:
        run(text, dict(given))
    return mode.most


def forgetting(lines: Sequence[str], wanted: set[str]) -> list[str]:
    """The lines, with a `del` for each name after the last line that has it."""
    last: dict[str, int] = {}
    made: set[str] = set()
    for at, line in enumerate(lines):
        names, own = _names(line)
        last.update(dict.fromkeys(names, at))
        made |= own
    text = []
    for at, line in enumerate(lines):
        text.append(line)
        dead = sorted(name for name in made - wanted if last[name] == at)
        if dead:
            text.append(f"del {', '.join(dead)}")
    return text


@lru_cache(maxsize=4096)  # the forward's lines are counted with each of the forms that are compared
def _names(line: str) -> tuple[frozenset[str], frozenset[str]]:
    """The names in a line, and those of them that it binds."""
    tree = ast.parse(line)
    own = [n.target for n in ast.walk(tree) if isinstance(n, ast.comprehension)]
    within = {id(name) for target in own for name in ast.walk(target)}
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    made = (n.id for n in names if isinstance(n.ctx, ast.Store) and id(n) not in within)
    return frozenset(name.id for name in names), frozenset(made)
