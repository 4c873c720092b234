"""metrics.jsonl: one JSON object a line, and no clock in it.

Without times a resumed run's file is, byte for byte, the one that an uninterrupted run writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradninja.training.folder import write_whole

SATURATED = 0.97  # |tanh| above this passes less than 6% of a gradient (makemore part 3)


class Metrics:
    """The open metrics file of a run."""

    def __init__(self, path: Path, *, until: int) -> None:
        """Open the file and cut it back to `until` steps: what a checkpoint does not know of
        (later lines, a half-written one, the final one) will be written again.
        """
        kept = [row for row in read(path) if row["step"] <= until and "train_loss" not in row]
        write_whole(path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        self._file = path.open("a", encoding="utf-8")

    def write(self, row: Mapping[str, object]) -> None:
        """Append a line."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Onto the disk: a checkpoint must never know of lines that a power cut took."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics file, [] when there is none; a half-written last one is none."""
    rows = []
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    for line in text.splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def diagnostics(
    found: Mapping[str, object], parameters: Mapping[str, Tensor], rate: float
) -> dict[str, object]:
    """What a person looks at to see whether a network learns (makemore part 3).

    `found` holds a step's values and gradients by name. Gives the fraction of `h` that is
    saturated (for a model that has an `h`), and for each parameter the standard deviation of its
    gradient, and of its update, over that of its values (None where that is zero or undefined).
    """
    row: dict[str, object] = {}
    h = found.get("h")
    if isinstance(h, Tensor):
        row["saturated"] = (h.abs() > SATURATED).double().mean().item()
    ratios = {}
    for name, value in sorted(parameters.items()):  # a checkpoint does not keep the model's order
        gradient = found[f"d{name}"]
        assert isinstance(gradient, Tensor)
        spread = value.double().std().item() if value.numel() > 1 else 0.0
        ratios[name] = gradient.double().std().item() / spread if spread > 0 else None
    row["gradient_to_data"] = ratios
    row["update_to_data"] = {
        name: None if ratio is None else rate * ratio for name, ratio in ratios.items()
    }
    return row


def mean_loss(losses: list[Tensor], latest: int = 0) -> float:
    """The mean of some steps' losses, summed in float64: of all, or of the latest ones."""
    return torch.hstack(losses)[-latest:].double().mean().item()
