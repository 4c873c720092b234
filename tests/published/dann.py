import torch
import torch.nn as nn
from torch.autograd import Function


class GradientReversalFunction(Function):
    @staticmethod
    def forward(ctx, x, alpha):
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad_output):
        output = grad_output.neg() * ctx.alpha
        return output, None


class MemoryEfficientSwish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, i):
        result = i * torch.sigmoid(i)
        ctx.save_for_backward(i)
        return result

    @staticmethod
    def backward(ctx, grad_output):
        i = ctx.saved_tensors[0]
        sigmoid_i = torch.sigmoid(i)
        return grad_output * (sigmoid_i * (1 + i * (1 - sigmoid_i)))


class BinarizeSTE(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input):
        ctx.save_for_backward(input)
        return torch.where(input > 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, grad_output):
        (input,) = ctx.saved_tensors
        grad_input = grad_output.clone()
        grad_input[input.abs() > 1] = 0
        return grad_input


class DANN(nn.Module):
    def __init__(self):
        super().__init__()
        self.feature = nn.Linear(3, 4)
        self.class_head = nn.Linear(4, 2)
        self.domain_head = nn.Linear(4, 2)

    def forward(self, x, alpha=0.5):
        h = MemoryEfficientSwish.apply(self.feature(x))
        h = BinarizeSTE.apply(h)
        rev = GradientReversalFunction.apply(h, alpha)
        return self.class_head(h), self.domain_head(rev)


def module():
    torch.manual_seed(0)
    return DANN()


def inputs():
    return torch.randn(5, 3)
