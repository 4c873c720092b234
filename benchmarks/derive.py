"""How long deriving takes: the lecture's forward, a GPT of 12 blocks, and 10 to 3,000 lines.

    python benchmarks/derive.py

One thread, after import and one derivation to warm up; the least of several runs.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import torch
from rich.console import Console
from rich.table import Table

import gradninja as gn
from programs.lecture import mlp_batchnorm

LENGTHS = (10, 30, 100, 300, 1000, 3000)

BLOCK = """
    n{i}a = F.layer_norm(x, (x.shape[-1],), g{i}a, b{i}a)
    q, k, v = (n{i}a @ Wqkv{i} + bqkv{i}).chunk(3, dim=-1)
    q = q.view(B, T, heads, C // heads).transpose(1, 2)
    k = k.view(B, T, heads, C // heads).transpose(1, 2)
    v = v.view(B, T, heads, C // heads).transpose(1, 2)
    att = q @ k.transpose(-2, -1) * (C // heads) ** -0.5
    att = att.masked_fill(mask == 0, float("-inf"))
    att = F.softmax(att, dim=-1)
    y = (att @ v).transpose(1, 2).reshape(B, T, C)
    x = x + y @ Wo{i} + bo{i}
    n{i}b = F.layer_norm(x, (x.shape[-1],), g{i}b, b{i}b)
    h = F.gelu(n{i}b @ Wup{i} + bup{i}, approximate="tanh")
    x = x + h @ Wdown{i} + bdown{i}
"""

SHAPES = {
    "g{i}a": "c",
    "b{i}a": "c",
    "Wqkv{i}": "c 3*c",
    "bqkv{i}": "3*c",
    "Wo{i}": "c c",
    "bo{i}": "c",
    "g{i}b": "c",
    "b{i}b": "c",
    "Wup{i}": "c 4*c",
    "bup{i}": "4*c",
    "Wdown{i}": "4*c c",
    "bdown{i}": "c",
}


def gpt(blocks: int) -> str:
    """GPT-2's forward as text, every block written out."""
    inputs = ['idx: Int[Tensor, "b t"]', 'targets: Int[Tensor, "b t"]']
    inputs += ['wte: Float[Tensor, "vocab c"]', 'wpe: Float[Tensor, "t c"]']
    for i in range(blocks):
        inputs += [f'{n.format(i=i)}: Float[Tensor, "{axes}"]' for n, axes in SHAPES.items()]
    inputs += ['gf: Float[Tensor, "c"]', 'bf: Float[Tensor, "c"]', "heads: int = 2"]
    lines = [
        "    B, T = idx.shape",
        "    C = wte.shape[1]",
        "    mask = torch.tril(torch.ones(T, T))",
    ]
    lines += ["    x = wte[idx] + wpe"]
    lines += [BLOCK.format(i=i).strip("\n") for i in range(blocks)]
    lines += ["    x = F.layer_norm(x, (C,), gf, bf)", "    logits = x @ wte.T"]
    lines += ["    loss = F.cross_entropy(logits.view(B * T, -1), targets.view(-1))"]
    return f"def forward({', '.join(inputs)}):\n" + "\n".join([*lines, "    return loss"]) + "\n"


def chain(length: int) -> str:
    """A forward of so many lines, each on the two before it."""
    steps = (
        "h{i} = torch.tanh(h{a} * w + h{b})",
        "h{i} = h{a} + 0.1 * (h{b} - h{a}.mean(0))",
        "h{i} = h{a} @ W",
        "h{i} = h{a} / (1 + h{b} ** 2).sum(-1, keepdim=True)",
        "h{i} = F.softmax(h{a}, dim=-1) - h{b}.sigmoid()",
    )
    body = ["    h0 = x * 1", "    h1 = x + w"]
    body += [
        "    " + steps[i % len(steps)].format(i=i, a=i - 1, b=i - 2) for i in range(2, length - 1)
    ]
    body.append(f"    return h{length - 2}.sum()")
    head = 'x: Float[Tensor, "n d"], w: Float[Tensor, "d"], W: Float[Tensor, "d d"]'
    return f"def forward({head}):\n" + "\n".join(body) + "\n"


def seconds(forward: str | Callable[..., Any], runs: int) -> tuple[float, gn.Backward]:
    best = float("inf")
    for _ in range(runs):
        began = time.perf_counter()
        back = gn.derive(forward)
        text = back.source
        best = min(best, time.perf_counter() - began)
        assert text
    return best, back


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    gn.derive(mlp_batchnorm)
    table = Table("forward", "lines", "backward lines", "ms", "ms a line")
    cases: list[tuple[str, str | Callable[..., Any], int]] = [
        ("the lecture's network", mlp_batchnorm, 20),
        ("GPT of 12 blocks", gpt(12), 3),
        *((f"chain of {n}", chain(n), max(1, 100 // n)) for n in LENGTHS),
    ]
    for name, forward, runs in cases:
        took, back = seconds(forward, runs)
        count = len(back.program.lines)
        table.add_row(
            name,
            str(count),
            str(len(back.lines)),
            f"{took * 1e3:.1f}",
            f"{took * 1e3 / count:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
