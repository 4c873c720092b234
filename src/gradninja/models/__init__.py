"""Models: one text file each, of plain PyTorch lines, forward and hand-written backward.

A model file is executed as a module. Each of its functions takes, **by name**, what it wants out of
one pool of values:

    sizes         `vocab`, `context`, `embedding`, `hidden`, `width`, `layers`, `heads`; for
                  `check` also `n`, the batch's size; for `parameters` also `generator`, a
                  torch.Generator
    parameters    the names that `parameters` returns
    the batch     `Xb` (int64, (n, context)) and `Yb` (int64, (n,)): the letters before a letter,
                  and the letter. Or whole words, where `Yb` is annotated
                  `Int[Tensor, "n context"]`: a row of `Xb` is 0 and a word's letters, a row of
                  `Yb` the letters and 0; then both are padded, `Xb` by 0, `Yb` by -1. `context` is
                  room for the longest word, and a batch may have fewer columns
    options       parameters of `forward` with a plain default, as `correction: int = 1`
    statistics    the names that `calibrate` returns

The functions:

    parameters(vocab, ..., generator) -> {name: Tensor}    required
    forward(<parameters>, Xb, Yb, <options>) -> loss       required; straight-line, ends in return
    predict(<parameters>, Xb, <statistics>) -> logits      (n, vocab), at test time; of whole words
                                                           (n, context, vocab). Without it, they are
                                                           the `logits` of the forward
    settings() -> {name: value}                            what `train` does unless told otherwise:
                                                           sizes, optimizer, rate, steps, ...
    backward(<names of the forward>)                       its locals `d<name>` are the gradients
    backward_fused(<names of the forward>)                 the same in fewer lines; trained with
    calibrate(batches, ...) -> {name: Tensor}              statistics over blocks of contexts Xb,
                                                           which can be gone through many times
    fit(batches, ...) -> {name: Tensor}                    the exact parameters from blocks (Xb, Yb)
    check(n, ...) -> str | None                            why these sizes and options cannot work

`mlp_batchnorm.py` in this folder is the one to read first.
"""

from __future__ import annotations

from gradninja.models.model import BUILTIN, SIZES, Model, load
from gradninja.models.splicing import Step

__all__ = ["BUILTIN", "SIZES", "Model", "Step", "load"]
