from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class CLIPOutput:
    loss: Optional[torch.Tensor] = None
    logits_per_image: Optional[torch.Tensor] = None
    image_embeds: Optional[torch.Tensor] = None


class CLIP(nn.Module):
    def __init__(self, d_image=5, d_text=4, d=3):
        super().__init__()
        self.visual_projection = nn.Linear(d_image, d, bias=False)
        self.text_projection = nn.Linear(d_text, d, bias=False)
        self.logit_scale = nn.Parameter(torch.ones([]) * np.log(1 / 0.07))

    def forward(self, image_features, text_features, return_loss: bool = True) -> CLIPOutput:
        image_embeds = self.visual_projection(image_features)
        text_embeds = self.text_projection(text_features)
        image_embeds = image_embeds / image_embeds.norm(p=2, dim=-1, keepdim=True)
        text_embeds = text_embeds / text_embeds.norm(p=2, dim=-1, keepdim=True)

        logit_scale = self.logit_scale.exp()
        logits_per_text = torch.matmul(text_embeds, image_embeds.t()) * logit_scale
        logits_per_image = logits_per_text.t()

        loss = None
        if return_loss:
            labels = torch.arange(len(logits_per_text), device=logits_per_text.device)
            caption_loss = F.cross_entropy(logits_per_text, labels)
            image_loss = F.cross_entropy(logits_per_text.t(), labels)
            loss = (caption_loss + image_loss) / 2.0
        return CLIPOutput(loss=loss, logits_per_image=logits_per_image, image_embeds=image_embeds)


def module():
    return CLIP()


def inputs():
    return torch.randn(4, 5), torch.randn(4, 4)
