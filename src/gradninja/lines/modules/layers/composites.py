"""Functions of torch's that are several steps: each by the lines that it means.

What is a step of its own, with a gradient that is no chain of others', is a row of the rule book.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gradninja.lines.modules.layers.registry import computed, reads

# -- linear algebra -----------------------------------------------------------------------------


@reads("torch.linalg.matrix_norm")
def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, dtype: Any = None
) -> Any:
    rows, columns = dim
    if ord == "fro":
        return torch.linalg.vector_norm(A, 2, dim, keepdim)
    if ord in ("nuc", 2, -2):
        values = torch.linalg.svdvals(A.movedim(dim, (-2, -1)))
        if ord == "nuc":
            length = values.sum(-1)
        else:
            length = values.amax(-1) if ord == 2 else values.amin(-1)
        if keepdim:
            length = length[..., None, None].movedim((-2, -1), dim)
        return length
    over = rows if ord in (1, -1) else columns
    sums = torch.abs(A).sum(over, keepdim=True)
    other = columns if ord in (1, -1) else rows
    length = sums.amax(other, keepdim=True) if ord > 0 else sums.amin(other, keepdim=True)
    if not keepdim:
        length = length.squeeze(dim)
    return length


@reads("torch.linalg.cond")
def condition(A: Tensor, p: Any = None) -> Any:
    if p is None or p in (2, -2):
        values = torch.linalg.svdvals(A)
        if p == -2:
            return values[..., -1] / values[..., 0]
        return values[..., 0] / values[..., -1]
    return torch.linalg.matrix_norm(A, p) * torch.linalg.matrix_norm(torch.linalg.inv(A), p)


@reads("torch.linalg.tensorinv")
def tensor_inverse(A: Tensor, ind: int = 2) -> Any:
    size = math.prod(A.shape[:ind])
    inverse = torch.linalg.inv(A.reshape(size, size))
    return inverse.reshape(A.shape[ind:] + A.shape[:ind])


@reads("torch.linalg.tensorsolve")
def tensor_solve(A: Tensor, B: Tensor, dims: Any = None) -> Any:
    if dims is not None:
        A = A.movedim(dims, tuple(range(A.ndim - len(dims), A.ndim)))
    size = B.numel()
    solution = torch.linalg.solve(A.reshape(size, size), B.reshape(size))
    return solution.reshape(A.shape[B.ndim :])


@reads("torch.triangular_solve")
def triangular_solve(
    b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    triangle = A
    if transpose:
        triangle = A.mT
    upward = upper != transpose
    found = torch.linalg.solve_triangular(triangle, b, upper=upward, unitriangular=unitriangular)
    return found, A.clone()


@reads("torch.linalg.vander")
def vandermonde(x: Tensor, N: Any = None) -> Any:
    count = x.shape[-1] if N is None else N
    return x.unsqueeze(-1) ** torch.arange(count, device=x.device)


@reads("torch.vander")
def vandermonde_of_old(x: Tensor, N: Any = None, increasing: bool = False) -> Any:
    found = torch.linalg.vander(x, N)
    return found if increasing else found.flip(1)


@reads("torch.linalg.cholesky_ex")
def cholesky_told(input: Tensor, upper: bool = False, check_errors: bool = False) -> Any:
    told = torch.zeros(input.shape[:-2], dtype=torch.int32, device=input.device)
    return torch.linalg.cholesky(input, upper=upper), told


@reads("torch.linalg.inv_ex")
def inverse_told(A: Tensor, check_errors: bool = False) -> Any:
    return torch.linalg.inv(A), torch.zeros(A.shape[:-2], dtype=torch.int32, device=A.device)


@reads("torch.linalg.solve_ex")
def solve_told(A: Tensor, B: Tensor, left: bool = True, check_errors: bool = False) -> Any:
    told = torch.zeros(A.shape[:-2], dtype=torch.int32, device=A.device)
    return torch.linalg.solve(A, B, left=left), told


@reads("torch.linalg.householder_product")
def householder_product(A: Tensor, tau: Tensor) -> Any:
    rows, columns = A.shape[-2:]
    mirrors = A.tril(-1) + torch.eye(rows, columns, dtype=A.dtype, device=A.device)
    found = torch.eye(rows, dtype=A.dtype, device=A.device)
    for i in range(tau.shape[-1]):
        v = mirrors[..., :, i : i + 1]
        found = found - tau[..., i, None, None] * (found @ v) @ v.mT
    return found[..., :columns]


# -- picked and put -----------------------------------------------------------------------------


@reads("torch.diagflat")
def diagflat(input: Tensor, offset: int = 0) -> Any:
    return torch.diag_embed(input.reshape(-1), offset)


@computed
def picked(count: int, r: int, again: bool) -> tuple[tuple[int, ...], ...]:
    """The places of each combination."""
    choose = itertools.combinations_with_replacement if again else itertools.combinations
    return tuple(choose(range(count), r))


@reads("torch.combinations")
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Any:
    return input[torch.tensor(picked(input.shape[0], r, with_replacement))]


@reads("torch.dsplit")
def dsplit(input: Tensor, indices_or_sections: Any) -> Any:
    return torch.tensor_split(input, indices_or_sections, dim=2)


@reads("torch.nn.utils.parameters_to_vector")
def parameters_to_vector(parameters: Any) -> Any:
    return torch.cat([parameter.reshape(-1) for parameter in parameters])


@reads("F.max_unpool2d")
def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Any:
    if output_size is None:
        kh, kw = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
        stride = kernel_size if stride is None else stride
        sh, sw = stride if isinstance(stride, tuple) else (stride, stride)
        ph, pw = padding if isinstance(padding, tuple) else (padding, padding)
        height = (input.shape[-2] - 1) * sh - 2 * ph + kh
        width = (input.shape[-1] - 1) * sw - 2 * pw + kw
    else:
        height, width = output_size[-2:]
    shape = input.shape[:-2]
    flat = torch.zeros((*shape, height * width), dtype=input.dtype, device=input.device)
    put = flat.scatter(-1, indices.flatten(-2), input.flatten(-2))
    return put.reshape((*shape, height, width))


# -- sums, differences, lengths -----------------------------------------------------------------


@reads("torch.cumulative_trapezoid")
def cumulative_trapezoid(y: Tensor, x: Any = None, dx: Any = 1, dim: int = -1) -> Any:
    size = y.shape[dim] - 1
    both = (y.narrow(dim, 1, size) + y.narrow(dim, 0, size)) / 2
    if x is None:
        return (both * dx).cumsum(dim)
    if x.ndim == 1 and y.ndim > 1:
        along = [1] * y.ndim
        along[dim] = -1
        x = x.reshape(along)
    return (both * x.diff(dim=dim)).cumsum(dim)


@reads("torch.gradient")
def gradient(input: Tensor, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> Any:
    assert isinstance(spacing, int | float) and edge_order == 1
    dims = range(input.ndim) if dim is None else dim if isinstance(dim, tuple | list) else (dim,)
    found = []
    for axis in dims:
        size = input.shape[axis]
        first = (input.narrow(axis, 1, 1) - input.narrow(axis, 0, 1)) / spacing
        last = (input.narrow(axis, size - 1, 1) - input.narrow(axis, size - 2, 1)) / spacing
        behind, before = input.narrow(axis, 2, size - 2), input.narrow(axis, 0, size - 2)
        inner = (behind - before) / (2 * spacing)
        found.append(torch.cat([first, inner, last], axis))
    return tuple(found)


@reads("torch.renorm")
def renorm(input: Tensor, p: Any, dim: int, maxnorm: Any) -> Any:
    others = [axis for axis in range(input.ndim) if axis != dim % input.ndim]
    length = torch.linalg.vector_norm(input, p, others, keepdim=True)
    return input * torch.where(length > maxnorm, maxnorm / (length + 1e-7), 1.0)


@reads("torch.ldexp")
def ldexp(input: Tensor, other: Tensor) -> Any:
    return input * 2.0**other


@reads("torch.float_power")
def float_power(input: Tensor, exponent: Any) -> Any:
    return input.double() ** exponent


# -- signals ------------------------------------------------------------------------------------


@computed
def turned(norm: Any) -> str:
    """How the transform the other way round is normalised."""
    return {"ortho": "ortho", "forward": "backward"}.get(norm, "forward")


@reads("torch.fft.hfft")
def hfft(input: Tensor, n: Any = None, dim: int = -1, norm: Any = None) -> Any:
    return torch.fft.irfft(torch.conj(input), n, dim, turned(norm))


@reads("torch.fft.ihfft")
def ihfft(input: Tensor, n: Any = None, dim: int = -1, norm: Any = None) -> Any:
    return torch.conj(torch.fft.rfft(input, n, dim, turned(norm)))


@reads("torch.stft")
def stft(
    input: Tensor,
    n_fft: int,
    hop_length: Any = None,
    win_length: Any = None,
    window: Any = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: Any = None,
    return_complex: Any = None,
    align_to_window: Any = None,
) -> Any:
    hop = n_fft // 4 if hop_length is None else hop_length
    signal = input
    if center:
        half = n_fft // 2
        rows = input.reshape(1, -1, input.shape[-1])
        signal = F.pad(rows, (half, half), mode=pad_mode)
        signal = signal.reshape((*input.shape[:-1], signal.shape[-1]))
    frames = signal.unfold(-1, n_fft, hop)
    if window is not None:
        left = (n_fft - window.shape[0]) // 2
        frames = frames * F.pad(window, (left, n_fft - window.shape[0] - left))
    elif win_length is not None and win_length < n_fft:
        left = (n_fft - win_length) // 2
        ones = torch.ones(win_length, dtype=input.dtype, device=input.device)
        frames = frames * F.pad(ones, (left, n_fft - win_length - left))
    found = torch.fft.rfft(frames) if onesided is None or onesided else torch.fft.fft(frames)
    if normalized:
        found = found / n_fft**0.5
    found = found.transpose(-2, -1)
    return found if return_complex else torch.view_as_real(found)


# -- losses -------------------------------------------------------------------------------------


@reads("F.cosine_embedding_loss")
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    dot = (input1 * input2).sum(-1)
    square1 = (input1 * input1).sum(-1) + 1e-12
    square2 = (input2 * input2).sum(-1) + 1e-12
    cosine = dot / torch.sqrt(square1 * square2)
    unlike = torch.where(target == -1, torch.clamp(cosine - margin, min=0), 0.0)
    terms = torch.where(target == 1, 1 - cosine, unlike)
    return reduced_as(terms, reduction)


def reduced_as(terms: Tensor, reduction: str) -> Any:
    if reduction == "none":
        return terms
    return terms.mean() if reduction == "mean" else terms.sum()


@reads("F.triplet_margin_with_distance_loss")
def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    distance_function: Any = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Any:
    if distance_function is None:
        distance_function = torch.pairwise_distance
    near = distance_function(anchor, positive)
    far = distance_function(anchor, negative)
    if swap:
        far = torch.minimum(far, distance_function(positive, negative))
    return reduced_as(torch.clamp(margin + near - far, min=0), reduction)


@reads("F.multilabel_margin_loss")
def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    counts = (target >= 0).long().cumprod(-1)  # labels end at the first -1
    places = target * counts
    wanted = torch.zeros_like(input).scatter_add(-1, places, counts.to(input.dtype)) > 0
    chosen = input.gather(-1, places)
    gaps = torch.clamp(1 - chosen.unsqueeze(-1) + input.unsqueeze(-2), min=0)
    valid = (counts > 0).unsqueeze(-1) & ~wanted.unsqueeze(-2)
    terms = torch.where(valid, gaps, 0.0).sum((-2, -1)) / input.shape[-1]
    return reduced_as(terms, reduction)


@reads("F.pdist")
@reads("torch.pdist")
def pdist(input: Tensor, p: float = 2.0) -> Any:
    pairs = torch.combinations(torch.arange(input.shape[0], device=input.device))
    return torch.linalg.vector_norm(input[pairs[:, 0]] - input[pairs[:, 1]], p, -1)
