# ruff: noqa: RUF059 - written as people write it
"""Images and signals: convolutions, pooling, augmentation."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def conv2d_by_unfold(
    x: Float[Tensor, "n c h w"], weight: Float[Tensor, "o c 3 3"], bias: Float[Tensor, "o"]
):
    """im2col, as in courses and in Caffe."""
    n, c, h, w = x.shape
    cols = F.unfold(x, kernel_size=3, padding=1)
    out = weight.view(weight.shape[0], -1) @ cols + bias[:, None]
    return out.view(n, -1, h, w)


def conv1d_relu(x: Float[Tensor, "n c t"], w: Float[Tensor, "o c 3"], b: Float[Tensor, "o"]):
    """A layer of a text or audio network."""
    return F.relu(F.conv1d(x, w, b, padding=1))


def causal_conv1d(x: Float[Tensor, "n c t"], w: Float[Tensor, "o c 3"]):
    """WaveNet: padding on the left only, dilation two."""
    padded = F.pad(x, (4, 0))
    return F.conv1d(padded, w, dilation=2)


def depthwise_conv1d(x: Float[Tensor, "n c t"], w: Float[Tensor, "c 1 4"]):
    """The short convolution in Mamba and MobileNet."""
    return F.silu(F.conv1d(x, w, padding=3, groups=x.shape[1])[..., : x.shape[-1]])


def conv1d_by_tensor_unfold(x: Float[Tensor, "n t"], kernel: Float[Tensor, "4"]):
    """Windows by `Tensor.unfold`, then a dot with each."""
    windows = x.unfold(1, 4, 2)
    return (windows * kernel).sum(-1)


def max_pool_by_view(x: Float[Tensor, "n c 2*h 2*w"]):
    """Non-overlapping squares, a view and amax."""
    n, c, h, w = x.shape
    return x.view(n, c, h // 2, 2, w // 2, 2).amax(dim=(3, 5))


def max_pool_by_unfold(x: Float[Tensor, "n c h w"]):
    """Overlapping windows, unfolded twice; max takes one."""
    windows = x.unfold(2, 2, 1).unfold(3, 2, 1)
    flat = windows.flatten(start_dim=-2)
    return flat.max(dim=-1).values


def average_pool(x: Float[Tensor, "n c 2*h 2*w"]):
    """Squares by slices."""
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def squeeze_excite(x: Float[Tensor, "n c h w"], W1: Float[Tensor, "c r"], W2: Float[Tensor, "r c"]):
    """Hu et al. 2018: channels weigh themselves."""
    s = x.mean((2, 3))
    s = torch.sigmoid(torch.relu(s @ W1) @ W2)
    return x * s[:, :, None, None]


def residual_block(
    x: Float[Tensor, "n c t"], w1: Float[Tensor, "c c 3"], w2: Float[Tensor, "c c 3"]
):
    """Two convolutions and a way round them."""
    h = F.relu(F.conv1d(x, w1, padding=1))
    h = F.conv1d(h, w2, padding=1)
    return F.relu(x + h)


def flip_and_roll(x: Float[Tensor, "n c h w"]):
    """Augmentations: mirrored, shifted, reflected, added up."""
    mirrored = torch.flip(x, dims=[-1])
    shifted = torch.roll(x, shifts=(1, -2), dims=(2, 3))
    upside = x.flip(2)
    return x + 0.5 * mirrored * shifted + upside**2


def pad_constant(x: Float[Tensor, "n d"], edge: float = 0.5):
    """A frame of a constant, then a crop through it."""
    framed = F.pad(x, (1, 2, 2, 1), value=edge)
    return framed[1:, :-1] * framed[:-1, 1:]


def total_variation(x: Float[Tensor, "n c h w"]):
    """Rudin et al. 1992, style transfer's smoother."""
    dh = x[:, :, 1:, :] - x[:, :, :-1, :]
    dw = x[:, :, :, 1:] - x[:, :, :, :-1]
    return dh.abs().sum() + (dw.pow(2) + 1e-3).sqrt().sum()


def gram_style(x: Float[Tensor, "n c h w"], target: Float[Tensor, "n c c"]):
    """Gatys et al. 2016."""
    n, c, h, w = x.size()
    f = x.view(n, c, h * w)
    gram = f.bmm(f.transpose(1, 2)) / (c * h * w)
    return F.mse_loss(gram, target, reduction="sum")


def upsample_nearest(x: Float[Tensor, "n c h w"]):
    """Every pixel four times, by expand and reshape, then by repeat."""
    n, c, h, w = x.shape
    up = x[:, :, :, None, :, None].expand(n, c, h, 2, w, 2).reshape(n, c, 2 * h, 2 * w)
    tiled = x.repeat(1, 1, 2, 2)
    return up * tiled


def pixel_shuffle_by_hand(x: Float[Tensor, "n 4*c h w"]):
    """Shi et al. 2016: depth to space."""
    n, c4, h, w = x.shape
    y = x.view(n, c4 // 4, 2, 2, h, w)
    return y.permute(0, 1, 4, 2, 5, 3).reshape(n, c4 // 4, h * 2, w * 2)


def film(x: Float[Tensor, "n c h w"], cond: Float[Tensor, "n d"], W: Float[Tensor, "d 2*c"]):
    """Perez et al. 2018: conditioning by scale and shift."""
    gamma, beta = torch.chunk(cond @ W, 2, dim=1)
    return (1 + gamma)[..., None, None] * x + beta[..., None, None]
