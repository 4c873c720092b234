"""What float32's rounding may do to a line, found by float64 with float32's errors put in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

HALF_UNIT = torch.finfo(torch.float32).eps / 2


class Rounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Every float64 result is off by up to half a unit in float32's last place, at random.

    Monte Carlo arithmetic (Parker, "Monte Carlo Arithmetic", UCLA 1997, section 3): where digits
    cancel, what comes out scatters as widely as float32's own result may be wrong.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generator = torch.Generator().manual_seed(seed)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to be skipped by a compiler, PyTorch would import it: 2 s in each process

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        results = found if isinstance(found, tuple | list) else (found,)
        for result, told in zip(results, func._schema.returns, strict=False):
            view = told.alias_info is not None and not told.alias_info.is_write
            if isinstance(result, torch.Tensor) and not view:
                self.disturb(result)
        return found

    def disturb(self, value: torch.Tensor) -> None:
        """Put errors into a tensor of its own memory, in place."""
        if value.dtype == torch.float64 and not _overlaps(value):
            errors = torch.rand(value.shape, generator=self.generator, dtype=value.dtype)
            value.mul_(1 + HALF_UNIT * (2 * errors - 1))


def _overlaps(value: torch.Tensor) -> bool:
    """Whether elements lie in the same place, so that they cannot be written to."""
    pairs = zip(value.stride(), value.shape, strict=True)
    return any(stride == 0 and size > 1 for stride, size in pairs)


def disturbed(scope: dict[str, Any], walk: Callable[[dict[str, Any]], Any], seed: int) -> Any:
    """A walk from a scope whose values, and all results on the way, are rounded so."""
    mode = Rounded(seed)
    for value in scope.values():
        if isinstance(value, torch.Tensor):
            mode.disturb(value)
    with mode:
        return walk(scope)
