"""Who else takes makemore part 4's training steps: the peers of `benchmarks/native.py`.

Each peer is a function from a run to a function that takes so many steps, with its own draws of
batches, and gives the last loss. All have the same forward and start from the same weights, and the
"manual" ones have the same fused backward.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from gradninja.native import ByLength
from gradninja.training import Run
from gradninja.training.native import _values as step_values

Steps = Callable[[int], float]
AT_ONCE = 16  # steps in one call of torch.compile's function: more gained nothing


def examples(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """All contexts and targets of the training set, as the lecture keeps them."""
    return run.dataset.train.contexts(np.arange(len(run.dataset.train)), run.config.context)


def torch_step(p: list[Any], Xb: Any, Yb: Any, rate: float) -> tuple[list[Any], Any]:
    """One step in PyTorch with the fused backward; the new parameters and the loss."""
    C, W1, b1, W2, b2, bngain, bnbias = p
    n = Xb.shape[0]
    emb = C[Xb]
    embcat = emb.view(n, -1)
    hprebn = embcat @ W1 + b1
    bnvar, bnmean = torch.var_mean(hprebn, 0, keepdim=True, correction=1)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
    bnraw = (hprebn - bnmean) * bnvar_inv
    h = torch.tanh(bngain * bnraw + bnbias)
    logits = h @ W2 + b2
    logprobs = F.log_softmax(logits, 1)
    loss = F.nll_loss(logprobs, Yb)
    dlogits = (logprobs.exp() - F.one_hot(Yb, logits.shape[1])) / n
    dhpreact = (1 - h**2) * (dlogits @ W2.T)
    dbngain = (bnraw * dhpreact).sum(0, keepdim=True)
    dbnbias = dhpreact.sum(0, keepdim=True)
    dhprebn = bngain * bnvar_inv * (dhpreact - dbnbias / n - bnraw * dbngain / (n - 1))
    demb = (dhprebn @ W1.T).view(-1, C.shape[1])
    dC = torch.zeros_like(C).index_add(0, Xb.view(-1), demb)
    grads = [
        dC,
        embcat.T @ dhprebn,
        dhprebn.sum(0),
        h.T @ dlogits,
        dlogits.sum(0),
        dbngain,
        dbnbias,
    ]
    return [value - rate * grad for value, grad in zip(p, grads, strict=True)], loss


def torch_compiled(run: Run, at_once: int = AT_ONCE) -> Steps:
    """`torch.compile`: several steps unrolled in one call, so that calls cost little."""
    config, size = run.config, len(run.dataset.train)
    Xtr, Ytr = (torch.from_numpy(values) for values in examples(run))
    state = [value.clone() for value in run.state.parameters.values()]
    generator = torch.Generator().manual_seed(config.seed)

    @partial(torch.compile, fullgraph=True, dynamic=False)
    def several(p: list[Any], X: Any, Y: Any) -> tuple[list[Any], Any]:
        for i in range(at_once):
            p, loss = torch_step(p, X[i], Y[i], config.rate)
        return p, loss

    def take(steps: int) -> float:
        nonlocal state
        with torch.inference_mode(False), torch.no_grad():
            for _ in range(-(-steps // at_once)):
                ix = torch.randint(0, size, (at_once, config.batch), generator=generator)
                state, loss = several(state, Xtr[ix], Ytr[ix])
        return float(loss)

    return take


def jax_scan(run: Run, manual: bool) -> Steps:
    """JAX: `jit` of a `scan` over the steps, by its autograd or by the fused backward."""
    import jax
    import jax.numpy as jnp

    config, size = run.config, len(run.dataset.train)
    Xtr, Ytr = (jnp.asarray(values.astype(np.int32)) for values in examples(run))
    state = {name: jnp.asarray(value.numpy()) for name, value in run.state.parameters.items()}
    n, rate = config.batch, config.rate

    def forward(p: Any, Xb: Any, Yb: Any) -> Any:
        embcat = p["C"][Xb].reshape(n, -1)
        hprebn = embcat @ p["W1"] + p["b1"]
        bnvar = hprebn.var(0, keepdims=True, ddof=1)
        bnvar_inv = jax.lax.rsqrt(bnvar + 1e-5)
        bnraw = (hprebn - hprebn.mean(0, keepdims=True)) * bnvar_inv
        h = jnp.tanh(p["bngain"] * bnraw + p["bnbias"])
        logprobs = jax.nn.log_softmax(h @ p["W2"] + p["b2"])
        loss = -logprobs[jnp.arange(n), Yb].mean()
        return loss, (embcat, bnvar_inv, bnraw, h, logprobs)

    def fused(p: Any, Xb: Any, Yb: Any) -> tuple[Any, Any]:
        loss, (embcat, bnvar_inv, bnraw, h, logprobs) = forward(p, Xb, Yb)
        dlogits = (jnp.exp(logprobs) - jax.nn.one_hot(Yb, logprobs.shape[1])) / n
        dhpreact = (1 - h**2) * (dlogits @ p["W2"].T)
        dbngain = (bnraw * dhpreact).sum(0, keepdims=True)
        dbnbias = dhpreact.sum(0, keepdims=True)
        rest = dhpreact - dbnbias / n - bnraw * dbngain / (n - 1)
        dhprebn = p["bngain"] * bnvar_inv * rest
        demb = (dhprebn @ p["W1"].T).reshape(-1, p["C"].shape[1])
        return loss, {
            "C": jnp.zeros_like(p["C"]).at[Xb.reshape(-1)].add(demb),
            "W1": embcat.T @ dhprebn,
            "b1": dhprebn.sum(0),
            "W2": h.T @ dlogits,
            "b2": dlogits.sum(0),
            "bngain": dbngain,
            "bnbias": dbnbias,
        }

    def step(p: Any, ix: Any) -> tuple[Any, Any]:
        Xb, Yb = Xtr[ix], Ytr[ix]
        if manual:
            loss, grads = fused(p, Xb, Yb)
        else:
            (loss, _), grads = jax.value_and_grad(forward, has_aux=True)(p, Xb, Yb)
        return jax.tree.map(lambda value, grad: value - rate * grad, p, grads), loss

    @jax.jit
    def scan(p: Any, rows: Any) -> tuple[Any, Any]:
        return jax.lax.scan(step, p, rows)

    generator = np.random.default_rng(config.seed)
    length = max(1, 2**15 // n)  # steps in a call: one program for any number of calls

    def take(steps: int) -> float:
        nonlocal state
        for _ in range(-(-steps // length)):
            rows = generator.integers(0, size, (length, n), dtype=np.int32)
            state, losses = scan(state, rows)
        return float(losses[-1])

    take.at_once = length  # type: ignore[attr-defined]
    return take


class Products(TorchDispatchMode):
    """Notes the matrix products that are made: (how many at once, rows, columns, depth)."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, int, int, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm):
            at_once = found.shape[0] if found.ndim == 3 else 1
            self.sizes.append((at_once, *found.shape[-2:], args[0].shape[-1]))
        return found


def sizes(run: Run) -> list[tuple[int, int, int, int]]:
    """Of the matrix products in a step of the fused backward.

    Of whole words, of a step with the fewest columns that ours is compiled for: no step has less.
    """
    assert run.engine is not None and run.step is not None
    values = step_values(run.engine, 0, run.state, run.config)
    if isinstance(run.engine.kernel, ByLength):
        columns = run.engine.kernel.kernels[0].context
        values |= {name: values[name][:, :columns] for name in ("Xb", "Yb")}
    with torch.inference_mode(False), torch.no_grad(), Products() as found:
        run.step(values)
    return found.sizes


def products(run: Run) -> Steps:
    """The matrix products of a step alone, by the faster of PyTorch's and NumPy's sgemm.

    Of each, the layout is the one that this sgemm likes best, and nothing else is done: no program
    that calls it takes a step in less time.
    """
    generator = torch.Generator().manual_seed(0)
    calls = []
    for at_once, rows, columns, depth in sizes(run):
        A = torch.randn((at_once, rows, depth), generator=generator)
        B = torch.randn((at_once, depth, columns), generator=generator)
        out = torch.empty((at_once, rows, columns))
        one = at_once == 1
        multiply = torch.mm if one else torch.bmm
        A, B, out = (value[0] if one else value for value in (A, B, out))
        a, b, o = A.numpy(), B.numpy(), out.numpy()
        ways = [partial(multiply, A, B, out=out), partial(np.matmul, a, b, out=o)]
        calls.append(min(ways, key=_seconds))

    def take(steps: int) -> float:
        with torch.inference_mode():
            for _ in range(steps):
                for call in calls:
                    call()
        return float("nan")

    return take


def flops(run: Run) -> int:
    """Of the matrix products of a step."""
    return sum(2 * math.prod(size) for size in sizes(run))


def _seconds(call: Callable[[], object]) -> float:
    import timeit

    return min(timeit.repeat(call, number=20, repeat=5))
