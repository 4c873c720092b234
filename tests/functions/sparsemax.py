import torch


class SparsemaxFunction(torch.autograd.Function):
    """Projection on the simplex."""

    @staticmethod
    def forward(ctx, x, dim=-1):
        ctx.dim = dim
        tau, size = SparsemaxFunction._threshold_and_support(x, dim)
        output = torch.clamp(x - tau, min=0)
        ctx.save_for_backward(size, output)
        return output

    @staticmethod
    def backward(ctx, grad_output):
        size, output = ctx.saved_tensors
        dim = ctx.dim
        grad_input = grad_output.clone()
        grad_input[output == 0] = 0
        v_hat = grad_input.sum(dim=dim, keepdim=True) / size.to(output.dtype)
        return torch.where(output != 0, grad_input - v_hat, grad_input), None

    @staticmethod
    def _threshold_and_support(x, dim):
        srt, _ = torch.sort(x, descending=True, dim=dim)
        cumsum = srt.cumsum(dim) - 1
        rho = torch.arange(1, x.size(dim) + 1, dtype=x.dtype)
        support = rho * srt > cumsum
        size = support.sum(dim=dim).unsqueeze(dim)
        tau = cumsum.gather(dim, size - 1) / size.to(x.dtype)
        return tau, size


def inputs():
    g = torch.Generator().manual_seed(20)
    return {"x": torch.randn(4, 6, generator=g)}


#! v_hat = grad_input.sum(dim=dim, keepdim=True) / size.to(output.dtype) => v_hat = grad_input.mean(dim=dim, keepdim=True)
#! return torch.where(output != 0, grad_input - v_hat, grad_input), None => return grad_input - v_hat, None
#! grad_input[output == 0] = 0 => grad_input = grad_input * output
