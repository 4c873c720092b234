"""Time of a training step: ours, the lecture's manual loop, and PyTorch's autograd.

    python benchmarks/train.py
    python benchmarks/train.py --rounds 9 --steps 500 --hidden 200 --batch 32 --words FILE

All take turns in one process on one thread, so that whatever else the machine does falls on all
of them; each round's order is another one. The medians over the rounds are printed, and the ratios
to the lecture's loop with `index_add_` in place of its Python loop over the batch's letters.

Ours is the whole loop of `gradninja train`: batches, metrics and the watch for losses that are not
finite, with the fused backward. The others are the lecture's last cell with its forward, its draws
and its record of losses; autograd's differs from it in `loss.backward()` alone.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from gradninja.training import Config, Run, begin
from gradninja.training.loop import Hooks, descend
from gradninja.training.metrics import Metrics

Steps = Callable[[int], float]  # takes so many steps, gives the last loss


def ours(run: Run) -> Steps:
    # What it did not take of its steps does not matter: the rate stays 0.1 for all.
    config = replace(run.config, steps=10**9)
    state = run.state
    stream = run.examples.batches(batch=config.batch, seed=config.seed)
    metrics = Metrics(run.folder.metrics, until=0)
    last = [float("nan")]

    def take(steps: int) -> float:
        end = state.step + steps
        hooks = Hooks(
            save=lambda state: None,
            show=lambda progress: last.append(progress.loss),
            stop=lambda: state.step >= end,
        )
        assert run.step is not None
        with torch.inference_mode():
            descend(state, run.step, stream, config, metrics, hooks)
        return last[-1]

    return take


def lecture(run: Run, backward: str) -> Steps:
    """Makemore part 4's last exercise; `backward`: "loop", "index_add" or "autograd"."""
    config = run.config
    n = config.batch
    contexts, targets = run.dataset.train.contexts(
        np.arange(len(run.dataset.train)), config.context
    )
    Xtr, Ytr = torch.from_numpy(contexts), torch.from_numpy(targets)
    g = torch.Generator().manual_seed(config.seed)
    parameters = {name: value.clone() for name, value in run.state.parameters.items()}
    for value in parameters.values():
        value.requires_grad_(backward == "autograd")
    C, W1, b1, W2, b2, bngain, bnbias = parameters.values()
    lossi: list[float] = []

    def step() -> None:
        ix = torch.randint(0, Xtr.shape[0], (n,), generator=g)
        Xb, Yb = Xtr[ix], Ytr[ix]
        emb = C[Xb]
        embcat = emb.view(emb.shape[0], -1)
        hprebn = embcat @ W1 + b1
        bnmean = hprebn.mean(0, keepdim=True)
        bnvar = hprebn.var(0, keepdim=True, unbiased=True)
        bnvar_inv = (bnvar + 1e-5) ** -0.5
        bnraw = (hprebn - bnmean) * bnvar_inv
        hpreact = bngain * bnraw + bnbias
        h = torch.tanh(hpreact)
        logits = h @ W2 + b2
        loss = F.cross_entropy(logits, Yb)
        if backward == "autograd":
            for p in parameters.values():
                p.grad = None
            loss.backward()
            grads = [p.grad for p in parameters.values()]
        else:
            dlogits = F.softmax(logits, 1)
            dlogits[range(n), Yb] -= 1
            dlogits /= n
            dh = dlogits @ W2.T
            dW2 = h.T @ dlogits
            db2 = dlogits.sum(0)
            dhpreact = (1.0 - h**2) * dh
            dbngain = (bnraw * dhpreact).sum(0, keepdim=True)
            dbnbias = dhpreact.sum(0, keepdim=True)
            dhprebn = (
                bngain * bnvar_inv / n
                * (n * dhpreact - dhpreact.sum(0) - n / (n - 1) * bnraw * (dhpreact * bnraw).sum(0))
            )  # fmt: skip
            dembcat = dhprebn @ W1.T
            dW1 = embcat.T @ dhprebn
            db1 = dhprebn.sum(0)
            demb = dembcat.view(emb.shape)
            dC = torch.zeros_like(C)
            if backward == "loop":
                for k in range(Xb.shape[0]):
                    for j in range(Xb.shape[1]):
                        dC[Xb[k, j]] += demb[k, j]
            else:
                dC.index_add_(0, Xb.view(-1), demb.view(-1, C.shape[1]))
            grads = [dC, dW1, db1, dW2, db2, dbngain, dbnbias]
        for p, grad in zip(parameters.values(), grads, strict=True):
            p.data += -config.rate * grad
        lossi.append(loss.log10().item())

    def take(steps: int) -> float:
        with torch.set_grad_enabled(backward == "autograd"):
            for _ in range(steps):
                step()
        return float(10 ** statistics.fmean(lossi[-100:]))

    return take


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=500, help="to a round")
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--words", help="one word a line; without it, the embedded list")
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = Config(
        model="mlp_batchnorm",
        words=args.words,
        sha256="",
        vocabulary=(),
        hidden=args.hidden,
        batch=args.batch,
        engine="torch",
    )
    with tempfile.TemporaryDirectory() as folder:
        run = begin(config, out=Path(folder) / "run")
        base = "the lecture's, index_add_"
        peers = {
            "the lecture's, Python loop": lecture(run, "loop"),
            "PyTorch autograd": lecture(run, "autograd"),
            base: lecture(run, "index_add"),
            "gradninja train": ours(run),
        }
        times: dict[str, list[float]] = {name: [] for name in peers}
        losses: dict[str, float] = {}
        for take in peers.values():  # warm up
            take(max(1, args.steps // 10))
        order, shuffle = list(peers), random.Random(0).shuffle
        for _ in range(args.rounds):
            shuffle(order)
            for name in order:
                start = time.perf_counter()
                losses[name] = peers[name](args.steps)
                times[name].append((time.perf_counter() - start) / args.steps * 1e6)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    sizes = f"hidden {args.hidden}, batch {args.batch}"
    print(f"{sizes}, one thread, float32, torch {torch.__version__}")
    print(f"median of {args.rounds} interleaved rounds of {args.steps} steps\n")
    print(f"{'':27} {'µs a step':>9} {'ratio':>6} {'loss':>6}")
    for name, median in sorted(medians.items(), key=lambda item: -item[1]):
        print(f"{name:27} {median:9.0f} {median / medians[base]:6.2f} {losses[name]:6.3f}")


if __name__ == "__main__":
    main()
