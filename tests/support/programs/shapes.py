# ruff: noqa: SIM108 - written as people write it
"""Moving axes, picking elements, multiplying at every rank: short forwards, every spelling."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def indexing_with_ints_and_slices(x: Float[Tensor, "n t d"]):
    """Ints, slices with steps, negative ends, None and an ellipsis."""
    first = x[0]
    last = x[-1, :, 1:]
    every_other = x[:, ::2, 0]
    cross = x[..., None, -2]
    return first.sum(0, keepdim=True) * last.mean() + every_other.sum() * cross[1, 0, 0]


def indexing_with_tensors(
    x: Float[Tensor, "n t d"], i: Int[Tensor, "m"], j: Int[Tensor, "m"], k: Int[Tensor, "p q"]
):
    """One index tensor, pairs, a matrix of them, apart and mixed with slices; rows repeat."""
    rows = x[i]
    pairs = x[i, j]
    apart = x[i, :, 0]
    middle = x[:, j]
    block = x[k, 1:, -1]
    return (
        (rows.sum((1, 2)) * pairs.sum(1) * apart.sum(1)).sum() + middle.var() + block.pow(2).sum()
    )


def indexing_with_lists_and_ranges(x: Float[Tensor, "n d"]):
    """Plain lists, a range with a tensor, one element."""
    n = x.shape[0]
    picked = x[[0, 2, 2, 1]]
    diagonal = x[range(3), [0, 1, 2]]
    column = x[:, [1, 0]]
    shifted = x[torch.arange(n - 1) + 1, 0]
    return picked.sum() * x[1, 2] + diagonal.prod() + column.std() * shifted.sum()


def indexing_with_masks(x: Float[Tensor, "n d"], row: Bool[Tensor, "n"], both: Bool[Tensor, "n d"]):
    """A mask of rows, a mask of everything, a comparison as a mask."""
    a = x[row].sum(0)
    b = (x[both] ** 2).sum()
    c = x[x > 0].sum()
    return a * b + c


def lookups(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], i: Int[Tensor, "m d"], j: Int[Tensor, "m"]
):
    """gather, index_select, take_along_dim, scatter_add, index_add."""
    a = torch.gather(x, 0, i)
    b = x.index_select(0, j)
    c = torch.take_along_dim(x, i, dim=0)
    d = x.scatter_add(0, i, y * a)
    e = torch.index_add(x, 0, j, b * c)
    return d * e


def reductions(x: Float[Tensor, "n t d"]):
    """Over one axis, several, all; kept and not."""
    a = x.sum(dim=(0, -1), keepdim=True) + x.mean(1, keepdim=True)
    b = torch.mean(x, dim=[0, 1]) * torch.sum(x, -1, keepdim=True)
    c = x.var(dim=(1, 2), correction=0)[:, None, None] + x.std(0)
    d = torch.var(x, 1, keepdim=True) + torch.std(x, dim=(0, 2), unbiased=False, keepdim=True)
    return a * b + c * d + x.sum() * x.mean() / x.std()


def extremes(x: Float[Tensor, "n t d"]):
    """max and min by axis and of all, amax and amin by several axes."""
    top, where = x.max(dim=1)
    low = x.min(-1, keepdim=True).values
    high = torch.amax(x, dim=(0, 2), keepdim=True)
    floor = x.amin(dim=-2)
    return top * floor + x.max() * low.sum(1) + (high * x.min()).sum() + where.sum() * 0


def sums_of_exponentials(x: Float[Tensor, "n t d"]):
    """logsumexp over one and several axes, softmax over the first, a running sum."""
    a = torch.logsumexp(x, dim=(0, 2))
    b = x.logsumexp(-1, keepdim=True)
    c = x.softmax(dim=0) * F.log_softmax(x, dim=1)
    return c.cumsum(dim=1) + a[:, None] * b


def norms(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]):
    """Of all, of rows, by name of power."""
    a = x.norm() + torch.linalg.norm(y, dim=1).sum()
    b = torch.norm(x, p=2, dim=0, keepdim=True) * torch.linalg.vector_norm(y)
    c = x.norm(p=1, dim=1) + y.norm(p=3, dim=1, keepdim=True).squeeze(1)
    return a * b + c[:, None]


def views_there_and_back(x: Float[Tensor, "2*n t d"]):
    """view, reshape, flatten, unflatten, squeeze, unsqueeze, transpose, permute."""
    n2, t, d = x.shape
    a = x.view(2, n2 // 2, t * d).reshape(-1, t, d)
    b = x.transpose(0, 2).flatten(1).unflatten(1, (t, n2)).permute(2, 1, 0)
    c = x.unsqueeze(0).squeeze(0).movedim(0, -1).permute(-1, 0, 1)
    e = x.reshape(n2, -1).view(x.shape).swapaxes(1, 2).mT
    return a * b + c.contiguous() * e + torch.squeeze(x[:, :1], 1).unsqueeze(1)


def flattening(x: Float[Tensor, "n t d"], y: Float[Tensor, "n*t*d"]):
    """All to one axis and back, by four names."""
    a = x.flatten() * y
    b = torch.flatten(x, 0, 1).reshape(-1)
    c = x.ravel() + torch.reshape(y, (-1,))
    return (a + b * c).view_as(x)


def broadcasting(
    m: Float[Tensor, "n d"],
    row: Float[Tensor, "d"],
    col: Float[Tensor, "n 1"],
    flat: Float[Tensor, "1 d"],
    number: Float[Tensor, ""],
    deep: Float[Tensor, "k 1 d"],
):
    """Every way for a small tensor to meet a large one; each is a sum in the backward."""
    a = m * row + col / (2 + flat**2)
    b = number * a - deep
    c = (row - number) ** 2 + torch.maximum(col, flat)
    return b * c / (1 + number**2) + torch.where(m > 0, row, col)


def expanding(x: Float[Tensor, "n 1"], y: Float[Tensor, "d"]):
    """expand, expand_as, broadcast_to, repeat."""
    n, d = x.shape[0], y.shape[0]
    a = x.expand(n, d) * y.expand(n, -1)
    b = y.repeat(n, 1) + x.repeat(1, d)
    c = torch.broadcast_to(y, (n, d)) * x.expand_as(a)
    return (a * b + c).repeat(2, 1, 2)


def joining(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], z: Float[Tensor, "n d"]):
    """cat with three shares, one tensor twice; stack on every axis."""
    a = torch.cat([x, y, x], dim=0)
    b = torch.stack([x, z, x * z], dim=-1)
    c = torch.stack((x, z)).sum(0) + torch.cat((x, z), 1)[:, : x.shape[1]]
    return a.sum(0) * b.sum((0, 2)) + c


def parting(x: Float[Tensor, "n 3*d"], y: Float[Tensor, "2 d"]):
    """chunk, split by size and by sizes, unbind, narrow; a piece left unused."""
    a, b, _unused = x.chunk(3, dim=1)
    d = a.shape[1]
    first, rest = x.split([d, 2 * d], dim=-1)
    pieces = torch.split(x, d, dim=1)
    rows = y.unbind(0)
    part = x.narrow(1, 1, d)
    return a * b + first * rest[:, :d] + pieces[2] * part + rows[0] * rows[1]


def triangles(x: Float[Tensor, "n n"], y: Float[Tensor, "b n m"]):
    """tril and triu with offsets, the diagonal, the trace by a mask."""
    lower, upper = x.tril(-1), torch.triu(x, diagonal=1)
    both = lower @ upper + torch.tril(x)
    eye = torch.eye(x.shape[0], dtype=x.dtype)
    return both * (x * eye).sum() + (y.triu() ** 2).sum() * torch.diagonal(x).sum()


def rolling(x: Float[Tensor, "n d"]):
    """roll by one axis, two, and flattened; flip of one and both."""
    a = x.roll(1, 0) * torch.roll(x, (2, -1), (0, 1))
    return a + x.roll(3) * torch.flip(x, [0, 1]) - x.flip(0)


def products_of_every_rank(
    v: Float[Tensor, "d"],
    m: Float[Tensor, "n d"],
    b: Float[Tensor, "k n d"],
    w: Float[Tensor, "d e"],
    four: Float[Tensor, "1 h d e"],
    three: Float[Tensor, "j 1 n d"],
):
    """Vector, matrix and stack, every pair that matmul takes, with broadcast stacks."""
    vv = v @ v
    mv, vw = m @ v, v @ w
    bv, bw = b @ v, b @ w
    vb = v @ four
    big = three @ four
    batched = torch.matmul(m, torch.bmm(b.mT, b))
    return vv * (mv.sum() * vw.sum() + bv.mean() * bw.sum()) + vb.sum() + big.mean() + batched.sum()


def named_products(
    a: Float[Tensor, "n d"], b: Float[Tensor, "d m"], u: Float[Tensor, "n"], v: Float[Tensor, "m"]
):
    """mm, mv, outer, dot, addmm, linear, t()."""
    prod = torch.mm(a, b) + torch.outer(u, v)
    more = torch.addmm(prod, a, b) * torch.mv(a.t(), u).sum()
    return F.linear(a, b.t(), v) + more / (1 + v.dot(v)) + a.mm(b) * u.outer(v)


def einsums(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "d m"],
    c: Float[Tensor, "k n d"],
    s: Float[Tensor, "d d"],
):
    """Contraction, sum, diagonal, outer, transpose, no arrow, an ellipsis."""
    x = torch.einsum("nd,dm->nm", a, b)
    total = torch.einsum("ij->", b) + torch.einsum("ii->", s)
    outer = torch.einsum("i,j->ij", a[:, 0], b[0])
    turned = torch.einsum("knd->dnk", c)
    implied = torch.einsum("ij,jk", a, b)
    dots = torch.einsum("...d,de->...e", c, s)
    triple = torch.einsum("nd,dm,knd->k", a, b, c)
    return x * outer * implied + total * turned.sum() + dots.sum() * triple.mean()


def every_arithmetic(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]):
    """Operators, their functions, and numbers on the left."""
    a = torch.add(x, y, alpha=2) - torch.sub(x, y) * torch.mul(x, 0.5)
    b = torch.div(x, y.abs() + 1) + 3 / (2 + y**2) - (-x) * 2
    c = x.add(y).sub(1).mul(y).div(2).neg() + torch.pow(x, 3) + x.square()
    d = (x.abs() + 1).log() * y.exp().add(1).sqrt() + torch.rsqrt(x**2 + 1) + (+x)
    return 2 - a * b / (c**2 + 1) + (d**2 + 1) ** 1.5 - 1.5 ** y.clamp(max=1)


def constants_among_lines(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]):
    """Comparisons, one_hot, arange, floors: lines that carry values and no gradient."""
    positive = (x > 0).to(x.dtype)
    between = ((x > -1) & (x < 1)) | (y >= 0.5)
    best = F.one_hot(x.argmax(1), x.shape[1])
    position = torch.arange(x.shape[1]) / x.shape[1]
    return x * positive + torch.where(between, y, 0.0) * best + y * position + torch.floor(x) * y


def names_used_again(x: Float[Tensor, "n d"], w: Float[Tensor, "d d"]):
    """One name bound four times, one value used five times, and both at once."""
    x = x @ w
    y = x
    x = x * y + y
    x = torch.tanh(x) - x / (1 + x * x)
    y = y + x + y
    return (x * y + (x - y) * (x + y)) @ w


def ints_and_branches(x: Float[Tensor, "n d"], depth: int = 3, bias: bool = False, p: float = 0.5):
    """Plain Python around the tensors: sizes, branches on options, loops, tuples."""
    n, d = x.shape
    scale = 1.0 / (n * d) ** p
    out = x * scale
    for i in range(depth):
        if i % 2 == 0:
            out = out + x / (i + 1)
        else:
            out = out * x
    pair = (out, x - out) if not bias else (out + 1, x)
    return pair[0] * pair[1] + len(x)


def unused_input(x: Float[Tensor, "n d"], left_over: Float[Tensor, "d"], w: Float[Tensor, "d"]):
    """An input that the output does not depend on has a gradient of zeros, of its shape."""
    _ = left_over * 2
    return x * w


def pass_through(x: Float[Tensor, "n d"]):
    """The output is the input."""
    return x


def same_output_twice(x: Float[Tensor, "n d"], w: Float[Tensor, "d"]):
    """Three outputs, one of them a line that the others use."""
    h = torch.tanh(x * w)
    return h, h.sum(0), x.mean() * h


BOUNDS = {
    "indexing_with_tensors": {"i": "n", "j": "t", "k": "n"},
    "lookups": {"i": "n", "j": "n"},
}
