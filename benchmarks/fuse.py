"""Time and peak memory of forward and backward: fused, derived, autograd, the library's own op.

    python benchmarks/fuse.py [--quick] [--eager] [--only NAME]

One interleaved run: in each round every contender has its turn, and what is told is the least of
the rounds, as a ratio to autograd in eager PyTorch on the same forward of small steps. It is
processor time of one thread, so that others on the machine disturb it little. Gradients of all
contenders are compared with autograd's first. Peak memory is what PyTorch's allocator hands out
beyond the inputs while one forward and backward run. The forward's output and the gradients are
part of it, for all contenders: they are held to the end. What else a fused or derived backward
holds is forgotten after the last line that reads it, as autograd does with what it saved.

"fused" is what `gradninja.fuse` gives by default, "fused, memory" what `prefer="memory"` gives.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
os.environ.setdefault("KINETO_LOG_LEVEL", "6")

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import gradninja as gn
from catalogue import Cataloged
from gradninja.algebra.measure.footprint import forgetting
from gradninja.lines.scope import LIBRARY
from targets import activations, attention, losses, normalisation

Gradients = Sequence[Tensor]
Contender = Callable[[], Gradients]

ROUNDS = 60
LEAST, PATIENCE = 4, 15.0  # so many rounds at least, no more after so many seconds
SECONDS = 0.005  # that a contender's turn takes at least
EAGER, DERIVED, FUSED, LEAN = "autograd", "derived", "fused", "fused, memory"
COMPILED, FUSED_COMPILED, LIBRARY_OP = "autograd compiled", "fused compiled", "library op"


@dataclass(frozen=True)
class Case:
    """A forward in small steps, the library's op on the same inputs, and sizes of its axes."""

    name: str
    module: Any
    forward: str
    library: Callable[..., Tensor] | None
    sizes: Mapping[str, Sequence[int]]
    like: Sequence[int] | None = None  # sizes to fuse for, where the form depends on them

    def program(self) -> Cataloged:
        bounds = getattr(self.module, "BOUNDS", {}).get(self.forward, {})
        return Cataloged("", getattr(self.module, self.forward), bounds, {})


def batch_norm(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, gain[0], bias[0], training=True)


ROWS = {"makemore": (32, 64), "small": (256, 512), "LLM": (4096, 1024)}
CLASSES = {"makemore": (32, 27), "small": (256, 1024), "LLM": (1024, 32000)}
HEADS = {"small": (4, 2, 64, 32, 32), "LLM": (2, 4, 512, 64, 64)}
CASES = (
    Case("cross-entropy", losses, "cross_entropy", F.cross_entropy, CLASSES),
    Case(
        "label smoothing",
        losses,
        "label_smoothing",
        partial(F.cross_entropy, label_smoothing=0.1),
        CLASSES,
    ),
    Case("softmax", losses, "softmax", partial(F.softmax, dim=1), CLASSES),
    Case("log-softmax", losses, "log_softmax", partial(F.log_softmax, dim=1), CLASSES),
    Case(
        "BatchNorm",
        normalisation,
        "batchnorm_biased",
        batch_norm,
        {**ROWS, "makemore": (32, 200)},
    ),
    Case(
        "LayerNorm",
        normalisation,
        "layernorm",
        lambda x, weight, bias: F.layer_norm(x, x.shape[1:], weight, bias),
        ROWS,
    ),
    Case(
        "RMSNorm",
        normalisation,
        "rmsnorm",
        lambda x, weight: F.rms_norm(x, x.shape[1:], weight, 1e-6),
        ROWS,
    ),
    Case("GELU", activations, "gelu_tanh", partial(F.gelu, approximate="tanh"), ROWS),
    Case("SwiGLU", activations, "swiglu", lambda gate, up: F.silu(gate) * up, ROWS),
    Case(
        "causal attention",
        attention,
        "causal",
        partial(F.scaled_dot_product_attention, is_causal=True),
        HEADS,
        like=(3, 2, 24, 8, 8),
    ),
)


def by_autograd(
    forward: Callable[..., Tensor], inputs: Mapping[str, Tensor], grad: Tensor
) -> Contender:
    """The forward and PyTorch's own backward: the output, and the gradients."""
    given = [
        value.clone().requires_grad_() if value.is_floating_point() else value
        for value in inputs.values()
    ]
    leaves = [value for value in given if value.requires_grad]

    def run() -> Gradients:
        output = forward(*given)
        return output, *torch.autograd.grad(output, leaves, grad)

    return run


def by_text(
    back: gn.Backward, inputs: Mapping[str, Tensor], grad: Tensor, compiled: bool = False
) -> Contender:
    """The lines of the forward and of the backward, as one plain function."""
    scope: dict[str, Any] = {**LIBRARY, **back.program.namespace}
    names = [given.name for given in back.program.inputs]
    seeds = [] if back.scalar else list(back.cotangents)
    exec(step_source(back, [*names, *seeds]), scope)
    step = torch.compile(scope["step"], dynamic=False) if compiled else scope["step"]
    values = [inputs.get(given.name, given.value) for given in back.program.inputs]

    def run() -> Gradients:
        with torch.no_grad():
            found: Gradients = step(*values, *([grad] * len(seeds)))
        return found

    return run


def step_source(back: gn.Backward, names: Sequence[str]) -> str:
    """One function's text; each value is forgotten after the last line that reads it."""
    forward, backward = (
        next(node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef))
        for text in (back.whole_forward, back.source)
    )
    found = [*back.outputs, *(back.gradient_names[name] for name in back.program.differentiable)]
    lines = forgetting([*forward.body[:-1], *backward.body[:-1]], set(found))
    body = "\n".join(f"    {line}" for line in [*lines, f"return {', '.join(found)}"])
    return f"def step({', '.join(names)}):\n{body}\n"


def contenders(case: Case, sizes: Sequence[int], compiled: bool) -> dict[str, Contender]:
    program = case.program()
    inputs = {
        name: value.float() if value.is_floating_point() else value
        for name, value in program.draw(sizes, 1).items()
    }
    output = program.function(**inputs)
    grad = torch.ones(()) if output.ndim == 0 else torch.randn(output.shape)
    like = program.draw(case.like, 2) if case.like else None
    derived = gn.derive(program.function, like)
    fused, lean = (gn.fuse(program.function, like, prefer=p) for p in ("speed", "memory"))
    found = {
        EAGER: by_autograd(program.function, inputs, grad),
        DERIVED: by_text(derived, inputs, grad),
        FUSED: by_text(fused, inputs, grad),
        LEAN: by_text(lean, inputs, grad),
    }
    if case.library:
        found[LIBRARY_OP] = by_autograd(case.library, inputs, grad)
    if compiled:
        whole = torch.compile(program.function, dynamic=False)
        found[COMPILED] = by_autograd(whole, inputs, grad)
        found[FUSED_COMPILED] = by_text(fused, inputs, grad, True)
    return found


def hold(running: Mapping[str, Contender]) -> None:
    """Raise where a contender's gradients are not autograd's."""
    truth = running[EAGER]()
    for name, run in running.items():
        for mine, true in zip(run(), truth, strict=True):
            off = float((mine - true).abs().max() / true.abs().max().clamp(min=1e-30))
            assert mine.shape == true.shape and off < 1e-3, f"{name} is off by {off:.1e}"


def seconds(running: Mapping[str, Contender]) -> dict[str, float]:
    """The least time of a call of each, all of them taking turns."""
    for run in running.values():
        run()
    calls = {name: max(1, int(SECONDS / _timed(run, 1))) for name, run in running.items()}
    times: dict[str, list[float]] = {name: [] for name in running}
    began = time.perf_counter()
    for at in range(ROUNDS):
        if at >= LEAST and time.perf_counter() - began > PATIENCE:
            break
        for name, run in running.items():
            times[name].append(_timed(run, calls[name]) / calls[name])
    return {name: min(each) for name, each in times.items()}


def _timed(run: Contender, calls: int) -> float:
    began = time.process_time()
    for _ in range(calls):
        run()
    return time.process_time() - began


def peak(run: Contender) -> int:
    """The most bytes that PyTorch's allocator has handed out at a time while it runs."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        found = run()
        del found
    kineto = profiler.profiler.kineto_results.events()
    events = sorted((e.start_ns(), e.nbytes()) for e in kineto if e.name() == "[memory]")
    held = most = 0
    for _, size in events:
        held += size
        most = max(most, held)
    return most


Row = dict[str, tuple[float, float]]  # of each contender: times as fast, and share of memory


def measured(running: Mapping[str, Contender]) -> tuple[dict[str, float], dict[str, int]]:
    """Seconds and bytes of each."""
    hold(running)
    return seconds(running), {name: peak(run) for name, run in running.items()}


def ratios(took: Mapping[str, float], memory: Mapping[str, int]) -> Row:
    return {name: (took[EAGER] / took[name], memory[name] / max(1, memory[EAGER])) for name in took}


def told(title: str, took: Mapping[str, float], memory: Mapping[str, int]) -> Table:
    table = Table("", "ms", "times as fast", "peak MB", "of its memory", title_justify="left")
    table.title = title
    for name, (speed, share) in ratios(took, memory).items():
        milliseconds, megabytes = f"{took[name] * 1e3:.3f}", f"{memory[name] / 1e6:.2f}"
        table.add_row(name, milliseconds, f"{speed:.2f}", megabytes, f"{share:.2f}")
    return table


def summary(rows: Mapping[str, Row]) -> str:
    """All cases as a table in Markdown: `times as fast / share of the memory`."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row if name != EAGER))
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for title, row in rows.items():
        cells = [f"{row[n][0]:.2f} / {row[n][1]:.2f}" if n in row else "" for n in names]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, nothing compiled")
    parser.add_argument("--eager", action="store_true", help="nothing compiled")
    parser.add_argument("--only", metavar="NAME", help="the case of this name")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    console = Console()
    console.print(f"torch {torch.__version__}, one thread")
    rows: dict[str, Row] = {}
    for case in CASES:
        if given.only and given.only != case.name:
            continue
        for label, sizes in list(case.sizes.items())[: 1 if given.quick else None]:
            torch.compiler.reset()
            compiled = not given.quick and not given.eager
            took, memory = measured(contenders(case, sizes, compiled))
            title = f"{case.name}, {label} ({' x '.join(map(str, sizes))})"
            console.print(told(title, took, memory))
            rows[title] = ratios(took, memory)
    print(summary(rows))


if __name__ == "__main__":
    main()
