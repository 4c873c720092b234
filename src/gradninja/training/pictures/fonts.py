"""Letters of any alphabet in a picture: in a font that has them, else by their number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font

_FIRST = "DejaVu Sans"  # comes with matplotlib
_NO_LETTERS = "Last Resort"  # has a box for each alphabet


@dataclass(frozen=True)
class Labels:
    """What is written for letters, and the fonts to write it in, the first that has one first."""

    texts: list[str]
    families: list[str]


def labelled(letters: Iterable[str]) -> Labels:
    """Letters as they are drawn: themselves, or `U+1234` where no font of this machine has one."""
    wanted = list(letters)
    families, known = [_FIRST], set(_letters_of(findfont(FontProperties(family=_FIRST))))
    missing = {ord(letter) for letter in wanted} - known
    for path, family in _others() if missing else ():
        if found := missing & _letters_of(path):
            families.append(family)
            missing -= found
        if not missing:
            break
    texts = [
        f"U+{ord(letter):04X}" if ord(letter) in missing or not letter.isprintable() else letter
        for letter in wanted
    ]
    return Labels(texts, families)


def _others() -> list[tuple[str, str]]:
    """Plain fonts of this machine, (path, family), in an order that does not change."""
    plain = (f for f in fontManager.ttflist if (f.style, f.weight) == ("normal", 400))
    found = {(font.fname, font.name) for font in plain if not font.name.startswith(_NO_LETTERS)}
    return sorted(found, key=lambda font: font[::-1])


@cache
def _letters_of(path: str) -> frozenset[int]:
    """The code points that a font has a glyph of."""
    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # not there any more, or damaged
        return frozenset()
