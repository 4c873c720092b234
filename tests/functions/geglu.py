import torch
import torch.nn.functional as F


class GEGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        gate = 0.5 * b * (1 + torch.erf(b / 1.4142135623730951))
        ctx.save_for_backward(a, b, gate)
        return a * gate

    @staticmethod
    def backward(ctx, dc):
        a, b, gate = ctx.saved_tensors
        da = dc * gate
        cdf = 0.5 * (1 + torch.erf(b / 1.4142135623730951))
        pdf = torch.exp(-0.5 * b * b) * 0.3989422804014327
        db = dc * a * (cdf + b * pdf)
        return da, db


def inputs():
    g = torch.Generator().manual_seed(12)
    return {"a": torch.randn(3, 4, generator=g), "b": torch.randn(3, 4, generator=g)}


#! da = dc * gate => da = dc * b
#! (cdf + b * pdf) => (cdf + pdf)
#! db = dc * a => db = dc
