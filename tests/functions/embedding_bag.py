import torch


class WeightedBag(torch.autograd.Function):
    """A weighted sum of table rows for each bag; `padding_idx` has no gradient."""

    @staticmethod
    def forward(ctx, table, ids, w, padding_idx):
        keep = (ids != padding_idx).to(table.dtype)
        rows = table[ids]
        ctx.save_for_backward(ids, w, keep, rows)
        ctx.num = table.size(0)
        return (rows * (w * keep).unsqueeze(-1)).sum(1)

    @staticmethod
    def backward(ctx, grad):
        ids, w, keep, rows = ctx.saved_tensors
        grad_rows = grad.unsqueeze(1) * (w * keep).unsqueeze(-1)
        grad_table = torch.zeros(ctx.num, grad.size(-1), dtype=grad.dtype)
        grad_table.index_add_(0, ids.reshape(-1), grad_rows.reshape(-1, grad.size(-1)))
        grad_w = (grad.unsqueeze(1) * rows).sum(-1) * keep
        return grad_table, None, grad_w, None


def inputs():
    g = torch.Generator().manual_seed(8)
    return {
        "table": torch.randn(6, 3, generator=g),
        "ids": torch.tensor([[1, 1, 1, 4], [0, 1, 5, 1]]),
        "w": torch.randn(2, 4, generator=g),
        "padding_idx": 0,
    }


#! grad_table.index_add_(0, ids.reshape(-1), grad_rows.reshape(-1, grad.size(-1))) => grad_table[ids.reshape(-1)] = grad_rows.reshape(-1, grad.size(-1))
#! grad_w = (grad.unsqueeze(1) * rows).sum(-1) * keep => grad_w = (grad.unsqueeze(1) * rows).sum(-1)
#! grad_rows = grad.unsqueeze(1) * (w * keep).unsqueeze(-1) => grad_rows = grad.unsqueeze(1) * keep.unsqueeze(-1)
