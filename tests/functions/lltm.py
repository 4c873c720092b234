import torch
import torch.nn.functional as F


def d_sigmoid(z):
    s = torch.sigmoid(z)
    return (1 - s) * s


def d_tanh(z):
    return 1 - torch.tanh(z) ** 2


class LLTMFunction(torch.autograd.Function):
    """A cell with three gates, as extension tutorials have it."""

    @staticmethod
    def forward(ctx, input, weights, bias, old_h, old_cell):
        X = torch.cat([old_h, input], dim=1)
        gate_weights = F.linear(X, weights, bias)
        gates = gate_weights.chunk(3, dim=1)
        input_gate = torch.sigmoid(gates[0])
        output_gate = torch.sigmoid(gates[1])
        candidate_cell = F.elu(gates[2])
        new_cell = old_cell + candidate_cell * input_gate
        new_h = torch.tanh(new_cell) * output_gate
        ctx.save_for_backward(new_cell, input_gate, output_gate, candidate_cell, X, gate_weights, weights)
        return new_h, new_cell

    @staticmethod
    def backward(ctx, grad_h, grad_cell):
        new_cell, input_gate, output_gate, candidate_cell, X, gate_weights, weights = ctx.saved_tensors
        d_output_gate = torch.tanh(new_cell) * grad_h
        d_new_cell = d_tanh(new_cell) * output_gate * grad_h + grad_cell
        d_old_cell = d_new_cell
        d_candidate_cell = input_gate * d_new_cell
        d_input_gate = candidate_cell * d_new_cell
        gates = gate_weights.chunk(3, dim=1)
        d_input_gate = d_sigmoid(gates[0]) * d_input_gate
        d_output_gate = d_sigmoid(gates[1]) * d_output_gate
        d_elu = torch.where(gates[2] > 0, torch.ones_like(gates[2]), gates[2].exp())
        d_candidate_cell = d_elu * d_candidate_cell
        d_gates = torch.cat([d_input_gate, d_output_gate, d_candidate_cell], dim=1)
        d_weights = d_gates.t().mm(X)
        d_bias = d_gates.sum(dim=0)
        d_X = d_gates.mm(weights)
        state_size = grad_h.size(1)
        d_old_h, d_input = d_X[:, :state_size], d_X[:, state_size:]
        return d_input, d_weights, d_bias, d_old_h, d_old_cell


def inputs():
    g = torch.Generator().manual_seed(19)
    return {
        "input": torch.randn(4, 3, generator=g),
        "weights": torch.randn(6, 5, generator=g),
        "bias": torch.randn(6, generator=g),
        "old_h": torch.randn(4, 2, generator=g),
        "old_cell": torch.randn(4, 2, generator=g),
    }


#! d_new_cell = d_tanh(new_cell) * output_gate * grad_h + grad_cell => d_new_cell = d_tanh(new_cell) * output_gate * grad_h
#! d_bias = d_gates.sum(dim=0) => d_bias = d_gates.mean(dim=0)
#! d_weights = d_gates.t().mm(X) => d_weights = d_gates.t().mm(X) / X.size(0)
