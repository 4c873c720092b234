import torch


class SwishFunction(torch.autograd.Function):
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


def inputs():
    return {"i": torch.randn(5, 4, generator=torch.Generator().manual_seed(0))}


#! (1 + i * (1 - sigmoid_i)) => (1 + i * sigmoid_i)
#! return grad_output * (sigmoid_i => return (sigmoid_i
#! (1 - sigmoid_i) => (1 + sigmoid_i)
