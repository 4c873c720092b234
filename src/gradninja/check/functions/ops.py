"""Custom ops (`torch.library.custom_op`, `triton_op`) as the Functions that they stand for."""

from __future__ import annotations

from typing import Any

import torch
from torch._library.custom_ops import OPDEFS

from gradninja.check.tell.findings import CheckError


def named_op(name: str) -> Any:
    """The op of `"namespace::op"`.

    Raises:
        CheckError: no custom op of that name is there.
    """
    found = OPDEFS.get(name)
    if found is None:
        raise CheckError(
            f"there is no custom op `{name}`",
            hint="import the module that defines it with torch.library.custom_op first",
        )
    return found


def as_function(op: Any) -> Any:
    """A Function with the op's forward, its registered backward, and the op itself as `apply`.

    Raises:
        CheckError: no backward is registered for it.
    """
    name = op._qualname.rpartition("::")[2]
    if op._backward_fn is None:
        raise CheckError(
            f"no backward is registered for the custom op `{op._qualname}`",
            hint=f"{name}.register_autograd(backward, setup_context=setup_context)",
        )
    parts = {"forward": op._init_fn, "backward": op._backward_fn, "apply": op}
    parts["setup_context"] = op._setup_context_fn or _nothing
    body = {name: staticmethod(part) for name, part in parts.items()}
    return type(name, (torch.autograd.Function,), body)


def _nothing(ctx: Any, inputs: Any, output: Any) -> None:
    """A backward that keeps nothing."""
