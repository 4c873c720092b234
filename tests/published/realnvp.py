import torch
import torch.nn as nn
import torch.distributions as D
import numpy as np


class MaskedLinearCoupling(nn.Module):
    def __init__(self, dim, hidden, mask, n_hidden=1):
        super().__init__()
        self.register_buffer('mask', mask)
        s_net = [nn.Linear(dim, hidden)]
        for _ in range(n_hidden):
            s_net += [nn.Tanh(), nn.Linear(hidden, hidden)]
        s_net += [nn.Tanh(), nn.Linear(hidden, dim)]
        self.s_net = nn.Sequential(*s_net)
        self.t_net = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def forward(self, x, y=None):
        mx = x * self.mask
        s = self.s_net(mx if y is None else torch.cat([y, mx], dim=1))
        t = self.t_net(mx if y is None else torch.cat([y, mx], dim=1)) * (1 - self.mask)
        log_s = torch.tanh(s) * (1 - self.mask)
        u = x * torch.exp(log_s) + t
        log_abs_det_jacobian = log_s
        return u, log_abs_det_jacobian.sum(1)


class ActNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.log_s = nn.Parameter(torch.randn(1, dim) * .1)
        self.b = nn.Parameter(torch.zeros(1, dim))
        self.initialized = True

    def forward(self, x, y=None):
        if not self.initialized:
            with torch.no_grad():
                self.b.data.copy_(-x.mean(0, keepdim=True))
                self.log_s.data.copy_(-x.std(0, keepdim=True).log())
            self.initialized = True
        z = (x + self.b) * self.log_s.exp()
        return z, self.log_s.sum().expand(x.size(0))


class InvConv(nn.Module):
    """Glow's invertible linear."""
    def __init__(self, dim, LU=True):
        super().__init__()
        w = torch.linalg.qr(torch.randn(dim, dim))[0]
        self.LU = LU
        if LU:
            p, lower, upper = torch.lu_unpack(*torch.linalg.lu_factor(w))
            s = torch.diag(upper)
            self.register_buffer('p', p)
            self.register_buffer('sign_s', torch.sign(s))
            self.register_buffer('l_mask', torch.tril(torch.ones(dim, dim), -1))
            self.register_buffer('eye', torch.eye(dim))
            self.lower = nn.Parameter(lower)
            self.log_s = nn.Parameter(torch.log(torch.abs(s)))
            self.upper = nn.Parameter(torch.triu(upper, 1))
        else:
            self.weight = nn.Parameter(w)

    def get_weight(self):
        if not self.LU:
            return self.weight, torch.linalg.slogdet(self.weight)[1]
        l_mask = self.l_mask
        lower = self.lower * l_mask + self.eye
        u = self.upper * l_mask.transpose(0, 1).contiguous()
        u += torch.diag(self.sign_s * torch.exp(self.log_s))
        return torch.matmul(self.p, torch.matmul(lower, u)), torch.sum(self.log_s)

    def forward(self, x, y=None):
        W, logdet = self.get_weight()
        return x @ W.T, logdet * torch.ones(x.shape[0], device=x.device)


class FlowSequential(nn.Sequential):
    """ Container for layers of a normalizing flow """
    def forward(self, x, y=None):
        sum_log_abs_det_jacobians = 0
        for module in self:
            x, log_abs_det_jacobian = module(x, y)
            sum_log_abs_det_jacobians = sum_log_abs_det_jacobians + log_abs_det_jacobian
        return x, sum_log_abs_det_jacobians


class RealNVP(nn.Module):
    def __init__(self, n_blocks=2, input_size=4, hidden_size=6):
        super().__init__()
        self.register_buffer('base_dist_mean', torch.zeros(input_size))
        self.register_buffer('base_dist_var', torch.ones(input_size))
        modules = []
        mask = torch.arange(input_size) % 2
        mask = mask.to(torch.get_default_dtype())
        for i in range(n_blocks):
            modules += [ActNorm(input_size), InvConv(input_size, LU=bool(i % 2)), MaskedLinearCoupling(input_size, hidden_size, mask)]
            mask = 1 - mask
        self.net = FlowSequential(*modules)

    @property
    def base_dist(self):
        return D.Normal(self.base_dist_mean, self.base_dist_var)

    def forward(self, x, y=None):
        return self.net(x, y)

    def log_prob(self, x, y=None):
        u, sum_log_abs_det_jacobians = self.forward(x, y)
        return torch.sum(self.base_dist.log_prob(u), dim=1) + sum_log_abs_det_jacobians


class NLL(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return -self.model.log_prob(x).mean() / (np.log(2) * x.shape[1])


def module():
    return NLL(RealNVP())


def inputs():
    return torch.randn(5, 4)
