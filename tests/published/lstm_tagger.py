import torch
import torch.nn as nn
import torch.nn.functional as F


class LSTMTagger(nn.Module):
    def __init__(self, embedding_dim=4, hidden_dim=3, vocab_size=9, tagset_size=5):
        super(LSTMTagger, self).__init__()
        self.hidden_dim = hidden_dim
        self.word_embeddings = nn.Embedding(vocab_size, embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, num_layers=2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(2 * hidden_dim, hidden_dim, batch_first=True)
        self.hidden2tag = nn.Linear(hidden_dim, tagset_size)

    def init_hidden(self, batch):
        return (torch.zeros(4, batch, self.hidden_dim), torch.zeros(4, batch, self.hidden_dim))

    def forward(self, sentence):
        embeds = self.word_embeddings(sentence)
        self.lstm.flatten_parameters()
        lstm_out, (h_n, c_n) = self.lstm(embeds, self.init_hidden(sentence.size(0)))
        out, _ = self.gru(lstm_out)
        tag_space = self.hidden2tag(out + h_n[-1].unsqueeze(1))
        tag_scores = F.log_softmax(tag_space, dim=-1)
        return tag_scores

def module():
    return LSTMTagger()

def inputs():
    return torch.randint(0, 9, (2, 3))
