import torch
import torch.nn as nn


class GRPOLoss(nn.Module):
    def __init__(self, vocab=6, dim=4, epsilon=0.2, beta=0.04):
        super().__init__()
        self.epsilon, self.beta = epsilon, beta
        self.model = nn.Sequential(nn.Embedding(vocab, dim), nn.Tanh(), nn.Linear(dim, vocab))

    def get_per_token_logps(self, input_ids):
        logits = self.model(input_ids)[:, :-1, :]
        input_ids = input_ids[:, 1:]
        logps = logits - logits.logsumexp(dim=-1, keepdim=True)
        return torch.gather(logps, -1, input_ids.unsqueeze(-1)).squeeze(-1)

    def forward(self, input_ids, completion_mask, rewards, ref_per_token_logps, num_generations=2):
        per_token_logps = self.get_per_token_logps(input_ids)
        per_token_kl = torch.exp(ref_per_token_logps - per_token_logps) - (ref_per_token_logps - per_token_logps) - 1
        mean_grouped_rewards = rewards.view(-1, num_generations).mean(dim=1)
        std_grouped_rewards = rewards.view(-1, num_generations).std(dim=1)
        mean_grouped_rewards = mean_grouped_rewards.repeat_interleave(num_generations, dim=0)
        std_grouped_rewards = std_grouped_rewards.repeat_interleave(num_generations, dim=0)
        advantages = ((rewards - mean_grouped_rewards) / (std_grouped_rewards + 1e-4)).detach()
        ratio = torch.exp(per_token_logps - per_token_logps.detach())
        clipped = torch.clamp(ratio, 1 - self.epsilon, 1 + self.epsilon)
        per_token_loss = torch.min(ratio * advantages.unsqueeze(1), clipped * advantages.unsqueeze(1))
        per_token_loss = -(per_token_loss - self.beta * per_token_kl)
        loss = ((per_token_loss * completion_mask).sum(dim=1) / completion_mask.sum(dim=1)).mean()
        return loss


def module():
    return GRPOLoss()


def inputs():
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]])
    return torch.randint(0, 6, (4, 4)), mask, torch.rand(4), torch.randn(4, 3)
