import torch
import torch.nn.functional as F
from typing import Tuple

def _get_batch_logps(logits: torch.FloatTensor, labels: torch.LongTensor, average_log_prob: bool = False) -> torch.FloatTensor:
    """Compute the log probabilities of the given labels under the given logits."""
    assert logits.shape[:-1] == labels.shape
    labels = labels[:, 1:].clone()
    logits = logits[:, :-1, :]
    loss_mask = (labels != -100)
    labels[labels == -100] = 0
    per_token_logps = torch.gather(logits.log_softmax(-1), dim=2, index=labels.unsqueeze(2)).squeeze(2)
    if average_log_prob:
        return (per_token_logps * loss_mask).sum(-1) / loss_mask.sum(-1)
    else:
        return (per_token_logps * loss_mask).sum(-1)

def preference_loss(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps,
                    beta: float, label_smoothing: float = 0.0, ipo: bool = False, reference_free: bool = False) -> Tuple[torch.FloatTensor, torch.FloatTensor, torch.FloatTensor]:
    pi_logratios = policy_chosen_logps - policy_rejected_logps
    ref_logratios = reference_chosen_logps - reference_rejected_logps
    if reference_free:
        ref_logratios = 0
    logits = pi_logratios - ref_logratios
    if ipo:
        losses = (logits - 1/(2 * beta)) ** 2
    else:
        losses = -F.logsigmoid(beta * logits) * (1 - label_smoothing) - F.logsigmoid(-beta * logits) * label_smoothing
    chosen_rewards = beta * (policy_chosen_logps - reference_chosen_logps).detach()
    rejected_rewards = beta * (policy_rejected_logps - reference_rejected_logps).detach()
    return losses, chosen_rewards, rejected_rewards

def forward(all_logits, ref_logits, labels):
    all_logps = _get_batch_logps(all_logits, labels)
    with torch.no_grad():
        ref_logps = _get_batch_logps(ref_logits, labels)
    n = labels.shape[0] // 2
    losses, cr, rr = preference_loss(all_logps[:n], all_logps[n:], ref_logps[:n], ref_logps[n:], beta=0.1, label_smoothing=0.1)
    reward_accuracies = (cr > rr).float()
    metrics = {}
    metrics['rewards/accuracies'] = reward_accuracies.cpu().numpy().tolist()
    return losses.mean()

def inputs():
    labels = torch.randint(0, 6, (4, 5))
    labels[:, :2] = -100
    return dict(all_logits=torch.randn(4, 5, 6), ref_logits=torch.randn(4, 5, 6), labels=labels)
