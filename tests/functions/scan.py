import torch


class SelectiveScan(torch.autograd.Function):
    """h_t = a_t * h_{t-1} + b_t * x_t;  y_t = c_t * h_t, step by step."""

    @staticmethod
    def forward(ctx, x, a, b, c):
        T = x.shape[0]
        h = torch.zeros_like(x[0])
        hs = []
        for t in range(T):
            h = a[t] * h + b[t] * x[t]
            hs.append(h)
        hs = torch.stack(hs)
        y = c * hs
        ctx.save_for_backward(x, a, b, c, hs)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, a, b, c, hs = ctx.saved_tensors
        T = x.shape[0]
        dx, da, db = torch.zeros_like(x), torch.zeros_like(a), torch.zeros_like(b)
        dc = dy * hs
        dh = torch.zeros_like(x[0])
        for t in range(T - 1, -1, -1):
            dh = dh + dy[t] * c[t]
            db[t] = dh * x[t]
            dx[t] = dh * b[t]
            if t > 0:
                da[t] = dh * hs[t - 1]
            dh = dh * a[t]
        return dx, da, db, dc


def inputs():
    g = torch.Generator().manual_seed(17)
    return {n: torch.randn(4, 3, generator=g) for n in ("x", "a", "b", "c")}


#! dc = dy * hs => dc = dy * x
#! db[t] = dh * x[t] => db[t] = dh * b[t]
#! da[t] = dh * hs[t - 1] => da[t] = dh * hs[t]
