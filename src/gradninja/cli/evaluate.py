"""`gradninja evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    words: Annotated[
        Path | None,
        typer.Argument(
            metavar="[WORDS]",
            help="A text file, one word a line. Without it: the run's own word list.",
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, for a program.")] = False,
) -> None:
    """Measure a trained network: its mean cross-entropy in nats a letter.

    On the splits of its own word list, or on all of WORDS.
    """
    import torch

    from gradninja import training
    from gradninja.data import Vocabulary, load_words

    torch.set_num_threads(1)
    network = training.load_network(run)
    if words is None:
        dataset = training.load_dataset(network.config)
        splits = {
            "train": dataset.train,
            "validation": dataset.validation,
            "test": dataset.test,
        }
    else:
        vocabulary = Vocabulary(network.config.vocabulary)
        whole = load_words(words, fractions=(1.0, 0.0, 0.0), vocabulary=vocabulary)
        splits = {whole.name: whole.train}
    losses = {name: network.loss(split) for name, split in splits.items()}
    if json_:
        rows = {name: {"loss": losses[name], "words": splits[name].words} for name in splits}
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    width = max(len(name) for name in losses)
    for name, loss in losses.items():
        print(f"{name:{width}}  {loss:.4f}  ({splits[name].words:,} words)")
