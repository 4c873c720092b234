import torch

try:
    import triton_kernels_that_are_not_there as kernels
except ImportError:
    kernels = None


def swiglu_reference(gate, up):
    return gate * torch.sigmoid(gate) * up


def swiglu_fwd(gate, up):
    if kernels is not None and gate.is_cuda:
        out = torch.empty_like(gate)
        kernels.swiglu_fwd[(gate.numel(),)](gate, up, out)
        return out
    return swiglu_reference(gate, up)


def swiglu_bwd(gate, up, dout):
    sig = torch.sigmoid(gate)
    silu = gate * sig
    dup = dout * silu
    dgate = dout * up * sig * (1 + gate * (1 - sig))
    return dgate, dup


class SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gate, up):
        ctx.save_for_backward(gate, up)
        return swiglu_fwd(gate, up)

    @staticmethod
    def backward(ctx, dout):
        gate, up = ctx.saved_tensors
        dgate, dup = swiglu_bwd(gate, up, dout)
        return dgate, dup


def swiglu(gate, up):
    return SwiGLU.apply(gate, up)


def inputs():
    g = torch.Generator().manual_seed(12)
    return {"gate": torch.randn(4, 5, generator=g), "up": torch.randn(4, 5, generator=g)}


#! dup = dout * silu => dup = dout * sig
#! dgate = dout * up * sig * (1 + gate * (1 - sig)) => dgate = dout * up * sig * (1 + gate * sig)
#! return dgate, dup => return dup, dgate
