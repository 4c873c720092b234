from dataclasses import dataclass

import torch
import torch.nn as nn
from torch.nn import functional as F


@dataclass
class ModelConfig:
    block_size: int = None
    vocab_size: int = None
    n_embd: int = 6
    n_embd2: int = 10

class MLP(nn.Module):
    """
    takes the previous block_size tokens, looks up their rows of a table,
    joins them and predicts the next one
    """

    def __init__(self, config):
        super().__init__()
        self.block_size = config.block_size
        self.vocab_size = config.vocab_size
        self.wte = nn.Embedding(config.vocab_size + 1, config.n_embd) # one more for <BLANK>
        self.mlp = nn.Sequential(
            nn.Linear(self.block_size * config.n_embd, config.n_embd2),
            nn.Tanh(),
            nn.Linear(config.n_embd2, self.vocab_size)
        )

    def get_block_size(self):
        return self.block_size

    def forward(self, idx, targets=None):

        # the embeddings of the previous words, the newest first
        embs = []
        for k in range(self.block_size):
            tok_emb = self.wte(idx) # (b, t, n_embd)
            idx = torch.roll(idx, 1, 1)
            idx[:, 0] = self.vocab_size # <BLANK>
            embs.append(tok_emb)

        # joined and passed on
        x = torch.cat(embs, -1) # (b, t, n_embd * block_size)
        logits = self.mlp(x)

        loss = None
        if targets is not None:
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)

        return logits, loss

def module():
    return MLP(ModelConfig(block_size=3, vocab_size=9))

def inputs():
    return torch.randint(0, 9, (4, 5)), torch.randint(0, 9, (4, 5))
