"""`gradninja sample`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gradninja.cli.printing import print_words, word_rows
from gradninja.errors import GradninjaError


def sample(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    count: Annotated[int, typer.Option(min=0, help="How many words.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other words.")] = 2147483657,
    temperature: Annotated[
        float,
        typer.Option(min=0.01, help="Below 1: more of the usual. Above 1: more daring."),
    ] = 1.0,
    prefix: Annotated[str, typer.Option(help="How the words begin.")] = "",
    new_only: Annotated[
        bool, typer.Option("--new-only", help="No words of the training set.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, for a program.")] = False,
) -> None:
    """Make new words with a trained network.

    Words of the training set are marked, where the word list is still what it was.
    """
    import torch

    from gradninja import training

    torch.set_num_threads(1)
    network = training.load_network(run)
    try:
        contains = training.load_dataset(network.config).train.contains
    except GradninjaError:
        if new_only:
            raise
        contains = None
    words = training.sample(
        network,
        count,
        seed=seed,
        temperature=temperature,
        prefix=prefix,
        contains=contains,
        new_only=new_only,
    )
    if json_:
        print(json.dumps(word_rows(words), ensure_ascii=False, indent=2))
    else:
        print_words(words)
