import torch
import torch.nn as nn
import torch.nn.functional as F


class Policy(nn.Module):
    def __init__(self, vocab=7, dim=4):
        super().__init__()
        self.embed = nn.Embedding(vocab, dim)
        self.head = nn.Linear(dim, vocab, bias=False)

    def forward(self, ids):
        return self.head(torch.tanh(self.embed(ids)))


class DPO(nn.Module):
    def __init__(self, beta=0.1, label_smoothing=0.0):
        super().__init__()
        self.beta, self.label_smoothing = beta, label_smoothing
        self.policy, self.reference = Policy(), Policy()

    @staticmethod
    def logps(logits, labels, mask):
        labels = labels[:, 1:].clone()
        logits = logits[:, :-1, :]
        per_token = torch.gather(logits.log_softmax(-1), dim=2, index=labels.unsqueeze(2)).squeeze(2)
        return (per_token * mask[:, 1:]).sum(-1)

    def forward(self, chosen, rejected, chosen_mask, rejected_mask):
        ids = torch.cat([chosen, rejected], dim=0)
        mask = torch.cat([chosen_mask, rejected_mask], dim=0)
        all_logps = self.logps(self.policy(ids), ids, mask)
        with torch.no_grad():
            ref_logps = self.logps(self.reference(ids), ids, mask)
        n = chosen.shape[0]
        policy_chosen, policy_rejected = all_logps[:n], all_logps[n:]
        ref_chosen, ref_rejected = ref_logps[:n], ref_logps[n:]
        logits = (policy_chosen - policy_rejected) - (ref_chosen - ref_rejected)
        losses = (
            -F.logsigmoid(self.beta * logits) * (1 - self.label_smoothing)
            - F.logsigmoid(-self.beta * logits) * self.label_smoothing
        )
        chosen_rewards = self.beta * (policy_chosen - ref_chosen).detach()
        rejected_rewards = self.beta * (policy_rejected - ref_rejected).detach()
        accuracy = (chosen_rewards > rejected_rewards).float().mean()
        return {"loss": losses.mean(), "accuracy": accuracy}


def module():
    return DPO()


def inputs():
    ids = torch.randint(0, 7, (2, 3, 5))
    mask = torch.tensor([[1.0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    return ids[0], ids[1], mask.to(torch.bool), mask.flip(0).to(torch.bool)
