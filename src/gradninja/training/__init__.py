"""Training without autograd: the loop, checkpoints, metrics, evaluation, sampling, pictures.

run = begin(plan("mlp_batchnorm", steps=1000))
result = go(run)
"""

from __future__ import annotations

from gradninja.training.config import Config
from gradninja.training.loop import Progress
from gradninja.training.network import Network
from gradninja.training.planning import plan
from gradninja.training.run import (
    Interrupted,
    Result,
    Run,
    begin,
    go,
    load_dataset,
    load_network,
    resume,
    take_part,
)
from gradninja.training.sampling import Word, sample

__all__ = [
    "Config",
    "Interrupted",
    "Network",
    "Progress",
    "Result",
    "Run",
    "Word",
    "begin",
    "go",
    "load_dataset",
    "load_network",
    "plan",
    "resume",
    "sample",
    "take_part",
]
