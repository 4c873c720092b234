import torch


class EmbeddingFn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, ids):
        ctx.save_for_backward(ids)
        ctx.num = weight.shape[0]
        return weight[ids]

    @staticmethod
    def backward(ctx, grad):
        (ids,) = ctx.saved_tensors
        grad_weight = grad.new_zeros(ctx.num, grad.shape[-1])
        grad_weight.index_add_(0, ids.reshape(-1), grad.reshape(-1, grad.shape[-1]))
        return grad_weight, None


def inputs():
    g = torch.Generator().manual_seed(16)
    return {"weight": torch.randn(6, 3, generator=g), "ids": torch.tensor([[0, 0, 5], [0, 2, 0]])}


#! grad_weight.index_add_(0, ids.reshape(-1), grad.reshape(-1, grad.shape[-1])) => grad_weight[ids.reshape(-1)] = grad.reshape(-1, grad.shape[-1])
#! grad_weight.index_add_(0, ids.reshape(-1), grad.reshape(-1, grad.shape[-1])) => grad_weight[ids.reshape(-1)] += grad.reshape(-1, grad.shape[-1])
#! index_add_(0, ids.reshape(-1), grad.reshape(-1, grad.shape[-1])) => index_add_(0, ids.reshape(-1), -grad.reshape(-1, grad.shape[-1]))
