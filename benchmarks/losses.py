"""Losses and norms of a library's size, compiled, beside PyTorch's own operation with autograd.

    python benchmarks/losses.py
    python benchmarks/losses.py --rounds 9 --sizes 4096x1024 1024x32000
    python benchmarks/losses.py --quick     # does it run: small sizes

Forward and backward in one call, float32, one core, in turns; processor time, medians over the
rounds, and the ratio, which is what to read. `first` is the seconds before the first result in a
process with an empty cache, `again` with what was kept there: imports are not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from native import pin

if TYPE_CHECKING:
    from torch import Tensor

TEXT = """
def forward({inputs}, w):
    h = {call}
    loss = {loss}
    return loss
"""
CALLS = {
    "layer norm": ("x, g, b", "F.layer_norm(x, (x.shape[-1],), g, b)", "(h * w).sum()"),
    "RMS norm": ("x, g", "F.rms_norm(x, (x.shape[-1],), g)", "(h * w).sum()"),
    "softmax": ("x", "F.softmax(x, dim=-1)", "(h * w).sum()"),
    "cross-entropy": ("x, y", "F.cross_entropy(x, y)", "h * w"),
}


def drawn(name: str, rows: int, columns: int) -> dict[str, Tensor]:
    """Inputs of a call, by name."""
    import torch

    generator = torch.Generator().manual_seed(0)
    whole, row = (rows, columns), (columns,)
    shapes = {"x": whole, "g": row, "b": row, "w": () if name == "cross-entropy" else whole}
    names = [*CALLS[name][0].split(", "), "w"]
    return {
        each: torch.randint(0, columns, (rows,), generator=generator)
        if each == "y"
        else torch.randn(shapes[each], generator=generator)
        for each in names
    }


def eager(text: str, inputs: dict[str, Tensor]) -> Callable[[], Any]:
    """The same lines under autograd."""
    import torch
    import torch.nn.functional as F

    scope: dict[str, Any] = {"torch": torch, "F": F}
    exec(text, scope)
    leaves = {
        name: value.clone().requires_grad_(value.is_floating_point())
        for name, value in inputs.items()
    }
    wanted = [value for value in leaves.values() if value.requires_grad]
    return lambda: torch.autograd.grad(scope["forward"](**leaves), wanted)


def spent(run: Callable[[], Any]) -> float:
    """Seconds of the processor."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sizes", nargs="*", default=["4096x1024", "1024x32000"])
    parser.add_argument("--core", type=int, help="to run on; the last one by default")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    args = parser.parse_args()
    pin(args.core)
    import gradninja as gn

    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRADNINJA_CACHE"] = folder
        gn.compile("def forward(a):\n    loss = a.exp().sum()\n    return loss\n")(a=three())
        print(f"{'':14} {'size':>11} {'ours, ms':>9} {'PyTorch':>8} {'first, s':>9} {'again':>6}")
        for size in ["64x512"] if args.quick else args.sizes:
            rows, columns = map(int, size.split("x"))
            for name, (names, call, loss) in CALLS.items():
                text = TEXT.format(inputs=names, call=call, loss=loss)
                inputs = drawn(name, rows, columns)
                step, again = gn.compile(text), gn.compile(text)
                ours, theirs = (lambda step=step, given=inputs: step(**given)), eager(text, inputs)
                first, kept = spent(ours), spent(lambda again=again, given=inputs: again(**given))
                theirs()
                times = [
                    (spent(ours), spent(theirs)) for _ in range(1 if args.quick else args.rounds)
                ]
                mine, others = (statistics.median(each) for each in zip(*times, strict=True))
                print(
                    f"{name:14} {size:>11} {mine * 1e3:9.1f} {others / mine:6.1f} x {first:9.2f} "
                    f"{kept:6.2f}",
                    flush=True,
                )


def three() -> Tensor:
    """An input for what is compiled before anything is counted."""
    import torch

    return torch.ones(3)


if __name__ == "__main__":
    main()
