"""What a run is made of: everything that its weights depend on, and nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from gradninja.errors import RunError
from gradninja.files import read_text


def _symbols(found: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(found[1:])) < len(found) - 1:
        raise ValueError("a symbol stands in it twice")
    return found


# What a config.json may hold; a Config that is made here and not read is not held to it.
Size = Annotated[int, Field(ge=1, lt=2**31)]
Symbol = Annotated[str, Field(min_length=1, max_length=1)]
Symbols = Annotated[tuple[Symbol, ...], Field(min_length=2), AfterValidator(_symbols)]
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]


@dataclass(frozen=True)
class Config:
    """The recipe of a run; two runs with equal recipes end in equal weights, bit for bit.

    The defaults are those of makemore part 4. `words` is the word list's path, None for the
    embedded list; `sha256` is of that file's bytes. `options` go to the model's forward (such as
    `correction`). `backward` names the function of the model file that gave the gradients, or
    "derived". `engine` is what takes the steps: "native", "torch", or "auto" for what suits.
    `torch` is the version that made the run.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    model: Text
    words: Text | None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    vocabulary: Symbols
    embedding: Size = 10
    context: Size = 3
    hidden: Size = 200
    steps: Annotated[int, Field(ge=0, lt=2**53)] = 200_000
    batch: Size = 32
    rate: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
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
        return {
            "vocab": len(self.vocabulary),
            "context": self.context,
            "embedding": self.embedding,
            "hidden": self.hidden,
        }

    @property
    def metrics_every(self) -> int:
        """Steps to one line of metrics: about 200 lines a run, and never above 1000 steps."""
        return min(1000, max(1, self.steps // 200))

    @property
    def diagnostics_every(self) -> int:
        """Steps to one line that also holds saturation and ratios: every fifth line."""
        return 5 * self.metrics_every

    def rate_at(self, step: int) -> float:
        """The learning rate of a step (counted from 0): a tenth from half-way on."""
        return self.rate if 2 * step < self.steps else self.rate / 10

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
            values.setdefault("engine", "torch")  # the only one before there was this field
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
            raise RunError(
                f"{path} is not the recipe of a run", hint=_said(error, values)
            ) from None


def _few(names: list[str]) -> str:
    """Some names for a person to read, whatever stands in them."""
    shown = ", ".join(name if name.isidentifier() else repr(name)[:40] for name in names[:5])
    return shown + (", ..." if len(names) > 5 else "")


def _said(error: ValueError, values: dict[str, object]) -> str:
    """The first thing that a schema finds wrong, in words."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    said = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"`{name}` is {repr(values.get(name))[:60]}: it {said}"
