"""Time of a training step natively, beside everyone who takes the same step.

    python benchmarks/native.py                     # makemore's size
    python benchmarks/native.py --hidden 1024 --context 8 --embedding 24 --batch 256
    python benchmarks/native.py --sweep --figure native.png
    python benchmarks/native.py --quick             # does it run: few steps, without torch.compile

All take turns in one process that is pinned to one core; each round's order is another one. What
counts is processor time, which on a quiet machine is the time that passes: whatever else runs takes
none of it, and its wear on caches and clock falls on all. The medians over the rounds are printed,
and how many times as long as ours each takes. JAX comes with `pip install gradninja[bench]`.

Ours is the whole loop of `gradninja train --engine native`: batches, metrics and the watch for
losses that are not finite. The lecture's loops are those of `benchmarks/train.py`, the others are
in `peers.py`. The limit is the time of a step's six matrix products alone, by one core's sgemm.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported late: NumPy, PyTorch and JAX start threads for the cores they see
    from gradninja.training import Config, Run

OURS = "gradninja, native"
LIMIT = "one core's sgemm, products alone"


Times = tuple[list[float], list[float]]  # of the processor, and passed


@dataclass(frozen=True)
class Peer:
    """Who takes steps: `take(steps)` gives the last loss; steps come in multiples of `at_once`.

    `done`, where it takes more than it is told to, counts all steps so far.
    """

    take: Callable[[int], float]
    at_once: int = 1
    done: Callable[[], int] | None = None

    def turn(self, steps: int) -> tuple[float, float, float]:
        """Microseconds a step, of the processor and passed, and the last loss."""
        steps = -(-steps // self.at_once) * self.at_once
        before = 0 if self.done is None else self.done()
        start, passed = time.process_time(), time.perf_counter()
        loss = self.take(steps)
        start, passed = time.process_time() - start, time.perf_counter() - passed
        if self.done is not None:
            steps = self.done() - before
        return start / steps * 1e6, passed / steps * 1e6, loss


def pin(core: int | None) -> None:
    """Keep this process on one core, before anyone starts threads; JAX, too."""
    if hasattr(os, "sched_setaffinity"):
        free = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {free[-1] if core is None else core})
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    import torch

    torch.set_num_threads(1)


def ours(run: Run) -> Peer:
    """The native engine's loop, as `gradninja train` runs it, without an end."""
    import torch

    from gradninja.training.loop import Hooks
    from gradninja.training.metrics import Metrics
    from gradninja.training.native import Engine, descend_natively

    assert run.engine is not None
    assert run.step is not None
    config = replace(run.config, steps=10**9)  # the rate stays the same, for all
    engine = Engine(run.engine.kernel, run.examples, config)
    metrics = Metrics(run.folder.metrics, until=0)
    state, step, last = run.state, run.step, [float("nan")]

    def take(steps: int) -> float:
        end = state.step + steps
        hooks = Hooks(
            save=lambda state: None,
            show=lambda progress: last.append(progress.loss),
            stop=lambda: state.step >= end,
        )
        with torch.inference_mode():
            descend_natively(state, engine, step, config, metrics, hooks)
        return last[-1]

    return Peer(take, done=lambda: state.step)


@contextmanager
def native_run(config: Config) -> Iterator[Run]:
    """A new run by the native engine, in a folder of its own."""
    from gradninja.training import begin

    with tempfile.TemporaryDirectory() as folder:
        yield begin(config, out=Path(folder) / "run")


def everyone(run: Run, *, quick: bool) -> dict[str, Peer]:
    """All peers, the slowest first."""
    import peers
    from train import lecture

    def own(**changes: object) -> Run:  # each its own weights
        parameters = {name: value.clone() for name, value in run.state.parameters.items()}
        return replace(run, state=replace(run.state, parameters=parameters))

    length = max(1, 2**15 // run.config.batch)
    found = {
        "the lecture's manual loop": Peer(lecture(own(), "loop")),
        "PyTorch eager, autograd": Peer(lecture(own(), "autograd")),
        "PyTorch eager, manual": Peer(lecture(own(), "index_add")),
    }
    if not quick:
        name = f"torch.compile, {peers.AT_ONCE} steps a call"
        found[name] = Peer(peers.torch_compiled(own()), peers.AT_ONCE)
    return found | {
        "JAX jit + scan, autograd": Peer(peers.jax_scan(own(), manual=False), length),
        "JAX jit + scan, fused manual": Peer(peers.jax_scan(own(), manual=True), length),
        OURS: ours(own()),
        LIMIT: Peer(peers.products(run)),
    }


def measure(peers: dict[str, Peer], rounds: int, seconds: float) -> dict[str, Times]:
    """Microseconds a step of each round, by name; turns of about so many seconds."""
    times: dict[str, Times] = {name: ([], []) for name in peers}
    losses = {}
    sizes = {}
    for name, peer in peers.items():
        peer.turn(1)  # compiles
        sizes[name] = max(1, int(seconds * 1e6 / peer.turn(2)[0]))
    order, shuffle = list(peers), random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            spent, passed, losses[name] = peers[name].turn(sizes[name])
            times[name][0].append(spent)
            times[name][1].append(passed)
    for name, loss in losses.items():
        if name != LIMIT and not 0 < loss < 10:
            sys.exit(f"{name} does not train: its loss is {loss}")
    return times


def table(run: Run, times: dict[str, Times]) -> str:
    """What was measured, the slowest first."""
    import peers
    import torch

    config = run.config
    medians = {name: statistics.median(spent) for name, (spent, _) in times.items()}
    best = medians[OURS]
    rows = [
        f"hidden {config.hidden}, context {config.context}, embedding {config.embedding}, "
        f"batch {config.batch}; one core, float32, torch {torch.__version__}",
        f"{'':34} {'µs a step':>10} {'fastest':>9} {'x ours':>7} {'passed':>9}",
    ]
    for name, median in sorted(medians.items(), key=lambda item: -item[1]):
        spent, passed = times[name]
        rows.append(
            f"{name:34} {median:10.1f} {min(spent):9.1f} {median / best:7.2f} "
            f"{statistics.median(passed):9.1f}"
        )
    rows.append(
        f"ours: {peers.flops(run) / best / 1e3:.0f} GFLOP/s in the products of "
        f"{peers.flops(run) / 1e6:.2f} MFLOP; {medians[LIMIT] / best:.0%} of the limit"
    )
    return "\n".join(rows)


def sweep(config: Config, rounds: int, seconds: float, figure: Path | None, quick: bool) -> None:
    """How cost grows with the hidden layer and with the batch."""
    import peers
    from train import lecture

    hiddens, batches = (
        ([64, 128], [8, 32]) if quick else ([64, 256, 1024, 2048], [8, 64, 512, 4096])
    )
    names = ["PyTorch eager, autograd", "JAX jit + scan, fused manual", OURS, LIMIT]
    print(f"{'hidden':>6} {'batch':>6} " + " ".join(f"{name:>34}" for name in names))
    grid: dict[tuple[int, int], dict[str, float]] = {}
    for hidden in hiddens:
        for batch in batches:
            with native_run(replace(config, hidden=hidden, batch=batch)) as run:
                length = max(1, 2**15 // batch)
                several = {
                    names[0]: Peer(lecture(run, "autograd")),
                    names[1]: Peer(peers.jax_scan(run, manual=True), length),
                    OURS: ours(run),
                    LIMIT: Peer(peers.products(run)),
                }
                times = measure(several, rounds, seconds)
            grid[hidden, batch] = {name: statistics.median(times[name][0]) for name in names}
            cells = " ".join(f"{grid[hidden, batch][name]:34.1f}" for name in names)
            print(f"{hidden:6} {batch:6} {cells}", flush=True)
    if figure is not None:
        _draw(grid, names, hiddens, batches, figure)


def _draw(
    grid: dict[tuple[int, int], dict[str, float]],
    names: list[str],
    hiddens: list[int],
    batches: list[int],
    path: Path,
) -> None:
    """Microseconds an example over the batch, a panel a hidden size."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(hiddens), figsize=(3.2 * len(hiddens), 3.6), sharey=False, layout="constrained"
    )
    for panel, hidden in zip(panels, hiddens, strict=True):
        for name in names:
            costs = [grid[hidden, batch][name] / batch for batch in batches]
            panel.loglog(batches, costs, marker="o", label=name)
        panel.set_title(f"hidden {hidden}")
        panel.set_xlabel("batch")
    panels[0].set_ylabel("µs an example of a training step")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(names))
    figure.savefig(path, dpi=150)
    print(f"figure: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn")
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--context", type=int, default=3)
    parser.add_argument("--embedding", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--model", default="mlp_batchnorm", help="of ours: a file's path, too")
    parser.add_argument("--words", help="one word a line; without it, the embedded list")
    parser.add_argument("--core", type=int, help="to run on; the last one by default")
    parser.add_argument("--sweep", action="store_true", help="over hidden 64-2048, batch 8-4096")
    parser.add_argument("--figure", type=Path, help="of the sweep")
    parser.add_argument("--quick", action="store_true", help="few steps, no torch.compile")
    args = parser.parse_args()
    pin(args.core)
    from gradninja.training import Config

    rounds, seconds = (1, 0.01) if args.quick else (args.rounds, args.seconds)
    config = Config(
        model=args.model,
        words=args.words,
        sha256="",
        vocabulary=(),
        context=args.context,
        embedding=args.embedding,
        hidden=args.hidden,
        batch=args.batch,
        engine="native",
    )
    if args.sweep:
        sweep(config, rounds, seconds, args.figure, args.quick)
        return
    with native_run(config) as run:
        times = measure(everyone(run, quick=args.quick), rounds, seconds)
        print(table(run, times))
        print(f"medians of {rounds} interleaved rounds of turns of {seconds} s")


if __name__ == "__main__":
    main()
