"""A chunk of the lecture: BatchNorm's last two lines, where three broadcasts become three sums.

    gradninja explain examples/lecture_chunk.py
    gradninja explain examples/lecture_chunk.py --as html --out chunk.html

`bnvar_inv`, `bngain` and `bnbias` have one row, which the forward repeats for each of the n
examples; so their gradients, and no others, are summed over n.
"""

from jaxtyping import Float
from torch import Tensor


def forward(
    bndiff: Float[Tensor, "n hidden"],
    bnvar_inv: Float[Tensor, "1 hidden"],
    bngain: Float[Tensor, "1 hidden"],
    bnbias: Float[Tensor, "1 hidden"],
):
    bnraw = bndiff * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    return hpreact
