import torch


class LinearFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, weight, bias=None):
        ctx.save_for_backward(input, weight, bias)
        output = input.mm(weight.t())
        if bias is not None:
            output += bias.unsqueeze(0).expand_as(output)
        return output

    @staticmethod
    def backward(ctx, grad_output):
        input, weight, bias = ctx.saved_tensors
        grad_input = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_input = grad_output.mm(weight)
        if ctx.needs_input_grad[1]:
            grad_weight = grad_output.t().mm(input)
        if bias is not None and ctx.needs_input_grad[2]:
            grad_bias = grad_output.sum(0)
        return grad_input, grad_weight, grad_bias


def inputs():
    g = torch.Generator().manual_seed(2)
    return {
        "input": torch.randn(4, 3, generator=g),
        "weight": torch.randn(5, 3, generator=g),
        "bias": torch.randn(5, generator=g),
    }


#! grad_output.sum(0) => grad_output.sum(1)
#! grad_output.t().mm(input) => input.t().mm(grad_output)
#! grad_input = grad_output.mm(weight) => grad_input = grad_output.mm(weight.t())
