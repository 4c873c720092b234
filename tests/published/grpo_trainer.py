import torch
import torch.nn.functional as F

def selective_log_softmax(logits, index):
    selected_logits = torch.gather(logits, dim=-1, index=index.unsqueeze(-1)).squeeze(-1)
    logsumexp_values = torch.stack([torch.logsumexp(lg, dim=-1) for lg in logits])
    return selected_logits - logsumexp_values

class Trainer:
    def __init__(self, num_generations=3, beta=0.04, epsilon_low=0.2, epsilon_high=0.28, loss_type="grpo"):
        self.num_generations = num_generations
        self.beta = beta
        self.epsilon_low = epsilon_low
        self.epsilon_high = epsilon_high
        self.loss_type = loss_type
        self._metrics = {"train": {"kl": [], "clip_ratio": []}}
    def compute_advantages(self, rewards):
        mean_grouped_rewards = rewards.view(-1, self.num_generations).mean(dim=1)
        std_grouped_rewards = rewards.view(-1, self.num_generations).std(dim=1)
        mean_grouped_rewards = mean_grouped_rewards.repeat_interleave(self.num_generations, dim=0)
        std_grouped_rewards = std_grouped_rewards.repeat_interleave(self.num_generations, dim=0)
        return (rewards - mean_grouped_rewards) / (std_grouped_rewards + 1e-4)
    def __call__(self, logits, completion_ids, completion_mask, ref_per_token_logps, old_per_token_logps, rewards):
        per_token_logps = selective_log_softmax(logits / 0.9, completion_ids)
        advantages = self.compute_advantages(rewards)
        if self.beta != 0.0:
            per_token_kl = (
                torch.exp(ref_per_token_logps - per_token_logps) - (ref_per_token_logps - per_token_logps) - 1
            )
        coef_1 = torch.exp(per_token_logps - old_per_token_logps)
        coef_2 = torch.clamp(coef_1, 1 - self.epsilon_low, 1 + self.epsilon_high)
        per_token_loss1 = coef_1 * advantages.unsqueeze(1)
        per_token_loss2 = coef_2 * advantages.unsqueeze(1)
        per_token_loss = -torch.min(per_token_loss1, per_token_loss2)
        if self.beta != 0.0:
            per_token_loss = per_token_loss + self.beta * per_token_kl
        if self.loss_type == "grpo":
            loss = ((per_token_loss * completion_mask).sum(-1) / completion_mask.sum(-1).clamp(min=1.0)).mean()
        elif self.loss_type == "bnpo":
            loss = (per_token_loss * completion_mask).sum() / completion_mask.sum().clamp(min=1.0)
        else:
            raise ValueError(f"Unknown loss type: {self.loss_type}")
        mode = "train"
        if self.beta != 0.0:
            mean_kl = (per_token_kl * completion_mask).sum() / completion_mask.sum()
            self._metrics[mode]["kl"].append(mean_kl.item())
        is_low_clipped = (coef_1 < 1 - self.epsilon_low) & (advantages.unsqueeze(1) < 0)
        low_clip = (is_low_clipped * completion_mask).sum() / completion_mask.sum()
        self._metrics[mode]["clip_ratio"].append(low_clip.item())
        return loss

def module():
    return Trainer()

def inputs():
    return dict(logits=torch.randn(6, 4, 5), completion_ids=torch.randint(0, 5, (6, 4)),
                completion_mask=torch.tensor([[1,1,1,0]]*6).to(torch.get_default_dtype()), ref_per_token_logps=torch.randn(6, 4) - 2,
                old_per_token_logps=torch.randn(6, 4) - 2, rewards=torch.randn(6))
