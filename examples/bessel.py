"""Bessel's correction, seen: what 1/n gets wrong, and what mixing 1/n with 1/(n-1) costs.

    python examples/bessel.py --out runs/bessel

First, a population whose variance is known: the lengths of the embedded names. Batches of n are
drawn from it, and their variance is taken with 1/n and with 1/(n-1). On average the first is
(n-1)/n of the truth, whatever the population (a batch's mean is nearer to the batch than the
population's mean is); the second is the truth.

Then BatchNorm. Small networks are trained on the names with the variance of each batch taken one
way, and tested with the running average of the batches' variances taken the same way and the
other. Train and test then disagree by a factor of (n-1)/n, and the loss tells what that costs: at
n = 2 it can be seen, from n = 8 on it is below a thousandth of a nat, and may have either sign.
It takes about ten seconds.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from gradninja.data import Dataset, load_words
from gradninja.models import load

SIZES = (2, 4, 8, 32)  # of batches
DIVISORS = {1: "1/(n-1)", 0: "1/n"}  # by `correction`
COLOURS = {1: "#1f6feb", 0: "#d1570c"}
VALUES = 1 << 20  # drawn from the population for each batch size
CONTEXT, EMBEDDING, HIDDEN = 3, 10, 32


@dataclass(frozen=True)
class Share:
    """The batches' average variance as a share of the population's, with its standard error."""

    n: int
    correction: int
    mean: float
    error: float


@dataclass(frozen=True)
class Cost:
    """What it costs to test the other way than trained: a difference of losses, in nats.

    `matched` is the loss when trained and tested the same way; `extra` has, for each seed, what
    the same network loses more when it is tested the other way.
    """

    n: int
    correction: int
    matched: float
    extra: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.extra))

    @property
    def error(self) -> float:
        """The standard error of the mean over the seeds."""
        return float(np.std(self.extra, ddof=1) / len(self.extra) ** 0.5)


def shares(population: NDArray[np.float64], sizes: tuple[int, ...], seed: int = 1) -> list[Share]:
    """Variances of many batches against the variance of the population that they come from."""
    generator = np.random.default_rng(seed)
    found = []
    for n in sizes:
        batches = generator.choice(population, (VALUES // n, n))
        for correction in DIVISORS:
            share = batches.var(1, ddof=correction) / population.var()
            error = share.std(ddof=1) / share.size**0.5
            found.append(Share(n, correction, float(share.mean()), float(error)))
    return found


class Names:
    """The names as tensors, and networks trained on them."""

    def __init__(self, dataset: Dataset) -> None:
        self.vocab = dataset.vocabulary.size
        self.train, self.validation = (
            [torch.from_numpy(part) for part in split.contexts(np.arange(len(split)), CONTEXT)]
            for split in (dataset.train, dataset.validation)
        )
        self.model = load("mlp_batchnorm")
        self.step = self.model.step()

    def fitted(self, n: int, correction: int, steps: int, seed: int) -> dict[str, torch.Tensor]:
        """The parameters of a network after `steps` batches of n."""
        generator = torch.Generator().manual_seed(seed)
        sizes = {"vocab": self.vocab, "context": CONTEXT, "embedding": EMBEDDING, "hidden": HIDDEN}
        parameters = self.model.call("parameters", {**sizes, "generator": generator})
        X, Y = self.train
        for step in range(steps):
            rows = torch.randint(0, len(X), (n,), generator=generator)
            batch = {"Xb": X[rows], "Yb": Y[rows], "correction": correction}
            gradients = self.step({**parameters, **batch})
            rate = 0.1 if step < steps * 2 // 3 else 0.01
            for name, parameter in parameters.items():
                parameter -= rate * gradients[f"d{name}"]
        return parameters

    def statistics(
        self, parameters: dict[str, torch.Tensor], n: int, correction: int, seed: int
    ) -> dict[str, torch.Tensor]:
        """The average over many batches of n of their means and of their variances."""
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randint(0, len(self.train[0]), (1 << 15,), generator=generator)
        emb = parameters["C"][self.train[0][rows]]
        hprebn = emb.flatten(1) @ parameters["W1"] + parameters["b1"]
        batches = hprebn.view(-1, n, HIDDEN)
        return {
            "bnmean": batches.mean((0, 1))[None],
            "bnvar": batches.var(1, correction=correction).mean(0, keepdim=True),
        }

    def loss(
        self, parameters: dict[str, torch.Tensor], n: int, correction: int, seed: int
    ) -> float:
        """The validation loss with statistics from batches of n."""
        statistics = self.statistics(parameters, n, correction, seed)
        X, Y = self.validation
        logits = self.model.call("predict", {**parameters, **statistics, "Xb": X})
        return F.cross_entropy(logits, Y).item()


def costs(names: Names, sizes: tuple[int, ...], steps: int, seeds: int) -> list[Cost]:
    """Networks trained with each divisor and each batch size, tested with both divisors."""
    found = []
    for n in sizes:
        for correction in DIVISORS:
            same, extra = [], []
            for seed in range(seeds):
                parameters = names.fitted(n, correction, steps, seed)
                same.append(names.loss(parameters, n, correction, seed))
                extra.append(names.loss(parameters, n, 1 - correction, seed) - same[-1])
            found.append(Cost(n, correction, float(np.mean(same)), tuple(extra)))
    return found


def draw(found: list[Share], paid: list[Cost], path: Path) -> None:
    """Both findings side by side."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    sizes = sorted({share.n for share in found})
    smooth = np.geomspace(sizes[0], sizes[-1], 200)
    left.axhline(1, color="#888", linewidth=0.8)
    left.plot(smooth, (smooth - 1) / smooth, color=COLOURS[0], alpha=0.4, label="(n-1)/n")
    for correction, name in DIVISORS.items():
        points = [share for share in found if share.correction == correction]
        left.errorbar(
            [share.n for share in points],
            [share.mean for share in points],
            yerr=[2 * share.error for share in points],
            fmt="o",
            color=COLOURS[correction],
            label=f"divided by {name[2:].strip('()')}",
        )
    left.set_ylim(0.4, 1.1)
    left.set_ylabel("average variance of a batch / the population's")
    left.set_title("Dividing by n gives (n-1)/n of the variance")
    right.axhline(0, color="#888", linewidth=0.8)
    for (correction, name), nudge in zip(DIVISORS.items(), (0.96, 1.04), strict=True):
        points = [cost for cost in paid if cost.correction == correction]
        for cost in points:
            places = [cost.n * nudge] * len(cost.extra)
            right.scatter(places, cost.extra, s=14, color=COLOURS[correction], alpha=0.35)
        right.plot(
            [cost.n * nudge for cost in points],
            [cost.mean for cost in points],
            "o-",
            color=COLOURS[correction],
            label=f"trained with {name}, tested with {DIVISORS[1 - correction]}",
        )
    right.set_ylabel("extra validation loss (nats)")
    right.set_title("What testing the other way costs (faint: each network)")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(n) for n in sizes])
        axes.set_xlabel("batch size n")
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def report(found: list[Share], paid: list[Cost]) -> str:
    """Both findings as two tables."""
    lines = ["Average variance of a batch, as a share of the population's (± standard error)", ""]
    lines.append(f"{'n':>4}   {'1/n':>17}   {'(n-1)/n':>8}   {'1/(n-1)':>17}")
    for n in sorted({share.n for share in found}):
        by = {share.correction: share for share in found if share.n == n}
        cells = {key: f"{share.mean:.4f} ± {share.error:.4f}" for key, share in by.items()}
        lines.append(f"{n:>4}   {cells[0]:>17}   {(n - 1) / n:>8.4f}   {cells[1]:>17}")
    lines += [
        "",
        "Validation loss in nats, and what testing the other way adds (± standard error)",
        "",
    ]
    lines.append(
        f"{'n':>4}   {'trained':>8}   {'tested the same':>15}   {'tested the other way':>21}"
    )
    for cost in paid:
        extra = f"{cost.mean:+.4f} ± {cost.error:.4f}"
        name = DIVISORS[cost.correction]
        lines.append(f"{cost.n:>4}   {name:>8}   {cost.matched:>15.4f}   {extra:>21}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("runs/bessel"), help="folder for the picture"
    )
    parser.add_argument("--steps", type=int, default=1500, help="training steps of each network")
    parser.add_argument("--seeds", type=int, default=4, help="networks for each way, at least 2")
    options = parser.parse_args()
    torch.set_num_threads(1)  # the networks are too small for more
    dataset = load_words()
    lengths = [len(word) for word in dataset.vocabulary.spell(dataset.train.stream)]
    found = shares(np.array(lengths, dtype=np.float64), SIZES)
    paid = costs(Names(dataset), SIZES, options.steps, options.seeds)
    print(report(found, paid))
    options.out.mkdir(parents=True, exist_ok=True)
    picture = options.out / "bessel.png"
    draw(found, paid, picture)
    print(f"\nThe picture is {picture}")


if __name__ == "__main__":
    main()
