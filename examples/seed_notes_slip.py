"""A line of the notes that is not right, and what gradninja says of it.

The notes that this project began with work out one example by hand,

    bnraw = bndiff * bnvar_inv
    hpreact = bngain * bnraw + bnbias

and give these two lines for it:

    dbndiff = dbnvar_inv * dhpreact
    dbnvar_inv = (bndiff * dbnraw).sum(0, keepdim=True)

The second is right. The first has the right shape, which is what the notes ask of it, and is wrong
twice: `dbnvar_inv`, a gradient, stands where the value `bnvar_inv` belongs, and `dhpreact` skips
the link through `bnraw`. Run

    gradninja check examples/seed_notes_slip.py

It ends with exit code 1; what it says, shortened:

    gradient    verdict  exact  approximate   maxdiff  line
    dbngain     close    False  True         9.54e-07    52
    dbnbias     exact    True   True                0    53
    dbnraw      exact    True   True                0    54
    dbnvar_inv  close    False  True         4.77e-07    55
    dbndiff     wrong    False  False            26.3    56

    dbndiff: wrong (gradient in place of value)
      line 56: dbndiff = dbnvar_inv * dhpreact
      There are two mistakes: gradient in place of value, and skipped link of the chain. ...
      write: dbndiff = bnvar_inv * dbnraw

Mend the line, and it ends with exit code 0.
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


def backward(bndiff, bnvar_inv, bngain, bnraw, dhpreact):
    dbngain = (bnraw * dhpreact).sum(0, keepdim=True)
    dbnbias = dhpreact.sum(0, keepdim=True)
    dbnraw = bngain * dhpreact
    dbnvar_inv = (bndiff * dbnraw).sum(0, keepdim=True)
    dbndiff = dbnvar_inv * dhpreact  # the notes' line
    return dbndiff, dbnvar_inv, dbngain, dbnbias
