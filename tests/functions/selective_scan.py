import torch
import torch.nn.functional as F


class SelectiveScan(torch.autograd.Function):
    """h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t, y_t = C_t h_t + D u_t."""

    @staticmethod
    def forward(ctx, u, delta, A, B, C, D):
        length, d = u.shape
        n = A.shape[1]
        delta = F.softplus(delta)
        deltaA = torch.exp(delta[:, :, None] * A)
        deltaBu = delta[:, :, None] * B[:, None, :] * u[:, :, None]
        h = u.new_zeros(d, n)
        hs = []
        ys = []
        for i in range(length):
            h = deltaA[i] * h + deltaBu[i]
            hs.append(h)
            ys.append((h * C[i]).sum(-1))
        hs = torch.stack(hs)
        y = torch.stack(ys) + u * D
        ctx.save_for_backward(u, delta, A, B, C, D, deltaA, hs)
        return y

    @staticmethod
    def backward(ctx, dout):
        u, delta, A, B, C, D, deltaA, hs = ctx.saved_tensors
        length = u.shape[0]
        du = dout * D
        dD = (dout * u).sum(0)
        ddelta = torch.zeros_like(delta)
        dA = torch.zeros_like(A)
        dB = torch.zeros_like(B)
        dC = torch.zeros_like(C)
        dh = torch.zeros_like(hs[0])
        for i in range(length - 1, -1, -1):
            dh = dh + dout[i][:, None] * C[i]
            dC[i] = (dout[i][:, None] * hs[i]).sum(0)
            prev = hs[i - 1] if i > 0 else torch.zeros_like(hs[0])
            ddA = dh * prev * deltaA[i]
            dA += ddA * delta[i][:, None]
            ddelta[i] = (ddA * A).sum(-1) + (dh * B[i]).sum(-1) * u[i]
            dB[i] = (dh * (delta[i] * u[i])[:, None]).sum(0)
            du[i] += (dh * B[i]).sum(-1) * delta[i]
            dh = dh * deltaA[i]
        ddelta = ddelta * (1 - torch.exp(-delta))
        return du, ddelta, dA, dB, dC, dD


def inputs():
    g = torch.Generator().manual_seed(3)
    return {
        "u": torch.randn(5, 3, generator=g),
        "delta": torch.randn(5, 3, generator=g),
        "A": -torch.rand(3, 2, generator=g) - 0.5,
        "B": torch.randn(5, 2, generator=g),
        "C": torch.randn(5, 2, generator=g),
        "D": torch.randn(3, generator=g),
    }


#! dD = (dout * u).sum(0) => dD = (dout * u).mean(0)
#! ddelta = ddelta * (1 - torch.exp(-delta)) => ddelta = ddelta * torch.exp(-delta)
#! dA += ddA * delta[i][:, None] => dA += ddA
