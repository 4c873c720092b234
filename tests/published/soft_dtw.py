import torch


class SoftDTW(torch.nn.Module):
    def __init__(self, gamma=1.0, normalize=False):
        super(SoftDTW, self).__init__()
        self.normalize = normalize
        self.gamma = gamma

    def calc_distance_matrix(self, x, y):
        n, m, d = x.size(1), y.size(1), x.size(2)
        x = x.unsqueeze(2).expand(-1, n, m, d)
        y = y.unsqueeze(1).expand(-1, n, m, d)
        return torch.pow(x - y, 2).sum(3)

    def softmin(self, a, b, c):
        z = torch.stack([a, b, c], dim=-1) / -self.gamma
        return -self.gamma * torch.logsumexp(z, dim=-1)

    def forward(self, x, y):
        D = self.calc_distance_matrix(x, y)
        B, N, M = D.shape
        R = {}
        big = torch.full((B,), 1e8)
        for i in range(N + 1):
            for j in range(M + 1):
                R[i, j] = big
        R[0, 0] = torch.zeros(B)
        for j in range(1, M + 1):
            for i in range(1, N + 1):
                R[i, j] = D[:, i - 1, j - 1] + self.softmin(R[i - 1, j - 1], R[i - 1, j], R[i, j - 1])
        return R[N, M]


def module():
    return SoftDTW()


def inputs():
    return torch.randn(2, 3, 2), torch.randn(2, 3, 2)
