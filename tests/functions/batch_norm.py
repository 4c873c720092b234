import torch


class BatchNorm1dFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, gamma, beta, running_mean, running_var, momentum, eps):
        mu = input.mean(0)
        var = input.var(0, unbiased=False)
        n = input.shape[0]
        with torch.no_grad():
            running_mean.mul_(1 - momentum).add_(momentum * mu)
            running_var.mul_(1 - momentum).add_(momentum * var * n / (n - 1))
        inv_std = (var + eps).rsqrt()
        x_hat = (input - mu) * inv_std
        ctx.save_for_backward(x_hat, gamma, inv_std)
        ctx.n = n
        return gamma * x_hat + beta

    @staticmethod
    def backward(ctx, grad_output):
        x_hat, gamma, inv_std = ctx.saved_tensors
        grad_beta = grad_output.sum(0)
        grad_gamma = (grad_output * x_hat).sum(0)
        grad_input = (gamma * inv_std / ctx.n) * (
            ctx.n * grad_output - grad_beta - x_hat * grad_gamma
        )
        return grad_input, grad_gamma, grad_beta, None, None, None, None


def inputs():
    g = torch.Generator().manual_seed(7)
    return {
        "input": torch.randn(6, 4, generator=g),
        "gamma": torch.rand(4, generator=g) + 0.5,
        "beta": torch.randn(4, generator=g),
        "running_mean": torch.zeros(4),
        "running_var": torch.ones(4),
        "momentum": 0.1,
        "eps": 1e-5,
    }


#! - x_hat * grad_gamma => + x_hat * grad_gamma
#! grad_beta = grad_output.sum(0) => grad_beta = grad_output.mean(0)
#! (grad_output * x_hat).sum(0) => (grad_output * gamma).sum(0)
