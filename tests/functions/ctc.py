import torch
import torch.nn.functional as F


def _extended(targets, blank):
    """-a-b-: the labels with blanks between them."""
    n, length = targets.shape
    ext = targets.new_full((n, 2 * length + 1), blank)
    ext[:, 1::2] = targets
    return ext


class CTCLoss(torch.autograd.Function):
    """CTC as warp-ctc has it: the gradient is made in the forward and kept."""

    @staticmethod
    def forward(ctx, acts, targets, blank=0):
        T, n, _ = acts.shape
        log_probs = F.log_softmax(acts, -1)
        ext = _extended(targets, blank)
        S = ext.shape[1]
        neg = acts.new_full((n, 1), -1e30)
        skip = torch.zeros(n, S, dtype=torch.bool, device=acts.device)
        skip[:, 2:] = (ext[:, 2:] != blank) & (ext[:, 2:] != ext[:, :-2])
        emit = log_probs.gather(2, ext.expand(T, n, S))
        alpha = torch.cat([emit[0, :, :2], neg.expand(n, S - 2)], 1)
        alphas = [alpha]
        for t in range(1, T):
            one = torch.cat([neg, alpha[:, :-1]], 1)
            two = torch.cat([neg, neg, alpha[:, :-2]], 1)
            two = torch.where(skip, two, neg)
            alpha = torch.logsumexp(torch.stack([alpha, one, two]), 0) + emit[t]
            alphas.append(alpha)
        costs = -torch.logsumexp(alpha[:, -2:], -1)

        beta = torch.cat([neg.expand(n, S - 2), torch.zeros_like(alpha[:, -2:])], 1)
        skip_back = torch.cat([skip[:, 2:], skip.new_zeros(n, 2)], 1)
        occupancy = torch.zeros_like(log_probs)
        for t in range(T - 1, -1, -1):
            gamma = torch.exp(alphas[t] + beta + costs[:, None])
            occupancy[t].scatter_add_(1, ext, gamma)
            beta = beta + emit[t]
            one = torch.cat([beta[:, 1:], neg], 1)
            two = torch.cat([beta[:, 2:], neg, neg], 1)
            two = torch.where(skip_back, two, neg)
            beta = torch.logsumexp(torch.stack([beta, one, two]), 0)
        ctx.grads = torch.exp(log_probs) - occupancy
        return costs

    @staticmethod
    def backward(ctx, grad_output):
        grads = ctx.grads * grad_output[None, :, None]
        return grads, None, None


def inputs():
    g = torch.Generator().manual_seed(5)
    return {
        "acts": torch.randn(6, 2, 5, generator=g),
        "targets": torch.tensor([[1, 3], [2, 2]]),
        "blank": 0,
    }


#! ctx.grads = torch.exp(log_probs) - occupancy => ctx.grads = log_probs - occupancy
#! gamma = torch.exp(alphas[t] + beta + costs[:, None]) => gamma = torch.exp(alphas[t] + beta)
#! grads = ctx.grads * grad_output[None, :, None] => grads = ctx.grads
