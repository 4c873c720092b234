import torch


class InplaceLeakyReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, slope):
        mask = x < 0
        x[mask] *= slope
        ctx.mark_dirty(x)
        ctx.save_for_backward(mask)
        ctx.slope = slope
        return x

    @staticmethod
    def backward(ctx, grad_out):
        (mask,) = ctx.saved_tensors
        grad_in = grad_out.clone()
        grad_in[mask] = grad_in[mask] * ctx.slope
        return grad_in, None


def inputs():
    return {"x": torch.randn(4, 5, generator=torch.Generator().manual_seed(10)), "slope": 0.2}


#! grad_in[mask] * ctx.slope => grad_in[mask] / ctx.slope
#! grad_in[mask] = => grad_in[~mask] =
#! grad_in[mask] * ctx.slope => grad_in[mask] + ctx.slope
