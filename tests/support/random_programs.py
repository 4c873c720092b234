"""Random straight-line programs and their judge."""

from __future__ import annotations

import random

import torch
from torch import Tensor

import gradninja as gn
from catalogue import autograd, call, cotangents, differences, largest
from gradninja.errors import GradninjaError
from gradninja.lines.scope import LIBRARY
from random_writer import SIZES, RandomProgram, Writer

OTHER_SIZES = {"n": 5, "d": 6, "k": 4}
TOLERANCE = 1e-8
STEADY = 1e-9  # relative: how little gradients may change when inputs change by 1e-12


def judge(program: RandomProgram) -> str:
    """The word "right", or what is wrong: derived with one draw, called with others."""
    try:
        back = gn.derive(program.text, inputs=program.inputs(1, SIZES))
    except GradninjaError as error:
        return f"refused: {error}"
    except Exception as error:
        return f"crash: {type(error).__name__}: {error}"
    for seed, sizes, layout in ((2, SIZES, "gapped"), (3, OTHER_SIZES, "expanded")):
        verdict = _judge_call(program, back, seed, sizes, layout)
        if verdict != "right":
            return f"{verdict}\nsizes {sizes}\n{back.source}"
    # One in four is also derived with an axis of size 1; the text decides, so that a failure stays.
    return _judge_ones(program) if len(program.text) % 4 == 0 else "right"


def _truth(
    program: RandomProgram, inputs: dict[str, Tensor], seed: int, layout: str
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]] | None:
    """Autograd's gradients and the cotangents; None where it does not run or blows up."""
    try:
        truth, grads = autograd(program.function(), inputs, lambda o: cotangents(o, seed, layout))
    except (RuntimeError, IndexError, ValueError, ZeroDivisionError):
        return None
    if not all(t.isfinite().all() for t in truth.values()):
        return None
    # Where a nudge of the inputs changes the gradients much, they are made of rounding.
    nudged = {n: v * (1 + 1e-12) if v.is_floating_point() else v for n, v in inputs.items()}
    near, _ = autograd(program.function(), nudged, lambda o: cotangents(o, seed, layout))
    return None if differences(near, truth, STEADY, share=1.0) else (truth, grads)


def _may_be_refused(program: RandomProgram, sizes: dict[str, int], message: str) -> bool:
    """Other sizes may be refused, never answered wrongly; what a mask keeps is a size as well."""
    masked = "> 0].sum()" in program.text or "< 1].square()" in program.text
    return sizes != SIZES or (masked and "broadcasts otherwise" in message)


def _judge_call(
    program: RandomProgram, back: gn.Backward, seed: int, sizes: dict[str, int], layout: str
) -> str:
    inputs = program.inputs(seed, sizes)
    found = _truth(program, inputs, seed, layout)
    if found is None:
        return "right"
    truth, grads = found
    try:
        got = call(back, inputs, grads)
        # Chance makes gradients that are zero in truth, out of large numbers that cancel.
        wrong = differences(got, truth, TOLERANCE, share=1.0)
        if wrong and largest({n: got[n] - t for n, t in truth.items()}) <= _rounding(
            back, inputs, grads
        ):
            return "right"
    except GradninjaError as error:
        if _may_be_refused(program, sizes, error.message):
            return "right"
        return f"refused when called: {error}"
    except Exception as error:
        return f"crash when called: {type(error).__name__}: {error}"
    return "wrong: " + "; ".join(wrong) if wrong else "right"


def _rounding(back: gn.Backward, inputs: dict[str, Tensor], grads: tuple[Tensor, ...]) -> float:
    """What rounding leaves of the largest gradient on the way to the inputs, where they cancel."""
    scope = {
        **LIBRARY,
        **back.forward_values(inputs),
        **dict(zip(back.cotangents, grads, strict=True)),
    }
    exec("\n".join(back.body()), scope)
    on_the_way = {n: scope[n] for n in back.gradient_names.values() if n in scope}
    return 1000 * torch.finfo(torch.float64).eps * largest(on_the_way)


def _judge_ones(program: RandomProgram) -> str:
    """Derived where an axis has size 1, which hides what is broadcast, then called with more."""
    inputs = program.inputs(4, dict(SIZES, n=1))
    if _truth(program, inputs, 4, "plain") is None:
        return "right"
    try:
        back = gn.derive(program.text, inputs=inputs)
    except GradninjaError as error:
        return f"wrong: {error}" if "not autograd's" in error.message else "right"
    except Exception as error:
        return f"crash where n is 1: {type(error).__name__}: {error}"
    verdict = _judge_call(program, back, 5, dict(SIZES, n=4), "plain")
    return "right" if verdict == "right" else f"derived where n is 1, {verdict}\n{back.source}"


def write(rng: random.Random) -> RandomProgram:
    """A random program whose gradients are finite and lead to some input."""
    for _ in range(50):
        program = Writer(rng).write()
        found = _truth(program, program.inputs(1, SIZES), 1, "plain")
        if found is not None and any(t.any() for t in found[0].values()):
            return program
    raise AssertionError("the generator finds no program")
