"""Values for a forward that come with none: found by running it, from its names and its lines."""

from gradninja.lines.guess.likeliest import Hints, leaf, learned
from gradninja.lines.guess.made_objects import asked_by, guessed_object, made_of
from gradninja.lines.guess.value_search import (
    Guess,
    Guesser,
    guesses,
    hints_of,
    ranks_of,
    reached,
    told,
)

__all__ = [
    "Guess",
    "Guesser",
    "Hints",
    "asked_by",
    "guessed_object",
    "guesses",
    "hints_of",
    "leaf",
    "learned",
    "made_of",
    "ranks_of",
    "reached",
    "told",
]
