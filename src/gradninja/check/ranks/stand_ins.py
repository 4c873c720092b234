"""What a rank's text finds around it, in place of `torch.distributed`: ranks that are threads."""

from __future__ import annotations

import ast
import contextlib
import importlib
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed
import torch.distributed._functional_collectives as functional
from torch import Tensor

from gradninja.derive.template import rebuild
from gradninja.lines.given.source import Source
from gradninja.ranks.rank_lines import COLLECTIVES
from gradninja.ranks.simulate import Collectives, Group

DISTRIBUTED = "_distributed"  # what `torch.distributed` is called in a text that is run here
OPS = SimpleNamespace(SUM="sum", AVG="avg", MAX="max", MIN="min")


class Distributed:
    """`torch.distributed` for one rank: the calls that a backward makes."""

    ReduceOp = OPS

    def __init__(self, groups: Mapping[str, Group]) -> None:
        self.groups = groups
        self.nn = SimpleNamespace(functional=SimpleNamespace(all_reduce=self._reduced))

    def _group(self, group: Any) -> Group:
        found = group if isinstance(group, Group) else next(iter(self.groups.values()))
        assert isinstance(found, Group)
        return found

    def _reduced(self, tensor: Tensor, op: str = "sum", group: Any = None) -> Tensor:
        return Collectives.all_reduce(tensor, op, self._group(group))

    def all_reduce(
        self, tensor: Tensor, op: str = "sum", group: Any = None, async_op: bool = False
    ) -> Any:
        tensor.copy_(self._reduced(tensor, op, group))
        return SimpleNamespace(wait=lambda: None) if async_op else None

    def all_gather(self, tensors: list[Tensor], tensor: Tensor, group: Any = None) -> None:
        parts = self._group(group).exchange("all_gather", tensor)
        for into, part in zip(tensors, parts, strict=True):
            into.copy_(part)

    def all_gather_into_tensor(self, into: Tensor, tensor: Tensor, group: Any = None) -> None:
        into.copy_(Collectives.all_gather_tensor(tensor, 0, self._group(group)))

    def get_world_size(self, group: Any = None) -> int:
        return len(self._group(group).meeting.members)

    def get_rank(self, group: Any = None) -> int:
        found = self._group(group)
        return found.meeting.members.index(found.rank)

    def barrier(self, group: Any = None) -> None:
        self._group(group).exchange("barrier", torch.zeros(()))


def prepared(function: ast.FunctionDef) -> ast.FunctionDef:
    """The function with `torch.distributed` by the name that it is found by here."""

    def replacement(node: ast.AST) -> ast.AST | None:
        plain = isinstance(node, ast.Attribute) and node.attr == "distributed"
        if plain and isinstance(node.value, ast.Name) and node.value.id == "torch":  # type: ignore[attr-defined]
            return ast.Name(DISTRIBUTED, ast.Load())
        return None

    found = rebuild(function, replacement)
    return ast.FunctionDef(
        name=found.name, args=found.args, body=found.body, decorator_list=[], lineno=1
    )


def names_of(source: Source) -> dict[str, Any]:
    """What a text's names stand for: those of a live function's module, or its imports."""
    found = dict(source.outside)
    for name, path in source.aliases.items():
        module, _, last = path.rpartition(".")
        with contextlib.suppress(ImportError, AttributeError):
            try:
                found[name] = importlib.import_module(path)
            except ImportError:
                found[name] = getattr(importlib.import_module(module), last)
    return found


def around(given: Mapping[str, Any], groups: Mapping[str, Group]) -> dict[str, Any]:
    """A person's names, those of `torch.distributed` in them put in place of."""
    here = Distributed(groups)
    found: dict[str, Any] = {DISTRIBUTED: here, "dist": here, COLLECTIVES: Collectives}
    for name, value in given.items():
        if value is torch.distributed:
            found[name] = here
        elif value is functional:
            found[name] = Collectives
        elif value is torch.distributed.ReduceOp:
            found[name] = OPS
        elif getattr(value, "__module__", "") == functional.__name__:
            found[name] = getattr(Collectives, value.__name__, value)
        elif getattr(value, "__module__", "").startswith("torch.distributed"):
            found[name] = getattr(here, value.__name__, value)
    return found
