import torch


class AlphaComposite(torch.autograd.Function):
    """Volume rendering along rays: w_i = T_i (1 - exp(-sigma_i delta_i))."""

    @staticmethod
    def forward(ctx, sigmas, rgbs, deltas):
        tau = sigmas * deltas
        alphas = 1 - torch.exp(-tau)
        acc = torch.cumsum(tau, dim=1)
        trans = torch.exp(-(acc - tau))
        weights = trans * alphas
        rgb = (weights[..., None] * rgbs).sum(1)
        opacity = weights.sum(1)
        ctx.save_for_backward(rgbs, deltas, weights, acc, rgb, opacity)
        return rgb, opacity

    @staticmethod
    def backward(ctx, dL_drgb, dL_dopacity):
        rgbs, deltas, weights, acc, rgb, opacity = ctx.saved_tensors
        dL_drgbs = weights[..., None] * dL_drgb[:, None, :]
        dL_dw = (rgbs * dL_drgb[:, None, :]).sum(-1) + dL_dopacity[:, None]
        T_next = torch.exp(-acc)
        wdw = weights * dL_dw
        suffix = wdw.sum(1, keepdim=True) - torch.cumsum(wdw, dim=1)
        dL_dtau = T_next * dL_dw - suffix
        dL_dsigmas = dL_dtau * deltas
        return dL_dsigmas, dL_drgbs, None


def inputs():
    g = torch.Generator().manual_seed(18)
    return {
        "sigmas": torch.rand(3, 6, generator=g),
        "rgbs": torch.rand(3, 6, 3, generator=g),
        "deltas": (torch.rand(3, 6, generator=g) + 0.1).requires_grad_(False),
    }


#! dL_dtau = T_next * dL_dw - suffix => dL_dtau = T_next * dL_dw
#! dL_dsigmas = dL_dtau * deltas => dL_dsigmas = dL_dtau
#! dL_dw = (rgbs * dL_drgb[:, None, :]).sum(-1) + dL_dopacity[:, None] => dL_dw = (rgbs * dL_drgb[:, None, :]).sum(-1)
