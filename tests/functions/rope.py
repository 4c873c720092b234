import torch


def rotate_half(x):
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((-x2, x1), dim=-1)


class ApplyRope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, cos, sin):
        q_out = q * cos + rotate_half(q) * sin
        k_out = k * cos + rotate_half(k) * sin
        ctx.save_for_backward(cos, sin)
        return q_out, k_out

    @staticmethod
    def backward(ctx, dq_out, dk_out):
        cos, sin = ctx.saved_tensors
        dq = dq_out * cos - rotate_half(dq_out * sin)
        dk = dk_out * cos - rotate_half(dk_out * sin)
        return dq, dk, None, None


def inputs():
    g = torch.Generator().manual_seed(14)
    angle = torch.randn(5, 4, generator=g)
    return {
        "q": torch.randn(2, 5, 4, generator=g),
        "k": torch.randn(2, 5, 4, generator=g),
        "cos": angle.cos().requires_grad_(False),
        "sin": angle.sin().requires_grad_(False),
    }


#! dq_out * cos - rotate_half(dq_out * sin) => dq_out * cos + rotate_half(dq_out * sin)
#! dk = dk_out * cos - rotate_half(dk_out * sin) => dk = dk_out * cos - rotate_half(dq_out * sin)
#! rotate_half(dk_out * sin) => rotate_half(dk_out) * sin
