import torch
import torch.nn as nn
import torch.nn.functional as F


class ActorCritic(nn.Module):
    def __init__(self, obs_dim=3, num_actions=4, hidden=8):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(obs_dim, hidden), nn.ELU(), nn.Linear(hidden, hidden), nn.ELU())
        self.pi = nn.Linear(hidden, num_actions)
        self.v = nn.Linear(hidden, 1)

    def forward(self, obs):
        h = self.trunk(obs)
        return self.pi(h), self.v(h).squeeze(-1)


def lambda_return(rewards, values, discounts, bootstrap, lambda_=0.95):
    """Dreamer's lambda return, time first."""
    next_values = torch.cat([values[1:], bootstrap[None]], 0)
    inputs = rewards + discounts * next_values * (1 - lambda_)
    agg = bootstrap
    outputs = []
    for t in reversed(range(rewards.shape[0])):
        agg = inputs[t] + discounts[t] * lambda_ * agg
        outputs.insert(0, agg)
    return torch.stack(outputs, 0)


class Loss(nn.Module):
    def __init__(self, gamma=0.99, entropy_coef=0.01):
        super().__init__()
        self.net = ActorCritic()
        self.gamma, self.entropy_coef = gamma, entropy_coef

    def forward(self, obs, actions, rewards, dones):
        logits, values = self.net(obs)
        dist = torch.distributions.Categorical(logits=logits[:-1])
        discounts = self.gamma * (1.0 - dones)
        targets = lambda_return(rewards, values[:-1], discounts, values[-1])
        adv = (targets - values[:-1]).detach()
        adv = (adv - adv.mean()) / (adv.std() + 1e-8)
        policy_loss = -(dist.log_prob(actions) * adv).mean()
        value_loss = F.smooth_l1_loss(values[:-1], targets.detach(), reduction="none").mean()
        entropy = dist.entropy().mean()
        loss = policy_loss + 0.5 * value_loss - self.entropy_coef * entropy
        metrics = {"policy_loss": policy_loss.item(), "value_loss": value_loss.item(), "entropy": entropy.item()}
        return loss, metrics


def module():
    torch.manual_seed(0)
    return Loss()


def inputs():
    return torch.randn(7, 2, 3), torch.randint(0, 4, (6, 2)), torch.randn(6, 2), (torch.rand(6, 2) > 0.8).float()
