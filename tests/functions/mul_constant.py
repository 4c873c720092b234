import torch
from torch.autograd import Function


class MulConstant(Function):
    @staticmethod
    def forward(tensor, constant):
        return tensor * constant

    @staticmethod
    def setup_context(ctx, inputs, output):
        tensor, constant = inputs
        ctx.constant = constant

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output * ctx.constant, None


def inputs():
    return {
        "tensor": torch.randn(4, 3, generator=torch.Generator().manual_seed(3)),
        "constant": 2.5,
    }


#! grad_output * ctx.constant => grad_output / ctx.constant
#! return grad_output * ctx.constant => return grad_output
#! grad_output * ctx.constant => grad_output + ctx.constant
