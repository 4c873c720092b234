import torch


class RMSNormFunction(torch.autograd.Function):
    """Root mean square norm; the reciprocal root is handed out as well."""

    @staticmethod
    def forward(ctx, x, gamma, eps: float = 1e-6):
        rrms = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
        normed = x * rrms
        ctx.save_for_backward(x, gamma, rrms)
        return normed * gamma, rrms

    @staticmethod
    def backward(ctx, grad_y, grad_rrms):
        x, gamma, rrms = ctx.saved_tensors
        d = x.shape[-1]
        grad_gamma = (grad_y * x * rrms).sum(tuple(range(x.dim() - 1)))
        gy = grad_y * gamma
        coeff = (gy * x).sum(-1, keepdim=True) + grad_rrms
        grad_x = rrms * gy - x * rrms.pow(3) * coeff / d
        return grad_x, grad_gamma, None


def inputs():
    g = torch.Generator().manual_seed(6)
    return {"x": torch.randn(2, 3, 5, generator=g), "gamma": torch.randn(5, generator=g)}


#! rrms.pow(3) => rrms.pow(2)
#! (gy * x).sum(-1, keepdim=True) + grad_rrms => (gy * x).sum(-1, keepdim=True)
#! coeff / d => coeff
