import torch
import torch.nn as nn
import torch.nn.functional as F


class BidirectionalLSTM(nn.Module):

    def __init__(self, nIn, nHidden, nOut):
        super(BidirectionalLSTM, self).__init__()

        self.rnn = nn.LSTM(nIn, nHidden, bidirectional=True)
        self.embedding = nn.Linear(nHidden * 2, nOut)

    def forward(self, input):
        recurrent, _ = self.rnn(input)
        T, b, h = recurrent.size()
        t_rec = recurrent.view(T * b, h)

        output = self.embedding(t_rec)  # [T * b, nOut]
        output = output.view(T, b, -1)

        return output


class CRNN(nn.Module):
    def __init__(self, nc=1, nclass=5, nh=3):
        super().__init__()
        self.cnn = nn.Sequential()
        self.cnn.add_module('conv0', nn.Conv2d(nc, 4, 3, 1, 1))
        self.cnn.add_module('relu0', nn.ReLU(True))
        self.cnn.add_module('pooling0', nn.MaxPool2d((4, 1)))
        self.rnn = BidirectionalLSTM(4, nh, nclass)
        self.criterion = nn.CTCLoss(blank=0, zero_infinity=True)

    def forward(self, images, targets, target_lengths):
        conv = self.cnn(images)
        b, c, h, w = conv.size()
        assert h == 1, "the height of conv must be 1"
        conv = conv.squeeze(2)
        conv = conv.permute(2, 0, 1)  # [w, b, c]
        preds = self.rnn(conv)
        preds = preds.log_softmax(2)
        preds_size = torch.IntTensor([preds.size(0)] * b)
        cost = self.criterion(preds, targets, preds_size, target_lengths) / b
        return cost


def module():
    return CRNN()

def inputs():
    return torch.randn(2, 1, 4, 7), torch.tensor([[1, 2, 2], [3, 1, 0]]), torch.tensor([3, 2])
