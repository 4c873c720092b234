import torch
eps = 1e-5

class LayerNorm:
    @staticmethod
    def forward(x, w, b):
        B, T, C = x.size()
        mean = x.sum(-1, keepdim=True) / C
        xshift = x - mean
        var = (xshift**2).sum(-1, keepdim=True) / C
        rstd = (var + eps) ** -0.5
        norm = xshift * rstd
        out = norm * w + b
        cache = (x, w, mean, rstd)
        return out, cache

def forward(x, w, b):
    out, cache = LayerNorm.forward(x, w, b)
    return out

def inputs():
    return dict(x=torch.randn(2, 3, 4), w=torch.randn(4), b=torch.randn(4))
