"""metrics.jsonl: one JSON object a line, and no clock in it.

Without times a resumed run's file is, byte for byte, the one that an uninterrupted run writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Required

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor
from typing_extensions import TypedDict

from gradninja.errors import RunError
from gradninja.files import read as read_file
from gradninja.training.folder import write_whole

DAMAGED = "metrics.damaged.jsonl"  # what was there, where a line of it could not be read
SATURATED = 0.97  # |tanh| above this passes less than 6% of a gradient (makemore part 3)


_Number = Annotated[float, Field(strict=True)]
_Ratios = dict[str, _Number | None]


class _Row(TypedDict, total=False):
    """What a line may tell."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    step: Required[Annotated[int, Field(ge=0, strict=True)]]
    loss: _Number
    rate: _Number
    saturated: _Number
    gradient_to_data: _Ratios
    update_to_data: _Ratios
    validation: _Number
    train_loss: _Number
    validation_loss: _Number


_SCHEMA = TypeAdapter(_Row)


class Metrics:
    """The open metrics file of a run."""

    def __init__(self, path: Path, *, until: int) -> None:
        """Open the file and cut it back to `until` steps: what a checkpoint does not know of
        (later lines, a half-written one, the final one) will be written again.

        A file with a damaged line is kept beside it, as it was. Raises RunError and OSError.
        """
        found, wrong = _lines(path)
        if wrong:
            write_whole(path.with_name(DAMAGED), read_file(path))
        kept = [line for line, row in found if row["step"] <= until and "train_loss" not in row]
        write_whole(path, b"".join(line + b"\n" for line in kept))
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
    """The lines of a metrics file, [] when there is none; damaged ones are left out.

    Raises RunError where it cannot be read.
    """
    return [row for _, row in _lines(path)[0]]


def damaged(path: Path) -> str | None:
    """What is wrong with a metrics file, in words, None for nothing.

    A last line that is half written is what a kill leaves, and nothing wrong. Raises RunError.
    """
    wrong = _lines(path)[1]
    if not wrong:
        return None
    number, said = wrong[0]
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return f"{path}, line {number}{more} is damaged and left out: {said}"


def _lines(path: Path) -> tuple[list[tuple[bytes, dict[str, Any]]], list[tuple[int, str]]]:
    """The lines that can be read, as they stand and what they say; and the others' numbers."""
    try:
        data = read_file(path)
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    found: list[tuple[bytes, dict[str, Any]]] = []
    wrong: list[tuple[int, str]] = []
    *lines, last = data.split(b"\n")
    for number, line in enumerate([*lines, last] if last else lines, start=1):
        try:
            _SCHEMA.validate_json(line)
            found.append((line, json.loads(line)))
        except (ValueError, RecursionError) as error:
            if number <= len(lines):
                wrong.append((number, _said(error)))
    return found, wrong


def _said(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    where = f"`{first['loc'][0]}`: " if first["loc"] else ""
    return f"{where}{first['msg']}"


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
