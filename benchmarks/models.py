"""Time of a training step of each model natively, beside PyTorch, in one run.

    python benchmarks/models.py
    python benchmarks/models.py gru lstm --compile   # with torch.compile, which takes minutes
    python benchmarks/models.py --quick              # does it run: few steps

Each model has its own settings (`gradninja train --model NAME`): sizes, batch, optimiser. Ours is
the whole loop of `gradninja train --engine native`. PyTorch's is the same forward under autograd
with PyTorch's own optimiser; of whole words it takes as many columns as the longest of a batch,
where compiled code has room for the longest of the list. All take turns on one core; what counts is
processor time, and the ratio is what to read: the medians over the rounds, as in `native.py`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from native import OURS, Peer, measure, native_run, ours, pin

if TYPE_CHECKING:  # imported late: PyTorch starts threads for the cores it sees
    from gradninja.training import Run

NAMES = "bigram mlp mlp_batchnorm bow rnn gru lstm wavenet transformer microgpt".split()
EAGER, COMPILED = "PyTorch, autograd", "torch.compile"


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


def peers(run: Run, *, compiled: bool) -> dict[str, Peer]:
    """Who takes turns."""
    import torch

    found = {EAGER: Peer(autograd(run))}
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
    parser.add_argument("--quick", action="store_true", help="few steps")
    args = parser.parse_args()
    pin(args.core)
    from gradninja.training.planning import plan

    rounds, seconds = (1, 0.01) if args.quick else (args.rounds, args.seconds)
    print(f"{'model':14} {'batch':>5} {'ours, µs':>9} {EAGER:>18} {COMPILED:>14}")
    for name in args.models:
        with native_run(plan(name, args.words, engine="native")) as run:
            times = measure(peers(run, compiled=args.compile), rounds, seconds)
        medians = {peer: statistics.median(spent) for peer, (spent, _) in times.items()}
        cells = [
            f"{medians[peer] / medians[OURS]:.1f} x" if peer in medians else "-"
            for peer in (EAGER, COMPILED)
        ]
        row = f"{name:14} {run.config.batch:5} {medians[OURS]:9.1f} {cells[0]:>18} {cells[1]:>14}"
        print(row, flush=True)
    print(f"medians of {rounds} interleaved rounds of turns of {seconds} s, one core")


if __name__ == "__main__":
    main()
