"""Layers that multiply: linear, bilinear, embedding, convolutions."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradninja.lines.modules.layers.registry import means, reads


@reads("torch.nn.Transformer.generate_square_subsequent_mask")
def square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
    return torch.triu(torch.full((sz, sz), float("-inf"), dtype=dtype, device=device), diagonal=1)


@means(nn.Linear)
def linear(self: Any, x: Tensor) -> Tensor:
    if self.bias is None:
        return F.linear(x, self.weight)
    return F.linear(x, self.weight, self.bias)


@means(nn.Bilinear)
def bilinear_layer(self: Any, x: Tensor, y: Tensor) -> Tensor:
    return F.bilinear(x, y, self.weight, self.bias)


@reads("F.bilinear")
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    product = torch.einsum("...i,oij,...j->...o", input1, weight, input2)
    return product if bias is None else product + bias


@reads("torch.sparse.mm")
def sparse_product(sparse: Tensor, dense: Tensor) -> Tensor:
    return sparse @ dense


_attention = F.scaled_dot_product_attention


def attention_drawn(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Any:
    """Attention that draws its mask as the lines of MultiheadAttention do."""
    if dropout_p == 0 or is_causal or enable_gqa:
        return _attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return F.dropout(scores.softmax(-1), dropout_p) @ value


@reads("F.scaled_dot_product_attention", asked="enable_gqa")
def grouped_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Tensor:
    key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale
    )


@means(nn.Embedding)
def embedding(self: Any, index: Tensor) -> Tensor:
    if self.max_norm is None and not self.scale_grad_by_freq:
        if self.padding_idx is None:
            return F.embedding(index, self.weight)
        return F.embedding(index, self.weight, self.padding_idx)
    return F.embedding(
        index,
        self.weight,
        self.padding_idx,
        self.max_norm,
        self.norm_type,
        self.scale_grad_by_freq,
        self.sparse,
    )


def _padded(self: Any, x: Tensor) -> Tensor:
    return F.pad(x, tuple(self._reversed_padding_repeated_twice), mode=self.padding_mode)


@means(nn.Conv1d)
def conv1d(self: Any, x: Tensor) -> Tensor:
    if self.padding_mode != "zeros":
        return F.conv1d(
            _padded(self, x), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )
    return F.conv1d(
        x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
    )


@means(nn.Conv2d)
def conv2d(self: Any, x: Tensor) -> Tensor:
    if self.padding_mode != "zeros":
        return F.conv2d(
            _padded(self, x), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )
    return F.conv2d(
        x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
    )


@means(nn.Conv3d)
def conv3d(self: Any, x: Tensor) -> Tensor:
    return F.conv3d(
        x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
    )


def _output_padding(self: Any, x: Tensor, output_size: Any) -> Any:
    """What is added at the end of each axis, so that the output has the size that is asked for."""
    if output_size is None:
        return self.output_padding
    count = len(self.kernel_size)
    reached = [
        (x.shape[i - count] - 1) * self.stride[i]
        - 2 * self.padding[i]
        + self.dilation[i] * (self.kernel_size[i] - 1)
        + 1
        for i in range(count)
    ]
    return [output_size[i - count] - reached[i] for i in range(count)]


@means(nn.ConvTranspose1d)
def conv_transpose1d(self: Any, x: Tensor, output_size: Any = None) -> Tensor:
    return F.conv_transpose1d(
        x,
        self.weight,
        self.bias,
        self.stride,
        self.padding,
        _output_padding(self, x, output_size),
        self.groups,
        self.dilation,
    )


@means(nn.ConvTranspose2d)
def conv_transpose2d(self: Any, x: Tensor, output_size: Any = None) -> Tensor:
    return F.conv_transpose2d(
        x,
        self.weight,
        self.bias,
        self.stride,
        self.padding,
        _output_padding(self, x, output_size),
        self.groups,
        self.dilation,
    )
