import torch


class SoftmaxCrossEntropy(torch.autograd.Function):
    """The gradient is made in the forward and kept."""

    @staticmethod
    def forward(ctx, logits, labels):
        n = logits.size(0)
        shifted = logits - logits.max(dim=1, keepdim=True).values
        log_z = shifted.exp().sum(1, keepdim=True).log()
        log_p = shifted - log_z
        loss = -log_p[torch.arange(n), labels].mean()
        grad_logits = log_p.exp()
        grad_logits[torch.arange(n), labels] -= 1
        grad_logits = grad_logits / n
        ctx.save_for_backward(grad_logits)
        return loss

    @staticmethod
    def backward(ctx, grad_loss):
        (grad_logits,) = ctx.saved_tensors
        return grad_logits * grad_loss, None


def inputs():
    g = torch.Generator().manual_seed(15)
    return {"logits": torch.randn(5, 4, generator=g), "labels": torch.tensor([0, 2, 1, 3, 3])}


#! grad_logits[torch.arange(n), labels] -= 1 => grad_logits[torch.arange(n), labels] += 1
#! grad_logits = grad_logits / n => pass
#! return grad_logits * grad_loss, None => return grad_logits, None
