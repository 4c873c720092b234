import torch


class BatchNorm2dFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, weight, bias, running_mean, running_var, training=True, momentum=0.1, eps=1e-5):
        if training:
            mean = input.mean(dim=(0, 2, 3))
            var = input.var(dim=(0, 2, 3), unbiased=False)
            n = input.numel() / input.size(1)
            with torch.no_grad():
                running_mean.copy_(momentum * mean + (1 - momentum) * running_mean)
                running_var.copy_(momentum * var * n / (n - 1) + (1 - momentum) * running_var)
        else:
            mean, var = running_mean, running_var
        inv_std = 1 / torch.sqrt(var + eps)
        x_hat = (input - mean[None, :, None, None]) * inv_std[None, :, None, None]
        ctx.save_for_backward(x_hat, weight, inv_std)
        ctx.training = training
        return x_hat * weight[None, :, None, None] + bias[None, :, None, None]

    @staticmethod
    def backward(ctx, grad_output):
        x_hat, weight, inv_std = ctx.saved_tensors
        grad_input = grad_weight = grad_bias = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grad_output * x_hat).sum(dim=(0, 2, 3))
        if ctx.needs_input_grad[2]:
            grad_bias = grad_output.sum(dim=(0, 2, 3))
        if ctx.needs_input_grad[0]:
            scale = (weight * inv_std)[None, :, None, None]
            if ctx.training:
                mean_dy = grad_output.mean(dim=(0, 2, 3), keepdim=True)
                mean_dy_xhat = (grad_output * x_hat).mean(dim=(0, 2, 3), keepdim=True)
                grad_input = scale * (grad_output - mean_dy - x_hat * mean_dy_xhat)
            else:
                grad_input = scale * grad_output
        return grad_input, grad_weight, grad_bias, None, None, None, None, None


def inputs():
    g = torch.Generator().manual_seed(7)
    return {
        "input": torch.randn(3, 2, 4, 4, generator=g),
        "weight": torch.rand(2, generator=g) + 0.5,
        "bias": torch.randn(2, generator=g),
        "running_mean": torch.zeros(2),
        "running_var": torch.ones(2),
    }


#! grad_weight = (grad_output * x_hat).sum(dim=(0, 2, 3)) => grad_weight = (grad_output * x_hat).mean(dim=(0, 2, 3))
#! grad_input = scale * (grad_output - mean_dy - x_hat * mean_dy_xhat) => grad_input = scale * (grad_output - mean_dy)
#! grad_input = scale * grad_output => grad_input = inv_std[None, :, None, None] * grad_output
