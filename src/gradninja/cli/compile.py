"""`gradninja compile`: what training compiles, as text to read."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradninja.cli.shared.limits import Timeout, running
from gradninja.cli.shared.options import show_source

if TYPE_CHECKING:
    from gradninja.models import Model, Step

LETTERS = 27  # a to z and the end mark


def compile(  # the verb's name
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="One of docs/models.md, your own model file, or - to read one.",
        ),
    ],
    show: Annotated[
        bool, typer.Option("--show", help="Print the text that is compiled, and compile nothing.")
    ] = False,
    backward: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The function of the file that gives the gradients, or `derived`; by default "
            "`backward_fused` where there is one, else `backward`, else it is derived.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Examples in a step.")] = 32,
    hidden: Annotated[int | None, typer.Option(min=1, help="Hidden units.")] = None,
    embedding: Annotated[
        int | None, typer.Option(min=1, help="Numbers that stand for a letter.")
    ] = None,
    context: Annotated[
        int | None, typer.Option(min=1, help="Letters that predict the next one, or of a word.")
    ] = None,
    width: Annotated[int | None, typer.Option(min=1, help="How wide a transformer is.")] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Its blocks.")] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="Its heads.")] = None,
    vocab: Annotated[int, typer.Option(min=2, help="Letters, the end mark too.")] = LETTERS,
    timeout: Timeout = 300.0,
) -> None:
    """Compile a model's training loop: forward, backward, update."""
    import numpy as np

    from gradninja import models
    from gradninja.native import compile_training

    asked = {"context": context, "embedding": embedding, "hidden": hidden}
    asked |= {"width": width, "layers": layers, "heads": heads}
    with running(model, timeout) as path:
        loaded = models.load(path)
        sizes = _sizes(loaded, {n: size for n, size in asked.items() if size is not None}, vocab)
        loaded.check({**sizes, **loaded.options, "n": batch})
        values, parameters = _values(loaded, sizes, batch)
        begun = time.perf_counter()
        step = _step(loaded, backward, values)
        kernel = compile_training(
            step.source, values, parameters, lambda said: print(said, file=sys.stderr), step.spot
        )
    if show:
        show_source(kernel.source)
        return
    arrays = {name: values[name].copy() for name in parameters}
    nothing = np.zeros((0, batch), np.int64), np.zeros(0), np.zeros(0, kernel.dtype)
    kernel.run(arrays, np.zeros(1, np.uint8), *nothing)
    lines = len(kernel.source.splitlines())
    print(f"{loaded.name}: {lines} lines, ready after {time.perf_counter() - begun:.1f} s")


def _sizes(model: Model, asked: dict[str, int], vocab: int) -> dict[str, int]:
    """All sizes: as asked, as the model's settings have them, or as a run has them."""
    usual = {"context": 16 if model.whole_words else 3, "embedding": 10, "hidden": 200}
    usual |= {"width": 64, "layers": 1, "heads": 4}
    own = {n: size for n, size in model.settings().items() if n in usual and type(size) is int}
    return {"vocab": vocab, **usual, **own, **asked}


def _values(model: Model, sizes: dict[str, int], batch: int) -> tuple[dict[str, Any], list[str]]:
    """Parameters and a batch as arrays, beside the sizes and options; and the parameters' names."""
    import torch

    generator = torch.Generator().manual_seed(0)
    made = model.call("parameters", {**sizes, "generator": generator})
    assert isinstance(made, dict)
    values: dict[str, Any] = {**sizes, **model.options}
    values |= {name: value.detach().contiguous().numpy() for name, value in made.items()}
    shape = (batch, sizes["context"])
    values["Xb"] = torch.randint(0, sizes["vocab"], shape, generator=generator).numpy()
    targets = shape if model.whole_words else (batch,)
    values["Yb"] = torch.randint(0, sizes["vocab"], targets, generator=generator).numpy()
    return values, sorted(made)


def _step(model: Model, backward: str | None, values: dict[str, Any]) -> Step:
    """Forward and backward as one function."""
    written = model.has("backward") or model.has("backward_fused")
    if backward != "derived" and (backward is not None or written):
        return model.step(backward)
    import torch

    from gradninja.derive import derive

    given = {name: values[name] for name in model.arguments("forward") if name in values}
    tensors = {
        n: v if isinstance(v, int | float) else torch.from_numpy(v) for n, v in given.items()
    }
    back = derive(model.path, tensors)
    return model.step(source=f"{back.whole_forward}\n{back.source}")
