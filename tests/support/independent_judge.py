"""Judges what is derived and fused of a program by autograd on the same text.

A verdict is "right", "refused: ..." (told in words), "wrong: ..." or "crash: ...". A gradient is
right if its dtype and shape are autograd's, if it is finite wherever autograd's is, and if it is
as near as rounding lets two orders of the same operations be, in the program's coarsest dtype.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import gradninja as gn
from gradninja.errors import GradninjaError
from independent_writer import Program, hardened, laid_out, with_loss
from native_plain import run

Inputs = Mapping[str, Tensor]
Gradients = dict[str, Tensor]

WAYS: dict[str, Callable[..., Any]] = {
    "derive": lambda text, inputs: gn.derive(text, inputs),
    "derive exact": lambda text, inputs: gn.derive(text, inputs, style="exact"),
    "fuse speed": lambda text, inputs: gn.fuse(text, inputs),
    "fuse memory": lambda text, inputs: gn.fuse(text, inputs, prefer="memory"),
    "fuse short": lambda text, inputs: gn.fuse(text, inputs, prefer="short"),
    "fuse in place": lambda text, inputs: gn.fuse(text, inputs, style="in place"),
}
LAYOUTS = ("gapped", "transposed", "expanded")
REPORT = "please report"  # an error that calls itself ours
NUDGES = 2
ROUNDINGS = 5000  # of the largest gradient on the way
AWAY = 100  # times what a nudge by one rounding does
UNSETTLED = 1e-2  # a gradient that a nudge changes by this share is made of rounding


@dataclass
class Truth:
    """Autograd's gradients at some inputs, and how far off rounding alone may lead."""

    gradients: Gradients
    cotangents: tuple[Tensor, ...]
    rounding: float  # relative, of the coarsest dtype that is met
    largest: float  # of the gradients on the way
    nudged: list[Gradients] = field(default_factory=list)


def autograd(
    program: Program, inputs: Inputs, cotangents: tuple[Tensor, ...] | None, layout: str
) -> Truth | None:
    """None where the forward does not run on these inputs, gives nan, or leads to no input."""
    leaves = {
        name: value.detach().requires_grad_() if value.is_floating_point() else value
        for name, value in inputs.items()
    }
    wanted = {name: value for name, value in leaves.items() if value.requires_grad}
    try:
        found = program.function()(**leaves)
        outputs = [o for o in (found if isinstance(found, tuple) else (found,)) if floating(o)]
        if not any(o.requires_grad for o in outputs) or any(o.isnan().any() for o in outputs):
            return None
        if cotangents is None:
            generator = torch.Generator().manual_seed(program.drawn_by + 1)
            cotangents = tuple(
                torch.ones_like(o)
                if program.loss
                else laid_out(torch.randn(o.shape, generator=generator).to(o.dtype), layout)
                for o in outputs
            )
        sizes: list[float] = [1.0]
        roundings = [torch.finfo(value.dtype).eps for value in (*wanted.values(), *outputs)]
        for node in nodes_of(outputs):
            node.register_hook(lambda given, _: note(given, sizes, roundings))
        pairs = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o.requires_grad]
        gradients = torch.autograd.grad(
            [o for o, _ in pairs],
            list(wanted.values()),
            [c for _, c in pairs],
            allow_unused=True,
            materialize_grads=True,
        )
    except Exception:  # whatever a program raises at sizes that it was not written for
        return None
    named = {f"d{name}": g for name, g in zip(wanted, gradients, strict=True)}
    return Truth(named, cotangents, max(roundings), max(sizes))


def floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def nodes_of(outputs: list[Tensor]) -> Iterator[Any]:
    waiting = [o.grad_fn for o in outputs if o.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        yield node
        new = {n for n, _ in node.next_functions if n is not None and n not in seen}
        seen |= new
        waiting += new


def note(given: tuple[Tensor | None, ...], sizes: list[float], roundings: list[float]) -> None:
    for gradient in given:
        if gradient is not None and gradient.numel():
            found = gradient.detach().abs()
            sizes.append(float(found[found.isfinite()].max()) if found.isfinite().any() else 0.0)
            roundings.append(torch.finfo(gradient.dtype).eps)


def truth_of(program: Program, inputs: Inputs, layout: str, smooth: bool) -> Truth | None:
    """Autograd's gradients; at smooth points also those a rounding away."""
    found = autograd(program, inputs, None, layout)
    if found is None or not smooth:
        return found
    generator = torch.Generator().manual_seed(program.drawn_by + 2)
    for _ in range(NUDGES):
        nudge = {
            name: value * (1 + found.rounding * drawn(value.shape, generator))
            if value.is_floating_point()
            else value
            for name, value in inputs.items()
        }
        nudged = {name: value.to(inputs[name].dtype) for name, value in nudge.items()}
        near = autograd(program, nudged, found.cotangents, layout)
        if near is not None and shapes(near.gradients) == shapes(found.gradients):
            found.nudged.append(near.gradients)
    return found


def drawn(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """In doubles: in float32 one plus a double's rounding is one."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def shapes(gradients: Gradients) -> list[Any]:
    return [gradient.shape for gradient in gradients.values()]


def differences(got: Any, truth: Truth) -> str:
    """What is wrong with the gradients, in words; "" if nothing is."""
    if set(got) != set(truth.gradients):
        return f"gradients {sorted(got)} instead of {sorted(truth.gradients)}"
    for name, want in truth.gradients.items():
        mine = got[name]
        if mine.dtype != want.dtype:
            return f"{name} is {mine.dtype} instead of {want.dtype}"
        if mine.shape != want.shape:
            return f"{name} has shape {tuple(mine.shape)} instead of {tuple(want.shape)}"
        mine, want = mine.double(), want.double()
        settled, spread = want.isfinite(), 0.0
        for near in truth.nudged:
            settled &= near[name].isfinite()
        if not settled.any():
            continue
        scale = float(want[settled].abs().max())
        for near in truth.nudged:
            spread = max(spread, float((near[name].double() - want)[settled].abs().max()))
        if scale and spread > UNSETTLED * scale:
            continue
        if not mine[settled].isfinite().all():
            return f"{name} is not finite where autograd's is"
        allowed = AWAY * spread + ROUNDINGS * truth.rounding * max(scale, truth.largest)
        off = float((mine - want)[settled].abs().max())
        if off > allowed:
            return f"{name} is off by {off:.2e} of {scale:.2e}, allowed {allowed:.2e}"
    return ""


@dataclass(frozen=True)
class Point:
    """Where a text is called: the words for it, the inputs, and whether they may be nudged."""

    told: str
    inputs: Inputs
    layout: str = "plain"
    smooth: bool = True
    other_sizes: bool = False


def points(program: Program) -> Iterator[Point]:
    seed, read_at = program.drawn_by, program.read_at
    layout = LAYOUTS[seed % 3]
    yield Point("the same sizes", program.inputs(seed + 1, read_at))
    smooth = layout != "expanded"
    yield Point(layout, program.inputs(seed + 2, read_at, layout), layout, smooth)
    for kind, only in program.hard:
        drawn = program.inputs(seed + 3, read_at)
        made = {n: hardened(v, kind) if only in ("", n) else v for n, v in drawn.items()}
        yield Point(f"{kind} in {only or 'all'}", made, smooth=False)
    for sizes in program.others:
        drawn = program.inputs(seed + 4, sizes)
        yield Point(f"sizes {dict(sizes)}", drawn, other_sizes=sizes != read_at)


def calls_of(program: Program) -> list[tuple[Point, Truth]]:
    """The points where autograd has an answer, and that."""
    found = [(p, truth_of(program, p.inputs, p.layout, p.smooth)) for p in points(program)]
    return [(point, truth) for point, truth in found if truth is not None]


def judge(
    program: Program,
    way: str,
    calls: list[tuple[Point, Truth]],
    found: list[gn.Backward] | None = None,
) -> str:
    """The verdict on one way to a backward, called at these points; what it is goes to `found`."""
    inputs = program.inputs(program.drawn_by, program.read_at)
    try:
        back = WAYS[way](program.text, inputs)
    except GradninjaError as error:
        return f"{'crash' if REPORT in str(error) else 'refused'}: {error}"
    except Exception:
        return f"crash: {traceback.format_exc()}"
    if found is not None:
        found.append(back)
    for point, truth in calls:
        verdict = judged_call(back, point, truth)
        if verdict != "right":
            return f"{verdict}\nat {point.told}\n{back.source}"
    return "right"


def judge_compiled(program: Program, machine: bool = False, most: int = 9) -> str:
    """The verdict on the compiled gradients of a loss made of the program's outputs.

    `machine`: machine code, which takes seconds; else the text of it is run as plain Python.
    `most`: the points that it is called at, each of which may be compiled anew.
    """
    if any(given.dtype == torch.bfloat16 for given in program.given.values()):
        return "refused: NumPy has no bfloat16"
    program = with_loss(program)
    for point, truth in calls_of(program)[:most]:
        if not point.smooth:  # values are computed anew, so ties may be broken
            continue
        try:
            arrays = {name: value.numpy() for name, value in point.inputs.items()}
            made = gn.compile(program.text).specialised(**arrays)
            found = made(arrays) if machine else run(made, arrays)
        except GradninjaError as error:
            return f"{'crash' if REPORT in str(error) else 'refused'}: {error}"
        except Exception:
            return f"crash: {traceback.format_exc()}"
        got = {name: torch.from_numpy(found[name]) for name in found if name != "loss"}
        wrong = differences(got, truth)
        if wrong:
            return f"wrong: {wrong}\nat {point.told}\n{made.source}"
    return "right"


def judged_call(back: Any, point: Point, truth: Truth) -> str:
    grads = truth.cotangents
    before = [value.clone() for value in (*point.inputs.values(), *grads)]
    try:
        got = back(dict(point.inputs), grads if len(grads) > 1 else grads[0])
    except GradninjaError as error:
        # Other sizes may be refused, never answered wrongly; what a mask picks is a size as well.
        sized = point.other_sizes or "read: it broadcasts otherwise" in error.message
        return "right" if sized else f"refused: when called: {error}"
    except Exception:
        return f"crash: when called: {traceback.format_exc()}"
    after = (*point.inputs.values(), *grads)
    if not all(torch.equal(a, b) for a, b in zip(before, after, strict=True) if a.isfinite().all()):
        return "wrong: an input or a cotangent is changed in place"
    wrong = differences(got, truth)
    return f"wrong: {wrong}" if wrong else "right"
