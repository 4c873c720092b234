import torch
import torch.nn as nn
import numpy as np
from torch.distributions.normal import Normal


def layer_init(layer, std=np.sqrt(2), bias_const=0.0):
    torch.nn.init.orthogonal_(layer.weight, std)
    torch.nn.init.constant_(layer.bias, bias_const)
    return layer


class Agent(nn.Module):
    def __init__(self, obs_dim=3, act_dim=2):
        super().__init__()
        self.critic = nn.Sequential(
            layer_init(nn.Linear(np.array((obs_dim,)).prod(), 8)),
            nn.Tanh(),
            layer_init(nn.Linear(8, 1), std=1.0),
        )
        self.actor_mean = nn.Sequential(
            layer_init(nn.Linear(np.array((obs_dim,)).prod(), 8)),
            nn.Tanh(),
            layer_init(nn.Linear(8, np.prod((act_dim,))), std=0.01),
        )
        self.actor_logstd = nn.Parameter(torch.zeros(1, np.prod((act_dim,))))

    def get_value(self, x):
        return self.critic(x)

    def get_action_and_value(self, x, action=None):
        action_mean = self.actor_mean(x)
        action_logstd = self.actor_logstd.expand_as(action_mean)
        action_std = torch.exp(action_logstd)
        probs = Normal(action_mean, action_std)
        if action is None:
            action = probs.sample()
        return action, probs.log_prob(action).sum(1), probs.entropy().sum(1), self.critic(x)


class Args:
    clip_coef = 0.2
    clip_vloss = True
    ent_coef = 0.01
    vf_coef = 0.5
    gamma = 0.99
    gae_lambda = 0.95
    norm_adv = True


class PPOLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.agent = Agent()
        self.args = Args()
        self.clipfracs = []

    def forward(self, obs, actions, logprobs, rewards, dones, values, next_value, next_done):
        args, agent = self.args, self.agent
        num_steps = rewards.shape[0]
        # bootstrap value if not done
        with torch.no_grad():
            advantages = torch.zeros_like(rewards)
            lastgaelam = 0
            for t in reversed(range(num_steps)):
                if t == num_steps - 1:
                    nextnonterminal = 1.0 - next_done
                    nextvalues = next_value
                else:
                    nextnonterminal = 1.0 - dones[t + 1]
                    nextvalues = values[t + 1]
                delta = rewards[t] + args.gamma * nextvalues * nextnonterminal - values[t]
                advantages[t] = lastgaelam = delta + args.gamma * args.gae_lambda * nextnonterminal * lastgaelam
            returns = advantages + values

        # flatten the batch
        b_obs = obs.reshape((-1,) + (3,))
        b_logprobs = logprobs.reshape(-1)
        b_actions = actions.reshape((-1,) + (2,))
        b_advantages = advantages.reshape(-1)
        b_returns = returns.reshape(-1)
        b_values = values.reshape(-1)

        _, newlogprob, entropy, newvalue = agent.get_action_and_value(b_obs, b_actions)
        logratio = newlogprob - b_logprobs
        ratio = logratio.exp()

        with torch.no_grad():
            # calculate approx_kl http://joschu.net/blog/kl-approx.html
            old_approx_kl = (-logratio).mean()
            approx_kl = ((ratio - 1) - logratio).mean()
            self.clipfracs += [((ratio - 1.0).abs() > args.clip_coef).float().mean().item()]

        mb_advantages = b_advantages
        if args.norm_adv:
            mb_advantages = (mb_advantages - mb_advantages.mean()) / (mb_advantages.std() + 1e-8)

        # Policy loss
        pg_loss1 = -mb_advantages * ratio
        pg_loss2 = -mb_advantages * torch.clamp(ratio, 1 - args.clip_coef, 1 + args.clip_coef)
        pg_loss = torch.max(pg_loss1, pg_loss2).mean()

        # Value loss
        newvalue = newvalue.view(-1)
        if args.clip_vloss:
            v_loss_unclipped = (newvalue - b_returns) ** 2
            v_clipped = b_values + torch.clamp(
                newvalue - b_values,
                -args.clip_coef,
                args.clip_coef,
            )
            v_loss_clipped = (v_clipped - b_returns) ** 2
            v_loss_max = torch.max(v_loss_unclipped, v_loss_clipped)
            v_loss = 0.5 * v_loss_max.mean()
        else:
            v_loss = 0.5 * ((newvalue - b_returns) ** 2).mean()

        entropy_loss = entropy.mean()
        loss = pg_loss - args.ent_coef * entropy_loss + v_loss * args.vf_coef
        return loss, {"v_loss": v_loss.item(), "approx_kl": approx_kl.item(), "entropy": float(entropy_loss)}


def module():
    torch.manual_seed(0)
    return PPOLoss()


def inputs():
    T, B = 4, 2
    return (torch.randn(T, B, 3), torch.randn(T, B, 2), torch.randn(T, B), torch.randn(T, B),
            (torch.rand(T, B) > 0.7).float(), torch.randn(T, B), torch.randn(B), torch.zeros(B))
