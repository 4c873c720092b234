"""Layers over time: RNN, GRU and LSTM, layer by layer and step by step."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from gradninja.lines.modules.layers.registry import means


def _rnn_step(self: Any, xa: Any, h: Any, u: Any, b: Any) -> Any:
    a = xa + F.linear(h, u, b)
    return torch.tanh(a) if self.nonlinearity == "tanh" else F.relu(a)


def _gru_step(self: Any, xa: Any, h: Any, u: Any, b: Any) -> Any:
    xr, xz, xn = xa.chunk(3, -1)
    hr, hz, hn = F.linear(h, u, b).chunk(3, -1)
    r = torch.sigmoid(xr + hr)
    z = torch.sigmoid(xz + hz)
    n = torch.tanh(xn + r * hn)
    return (1 - z) * n + z * h


@means(nn.RNN, nn.GRU)
def recurrent(self: Any, x: Any, state: Any = None) -> Any:
    batched = x.dim() == 3
    if self.batch_first and batched:
        x = x.transpose(0, 1)
    last = []
    ways = 2 if self.bidirectional else 1
    for layer in range(self.num_layers):
        outs = []
        for way in range(ways):
            end = f"_l{layer}_reverse" if way == 1 else f"_l{layer}"
            u = getattr(self, f"weight_hh{end}")
            a = getattr(self, f"bias_ih{end}") if self.bias else None
            b = getattr(self, f"bias_hh{end}") if self.bias else None
            xa = F.linear(x, getattr(self, f"weight_ih{end}"), a)
            if state is None:
                h = x.new_zeros(*x.shape[1:-1], self.hidden_size)
            else:
                h = state[layer * ways + way]
            out = []
            for t in range(x.shape[0]) if way == 0 else reversed(range(x.shape[0])):
                if self.mode == "GRU":
                    h = _gru_step(self, xa[t], h, u, b)
                else:
                    h = _rnn_step(self, xa[t], h, u, b)
                out.append(h)
            outs.append(torch.stack(out if way == 0 else out[::-1]))
            last.append(h)
        x = outs[0] if ways == 1 else torch.cat(outs, -1)
        if layer < self.num_layers - 1:
            x = F.dropout(x, self.dropout, self.training)
    if self.batch_first and batched:
        x = x.transpose(0, 1)
    return x, torch.stack(last)


@means(nn.LSTM)
def lstm(self: Any, x: Any, state: Any = None) -> Any:
    batched = x.dim() == 3
    if self.batch_first and batched:
        x = x.transpose(0, 1)
    last, cells = [], []
    ways = 2 if self.bidirectional else 1
    for layer in range(self.num_layers):
        outs = []
        for way in range(ways):
            end = f"_l{layer}_reverse" if way == 1 else f"_l{layer}"
            u = getattr(self, f"weight_hh{end}")
            a = getattr(self, f"bias_ih{end}") if self.bias else None
            b = getattr(self, f"bias_hh{end}") if self.bias else None
            xa = F.linear(x, getattr(self, f"weight_ih{end}"), a)
            if state is None:
                h = x.new_zeros(*x.shape[1:-1], self.hidden_size)
                c = x.new_zeros(*x.shape[1:-1], self.hidden_size)
            else:
                h, c = state[0][layer * ways + way], state[1][layer * ways + way]
            out = []
            for t in range(x.shape[0]) if way == 0 else reversed(range(x.shape[0])):
                gates = xa[t] + F.linear(h, u, b)
                i, f, g, o = gates.chunk(4, -1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
                out.append(h)
            outs.append(torch.stack(out if way == 0 else out[::-1]))
            last.append(h)
            cells.append(c)
        x = outs[0] if ways == 1 else torch.cat(outs, -1)
        if layer < self.num_layers - 1:
            x = F.dropout(x, self.dropout, self.training)
    if self.batch_first and batched:
        x = x.transpose(0, 1)
    return x, (torch.stack(last), torch.stack(cells))
