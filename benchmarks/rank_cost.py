"""The plain model of latency and bandwidth, fitted to measured calls and held to a whole step.

    python benchmarks/rank_cost.py --ranks 2 3 4

A call of m bytes over r ranks is said to take `2 (r - 1) (a + m / (r b))`. Calls of 8 bytes to 8 MB
over gloo are timed on each number of ranks; a (seconds) and b (bytes a second) are those by which
the model's times are the measured ones' as nearly as they can be, by ratio. Then the calls of one
step of the lecture's MLP are made alone, and beside the rest of the compiled step, and what they
take is set beside what the model says. A turn's time is the slowest rank's; medians over turns.
With more ranks than idle cores a call waits for a core, too, which the model knows nothing of.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing import spawn

from gradninja.data import load_words
from gradninja.derive import derive
from gradninja.models import load
from gradninja.native import compile_training
from gradninja.ranks import shard
from gradninja.training.steps.batches import Examples
from gradninja.training.steps.ranks import Ranks

SIZES = {"vocab": 27, "context": 3, "embedding": 10, "hidden": 200}
BATCH, STEPS, TURNS = 32, 200, 9
BYTES = [8 << (2 * k) for k in range(11)]  # 8 to 8 MB
ITEM = 4  # bytes of a number


def said(ranks: int, size: float, a: float, b: float) -> float:
    """The model's seconds for a call."""
    return 2 * (ranks - 1) * (a + size / (ranks * b))


def fitted(times: dict[tuple[int, int], float]) -> tuple[float, float]:
    """a and b: the sum of squared logarithms of model over measured is least, on a fine grid."""
    grid = [10 ** (k / 40) for k in range(-320, -119)]  # 10 ns to 1 ms; the same for 1 / b by kB

    def off(a: float, per_byte: float) -> float:
        pairs = ((said(r, m, a, 1 / per_byte), t) for (r, m), t in times.items())
        return sum(math.log(s / t) ** 2 for s, t in pairs)

    a, per_byte = min(itertools.product(grid, (g / 1e3 for g in grid)), key=lambda p: off(*p))
    return a, 1 / per_byte


def timed(go: Callable[[], Any], count: int) -> float:
    """Median seconds of one of `count` calls in a row, of the slowest rank."""
    found = []
    for _ in range(TURNS):
        dist.barrier()
        began = time.perf_counter()
        go()
        whole = torch.tensor([time.perf_counter() - began], dtype=torch.float64)
        dist.all_reduce(whole, dist.ReduceOp.MAX)
        found.append(float(whole) / count)
    return statistics.median(found)


def rank_main(rank: int, ranks: int, port: int, told: Any) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    for size in BYTES:
        sent, count = torch.zeros(size // ITEM), max(5, min(200, (1 << 22) // size))

        def calls(sent: Tensor = sent, count: int = count) -> None:
            for _ in range(count):
                dist.all_reduce(sent)

        told[size, rank] = timed(calls, count)

    generator = torch.Generator().manual_seed(1)
    model = load("mlp_batchnorm")
    weights: Any = model.call("parameters", {**SIZES, "generator": generator})
    examples = Examples(load_words(None).train, SIZES["context"])
    rows = examples.positions(batch=BATCH, seed=1, block=0)[:STEPS]
    X, Y = examples.at(rows[0])
    first = {**weights, "Xb": X, "Yb": Y, "correction": 1}
    back = derive(model.path, {n: first[n] for n in model.arguments("forward")})
    split = shard(back, f"{model.path}:backward_fused", split={"n": "data"})
    parts = [torch.zeros(call.elements) for call in split.collectives]

    def alone() -> None:
        for part in parts * STEPS:
            dist.all_reduce(part)

    step = Ranks(rank, ranks).step(model, "backward_fused", first)
    here = {**first, **step.given, "Xb": X[step.share], "Yb": Y[step.share]}
    arrays = {n: v.numpy() if isinstance(v, Tensor) else v for n, v in here.items()}
    kernel = compile_training(
        step.source, arrays, tuple(weights), collectives=step.collectives, ranks=ranks
    )
    held = {name: value.numpy().copy() for name, value in weights.items()}
    losses, mine = np.empty(STEPS, np.float32), rows[:, step.share]

    def steps() -> None:
        kernel.run(held, examples.split.stream, mine, np.full(STEPS, 0.1), losses)

    steps()
    told["calls", rank] = [part.numel() * ITEM for part in parts]
    told["alone", rank] = timed(alone, STEPS)
    told["step", rank] = timed(steps, STEPS)
    dist.destroy_process_group()


def measured(ranks: int) -> dict[Any, Any]:
    """What rank 0 of so many tells."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    with torch.multiprocessing.Manager() as manager:
        told = manager.dict()
        spawn(rank_main, (ranks, port, told), nprocs=ranks)
        return {of: value for (of, rank), value in told.items() if rank == 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 3, 4])
    several = parser.parse_args().ranks
    found = {ranks: measured(ranks) for ranks in [1, *several]}
    for ranks in several:
        times = {(ranks, size): found[ranks][size] for size in BYTES}
        a, b = fitted(times)
        print(f"{ranks} ranks: a = {a * 1e6:.1f} us, b = {b / 1e9:.2f} GB/s")
        for size in BYTES:
            model, seen = said(ranks, size, a, b), times[ranks, size]
            print(f"  {size:>9,} B: {seen * 1e6:9.1f} us, by the model {model / seen:.2f} of it")
        own = found[ranks]
        model = sum(said(ranks, size, a, b) for size in own["calls"])
        print(f"  a step's calls, {own['calls']} B: {own['alone'] * 1e6:.0f} us alone,")
        print(f"    by the model {model / own['alone']:.2f} of it")
        compute = found[1]["step"] / ranks
        print(
            f"  a step: {own['step'] * 1e6:.0f} us ({found[1]['step'] * 1e6:.0f} on one rank); "
            f"its share of the work and the model's calls are {(compute + model) * 1e6:.0f} us"
        )


if __name__ == "__main__":
    main()
