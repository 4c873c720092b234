import torch
import torch.nn as nn
import torch.nn.functional as F


class FocalLoss(nn.Module):
    def __init__(self, alpha=0.25, gamma=2.0, reduction="mean"):
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma
        self.reduction = reduction

    def forward(self, inputs, targets):
        p = torch.sigmoid(inputs)
        ce_loss = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
        p_t = p * targets + (1 - p) * (1 - targets)
        loss = ce_loss * ((1 - p_t) ** self.gamma)

        if self.alpha >= 0:
            alpha_t = self.alpha * targets + (1 - self.alpha) * (1 - targets)
            loss = alpha_t * loss

        if self.reduction == "none":
            pass
        elif self.reduction == "mean":
            loss = loss.mean()
        elif self.reduction == "sum":
            loss = loss.sum()
        else:
            raise ValueError(f"Invalid Value for arg 'reduction': '{self.reduction}'")
        return loss


class DiceLoss(nn.Module):
    def __init__(self, smooth=1.):
        super().__init__()
        self.smooth = smooth

    def forward(self, inputs, targets):
        inputs = torch.sigmoid(inputs)
        inputs = inputs.view(-1)
        targets = targets.view(-1)
        intersection = (inputs * targets).sum()
        dice = (2. * intersection + self.smooth) / (inputs.sum() + targets.sum() + self.smooth)
        return 1 - dice


class DPOLoss(nn.Module):
    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.0, ipo: bool = False) -> None:
        super().__init__()
        self.beta = beta
        self.label_smoothing = label_smoothing
        self.ipo = ipo

    def forward(self, policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps):
        pi_logratios = policy_chosen_logps - policy_rejected_logps
        ref_logratios = reference_chosen_logps - reference_rejected_logps
        logits = pi_logratios - ref_logratios

        if self.ipo:
            losses = (logits - 1 / (2 * self.beta)) ** 2
        else:
            losses = (
                -F.logsigmoid(self.beta * logits) * (1 - self.label_smoothing)
                - F.logsigmoid(-self.beta * logits) * self.label_smoothing
            )

        loss = losses.mean()
        chosen_rewards = self.beta * (policy_chosen_logps - reference_chosen_logps).detach()
        rejected_rewards = self.beta * (policy_rejected_logps - reference_rejected_logps).detach()

        return loss, chosen_rewards.mean(), rejected_rewards.mean()


class ClipLoss(nn.Module):
    def __init__(self, dim=5, out=4):
        super().__init__()
        self.image_proj = nn.Linear(dim, out, bias=False)
        self.text_proj = nn.Linear(dim, out, bias=False)
        self.logit_scale = nn.Parameter(torch.ones([]) * 2.6592)

    def get_logits(self, image_features, text_features, logit_scale):
        logits_per_image = logit_scale * image_features @ text_features.T
        logits_per_text = logit_scale * text_features @ image_features.T
        return logits_per_image, logits_per_text

    def forward(self, image, text):
        image_features = F.normalize(self.image_proj(image), dim=-1)
        text_features = self.text_proj(text)
        text_features = text_features / text_features.norm(dim=-1, keepdim=True)
        logits_per_image, logits_per_text = self.get_logits(image_features, text_features, self.logit_scale.exp())
        labels = torch.arange(logits_per_image.shape[0], device=image_features.device, dtype=torch.long)
        total_loss = (
            F.cross_entropy(logits_per_image, labels) +
            F.cross_entropy(logits_per_text, labels)
        ) / 2
        return total_loss


class FocalDice(nn.Module):
    def __init__(self):
        super().__init__()
        self.focal, self.dice = FocalLoss(), DiceLoss()
        self.clip = ClipLoss()
        self.dpo = DPOLoss(label_smoothing=0.1)

    def forward(self, seg, target, image, text):
        loss = self.focal(seg, target) + self.dice(seg, target)
        loss = loss + self.clip(image, text)
        dpo_loss, chosen, rejected = self.dpo(*seg.unbind(0))
        return loss + dpo_loss

def inputs():
    return {"seg": torch.randn(4, 6), "target": (torch.rand(4, 6) > 0.5).double(),
            "image": torch.randn(3, 5), "text": torch.randn(3, 5)}

def module():
    return FocalDice()
