"""Layers of several lines: recurrent cells and attention."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradninja.lines.modules.layers.registry import means


@means(nn.RNNCell)
def rnn_cell(self: Any, x: Tensor, h: Any = None) -> Any:
    if h is None:
        h = x.new_zeros(self.hidden_size)
    a = F.linear(x, self.weight_ih, self.bias_ih) + F.linear(h, self.weight_hh, self.bias_hh)
    return torch.tanh(a) if self.nonlinearity == "tanh" else F.relu(a)


@means(nn.GRUCell)
def gru_cell(self: Any, x: Tensor, h: Any = None) -> Any:
    if h is None:
        h = x.new_zeros(self.hidden_size)
    xr, xz, xn = F.linear(x, self.weight_ih, self.bias_ih).chunk(3, -1)
    hr, hz, hn = F.linear(h, self.weight_hh, self.bias_hh).chunk(3, -1)
    r = torch.sigmoid(xr + hr)
    z = torch.sigmoid(xz + hz)
    n = torch.tanh(xn + r * hn)
    return (1 - z) * n + z * h


@means(nn.LSTMCell)
def lstm_cell(self: Any, x: Tensor, state: Any = None) -> Any:
    if state is None:
        h = x.new_zeros(self.hidden_size)
        c = x.new_zeros(self.hidden_size)
    else:
        h, c = state
    gates = F.linear(x, self.weight_ih, self.bias_ih) + F.linear(h, self.weight_hh, self.bias_hh)
    i, f, g, o = gates.chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return h, c


@means(nn.MultiheadAttention)
def multihead_attention(
    self: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> Any:
    assert self.bias_k is None and not self.add_zero_attn
    if self._qkv_same_embed_dim:
        wq, wk, wv = self.in_proj_weight.chunk(3)
    else:
        wq, wk, wv = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
    if self.in_proj_bias is None:
        bq, bk, bv = None, None, None
    else:
        bq, bk, bv = self.in_proj_bias.chunk(3)
    q: Any = F.linear(query, wq, bq)
    k: Any = F.linear(key, wk, bk)
    v: Any = F.linear(value, wv, bv)
    batched = q.dim() == 3
    if batched and not self.batch_first:
        q, k, v = q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)
    q = q.unflatten(-1, (self.num_heads, self.head_dim)).transpose(-3, -2)
    k = k.unflatten(-1, (self.num_heads, self.head_dim)).transpose(-3, -2)
    v = v.unflatten(-1, (self.num_heads, self.head_dim)).transpose(-3, -2)
    scores = q @ k.transpose(-2, -1) / math.sqrt(self.head_dim)
    if attn_mask is not None:
        if attn_mask.dim() == 3:
            attn_mask = attn_mask.unflatten(0, (-1, self.num_heads))
        if attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(attn_mask, -math.inf)
        else:
            scores = scores + attn_mask
    if key_padding_mask is not None:
        hidden = key_padding_mask.unsqueeze(-2).unsqueeze(-2)
        if key_padding_mask.dtype == torch.bool:
            scores = scores.masked_fill(hidden, -math.inf)
        else:
            scores = scores + hidden
    weights = scores.softmax(-1)
    weights = F.dropout(weights, self.dropout, self.training)
    heads = (weights @ v).transpose(-3, -2).flatten(-2)
    if batched and not self.batch_first:
        heads = heads.transpose(0, 1)
    out = F.linear(heads, self.out_proj.weight, self.out_proj.bias)
    if not need_weights:
        return out, None
    return out, weights.mean(-3) if average_attn_weights else weights


def _fed_forward(self: Any, x: Tensor) -> Any:
    h = self.dropout(self.activation(self.linear1(x)))
    return self.dropout2(self.linear2(h))


@means(nn.TransformerEncoderLayer)
def transformer_encoder_layer(
    self: Any,
    src: Tensor,
    src_mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: bool = False,
) -> Any:
    x = src
    if self.norm_first:
        n = self.norm1(x)
        a, _ = self.self_attn(n, n, n, src_key_padding_mask, False, src_mask)
        x = x + self.dropout1(a)
        return x + _fed_forward(self, self.norm2(x))
    a, _ = self.self_attn(x, x, x, src_key_padding_mask, False, src_mask)
    x = self.norm1(x + self.dropout1(a))
    return self.norm2(x + _fed_forward(self, x))


@means(nn.TransformerDecoderLayer)
def transformer_decoder_layer(
    self: Any,
    tgt: Tensor,
    memory: Tensor,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None,
    tgt_is_causal: bool = False,
    memory_is_causal: bool = False,
) -> Any:
    x = tgt
    if self.norm_first:
        n = self.norm1(x)
        a, _ = self.self_attn(n, n, n, tgt_key_padding_mask, False, tgt_mask)
        x = x + self.dropout1(a)
        n = self.norm2(x)
        a, _ = self.multihead_attn(n, memory, memory, memory_key_padding_mask, False, memory_mask)
        x = x + self.dropout2(a)
        h = self.dropout(self.activation(self.linear1(self.norm3(x))))
        return x + self.dropout3(self.linear2(h))
    a, _ = self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask)
    x = self.norm1(x + self.dropout1(a))
    a, _ = self.multihead_attn(x, memory, memory, memory_key_padding_mask, False, memory_mask)
    x = self.norm2(x + self.dropout2(a))
    h = self.dropout(self.activation(self.linear1(x)))
    return self.norm3(x + self.dropout3(self.linear2(h)))


@means(nn.TransformerDecoder)
def transformer_decoder(
    self: Any,
    tgt: Tensor,
    memory: Tensor,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None,
    tgt_is_causal: Any = None,
    memory_is_causal: bool = False,
) -> Any:
    x = tgt
    for layer in self.layers:
        x = layer(x, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
    return x if self.norm is None else self.norm(x)


@means(nn.TransformerEncoder)
def transformer_encoder(
    self: Any,
    src: Tensor,
    mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: Any = None,
) -> Any:
    x = src
    for layer in self.layers:
        x = layer(x, mask, src_key_padding_mask)
    return x if self.norm is None else self.norm(x)
