import torch
from torch import nn


class Recurrent(nn.Module):
    def __init__(self, d=3, h=4):
        super().__init__()
        self.rnn = nn.RNNCell(d, h)
        self.gru = nn.GRUCell(d, h)
        self.lstm = nn.LSTMCell(d, h)
        self.attention = nn.MultiheadAttention(h, 2, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(h, 2, 6, dropout=0.0, batch_first=True, norm_first=True)
        self.mix = nn.Bilinear(h, h, 2)
        self.norms = nn.ModuleDict({"group": nn.GroupNorm(2, h), "rms": nn.RMSNorm(h)})
        self.slope = nn.PReLU()
        self.loss = nn.SmoothL1Loss()

    def forward(self, x, target):
        a = b = None
        state = None
        steps = []
        for t in range(x.size(1)):
            a = self.rnn(x[:, t], a)
            b = self.gru(x[:, t], b)
            state = self.lstm(x[:, t], state)
            steps.append(a + b + state[0])
        h = torch.stack(steps, dim=1)
        out, weights = self.attention(h, h, h)
        h = self.encoder(h + out)
        h = self.norms["rms"](h) + self.norms["group"](h.transpose(1, 2)).transpose(1, 2)
        for name, norm in self.norms.items():
            if name == "rms":
                h = norm(h)
        y = self.slope(self.mix(h, out))
        return self.loss(y, target) + weights.pow(2).mean()

def inputs():
    return {"x": torch.randn(2, 3, 3), "target": torch.randn(2, 3, 2)}

def module():
    return Recurrent()
