import torch


class BuildCovariance(torch.autograd.Function):
    """Sigma = R S S^T R^T of scales and unit quaternions, as in Gaussian splatting."""

    @staticmethod
    def forward(ctx, scale, quat):
        w, x, y, z = quat.unbind(-1)
        R = torch.stack(
            [
                1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
                2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
                2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
            ],
            dim=-1,
        ).reshape(-1, 3, 3)
        M = R * scale[:, None, :]
        ctx.save_for_backward(scale, quat, R, M)
        return M @ M.transpose(1, 2)

    @staticmethod
    def backward(ctx, dSigma):
        scale, quat, R, M = ctx.saved_tensors
        w, x, y, z = quat.unbind(-1)
        dM = (dSigma + dSigma.transpose(1, 2)) @ M
        dscale = (dM * R).sum(dim=1)
        dR = dM * scale[:, None, :]
        r00, r01, r02 = dR[:, 0, 0], dR[:, 0, 1], dR[:, 0, 2]
        r10, r11, r12 = dR[:, 1, 0], dR[:, 1, 1], dR[:, 1, 2]
        r20, r21, r22 = dR[:, 2, 0], dR[:, 2, 1], dR[:, 2, 2]
        dw = 2 * (x * (r21 - r12) + y * (r02 - r20) + z * (r10 - r01))
        dx = 2 * (y * (r01 + r10) + z * (r02 + r20) + w * (r21 - r12)) - 4 * x * (r11 + r22)
        dy = 2 * (x * (r01 + r10) + z * (r12 + r21) + w * (r02 - r20)) - 4 * y * (r00 + r22)
        dz = 2 * (x * (r02 + r20) + y * (r12 + r21) + w * (r10 - r01)) - 4 * z * (r00 + r11)
        dquat = torch.stack([dw, dx, dy, dz], dim=-1)
        return dscale, dquat


def inputs():
    g = torch.Generator().manual_seed(4)
    q = torch.randn(4, 4, generator=g)
    return {
        "scale": torch.rand(4, 3, generator=g) + 0.2,
        "quat": q / q.norm(dim=-1, keepdim=True),
    }


#! dM = (dSigma + dSigma.transpose(1, 2)) @ M => dM = 2 * dSigma @ M
#! dscale = (dM * R).sum(dim=1) => dscale = (dM * R).sum(dim=2)
#! dR = dM * scale[:, None, :] => dR = dM * scale[:, :, None]
