import torch
from torch import nn


class Bottleneck(nn.Module):
    def __init__(self, c, r):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(c, r, 1, bias=False), nn.BatchNorm2d(r), nn.ReLU(inplace=True),
            nn.Conv2d(r, r, 3, padding=1, bias=False), nn.BatchNorm2d(r), nn.ReLU(inplace=True),
            nn.Conv2d(r, c, 1, bias=False), nn.BatchNorm2d(c),
        )

    def forward(self, x):
        out = self.body(x)
        out += x
        return out.relu()


def module():
    block = Bottleneck(4, 3)
    for buffer in block.buffers():
        if buffer.is_floating_point():
            buffer.data.uniform_(0.5, 1.5)
    return block.eval()

def inputs():
    return {"x": torch.randn(2, 4, 5, 5)}
