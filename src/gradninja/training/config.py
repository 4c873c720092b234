"""What a run is made of: everything that its weights depend on, and nothing else."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from gradninja.errors import RunError
from gradninja.files import read_text
from gradninja.models import SIZES


def _symbols(found: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(found[1:])) < len(found) - 1:
        raise ValueError("a symbol stands in it twice")
    return found


# What a config.json may hold; a Config that is made here and not read is not held to it.
Size = Annotated[int, Field(ge=1, lt=2**31)]
Symbol = Annotated[str, Field(min_length=1, max_length=1)]
Symbols = Annotated[tuple[Symbol, ...], Field(min_length=2), AfterValidator(_symbols)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]

# What stands for a field in a config.json that is older than the field.
BEFORE: dict[str, object] = {
    "engine": "torch",
    "width": 64,
    "layers": 1,
    "heads": 4,
    "optimizer": "sgd",
    "beta1": 0.9,
    "beta2": 0.99,
    "decay": 0.0,
    "clip": 0.0,
    "schedule": "step",
    "warmup": 0,
    "patience": 0,
}
DERIVED = "derived"  # in place of the name of a backward: the one that gradninja derives


@dataclass(frozen=True)
class Config:
    """The recipe of a run; two runs with equal recipes end in equal weights, bit for bit.

    The defaults are those of makemore part 4. `words` is the word list's path, None for the
    embedded list; `sha256` is of that file's bytes. A `context` of 0 is what the model and the
    words need; a run that has begun knows it. `options` go to the model's forward (such as
    `correction`). `decay`, `clip`, `warmup` and `patience` are off at 0. `backward` names the
    function of the model file that gave the gradients, or "derived". `engine` is what takes the
    steps: "native", "torch", or "auto" for what suits. `torch` is the version that made the run.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    model: Text
    words: Text | None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    vocabulary: Symbols
    embedding: Size = 10
    context: Size = 0
    hidden: Size = 200
    width: Size = 64
    layers: Size = 1
    heads: Size = 4
    steps: Count = 200_000
    batch: Size = 32
    rate: Amount = 0.1
    optimizer: Literal["sgd", "momentum", "adam", "adamw"] = "sgd"
    beta1: Share = 0.9
    beta2: Share = 0.99
    decay: Amount = 0.0
    clip: Amount = 0.0
    schedule: Literal["constant", "step", "linear", "cosine"] = "step"
    warmup: Count = 0
    patience: Count = 0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 2147483647
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    fit: bool = False
    backward: str | None = None
    options: dict[str, object] = field(default_factory=dict)
    engine: Literal["auto", "native", "torch"] = "auto"
    torch: str = ""

    @property
    def sizes(self) -> dict[str, object]:
        """The sizes that a model file may ask for by name."""
        chosen = {name: getattr(self, name) for name in SIZES if name != "vocab"}
        return {"vocab": len(self.vocabulary), **chosen}

    @property
    def metrics_every(self) -> int:
        """Steps to one line of metrics: about 200 lines a run, and never above 1000 steps."""
        return min(1000, max(1, self.steps // 200))

    @property
    def diagnostics_every(self) -> int:
        """Steps to one line that also holds saturation and ratios: every fifth line."""
        return 5 * self.metrics_every

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0.

        It grows evenly over the first `warmup` steps. Then it is constant, or a tenth from half of
        the steps on, or falls evenly or along half a cosine, to 0 after the last step.
        """
        done = step / max(self.steps, 1)
        shares = {
            "constant": 1.0,
            "step": 1.0,
            "linear": 1 - done,
            "cosine": (1 + math.cos(math.pi * done)) / 2,
        }
        rate = self.rate * shares[self.schedule]
        if self.schedule == "step" and 2 * step >= self.steps:
            rate = self.rate / 10
        return rate if step >= self.warmup else rate * (step + 1) / (self.warmup + 1)

    def to_json(self) -> str:
        """The text of config.json."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Config:
        """The recipe in a run folder's config.json. Raises RunError when it is none."""
        try:
            text = read_text(path)
            values = json.loads(text)
        except FileNotFoundError:
            raise RunError(
                f"{path.parent} is not a run folder: it has no {path.name}",
                hint="A run folder is what `gradninja train` made, such as runs/mlp_batchnorm-1.",
            ) from None
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise RunError(f"{path} cannot be read: {error}") from None
        if isinstance(values, dict):
            for name, before in BEFORE.items():
                values.setdefault(name, before)
        known = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or values.keys() != known:
            odd = sorted(known.symmetric_difference(values)) if isinstance(values, dict) else []
            raise RunError(
                f"{path} is not the recipe of a run",
                hint=f"Missing or unknown: {_few(odd)}" if odd else None,
            )
        try:
            return TypeAdapter(cls).validate_json(json.dumps(values))
        except (ValidationError, ValueError) as error:
            raise RunError(f"{path} is not the recipe of a run", hint=said(error, values)) from None


def _few(names: list[str]) -> str:
    """Some names for a person to read, whatever stands in them."""
    shown = ", ".join(name if name.isidentifier() else repr(name)[:40] for name in names[:5])
    return shown + (", ..." if len(names) > 5 else "")


def said(error: ValueError, values: dict[str, object]) -> str:
    """The first thing that a schema finds wrong, in words."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    said = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"`{name}` is {repr(values.get(name))[:60]}: it {said}"
