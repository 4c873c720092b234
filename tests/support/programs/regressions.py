"""Programs that once came out wrong or were refused for no reason, kept as they were found."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def output_used_by_another_output(theta: Float[Tensor, "n"], omega: Float[Tensor, "n"]):
    """The cotangent that was handed in was added to in place."""
    turned = theta + omega
    return turned, omega * 2 + turned


def column_sums_times_rows(x: Float[Tensor, "n d"], w: Float[Tensor, "n d"]):
    """Derived where n is 1, the sum over the broadcast axis was missing for every other n."""
    s = w.sum(0, keepdim=True)
    y = x * s
    return (y * y).sum()


def tied_maximum_of_a_number(x: Float[Tensor, "n"]):
    """Half of the gradient each, in float32: 0.5 times a mask has the default dtype."""
    return torch.maximum(x, x).mean()


def stack_of_unbind(y: Float[Tensor, "3 n d"]):
    """The tuple of one operation handed straight to another was refused."""
    return torch.stack(y.unbind(0), -1)


def some_of_the_pieces(y: Float[Tensor, "4 n d"]):
    """Two pieces of one operation in a line were each handed on twice."""
    return torch.stack(y.unbind(0)[1:]) * sum(y.unbind(0)[::2])


def part_of_a_choice(x: Float[Tensor, "n d"]):
    """The gradient began as zeros_like of the condition, which is a bool."""
    return torch.where(x > 0, x, x * 2)[-1]


def part_of_a_lookup(x: Float[Tensor, "vocab"], ix: Int[Tensor, "n"]):
    """The gradient began as zeros_like of the index, which is an int."""
    return x[ix][0] * 2


def split_by_a_size(x: Float[Tensor, "n 3*d"]):
    """The size of the pieces was taken for a list of sizes."""
    d = x.shape[1] // 3
    pieces = torch.split(x, d, dim=1)
    return pieces[0] * pieces[2]


def one_piece(x: Float[Tensor, "n d"], w: Float[Tensor, "d"]):
    """A tuple of one tensor was taken for the tensor."""
    pieces = torch.split(x, x.shape[1], dim=1)
    return pieces[0] * w


def einsum_that_only_turns(y: Float[Tensor, "n d"]):
    """It gives a view, and the gradient was added to in place."""
    h = torch.tanh(y)
    square = (h * h).sum()
    turned = torch.einsum("ij->ji", h)
    return turned.mean() + square


def mean_over_the_axis_of_a_number(x: Float[Tensor, ""]):
    """PyTorch takes axis 0 of a 0-dim tensor."""
    return x.mean(dim=0) + x.sum(-1, keepdim=True)


def flip_by_keyword(x: Float[Tensor, "n d"]):
    """`dims=` was not taken."""
    return x.flip(dims=(0, 1)) * x


def unbiased_by_position(x: Float[Tensor, "n d"]):
    """One positional bool is `unbiased`, and not an axis."""
    return x.std(True) + torch.var(x, False)


def index_add_scaled(x: Float[Tensor, "vocab d"], y: Float[Tensor, "n d"], ix: Int[Tensor, "n"]):
    """`alpha` was left out."""
    return x.index_add(0, ix, y, alpha=-2)


def cosine_of_all_pairs(x: Float[Tensor, "1 n d"], y: Float[Tensor, "m 1 d"]):
    """Both sides are broadcast inside of the call."""
    return F.cosine_similarity(x, y, dim=-1)


def clamp_between_tensors(
    x: Float[Tensor, "n d"], low: Float[Tensor, "d"], width: Float[Tensor, "n 1"]
):
    """A gradient to both bounds was refused."""
    return torch.clamp(x, low, low + width.abs())


BOUNDS = {"part_of_a_lookup": {"ix": "vocab"}, "index_add_scaled": {"ix": "vocab"}}
