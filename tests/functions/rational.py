import torch


class Rational(torch.autograd.Function):
    """P(x) / Q(x), Q = 1 + |b0 x + b1 x^2|, Horner's way."""

    @staticmethod
    def forward(ctx, x, a, b):
        P = torch.zeros_like(x)
        for i in range(a.numel() - 1, -1, -1):
            P = P * x + a[i]
        S = torch.zeros_like(x)
        for j in range(b.numel() - 1, -1, -1):
            S = (S + b[j]) * x
        Q = 1 + S.abs()
        ctx.save_for_backward(x, a, b, P, Q, S)
        return P / Q

    @staticmethod
    def backward(ctx, grad):
        x, a, b, P, Q, S = ctx.saved_tensors
        dP = torch.zeros_like(x)
        for i in range(a.numel() - 1, 0, -1):
            dP = dP * x + i * a[i]
        dS = torch.zeros_like(x)
        for j in range(b.numel() - 1, -1, -1):
            dS = dS * x + (j + 1) * b[j]
        sign = torch.sign(S)
        common = grad / Q
        ratio = P / Q
        gx = common * dP - common * ratio * sign * dS
        ga = torch.stack([(common * x**i).sum() for i in range(a.numel())])
        gb = torch.stack([-(common * ratio * sign * x ** (j + 1)).sum() for j in range(b.numel())])
        return gx, ga, gb


def inputs():
    g = torch.Generator().manual_seed(15)
    return {
        "x": torch.randn(4, 5, generator=g),
        "a": torch.randn(4, generator=g),
        "b": torch.randn(2, generator=g),
    }


#! gx = common * dP - common * ratio * sign * dS => gx = common * dP - common * ratio * dS
#! ga = torch.stack([(common * x**i).sum() for i in range(a.numel())]) => ga = torch.stack([(grad * x**i).sum() for i in range(a.numel())])
#! ratio = P / Q => ratio = P / Q**2
