"""Gaussian splatting: projection by the EWA approximation, spherical harmonics, and front-to-back blending."""
import math
from typing import NamedTuple

import torch

C0 = 0.28209479177387814
C1 = 0.4886025119029199


class Camera(NamedTuple):
    viewmatrix: torch.Tensor
    fovx: float
    fovy: float
    width: int
    height: int


def build_rotation(r):
    norm = torch.sqrt(r[:, 0] * r[:, 0] + r[:, 1] * r[:, 1] + r[:, 2] * r[:, 2] + r[:, 3] * r[:, 3])
    q = r / norm[:, None]
    R = torch.zeros((q.size(0), 3, 3), device=r.device)
    r = q[:, 0]
    x = q[:, 1]
    y = q[:, 2]
    z = q[:, 3]
    R[:, 0, 0] = 1 - 2 * (y * y + z * z)
    R[:, 0, 1] = 2 * (x * y - r * z)
    R[:, 0, 2] = 2 * (x * z + r * y)
    R[:, 1, 0] = 2 * (x * y + r * z)
    R[:, 1, 1] = 1 - 2 * (x * x + z * z)
    R[:, 1, 2] = 2 * (y * z - r * x)
    R[:, 2, 0] = 2 * (x * z - r * y)
    R[:, 2, 1] = 2 * (y * z + r * x)
    R[:, 2, 2] = 1 - 2 * (x * x + y * y)
    return R


def build_scaling_rotation(s, r):
    L = torch.zeros((s.shape[0], 3, 3), dtype=s.dtype, device=s.device)
    R = build_rotation(r)
    L[:, 0, 0] = s[:, 0]
    L[:, 1, 1] = s[:, 1]
    L[:, 2, 2] = s[:, 2]
    L = R @ L
    return L


def build_covariance_2d(mean3d, cov3d, viewmatrix, fov_x, fov_y, focal_x, focal_y):
    tan_fovx = math.tan(fov_x * 0.5)
    tan_fovy = math.tan(fov_y * 0.5)
    t = (mean3d @ viewmatrix[:3, :3]) + viewmatrix[-1:, :3]
    tx = (t[..., 0] / t[..., 2]).clip(min=-tan_fovx * 1.3, max=tan_fovx * 1.3) * t[..., 2]
    ty = (t[..., 1] / t[..., 2]).clip(min=-tan_fovy * 1.3, max=tan_fovy * 1.3) * t[..., 2]
    tz = t[..., 2]
    J = torch.zeros(mean3d.shape[0], 3, 3).to(mean3d)
    J[..., 0, 0] = 1 / tz * focal_x
    J[..., 0, 2] = -tx / (tz * tz) * focal_x
    J[..., 1, 1] = 1 / tz * focal_y
    J[..., 1, 2] = -ty / (tz * tz) * focal_y
    W = viewmatrix[:3, :3].T
    cov2d = J @ W @ cov3d @ W.T @ J.permute(0, 2, 1)
    filter = torch.eye(2, 2).to(cov2d) * 0.3
    return cov2d[:, :2, :2] + filter[None]




class GaussRenderer(torch.nn.Module):
  def __init__(self, camera):
    super().__init__()
    self.camera = camera

  def forward(self, means3D, scales, rotations, opacities, shs):
      camera = self.camera
      scales = torch.exp(scales)
      L = build_scaling_rotation(scales, rotations)
      cov3d = L @ L.transpose(1, 2)
      dirs = torch.nn.functional.normalize(means3D, dim=-1)
      x, y, z = dirs[..., 0:1], dirs[..., 1:2], dirs[..., 2:3]
      color = C0 * shs[..., 0] - C1 * y * shs[..., 1] + C1 * z * shs[..., 2] - C1 * x * shs[..., 3]
      color = (color + 0.5).clip(min=0.0)
      focal_x = camera.width / (2 * math.tan(camera.fovx * 0.5))
      focal_y = camera.height / (2 * math.tan(camera.fovy * 0.5))
      cov2d = build_covariance_2d(means3D, cov3d, camera.viewmatrix, camera.fovx, camera.fovy, focal_x, focal_y)
      p_view = torch.cat([means3D, torch.ones_like(means3D[..., :1])], dim=-1) @ camera.viewmatrix
      means2D = p_view[:, :2] / p_view[:, 2:3] * torch.tensor([focal_x, focal_y]) + camera.width / 2
      pix_coord = torch.stack(torch.meshgrid(torch.arange(camera.width), torch.arange(camera.height), indexing="xy"), dim=-1)
      order = torch.argsort(p_view[:, 2])
      sorted_means2D, sorted_cov2d = means2D[order], cov2d[order]
      sorted_conic = sorted_cov2d.inverse()
      sorted_opacity, sorted_color = torch.sigmoid(opacities[order]), color[order]
      dx = (pix_coord.flatten(0, -2)[:, None, :] - sorted_means2D[None, :])
      gauss_weight = torch.exp(-0.5 * (
          dx[:, :, 0] ** 2 * sorted_conic[:, 0, 0]
          + dx[:, :, 1] ** 2 * sorted_conic[:, 1, 1]
          + dx[:, :, 0] * dx[:, :, 1] * sorted_conic[:, 0, 1]
          + dx[:, :, 0] * dx[:, :, 1] * sorted_conic[:, 1, 0]))
      alpha = (gauss_weight[..., None] * sorted_opacity[None]).clip(max=0.99)
      T = torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha[:, :-1]], dim=1).cumprod(dim=1)
      acc_alpha = (alpha * T).sum(dim=1)
      tile_color = (T * alpha * sorted_color[None]).sum(dim=1) + (1 - acc_alpha) * 1.0
      return tile_color.reshape(camera.height, camera.width, -1)


def module():
    view = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0.1, -0.2, 4.0, 1]])
    return GaussRenderer(Camera(view, 1.0, 1.0, 4, 4))


def inputs():
    return {
        "means3D": torch.randn(3, 3), "scales": 0.3 * torch.randn(3, 3), "rotations": torch.randn(3, 4),
        "opacities": torch.randn(3, 1), "shs": torch.randn(3, 3, 4),
    }
