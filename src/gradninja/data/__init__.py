"""Words -> vocabulary -> flat tokens -> contexts.

    dataset = load_words()                       # the embedded list of names
    X, Y = dataset.train.contexts(np.array([0, 1, 2]), context=3)

A text file of one word a line becomes one flat array of tokens, each word followed by the end mark
0, in the smallest unsigned type. Contexts are made from it when they are asked for. Nothing here
imports torch.
"""

from __future__ import annotations

from gradninja.data.loading import EMBEDDED, load_words
from gradninja.data.tokens import END, Dataset, Split, Vocabulary

__all__ = ["EMBEDDED", "END", "Dataset", "Split", "Vocabulary", "load_words"]
