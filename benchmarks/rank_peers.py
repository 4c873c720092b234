"""The lecture's MLP on ranks beside DistributedDataParallel: same losses, steps a second of both.

    python benchmarks/rank_peers.py --ranks 2

torch.nn.SyncBatchNorm runs on GPUs alone, so the peer's BatchNorm sums over the ranks by
`torch.distributed.nn.functional.all_reduce`, which autograd goes through. Ours is there twice, by
PyTorch and compiled. All take the same batches and steps of plain SGD, in turns of one run over
gloo; a turn's time is the slowest rank's.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import time
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

from gradninja.data import load_words
from gradninja.models import load
from gradninja.native import compile_training
from gradninja.ranks.mesh import shares
from gradninja.training.steps.batches import Examples
from gradninja.training.steps.ranks import Ranks

SIZES = {"vocab": 27, "context": 3, "embedding": 10, "hidden": 200}
RATE, STEPS, TURNS = 0.1, 200, 7


class Peer(nn.Module):
    """The same network as people write it over ranks."""

    def __init__(self, weights: dict[str, Tensor], batch: int) -> None:
        super().__init__()
        self.weights = nn.ParameterDict({n: v.clone() for n, v in weights.items()})
        self.batch = batch

    def forward(self, Xb: Tensor, Yb: Tensor) -> Tensor:
        """The mean cross-entropy of this rank's share."""
        w = self.weights
        a = w["C"][Xb].flatten(1) @ w["W1"] + w["b1"]
        mean = all_reduce(a.sum(0, keepdim=True)) / self.batch
        diff = a - mean
        var = all_reduce((diff**2).sum(0, keepdim=True)) / (self.batch - 1)
        h = torch.tanh(w["bngain"] * diff * (var + 1e-5) ** -0.5 + w["bnbias"])
        return F.cross_entropy(h @ w["W2"] + w["b2"], Yb)


def rank_main(rank: int, ranks: int, batch: int, port: int, told: Any) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    generator = torch.Generator().manual_seed(1)
    model = load("mlp_batchnorm")
    weights: Any = model.call("parameters", {**SIZES, "generator": generator})
    examples = Examples(load_words(None).train, SIZES["context"])
    rows = examples.positions(batch=batch, seed=1, block=0)[:STEPS]
    Xs, Ys = zip(*map(examples.at, rows), strict=True)
    start, mine = shares(batch, ranks)[rank]
    peer = DistributedDataParallel(Peer(weights, batch))
    optimiser = torch.optim.SGD(peer.parameters(), lr=RATE)
    first = {**weights, "Xb": Xs[0], "Yb": Ys[0], "correction": 1}
    step = Ranks(rank, ranks).step(model, "backward_fused", first)
    here = {**first, **step.given, "Xb": Xs[0][step.share], "Yb": Ys[0][step.share]}
    arrays = {n: v.numpy() if isinstance(v, Tensor) else v for n, v in here.items()}
    kernel = compile_training(
        step.source, arrays, tuple(weights), collectives=step.collectives, ranks=ranks
    )
    held = {name: value.numpy().copy() for name, value in weights.items()}

    def native() -> list[Tensor]:
        losses = np.empty(STEPS, np.float32)
        stream, mine = examples.split.stream, rows[:, step.share]
        kernel.run(held, stream, mine, np.full(STEPS, RATE), losses)
        return list(torch.from_numpy(losses))

    def ours() -> list[Tensor]:
        losses = []
        for X, Y in zip(Xs, Ys, strict=True):
            found = step({**weights, "Xb": X, "Yb": Y, "correction": 1})
            for name, value in weights.items():
                value -= RATE * found[f"d{name}"]
            losses.append(found["loss"])
        return losses

    def theirs() -> list[Tensor]:
        losses = []
        for X, Y in zip(Xs, Ys, strict=True):
            loss = peer(X[start : start + mine], Y[start : start + mine])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.detach())
        return losses

    # Machine code is made in the first call: a step whose weights are thrown away.
    scratch = {name: value.copy() for name, value in held.items()}
    one = np.zeros(1, np.float32)
    kernel.run(scratch, examples.split.stream, rows[:1, step.share], np.zeros(1), one)
    sides = (("ours", ours), ("native", native), ("theirs", theirs))
    times: dict[str, list[float]] = {name: [] for name, _ in sides}
    for turn in range(TURNS):
        for name, go in sides:
            dist.barrier()
            began = time.perf_counter()
            losses = go()
            dist.barrier()
            times[name].append(time.perf_counter() - began)
            if turn == 0:
                whole = torch.stack(losses)
                if name == "theirs":
                    dist.all_reduce(whole)
                    whole /= ranks
                told[name, rank] = whole.tolist()
    told["times", rank] = times
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    given = parser.parse_args()
    if given.batch % given.ranks:
        parser.error("DDP averages gradients: the ranks' shares have to be equal")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    with torch.multiprocessing.Manager() as manager:
        told = manager.dict()
        spawn(rank_main, (given.ranks, given.batch, port, told), nprocs=given.ranks)
        found = dict(told)
    times = found["times", 0]
    print(f"theirs: {STEPS / statistics.median(times['theirs']):.0f} steps a second")
    for name in ("ours", "native"):
        pairs = zip(found[name, 0], found["theirs", 0], strict=True)
        off = max(abs(a - b) / abs(b) for a, b in pairs)
        ratios = [a / b for a, b in zip(times["theirs"], times[name], strict=True)]
        low, high = min(ratios), max(ratios)
        print(
            f"{name}: {STEPS / statistics.median(times[name]):.0f} steps a second, "
            f"{statistics.median(ratios):.2f} times theirs ({low:.2f} to {high:.2f}); "
            f"losses of {STEPS} steps differ by {off:.1e} at most, relative"
        )


if __name__ == "__main__":
    main()
