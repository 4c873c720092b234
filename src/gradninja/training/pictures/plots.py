"""The pictures of a run: what a person looks at to see whether a network learns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from gradninja.training.config import Config
from gradninja.training.metrics import SATURATED
from gradninja.training.pictures import fonts

INK, BLUE, RED = "#222222", "#2a6f97", "#c1121f"
_COLUMNS = 64  # letters that fit side by side; no fewer than there are rows
_NOISE = 1e-6  # a gradient this small beside its data is what float32 leaves of a zero
Rows = list[dict[str, Any]]

_STYLE: Any = {
    "figure.dpi": 140,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "text.color": INK,
}


def draw(folder: Path, rows: Rows, found: Mapping[str, object], config: Config) -> list[Path]:
    """Draw what there is to draw into a run folder.

    `rows` are the lines of its metrics; `found` holds the values and gradients of one more step
    after the last. A picture whose values a model does not have (the activations `h`, the
    gradient `dlogits`) is left out. Returns the pictures' paths.
    """
    figures: dict[str, Figure] = {}
    with matplotlib.rc_context(_STYLE):
        if any(np.isfinite(row.get("loss", np.nan)) for row in rows):
            figures["loss.png"] = _loss(rows, config)
        ratios = [row for row in rows if {"gradient_to_data", "update_to_data"} <= row.keys()]
        if ratios:
            figures["ratios.png"] = _ratios(ratios)
        targets = found.get("Yb")
        h, dlogits = _letters(found.get("h"), targets), _letters(found.get("dlogits"), targets)
        if h is not None:
            figures["activations.png"] = _activations(h.numpy())
        if isinstance(targets, Tensor) and dlogits is not None:
            wanted = targets[targets >= 0].numpy()
            figures["dlogits.png"] = _dlogits(dlogits.numpy(), wanted, config.vocabulary)
        for name, figure in figures.items():
            figure.savefig(folder / name)
    return [folder / name for name in figures]


def _letters(value: object, targets: object) -> Tensor | None:
    """A row for each letter of a batch; of whole words (n, length, ...) those inside of a word."""
    if not isinstance(value, Tensor) or value.dim() not in (2, 3):
        return None
    if value.dim() == 2:
        return value
    inside = isinstance(targets, Tensor) and targets.shape == value.shape[:2]
    return value[targets >= 0] if inside else None  # type: ignore[operator]


def _loss(rows: Rows, config: Config) -> Figure:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    curve = [row for row in rows if np.isfinite(row.get("loss", np.nan))]
    steps, losses = [row["step"] for row in curve], [row["loss"] for row in curve]
    axes.plot(steps, losses, color=BLUE, linewidth=1.2, marker="." if len(curve) < 20 else None)
    axes.set_title(f"{config.model}: mean loss of each {config.metrics_every} steps")
    axes.set_xlabel("step")
    axes.set_ylabel("cross-entropy (nats a letter)")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlim(0, config.steps)
    low, high = min(losses), _crest(losses)
    seen = [row for row in rows if np.isfinite(row.get("validation", np.nan))]
    if seen:
        told = [row["validation"] for row in seen]
        at = [row["step"] for row in seen]
        axes.plot(at, told, color=RED, linewidth=1, marker=".", label="validation, on the way")
        low, high = min(low, *told), max(high, _crest(told))
    for row in rows:
        if {"train_loss", "validation_loss"} <= row.keys():
            for name, colour in (("train", INK), ("validation", RED)):
                loss = row[f"{name}_loss"]
                if not np.isfinite(loss):
                    continue
                low, high = min(low, loss), max(high, loss)
                label = f"{name} at the end: {loss:.4f}"
                axes.axhline(loss, color=colour, linewidth=1, linestyle="--", label=label)
    axes.set_ylim(low - 0.08 * (high - low), high + 0.05 * (high - low) or None)
    if config.schedule == "step":
        changed = config.steps / 2
        axes.axvline(changed, color="#888888", linewidth=0.8, linestyle=":")
        axes.annotate(
            f"rate {config.rate:g} → {config.rate / 10:g}",
            (changed, 0.5),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            color="#666666",
            fontsize=8,
        )
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    return figure


def _crest(losses: list[float]) -> float:
    """Where to cut the curve's top off: a random start's loss would squeeze all of the rest."""
    return float(max(np.quantile(losses, 0.98), losses[min(1, len(losses) - 1)]))


def _ratios(rows: Rows) -> Figure:
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    colours = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    steps = [row["step"] for row in rows]
    for axes, key, title in (
        (left, "gradient_to_data", "gradient / data"),
        (right, "update_to_data", "update / data"),
    ):
        seen = []
        for number, name in enumerate(rows[0][key]):
            # Zero has no place on a logarithmic axis, and rounding noise would stretch it.
            values = [row[key].get(name) or 0.0 for row in rows]
            is_noise = max(row["gradient_to_data"].get(name) or 0.0 for row in rows) < _NOISE
            axes.plot(
                steps,
                [value if value > 0 else np.nan for value in values],
                color=colours[number % 10],
                label=f"{name} (zero but for rounding)" if is_noise else name,
                linewidth=1.2,
                marker="." if len(rows) < 20 else None,
            )
            seen += [] if is_noise else [value for value in values if value > 0]
        axes.set_yscale("log")
        if seen:
            axes.set_ylim(min(seen) / 3, max(seen) * 3)
        axes.set_title(f"{title} (standard deviations)")
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    lines, labels = left.get_legend_handles_labels()
    pace = right.axhline(1e-3, color=INK, linewidth=1, linestyle="--")
    figure.legend(
        [*lines, pace], [*labels, "1e-3, a healthy pace"], loc="outside lower center", ncols=5
    )
    return figure


def _activations(h: Any) -> Figure:
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    top, bottom = figure.subplots(2, 1)
    saturated = np.abs(h) > SATURATED
    top.hist(h.ravel(), bins=80, range=(-1, 1), color=BLUE)
    top.set_title(
        f"h, the tanh activations of a batch: {saturated.mean():.1%} saturated (|h| > {SATURATED})"
    )
    top.set_xlabel("h")
    top.set_ylabel("how many")
    top.set_xlim(-1, 1)
    bottom.imshow(
        saturated, cmap=ListedColormap(["#f2f2f2", RED]), aspect="auto", interpolation="nearest"
    )
    dead = int(saturated.all(0).sum())
    bottom.set_title(f"where (red): a column all red is a dead neuron; here {dead}")
    _image_axes(bottom, "hidden neuron", "example of the batch")
    return figure


def _dlogits(dlogits: Any, targets: Any, vocabulary: tuple[str, ...]) -> Figure:
    dlogits, targets = dlogits[:64], targets[:64]  # more rows would be too thin to see
    shown = _shown(dlogits, targets)
    dlogits, targets = dlogits[:, shown], np.searchsorted(shown, targets)
    rows, columns = dlogits.shape
    width, height = min(14.0, 2.5 + 0.2 * columns), min(12.0, 1.4 + 0.16 * rows)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    bound = float(np.abs(dlogits).max()) or 1.0
    image = axes.imshow(dlogits, cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto")
    axes.plot(targets, range(rows), "o", markersize=3, markerfacecolor="none", color="white")
    axes.set_title("dlogits: the right letter (o) is pushed up, the others down")
    all_of_them = columns == len(vocabulary)
    _image_axes(axes, "letter" if all_of_them else "letters that are pushed most", "example")
    labels = fonts.labelled([vocabulary[letter] for letter in shown])
    axes.set_xticks(range(columns), labels.texts, fontfamily=labels.families)
    if max(map(len, labels.texts)) > 1:
        axes.tick_params(axis="x", rotation=90)
    figure.colorbar(image, ax=axes, label="gradient")
    return figure


def _shown(dlogits: Any, targets: Any) -> Any:
    """The letters that there is room for, in order: the right ones, then those pushed most."""
    order = np.abs(dlogits).max(0)
    order[targets] = np.inf
    return np.sort(np.argsort(-order, kind="stable")[:_COLUMNS])


def _image_axes(axes: Axes, across: str, down: str) -> None:
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(across)
    axes.set_ylabel(down)
