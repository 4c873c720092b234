"""`gradninja evaluate`: a network's loss on the splits it was trained with, or on other words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gradninja.cli.shared.options import Json, RunPath


def evaluate(
    run: RunPath,
    words: Annotated[
        Path | None,
        typer.Argument(
            metavar="[WORDS]",
            help="A text file with one word a line; without it, the run's own splits.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a trained network: the mean loss in nats a letter."""
    from gradninja.data import Vocabulary, load_words
    from gradninja.training import load_dataset, load_network

    network = load_network(run)
    if words is None:
        dataset = load_dataset(network.config)
        splits = {
            "train": dataset.train,
            "validation": dataset.validation,
            "test": dataset.test,
        }
    else:
        vocabulary = Vocabulary(network.config.vocabulary)
        whole = load_words(words, fractions=(1.0, 0.0, 0.0), vocabulary=vocabulary)
        splits = {words.name: whole.train}
    losses = {name: network.loss(split) for name, split in splits.items()}
    if as_json:
        print(json.dumps({"run": str(run), "losses": losses}, ensure_ascii=False))
        return
    width = max(len(name) for name in losses)
    print("\n".join(f"{name:<{width}}  {loss:.4f}" for name, loss in losses.items()))
