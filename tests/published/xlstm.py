"""mLSTM cell, stabilized, parallel form and the sLSTM cell recurrent."""
import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import Optional, Tuple, Sequence

import torch
from torch import nn, Tensor


class CausalConv1D(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, dilation=1, **kwargs):
        super(CausalConv1D, self).__init__()
        self.padding = (kernel_size - 1) * dilation
        self.conv = nn.Conv1d(in_channels, out_channels, kernel_size, padding=self.padding, dilation=dilation, **kwargs)

    def forward(self, x):
        x = self.conv(x)
        return x[:, :, :-self.padding]


class BlockDiagonal(nn.Module):
    def __init__(self, in_features, out_features, num_blocks, bias=True):
        super(BlockDiagonal, self).__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.num_blocks = num_blocks
        assert in_features % num_blocks == 0
        assert out_features % num_blocks == 0
        block_in_features = in_features // num_blocks
        block_out_features = out_features // num_blocks
        self.blocks = nn.ModuleList([
            nn.Linear(block_in_features, block_out_features, bias=bias)
            for _ in range(num_blocks)
        ])

    def forward(self, x):
        x = x.chunk(self.num_blocks, dim=-1)
        x = [block(x_i) for block, x_i in zip(self.blocks, x)]
        x = torch.cat(x, dim=-1)
        return x


def parallel_stabilized_simple(queries, keys, values, igate_preact, fgate_preact, lower_triangular_matrix=None, stabilize_rowwise=True, eps=1e-6):
    B, NH, S, DH = queries.shape
    _dtype, _device = queries.dtype, queries.device

    # forget gate matrix
    log_fgates = torch.nn.functional.logsigmoid(fgate_preact)  # (B, NH, S, 1)
    if lower_triangular_matrix is None or S < lower_triangular_matrix.size(-1):
        ltr = torch.tril(torch.ones((S, S), dtype=torch.bool, device=_device))
    else:
        ltr = lower_triangular_matrix
    assert ltr.dtype == torch.bool, f"lower_triangular_matrix must be of dtype bool, got {ltr.dtype}"

    log_fgates_cumsum = torch.cat(
        [
            torch.zeros((B, NH, 1, 1), dtype=_dtype, device=_device),
            torch.cumsum(log_fgates, dim=-2),
        ],
        dim=-2,
    )
    rep_log_fgates_cumsum = log_fgates_cumsum.repeat(1, 1, 1, S + 1)
    _log_fg_matrix = rep_log_fgates_cumsum - rep_log_fgates_cumsum.transpose(-2, -1)
    log_fg_matrix = torch.where(ltr, _log_fg_matrix[:, :, 1:, 1:], -float("inf"))

    log_D_matrix = log_fg_matrix + igate_preact.transpose(-2, -1)
    if stabilize_rowwise:
        max_log_D, _ = torch.max(log_D_matrix, dim=-1, keepdim=True)
    else:
        max_log_D = torch.max(log_D_matrix.view(B, NH, -1), dim=-1, keepdim=True)[0].unsqueeze(-1)
    log_D_matrix_stabilized = log_D_matrix - max_log_D
    D_matrix = torch.exp(log_D_matrix_stabilized)

    keys_scaled = keys / math.sqrt(DH)
    qk_matrix = queries @ keys_scaled.transpose(-2, -1)
    C_matrix = qk_matrix * D_matrix
    normalizer = torch.maximum(C_matrix.sum(dim=-1, keepdim=True).abs(), torch.exp(-max_log_D))
    C_matrix_normalized = C_matrix / (normalizer + eps)
    h_tilde_state = C_matrix_normalized @ values
    return h_tilde_state


class MultiHeadLayerNorm(nn.GroupNorm):
    def forward(self, input: Tensor) -> Tensor:
        assert input.dim() == 4, "Input must be 4D tensor (B, NH, S, DH)"
        B, NH, S, DH = input.shape
        gn_in_1 = input.transpose(1, 2)
        gn_in_2 = gn_in_1.reshape(B * S, NH * DH)
        out = nn.functional.group_norm(gn_in_2, num_groups=NH, weight=self.weight, bias=self.bias, eps=self.eps)
        out = out.view(B, S, NH, DH).transpose(1, 2)
        return out


class mLSTMCell(nn.Module):
    def __init__(self, embedding_dim, num_heads, context_length):
        super().__init__()
        self.num_heads = num_heads
        self.backend_fn = parallel_stabilized_simple
        self.igate = nn.Linear(3 * embedding_dim, num_heads)
        self.fgate = nn.Linear(3 * embedding_dim, num_heads)
        self.outnorm = MultiHeadLayerNorm(num_heads, embedding_dim)
        self.register_buffer(
            "causal_mask",
            torch.tril(torch.ones(context_length, context_length, dtype=torch.bool)),
            persistent=False,
        )
        self.reset_parameters()

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **kwargs) -> torch.Tensor:
        B, S, _ = q.shape
        if_gate_input = torch.cat([q, k, v], dim=-1)
        q = q.view(B, S, self.num_heads, -1).transpose(1, 2)
        k = k.view(B, S, self.num_heads, -1).transpose(1, 2)
        v = v.view(B, S, self.num_heads, -1).transpose(1, 2)
        igate_preact = self.igate(if_gate_input).transpose(-1, -2).unsqueeze(-1)
        fgate_preact = self.fgate(if_gate_input).transpose(-1, -2).unsqueeze(-1)
        h_state = self.backend_fn(
            queries=q, keys=k, values=v,
            igate_preact=igate_preact, fgate_preact=fgate_preact,
            lower_triangular_matrix=self.causal_mask,
        )
        h_state_norm = self.outnorm(h_state)
        return h_state_norm.transpose(1, 2).reshape(B, S, -1)

    def reset_parameters(self):
        torch.nn.init.zeros_(self.fgate.weight)
        with torch.no_grad():
            self.fgate.bias.copy_(torch.linspace(3.0, 6.0, self.num_heads))
        torch.nn.init.normal_(self.igate.bias, mean=0.0, std=0.1)


class mLSTMBlock(nn.Module):
    def __init__(self, input_size=8, head_size=4, num_heads=2, proj_factor=2, context_length=8):
        super().__init__()
        hidden = int(input_size * proj_factor)
        self.layer_norm = nn.LayerNorm(input_size)
        self.up_proj = nn.Linear(input_size, 2 * hidden)
        self.causal_conv = CausalConv1D(hidden, hidden, 4, groups=hidden)
        self.Wq, self.Wk, self.Wv = [BlockDiagonal(hidden, hidden, num_heads) for _ in range(3)]
        self.learnable_skip = nn.Parameter(torch.ones(hidden, requires_grad=True))
        self.cell = mLSTMCell(hidden, num_heads, context_length)
        self.act = nn.SiLU()
        self.down = nn.Linear(hidden, input_size)

    def forward(self, x, state: Optional[Tuple[Tensor, ...]] = None):
        assert x.size(-1) == self.layer_norm.normalized_shape[0]
        skip = x
        x = self.layer_norm(x)
        x_mlstm, z = torch.chunk(self.up_proj(x), chunks=2, dim=-1)
        conv = self.act(self.causal_conv(x_mlstm.transpose(1, 2)).transpose(1, 2))
        h = self.cell(q=self.Wq(conv), k=self.Wk(conv), v=self.Wv(x_mlstm))
        h = (h + self.learnable_skip * conv) * self.act(z)
        return self.down(h) + skip


def module():
    return mLSTMBlock()


def inputs():
    return torch.randn(2, 5, 8)
