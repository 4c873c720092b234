import torch


class TverskyLoss(torch.autograd.Function):
    """1 - TP / (TP + a FP + b FN), a class at a time."""

    @staticmethod
    def forward(ctx, probs, target, a, b, smooth):
        dims = (0, 2)
        tp = (probs * target).sum(dims)
        fp = (probs * (1 - target)).sum(dims)
        fn = ((1 - probs) * target).sum(dims)
        num = tp + smooth
        den = tp + a * fp + b * fn + smooth
        ctx.save_for_backward(target, num, den)
        ctx.a, ctx.b = a, b
        ctx.classes = probs.shape[1]
        return 1 - (num / den).mean()

    @staticmethod
    def backward(ctx, grad_out):
        target, num, den = ctx.saved_tensors
        dnum = target
        dden = target + ctx.a * (1 - target) - ctx.b * target
        num = num.view(1, -1, 1)
        den = den.view(1, -1, 1)
        grad = -(dnum * den - num * dden) / den.pow(2)
        return grad_out * grad / ctx.classes, None, None, None, None


def inputs():
    g = torch.Generator().manual_seed(10)
    return {
        "probs": torch.rand(2, 3, 7, generator=g),
        "target": (torch.rand(2, 3, 7, generator=g) > 0.6).float().requires_grad_(False),
        "a": 0.3,
        "b": 0.7,
        "smooth": 1.0,
    }


#! dden = target + ctx.a * (1 - target) - ctx.b * target => dden = target + ctx.a * (1 - target) + ctx.b * target
#! grad = -(dnum * den - num * dden) / den.pow(2) => grad = -(dnum * den - num * dden) / den
#! return grad_out * grad / ctx.classes, None, None, None, None => return grad_out * grad, None, None, None, None
