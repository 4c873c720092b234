"""What a step does with its gradients: plain descent, momentum, Adam, AdamW.

`m` and `v`, as wide as a parameter each, are kept from step to step:

    sgd       W -= rate * g
    momentum  m = beta1 * m + g;  W -= rate * m
              (Polyak 1964; Sutskever et al., ICML 2013, equation 3)
    adam      m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g**2
              W -= rate * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + 1e-8),  t from 1
              (Kingma and Ba, ICLR 2015, algorithm 1)
    adamw     the same, after W -= rate * decay * W
              (Loshchilov and Hutter, ICLR 2019, algorithm 2)

`g` is the gradient; cut down to the length `clip` with all others as one vector (Pascanu et al.,
ICML 2013, algorithm 1), where it is longer; then, but for adamw, plus `decay * W`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gradninja.training.config import Config

MOMENTS = {"sgd": (), "momentum": ("m",), "adam": ("m", "v"), "adamw": ("m", "v")}
EPSILON = 1e-8


def moments(config: Config, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is kept from step to step, as it is before the first: `m/W`, `v/W`, all 0."""
    kinds = MOMENTS[config.optimizer]
    return {
        f"{kind}/{name}": torch.zeros_like(value)
        for kind in kinds
        for name, value in parameters.items()
    }


def update(
    config: Config,
    step: int,
    parameters: Mapping[str, Tensor],
    held: Mapping[str, Tensor],
    found: Mapping[str, object],
) -> None:
    """Change parameters and moments in place, after the step of this number, counted from 0.

    Args:
        held: the moments.
        found: the step's values by name, with a `d<name>` for each parameter.
    """
    rate = config.rate_at(step)
    gradients = {name: _gradient(found, name) for name in parameters}
    share = _share(config, gradients)
    for name, value in parameters.items():
        gradient = gradients[name] if share == 1 else gradients[name] * share
        if config.decay and config.optimizer != "adamw":
            gradient = gradient.add(value, alpha=config.decay)
        if config.optimizer == "sgd":
            value.sub_(gradient, alpha=rate)
            continue
        m = held[f"m/{name}"]
        if config.optimizer == "momentum":
            m.mul_(config.beta1).add_(gradient)
            value.sub_(m, alpha=rate)
            continue
        v = held[f"v/{name}"]
        if config.decay and config.optimizer == "adamw":
            value.mul_(1 - rate * config.decay)
        m.mul_(config.beta1).add_(gradient, alpha=1 - config.beta1)
        v.mul_(config.beta2).addcmul_(gradient, gradient, value=1 - config.beta2)
        slope = rate / (1 - config.beta1 ** (step + 1))
        spread = v.sqrt().div_(math.sqrt(1 - config.beta2 ** (step + 1))).add_(EPSILON)
        value.addcdiv_(m, spread, value=-slope)


# What lines of an update are told anew each step.
SCALARS = ("rate_now", "slope_now", "spread_now", "clip_now")


def scalars(config: Config, step: int) -> tuple[float, float, float, float]:
    """The rate of a step, what of it is left for `m` and how `v` is scaled (of Adam), the clip."""
    rate = config.rate_at(step)
    adam = config.optimizer in ("adam", "adamw")
    slope = rate / (1 - config.beta1 ** (step + 1)) if adam else rate
    spread = math.sqrt(1 - config.beta2 ** (step + 1)) if adam else 1.0
    return rate, slope, spread, config.clip


def kept_as(name: str) -> str:
    """The name in lines of what is kept as `m/W`."""
    return name.replace("/", "_of_")


def written(config: Config, names: Sequence[str], source: str) -> tuple[str, dict[str, str]]:
    """A step's text with the update in lines below it, and the local that each kept name becomes.

    The lines read the parameters, the moments (`kept_as`) and `SCALARS`.
    """
    lines, becomes = [], {}
    if config.clip:
        squares = " + ".join(f"(d{name} ** 2).sum()" for name in names)
        lines.append(f"share_now = (clip_now / ({squares}).sqrt()).clamp(max=1)")
    for name in names:
        gradient = f"d{name} * share_now" if config.clip else f"d{name}"
        if config.decay and config.optimizer != "adamw":
            gradient += f" + {config.decay} * {name}"
        lines.append(f"g_of_{name} = {gradient}")
        for kind in MOMENTS[config.optimizer]:
            held, beta = f"{kind}_of_{name}", config.beta1 if kind == "m" else config.beta2
            power = f"g_of_{name}" if kind == "m" else f"g_of_{name} ** 2"
            share = "" if config.optimizer == "momentum" else f"{1 - beta} * "
            lines.append(f"next_{held} = {beta} * {held} + {share}{power}")
            becomes[held] = f"next_{held}"
        kept = f"{name} * (1 - rate_now * {config.decay})"
        kept = kept if config.decay and config.optimizer == "adamw" else name
        change = {"sgd": f"rate_now * g_of_{name}", "momentum": f"rate_now * next_m_of_{name}"}
        spread = f"(next_v_of_{name}.sqrt() / spread_now + {EPSILON})"
        adam = f"slope_now * next_m_of_{name} / {spread}"
        lines.append(f"next_{name} = {kept} - {change.get(config.optimizer, adam)}")
        becomes[name] = f"next_{name}"
    head, _, body = source.partition("):\n")
    body = body.removesuffix("    return locals()\n")
    more = [kept_as(f"{kind}/{name}") for kind in MOMENTS[config.optimizer] for name in names]
    head = f"{head}, {', '.join([*more, *SCALARS])}):"
    below = "".join(f"    {line}\n" for line in lines)
    return f"{head}\n{body}{below}    return locals()\n", becomes


def plain(config: Config) -> bool:
    """Whether an update is W -= rate * dW and nothing else."""
    return config.optimizer == "sgd" and not config.decay and not config.clip


def _share(config: Config, gradients: Mapping[str, Tensor]) -> float:
    """What is left of gradients that are longer than `clip`."""
    if not config.clip:
        return 1.0
    squares = [gradient.double().square().sum() for gradient in gradients.values()]
    length = math.sqrt(sum(square.item() for square in squares))
    return config.clip / length if length > config.clip else 1.0


def _gradient(found: Mapping[str, object], name: str) -> Tensor:
    gradient = found[f"d{name}"]
    assert isinstance(gradient, Tensor)
    return gradient
