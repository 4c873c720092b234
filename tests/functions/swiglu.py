import torch


def _silu_backward(x):
    s = torch.sigmoid(x)
    return s * (1 + x * (1 - s))


class SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w1, w2):
        h1 = x @ w1
        h2 = x @ w2
        act = h1 * torch.sigmoid(h1)
        ctx.save_for_backward(x, w1, w2, h1, h2)
        return act * h2

    @staticmethod
    def backward(ctx, grad):
        x, w1, w2, h1, h2 = ctx.saved_tensors
        grad_act = grad * h2
        grad_h2 = grad * (h1 * torch.sigmoid(h1))
        grad_h1 = grad_act * _silu_backward(h1)
        grad_w1 = x.T @ grad_h1
        grad_w2 = x.T @ grad_h2
        grad_x = grad_h1 @ w1.T + grad_h2 @ w2.T
        return grad_x, grad_w1, grad_w2


def inputs():
    g = torch.Generator().manual_seed(13)
    return {
        "x": torch.randn(4, 3, generator=g),
        "w1": torch.randn(3, 5, generator=g),
        "w2": torch.randn(3, 5, generator=g),
    }


#! grad_x = grad_h1 @ w1.T + grad_h2 @ w2.T => grad_x = grad_h1 @ w1.T
#! grad_act = grad * h2 => grad_act = grad * h1
#! grad_w2 = x.T @ grad_h2 => grad_w2 = x.T @ grad_h1
