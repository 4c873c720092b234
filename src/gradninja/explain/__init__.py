"""Explain: a backward pass for a reader, as text, as Markdown with LaTeX, or as an HTML page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, overload

from gradninja.choices import View
from gradninja.derive import Backward, derive
from gradninja.errors import DeriveError
from gradninja.explain.markdown import for_notebooks, markdown
from gradninja.explain.page import fragment, page
from gradninja.explain.terminal import text
from gradninja.explain.walkthrough import Walkthrough
from gradninja.ranks.reasons import told
from gradninja.ranks.sharded import Sharded

__all__ = ["VIEWS", "Explanation", "Walkthrough", "explain", "text"]

VIEWS: dict[View, Callable[[Walkthrough], str]] = {"text": text, "markdown": markdown, "html": page}


class Explanation(str):
    """What was explained, as text in the view that was asked for; a notebook shows the page."""

    walk: Walkthrough

    @staticmethod
    def of(walk: Walkthrough, view: Callable[[Walkthrough], str]) -> Explanation:
        made = Explanation(view(walk))
        made.walk = walk
        return made

    def __repr__(self) -> str:
        return f"<{self.walk.title}: {self.walk.counts}>"

    def _repr_html_(self) -> str:
        return fragment(self.walk)

    def _repr_markdown_(self) -> str:
        return for_notebooks(self.walk)


@overload
def explain(backward: Sharded, as_: View = "text") -> str: ...


@overload
def explain(
    backward: Backward | str | Path | Callable[..., Any], as_: View = "text"
) -> Explanation: ...


def explain(
    backward: Backward | Sharded | str | Path | Callable[..., Any], as_: View = "text"
) -> Explanation | str:
    """The walk from the forward's last line to its first, each with the lines that answer it.

    Every line stands with its shapes, in which what was broadcast and what was summed is named, and
    every backward line with its rules in words.

    Args:
        backward: what `gn.derive` or `gn.fuse` gave (of the latter the steps are told as well), or
            a forward as `gn.derive` takes it. What `gn.shard` gave is explained as text: why each
            collective stands where it stands, and what a step sends.
        as_: "text", "markdown" (with formulas in LaTeX, fenced as GitHub wants them), or "html"
            (one page that needs nothing else, with the graph drawn).

    Raises:
        ReadError, DeriveError: as `gn.derive` has them; also for another `as_`.
    """
    if not isinstance(as_, str):
        raise DeriveError(
            f"the second argument is the view, a word, and no {type(as_).__name__}",
            hint="with inputs: gn.explain(gn.derive(forward, inputs))",
        )
    view = VIEWS.get(as_)
    if view is None:
        raise DeriveError(f"there is no view {as_!r}", hint=f"views are: {', '.join(VIEWS)}")
    if isinstance(backward, Sharded):
        if as_ != "text":
            raise DeriveError("what is split over ranks is explained as text alone")
        return told(backward)
    if not isinstance(backward, Backward):
        backward = derive(backward)
    return Explanation.of(Walkthrough(backward), view)


def _notebook(backward: Backward) -> str:
    return fragment(Walkthrough(backward))


# A notebook asks an object for this method. Deriving must not know of the views, so the views hand
# it over; `gradninja/__init__.py` imports them whenever it gives out `derive`.
Backward._repr_html_ = _notebook  # type: ignore[attr-defined]
