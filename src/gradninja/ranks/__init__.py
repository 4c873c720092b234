"""Ranks: name an axis, and it is split. A sum over a split axis is an all_reduce."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from gradninja.derive import Backward
from gradninja.ranks.sharded import Sharded
from gradninja.ranks.sharding import made
from gradninja.ranks.types import GRADIENT, Type
from gradninja.rules import BOOK, Book

__all__ = ["GRADIENT", "Sharded", "Type", "shard"]


def shard(
    forward: str | Path | Callable[..., Any] | Backward,
    backward: str | Path | Callable[..., Any] | Backward | None = None,
    split: Mapping[str, str] | None = None,
    inputs: Mapping[str, Any] | tuple[Any, ...] | torch.Tensor | None = None,
    wrt: Iterable[str] | None = None,
    book: Book = BOOK,
) -> Sharded:
    """Forward and backward as the lines of one rank, with collectives where a whole is needed.

    Args:
        forward: as for `derive`.
        backward: `gn.derive(...)` or `gn.fuse(...)` of the same forward, or the text, file or
            function of one's own, in plain lines that return the gradients in the order of the
            forward's float inputs; derived when it is None.
        split: named axis -> mesh axis: `{"n": "data"}`, `{"hidden": "model"}`, or both. An axis is
            named in an annotation, `x: Float[Tensor, "n d"]`, or by its place: `"x.0"`.
        inputs: as for `derive`.
        wrt: as for `derive`.
        book: as for `derive`; a Backward that is given has its own.

    The text holds for any number of ranks and any sizes, uneven shares too, except where it gathers
    an axis. It is compared with the whole, on simulated ranks, before it is handed out.

    Raises:
        ReadError: as for `derive`.
        DeriveError: an axis that is not there, a line that no rank can do, or a text that does not
            give what the whole gives.
    """
    return made(forward, backward, split or {}, inputs, wrt, book)
