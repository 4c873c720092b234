import torch


class DiceLoss(torch.autograd.Function):
    """Soft dice over a batch of masks."""

    @staticmethod
    def forward(ctx, input, target, eps=1e-4):
        ctx.save_for_backward(input, target)
        ctx.inter = torch.dot(input.view(-1), target.view(-1))
        ctx.union = torch.sum(input) + torch.sum(target) + eps
        return (2 * ctx.inter + eps) / ctx.union

    @staticmethod
    def backward(ctx, grad_output):
        input, target = ctx.saved_tensors
        grad_input = None
        if ctx.needs_input_grad[0]:
            grad_input = (
                grad_output * 2 * (target * ctx.union - ctx.inter) / (ctx.union * ctx.union)
            )
        return grad_input, None, None


def inputs():
    g = torch.Generator().manual_seed(8)
    mask = (torch.rand(3, 4, generator=g) > 0.5).float()
    return {
        "input": torch.rand(3, 4, generator=g),
        "target": mask.requires_grad_(False),
        "eps": 0.0,
    }


#! * 2 => * 4
#! target * ctx.union - ctx.inter => target * ctx.inter - ctx.union
#! (ctx.union * ctx.union) => ctx.union
