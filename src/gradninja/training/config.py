"""What a run is made of: everything that its weights depend on, and nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from gradninja.errors import RunError


@dataclass(frozen=True)
class Config:
    """The recipe of a run; two runs with equal recipes end in equal weights, bit for bit.

    The defaults are those of makemore part 4. `words` is the word list's path, None for the
    embedded list; `sha256` is of that file's bytes. `options` go to the model's forward (such as
    `correction`). `backward` names the function of the model file that gave the gradients, or
    "derived". `engine` is what takes the steps: "native", "torch", or "auto" for what suits.
    `torch` is the version that made the run.
    """

    model: str
    words: str | None
    sha256: str
    vocabulary: tuple[str, ...]
    embedding: int = 10
    context: int = 3
    hidden: int = 200
    steps: int = 200_000
    batch: int = 32
    rate: float = 0.1
    seed: int = 2147483647
    threads: int = 1
    fit: bool = False
    backward: str | None = None
    options: dict[str, object] = field(default_factory=dict)
    engine: str = "auto"
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
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(
                f"{path.parent} is not a run folder: it has no {path.name}",
                hint="A run folder is what `gradninja train` made, such as runs/mlp_batchnorm-1.",
            ) from None
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read: {error}") from None
        if isinstance(values, dict):
            values.setdefault("engine", "torch")  # the only one before there was this field
        known = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or values.keys() != known:
            odd = sorted(known.symmetric_difference(values)) if isinstance(values, dict) else []
            raise RunError(
                f"{path} is not the recipe of a run",
                hint=f"Missing or unknown: {', '.join(odd)}" if odd else None,
            )
        return cls(**{**values, "vocabulary": tuple(values["vocabulary"])})
