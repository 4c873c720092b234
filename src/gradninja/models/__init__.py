"""Models: one text file each, of plain PyTorch lines, forward and hand-written backward.

A model file is executed as a module. Each of its functions takes, **by name**, what it wants out of
one pool of values:

    sizes         `vocab`, `context`, `embedding`, `hidden`; for `check` also `n`, the batch's size;
                  for `parameters` also `generator`, a torch.Generator
    parameters    the names that `parameters` returns
    the batch     `Xb` (int64, (n, context)) and `Yb` (int64, (n,))
    options       parameters of `forward` with a plain default, as `correction: int = 1`
    statistics    the names that `calibrate` returns

The functions:

    parameters(vocab, ..., generator) -> {name: Tensor}    required
    forward(<parameters>, Xb, Yb, <options>) -> loss       required; straight-line, ends in return
    predict(<parameters>, Xb, <statistics>) -> logits      required; (n, vocab), at test time
    backward(<names of the forward>)                       its locals `d<name>` are the gradients
    backward_fused(<names of the forward>)                 the same in fewer lines; trained with
    calibrate(batches, ...) -> {name: Tensor}              statistics over blocks of contexts Xb
    fit(batches, ...) -> {name: Tensor}                    the exact parameters from blocks (Xb, Yb)
    check(n, ...) -> str | None                            why these sizes and options cannot work

`mlp_batchnorm.py` in this folder is the one to read first.
"""

from __future__ import annotations

from gradninja.models.model import BUILTIN, Model, load
from gradninja.models.splicing import Step

__all__ = ["BUILTIN", "Model", "Step", "load"]
