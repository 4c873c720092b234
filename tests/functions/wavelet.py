import torch


class MexicanHatLinear(torch.autograd.Function):
    """Every edge holds a wavelet: y_bo = sum_i w_oi psi((x_bi - t_oi) / s_oi)."""

    @staticmethod
    def forward(ctx, x, weight, translation, scale):
        u = (x.unsqueeze(1) - translation) / scale
        envelope = torch.exp(-0.5 * u.pow(2))
        psi = (1 - u.pow(2)) * envelope
        ctx.save_for_backward(u, envelope, psi, weight, scale)
        return (weight * psi).sum(dim=2)

    @staticmethod
    def backward(ctx, grad_output):
        u, envelope, psi, weight, scale = ctx.saved_tensors
        g = grad_output.unsqueeze(2)
        grad_weight = (g * psi).sum(dim=0)
        dpsi = (u.pow(3) - 3 * u) * envelope
        grad_u = g * weight * dpsi
        grad_x = (grad_u / scale).sum(dim=1)
        grad_translation = -(grad_u / scale).sum(dim=0)
        grad_scale = -(grad_u * u / scale).sum(dim=0)
        return grad_x, grad_weight, grad_translation, grad_scale


def inputs():
    g = torch.Generator().manual_seed(6)
    return {
        "x": torch.randn(5, 4, generator=g),
        "weight": torch.randn(3, 4, generator=g),
        "translation": torch.randn(3, 4, generator=g),
        "scale": torch.rand(3, 4, generator=g) + 0.5,
    }


#! dpsi = (u.pow(3) - 3 * u) * envelope => dpsi = (u.pow(3) - 2 * u) * envelope
#! grad_translation = -(grad_u / scale).sum(dim=0) => grad_translation = (grad_u / scale).sum(dim=0)
#! grad_scale = -(grad_u * u / scale).sum(dim=0) => grad_scale = -(grad_u * u).sum(dim=0)
