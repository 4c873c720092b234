"""`gradninja.train` and `gradninja.sample`: as on the command line, from Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gradninja.training.planning import plan
from gradninja.training.run import Result, begin, go, load_dataset, load_network
from gradninja.training.sampling import sample as draw


def train(
    words: str | Path | None = None,
    model: str = "mlp_batchnorm",
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    verify: int = 0,
    say: Callable[[str], None] = lambda text: None,
    **settings: object,
) -> Result:
    """Train a network on a list of words, without autograd.

    Args:
        words: a text file with one word a line; None for the embedded names.
        model: a built-in name, or a model file's path.
        out: the run folder; None for the next free one in `runs/`.
        overwrite: replace the run that `out` holds.
        verify: compare every gradient with autograd's each so many steps; 0: never.
        say: told what a person may want to know, before it takes its time.
        settings: fields of `Config`, such as `steps`, `hidden`, `optimizer`, `rate`, `patience`; of
            what is not given, the model's own hold.

    Returns:
        The run folder, the losses in nats a letter, twenty words, and what should be known.

    Raises:
        GradninjaError: what is given cannot be trained, or the loss is not finite.
    """
    config = plan(model, words, **settings)
    path = None if out is None else Path(out)
    return go(begin(config, out=path, overwrite=overwrite, tell=say), verify_every=verify)


def sample(
    run: str | Path | Result,
    count: int = 20,
    *,
    seed: int = 2147483657,
    temperature: float = 1.0,
    prefix: str = "",
    new_only: bool = False,
) -> list[str]:
    """New words from a trained network.

    Args:
        run: what `train` gave, or a run folder.
        count: how many.
        seed: another one gives other words.
        temperature: below 1 the likely letters get likelier; above 0.
        prefix: what each word starts with.
        new_only: leave out all words of the list that it was trained on, and give none twice.

    Raises:
        GradninjaError: there is no such run, or it has no such words.
        ValueError: the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature of {temperature} is not above 0")
    network = load_network(run.folder if isinstance(run, Result) else Path(run))
    contains = load_dataset(network.config).contains if new_only else None
    given = {"seed": seed, "contains": contains, "new_only": new_only}
    words = draw(network, count, temperature=temperature, prefix=prefix, **given)  # type: ignore[arg-type]
    return [word.text for word in words]
