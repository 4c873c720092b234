"""What fusing must reach: forwards, each with the backward that a person would be proud of.

A public function is a forward, written as people write it; `NAME_backward` after it is its backward
"all in one go", in plain PyTorch. It takes by name what it wants of the forward's values, and the
gradient of what the forward returns (`dy` of `y`; for a scalar that is 1, and left out). It gives
the gradients of the forward's float inputs, in their order. `BOUNDS` at the end of a module is as
in `programs`.
"""
