import torch


def _reduce(loss, reduction):
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    return loss


class SigmoidFocalLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, targets, alpha=0.25, gamma=2.0, reduction="mean"):
        p = torch.sigmoid(logits)
        pt = p * targets + (1 - p) * (1 - targets)
        at = alpha * targets + (1 - alpha) * (1 - targets)
        log_pt = torch.log(pt)
        loss = -at * (1 - pt) ** gamma * log_pt
        ctx.save_for_backward(targets, pt, at, log_pt)
        ctx.gamma = gamma
        ctx.reduction = reduction
        ctx.count = loss.numel()
        return _reduce(loss, reduction)

    @staticmethod
    def backward(ctx, grad_output):
        targets, pt, at, log_pt = ctx.saved_tensors
        gamma = ctx.gamma
        sign = 2 * targets - 1
        inner = gamma * pt * log_pt + pt - 1
        grad = sign * at * (1 - pt) ** gamma * inner
        if ctx.reduction == "mean":
            grad = grad / ctx.count
        return grad * grad_output, None, None, None, None


def inputs():
    g = torch.Generator().manual_seed(9)
    return {
        "logits": torch.randn(4, 5, generator=g),
        "targets": (torch.rand(4, 5, generator=g) > 0.5).float().requires_grad_(False),
    }


#! inner = gamma * pt * log_pt + pt - 1 => inner = gamma * log_pt + pt - 1
#! grad = grad / ctx.count => grad = grad / targets.shape[0]
#! grad = sign * at * (1 - pt) ** gamma * inner => grad = at * (1 - pt) ** gamma * inner
