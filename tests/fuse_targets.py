"""The targets' harness: forward and reference paired, their values, their counts.

Nothing of gradninja is used here, so that what is compared with it owes it nothing.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

import targets
from catalogue import Cataloged
from counting import Counted, count

# All axes about as long: a matrix is then an array of full size, a row or a column is not.
COUNTING = (20, 22, 18, 21, 19, 23, 17, 24)

Runs = Callable[[dict[str, Any], Tensor | None], object]


@dataclass(frozen=True)
class Target:
    """A forward and the backward that fusing must match."""

    program: Cataloged
    backward: Callable[..., Any]

    @property
    def name(self) -> str:
        return self.program.function.__name__

    @cached_property
    def _body(self) -> tuple[Any, str]:
        """The forward's lines as code, and the name that it returns."""
        tree = ast.parse(textwrap.dedent(inspect.getsource(self.program.function)))
        definition = tree.body[0]
        assert isinstance(definition, ast.FunctionDef)
        *lines, last = definition.body
        assert isinstance(last, ast.Return) and isinstance(last.value, ast.Name), self.name
        return compile(ast.Module(lines, []), self.name, "exec"), last.value.id

    @property
    def output(self) -> str:
        return self._body[1]

    def values(self, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        """The forward's locals when it has run."""
        found: dict[str, Any] = dict(inputs)
        exec(self._body[0], dict(vars(inspect.getmodule(self.program.function))), found)
        return found

    def reference(self, values: Mapping[str, Any], grad: Tensor | None) -> dict[str, Tensor]:
        """The reference's gradients; `grad` None is the 1 of a scalar."""
        given = {**values, **({f"d{self.output}": grad} if grad is not None else {})}
        names = inspect.signature(self.backward).parameters
        found = self.backward(**{name: given[name] for name in names})
        several = found if isinstance(found, tuple) else (found,)
        return {f"d{n}": g for n, g in zip(self.program.float_inputs, several, strict=True)}

    def counted(
        self, run: Callable[[dict[str, Any], Tensor | None], object]
    ) -> tuple[int, Counted]:
        """The elements of the largest array, and what `run(values, cotangent)` does."""
        values = self.values(self.program.draw(COUNTING, 0))
        out = values[self.output]
        grad = torch.randn(out.shape, dtype=out.dtype) if out.ndim else None
        full = max(v.numel() for v in values.values() if isinstance(v, Tensor))
        return full, count(lambda: run(values, grad))

    @cached_property
    def operations(self) -> list[str]:
        """The reference's operations on full-size arrays."""
        full, counted = self.counted(self.reference)
        return counted.full_size(full)


def collect() -> list[Target]:
    """Every forward of every module of targets."""
    found = []
    for module_info in pkgutil.iter_modules(targets.__path__):
        module = importlib.import_module(f"targets.{module_info.name}")
        bounds, domains = getattr(module, "BOUNDS", {}), getattr(module, "DOMAINS", {})
        for name, function in vars(module).items():
            own = inspect.isfunction(function) and function.__module__ == module.__name__
            if own and not name.endswith("_backward"):
                program = Cataloged(
                    module_info.name, function, bounds.get(name, {}), domains.get(name, {})
                )
                found.append(Target(program, getattr(module, f"{name}_backward")))
    return found
