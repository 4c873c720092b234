"""Options that are words: a type checker catches a word that is none of them."""

from __future__ import annotations

from typing import Literal

Style = Literal["readable", "exact"]  # of `derive`: as one would write it, or autograd's bits
FusedStyle = Literal["readable", "in place"]
Prefer = Literal["speed", "memory", "short"]  # what `fuse` chooses a form by
View = Literal["text", "markdown", "html"]  # of `explain`
Under = Literal["compile", "vmap", "autocast"]  # what `check` calls a Function under besides
Form = Literal["lines", "function"]  # how a backward is printed
