"""`gradninja sample`: new words from a trained network."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from gradninja.cli.shared.options import Json, RunPath
from gradninja.errors import GradninjaError


def sample(
    run: RunPath,
    count: Annotated[int, typer.Option(min=1, help="How many words.")] = 20,
    seed: Annotated[
        int, typer.Option(min=0, max=2**62, help="Another seed gives other words.")
    ] = 2147483657,
    temperature: Annotated[
        float, typer.Option(help="Below 1 the likely letters get likelier, above 1 less so.")
    ] = 1.0,
    prefix: Annotated[str, typer.Option(help="What each word starts with.")] = "",
    new_only: Annotated[
        bool,
        typer.Option("--new-only", help="Leave out the list's words; none comes twice."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Draw words from a trained network.

    Many are drawn at once; words of its training set are marked.
    """
    from gradninja.training import load_dataset, load_network
    from gradninja.training import sample as draw

    if not temperature > 0:
        raise typer.BadParameter("must be above 0", param_hint="'--temperature'")
    network = load_network(run)
    contains = None
    # Looking a word up takes the whole list in memory, so large draws are not marked.
    if new_only or count <= 10_000:
        try:
            dataset = load_dataset(network.config)
            contains = dataset.contains if new_only else dataset.train.contains
        except GradninjaError as error:
            if new_only:
                raise
            print(f"training words are not marked: {error.message}", file=sys.stderr)
    words = draw(
        network,
        count,
        seed=seed,
        temperature=temperature,
        prefix=prefix,
        contains=contains,
        new_only=new_only,
    )
    if as_json:
        rows = [{"text": word.text, "training_word": word.seen} for word in words]
        print(json.dumps({"run": str(run), "words": rows}, ensure_ascii=False))
        return
    print("\n".join(f"{w.text}{'  (a training word)' if w.seen else ''}" for w in words))
