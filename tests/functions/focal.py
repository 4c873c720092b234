import torch


class SigmoidFocalLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, targets, gamma, alpha):
        p = torch.sigmoid(logits)
        term1 = (1 - p) ** gamma * torch.log(p)
        term2 = p**gamma * torch.log(1 - p)
        loss = -targets * alpha * term1 - (1 - targets) * (1 - alpha) * term2
        ctx.save_for_backward(p, targets)
        ctx.gamma = gamma
        ctx.alpha = alpha
        return loss.sum()

    @staticmethod
    def backward(ctx, d_loss):
        p, targets = ctx.saved_tensors
        gamma, alpha = ctx.gamma, ctx.alpha
        term1 = (1 - p) ** gamma * (1 - p - gamma * p * torch.log(p))
        term2 = p**gamma * (gamma * (1 - p) * torch.log(1 - p) - p)
        d_logits = -targets * alpha * term1 - (1 - targets) * (1 - alpha) * term2
        d_logits = d_logits * d_loss
        return d_logits, None, None, None


def inputs():
    g = torch.Generator().manual_seed(9)
    t = (torch.rand(4, 3, generator=g) > 0.4).float().requires_grad_(False)
    return {"logits": torch.randn(4, 3, generator=g), "targets": t, "gamma": 2.0, "alpha": 0.25}


#! torch.log(1 - p) - p) => torch.log(1 - p) + p)
#! (1 - p - gamma * p * torch.log(p)) => (1 - p - p * torch.log(p))
#! d_logits = d_logits * d_loss => pass
