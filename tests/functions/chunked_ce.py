import torch


class ChunkedCrossEntropy(torch.autograd.Function):
    """Linear and cross-entropy in chunks of rows: the logits are never all there."""

    @staticmethod
    def forward(ctx, h, weight, target, chunks=2):
        losses = []
        for hc, tc in zip(h.chunk(chunks), target.chunk(chunks)):
            logits = hc @ weight.T
            lse = torch.logsumexp(logits, dim=-1)
            losses.append(lse - logits.gather(1, tc[:, None]).squeeze(1))
        ctx.save_for_backward(h, weight, target)
        ctx.chunks = chunks
        return torch.cat(losses).sum() / h.shape[0]

    @staticmethod
    def backward(ctx, grad):
        h, weight, target = ctx.saved_tensors
        n = h.shape[0]
        logits = h @ weight.T
        p = torch.softmax(logits, dim=-1)
        p.scatter_add_(1, target[:, None], -torch.ones(n, 1, dtype=p.dtype))
        p = p * (grad / n)
        grad_h = p @ weight
        grad_weight = p.T @ h
        return grad_h, grad_weight, None, None


def inputs():
    g = torch.Generator().manual_seed(21)
    return {
        "h": torch.randn(6, 4, generator=g),
        "weight": torch.randn(5, 4, generator=g),
        "target": torch.tensor([0, 4, 2, 2, 1, 3]),
    }


#! p = p * (grad / n) => p = p * grad
#! grad_weight = p.T @ h => grad_weight = logits.T @ h
#! grad_h = p @ weight => grad_h = p @ weight * n
