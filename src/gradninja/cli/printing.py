"""What several verbs print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradninja.training import Word

SEEN = "  (a training word)"


def print_words(words: Sequence[Word]) -> None:
    """One word a line, those of the training set marked."""
    width = min(20, max((len(word.text) for word in words), default=0))
    print("\n".join(f"{word.text:{width}}{SEEN}" if word.seen else word.text for word in words))


def word_rows(words: Sequence[Word]) -> list[dict[str, object]]:
    """The words for JSON; `seen` is null where the word list is out of reach."""
    return [{"text": word.text, "seen": word.seen} for word in words]
