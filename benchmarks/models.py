"""Time of a training step of each model natively, beside PyTorch, in one run.

    python benchmarks/models.py
    python benchmarks/models.py gru lstm --jax       # with JAX: `pip install gradninja[bench]`
    python benchmarks/models.py gru lstm --compile   # with torch.compile, which takes minutes
    python benchmarks/models.py --quick              # does it run: few steps

Each model has its own settings (`gradninja train --model NAME`): sizes, batch, optimiser. Ours is
the whole loop of `gradninja train --engine native`. PyTorch's is the same forward under autograd
with PyTorch's own optimiser; of whole words it takes as many columns as the longest of a batch,
where compiled code has room for the longest of the list. JAX traces the same forward
(`jax_words.py`): `jit` of a `scan` over batches that were laid out before. The last column is the
time of a step's matrix products alone, by one core's sgemm, as a share of ours. All take turns on
one core; what counts is processor time, and the ratio is what to read: the medians over the rounds,
as in `native.py`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from native import LIMIT, OURS, Peer, measure, native_run, ours, pin

if TYPE_CHECKING:  # imported late: PyTorch starts threads for the cores it sees
    from gradninja.training import Run

NAMES = "bigram mlp mlp_batchnorm bow rnn gru lstm wavenet transformer microgpt".split()
EAGER, COMPILED, JAX = "PyTorch, autograd", "torch.compile", "JAX, jit + scan"


def optimiser(run: Run, weights: list[Any]) -> Any:
    """PyTorch's own, with the run's settings."""
    import torch

    config = run.config
    if config.optimizer in ("sgd", "momentum"):
        momentum = config.beta1 if config.optimizer == "momentum" else 0.0
        return torch.optim.SGD(weights, config.rate, momentum, weight_decay=config.decay)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    betas = (config.beta1, config.beta2)
    return kind(weights, config.rate, betas, weight_decay=config.decay)


def autograd(run: Run, wrap: Callable[[Any], Any] | None = None) -> Callable[[int], float]:
    """The forward under autograd; `wrap` may compile it, for batches of one shape then."""
    import torch

    config, model = run.config, run.model
    weights = {name: value.clone() for name, value in run.state.parameters.items()}
    for value in weights.values():
        value.requires_grad_()
    fixed = {**config.sizes, **config.options}
    steps = run.examples.batches(batch=config.batch, seed=config.seed, padded=wrap is not None)
    update = optimiser(run, list(weights.values()))

    def forward(held: dict[str, Any], Xb: Any, Yb: Any) -> Any:
        return model.call("forward", {**fixed, **held, "Xb": Xb, "Yb": Yb})

    loss_of = forward if wrap is None else wrap(forward)

    def take(count: int) -> float:
        loss = torch.zeros(())
        with torch.inference_mode(False), torch.enable_grad():
            for _ in range(count):
                Xb, Yb = next(steps)
                loss = loss_of(weights, Xb, Yb)
                update.zero_grad(set_to_none=True)
                loss.backward()
                update.step()
        return float(loss.detach())

    return take


def jax_scan(run: Run) -> Peer:
    """The same forward, traced: steps over batches of one shape, again and again."""
    import jax
    import jax.numpy as jnp
    from jax_words import spoken

    config, model = run.config, run.model
    at_once = max(16, 2**13 // config.batch)
    steps = run.examples.batches(batch=config.batch, seed=config.seed, padded=True)
    drawn = [[part.numpy().astype("int32") for part in next(steps)] for _ in range(at_once)]
    batches = tuple(jnp.stack(parts) for parts in zip(*drawn, strict=True))
    weights = {name: jnp.asarray(v.numpy()) for name, v in run.state.parameters.items()}
    fixed = {**config.sizes, **config.options}
    forward = spoken(model._namespace["forward"])  # type: ignore[arg-type]
    wanted = set(model.arguments("forward"))

    def loss_of(held: dict[str, Any], Xb: Any, Yb: Any) -> Any:
        given = {**fixed, **held, "Xb": Xb, "Yb": Yb}
        return forward({name: value for name, value in given.items() if name in wanted})

    def step(state: Any, batch: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(state[0], *batch)
        return updated(config, *state, gradients), loss

    run_all = jax.jit(lambda state: jax.lax.scan(step, state, batches))
    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = (weights, zeros, zeros, jnp.zeros(()))
    first = float(loss_of(weights, *(part[0] for part in batches)))
    truth = float(
        model.call("forward", {**fixed, **run.state.parameters, **_batch_of(drawn[0])})  # type: ignore[arg-type]
    )
    assert abs(first - truth) <= 1e-4 * truth, (first, truth)

    def take(count: int) -> float:
        nonlocal state
        for _ in range(-(-count // at_once)):
            state, losses = run_all(state)
        return float(losses[-1])

    return Peer(take, at_once)


def _batch_of(parts: list[Any]) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(v).long() for name, v in zip(("Xb", "Yb"), parts, strict=True)}


def updated(config: Any, weights: Any, first: Any, second: Any, taken: Any, gradients: Any) -> Any:
    """Weights and moments after a step, as PyTorch's optimisers take it."""
    import jax
    import jax.numpy as jnp

    rate, decay = config.rate, config.decay
    each = jax.tree.map
    taken = taken + 1
    if config.optimizer == "adamw":
        weights = each(lambda w: w - rate * decay * w, weights)
    elif decay:
        gradients = each(lambda g, w: g + decay * w, gradients, weights)
    if config.optimizer in ("sgd", "momentum"):
        kept = config.beta1 if config.optimizer == "momentum" else 0.0
        first = each(lambda m, g: kept * m + g, first, gradients)
        return each(lambda w, m: w - rate * m, weights, first), first, second, taken
    one, two = config.beta1, config.beta2
    first = each(lambda m, g: one * m + (1 - one) * g, first, gradients)
    second = each(lambda v, g: two * v + (1 - two) * g**2, second, gradients)
    pace, root = rate / (1 - one**taken), jnp.sqrt(1 - two**taken)
    moved = each(lambda w, m, v: w - pace * m / (jnp.sqrt(v) / root + 1e-8), weights, first, second)
    return moved, first, second, taken


def peers(run: Run, *, compiled: bool, jax: bool) -> dict[str, Peer]:
    """Who takes turns."""
    import torch
    from peers import products

    found = {EAGER: Peer(autograd(run)), LIMIT: Peer(products(run))}
    if jax:
        found[JAX] = jax_scan(run)
    if compiled:
        module = sys.modules.setdefault(run.model.name, ModuleType(run.model.name))
        vars(module).update(run.model._namespace)  # it asks for the text's module by name
        peer = Peer(autograd(run, lambda forward: torch.compile(forward, dynamic=False)))
        try:
            peer.turn(1)
            found[COMPILED] = peer
        except Exception as error:  # whatever it does not take
            print(f"{run.model.name}: torch.compile fails: {error}"[:100], file=sys.stderr)
    return found | {OURS: ours(run)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", default=NAMES)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn")
    parser.add_argument("--words", help="one word a line; without it, the embedded list")
    parser.add_argument("--core", type=int, help="to run on; the last one by default")
    parser.add_argument("--compile", action="store_true", help="torch.compile, too")
    parser.add_argument("--jax", action="store_true", help="JAX, too")
    parser.add_argument("--quick", action="store_true", help="few steps")
    args = parser.parse_args()
    pin(args.core)
    from gradninja.training.planning import plan

    rounds, seconds = (1, 0.01) if args.quick else (args.rounds, args.seconds)
    columns = (EAGER, COMPILED, JAX)
    print(f"{'model':14} {'batch':>5} {'ours, µs':>9}", *(f"{c:>17}" for c in columns), "  sgemm")
    for name in args.models:
        with native_run(plan(name, args.words, engine="native")) as run:
            times = measure(peers(run, compiled=args.compile, jax=args.jax), rounds, seconds)
        medians = {peer: statistics.median(spent) for peer, (spent, _) in times.items()}
        mine = medians[OURS]
        cells = [f"{medians[c] / mine:.1f} x" if c in medians else "-" for c in columns]
        row = [f"{name:14} {run.config.batch:5} {mine:9.1f}", *(f"{cell:>17}" for cell in cells)]
        print(*row, f"  {medians[LIMIT] / mine:5.0%}", flush=True)
    print(f"medians of {rounds} interleaved rounds of turns of {seconds} s, one core")


if __name__ == "__main__":
    main()
