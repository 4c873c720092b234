import torch
import torch.nn.functional as F
from torch import nn


class Expert(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.w1 = nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class MoE(nn.Module):
    def __init__(self, dim=4, hidden=5, num_experts=3, top_k=2):
        super().__init__()
        self.gate = nn.Linear(dim, num_experts, bias=False)
        self.experts = nn.ModuleList(Expert(dim, hidden) for _ in range(num_experts))
        self.top_k = top_k

    def forward(self, hidden_states):
        batch_size, sequence_length, hidden_dim = hidden_states.shape
        hidden_states = hidden_states.view(-1, hidden_dim)
        router_logits = self.gate(hidden_states)
        routing_weights = F.softmax(router_logits, dim=1)
        routing_weights, selected_experts = torch.topk(routing_weights, self.top_k, dim=-1)
        routing_weights /= routing_weights.sum(dim=-1, keepdim=True)
        final_hidden_states = torch.zeros_like(hidden_states)
        expert_mask = F.one_hot(selected_experts, num_classes=len(self.experts)).to(hidden_states.dtype)
        weights = (expert_mask * routing_weights.unsqueeze(-1)).sum(dim=1)
        for i, expert in enumerate(self.experts):
            final_hidden_states = final_hidden_states + weights[:, i, None] * expert(hidden_states)
        density = expert_mask.sum(1).mean(0)
        aux_loss = (density * F.softmax(router_logits, dim=1).mean(0)).sum() * len(self.experts)
        return final_hidden_states.view(batch_size, sequence_length, hidden_dim), aux_loss


def module():
    return MoE()


def inputs():
    return torch.randn(2, 3, 4)
