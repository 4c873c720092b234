"""The targets of fusing: their forwards and short backwards in tests/targets/, drawn and counted.

In a module of targets, `f` is a forward and `f_backward` takes by name what it wants of the
forward's inputs, intermediates and cotangents (`dy` of an output `y`; a loss has the cotangent 1).
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

import targets
from catalogue import DISTINCT, Cataloged


@dataclass(frozen=True)
class Target(Cataloged):
    """A forward, and its backward as a person would write it after an hour on paper."""

    backward: Callable[..., Any]
    sizes: Sequence[int]
    wanted: Sequence[str]
    typical: bool  # whether the form depends on the sizes: it is then fused on inputs of `sizes`

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def given(self) -> dict[str, Tensor] | None:
        return self.draw(seed=9) if self.typical else None

    def reference(self, values: Mapping[str, Any]) -> dict[str, Tensor]:
        """The gradients by the short form, of the forward's values and cotangents."""
        names = inspect.signature(self.backward).parameters
        found = self.backward(**{name: values[name] for name in names})
        several = found if isinstance(found, tuple) else (found,)
        return {f"d{name}": g for name, g in zip(self.wanted, several, strict=True)}

    def draw(self, sizes: Sequence[int] | None = None, seed: int = 1) -> dict[str, Tensor]:
        return super().draw(self.sizes if sizes is None else sizes, seed)


def collect() -> list[Target]:
    """Every forward of every module of targets."""
    found = []
    for info in pkgutil.iter_modules(targets.__path__):
        module = importlib.import_module(f"targets.{info.name}")
        sizes = getattr(module, "SIZES", {})
        for name, backward in vars(module).items():
            if not name.endswith("_backward"):
                continue
            name = name.removesuffix("_backward")
            bare = Cataloged(
                info.name,
                getattr(module, name),
                getattr(module, "BOUNDS", {}).get(name, {}),
                getattr(module, "DOMAINS", {}).get(name, {}),
            )
            found.append(
                Target(
                    **vars(bare),
                    backward=backward,
                    sizes=sizes.get(name, DISTINCT),
                    typical=name in sizes,
                    wanted=getattr(module, "WRT", {}).get(name, bare.float_inputs),
                )
            )
    return found
