"""Random straight-line programs and their judge."""

from __future__ import annotations

import random

import gradninja as gn
from catalogue import autograd, call, cotangents, differences
from gradninja.errors import GradninjaError
from random_writer import SIZES, RandomProgram, Writer

OTHER_SIZES = {"n": 5, "d": 6, "k": 4}
TOLERANCE = 1e-8


def write(rng: random.Random) -> RandomProgram:
    """A random program whose gradients are finite and lead to some input."""
    for _ in range(50):
        program = Writer(rng).write()
        inputs = program.inputs(1, SIZES)
        try:
            truth, _ = autograd(program.function(), inputs, lambda o: cotangents(o, 1, "plain"))
        except (RuntimeError, IndexError):
            continue
        if any(t.any() for t in truth.values()) and all(t.isfinite().all() for t in truth.values()):
            return program
    raise AssertionError("the generator finds no program")


def judge(program: RandomProgram) -> str:
    """ "right", or what is wrong: derived with one draw, called with another and other sizes."""
    function = program.function()
    try:
        back = gn.derive(program.text, inputs=program.inputs(1, SIZES))
    except GradninjaError as error:
        return f"refused: {error}"
    except Exception as error:
        return f"crash: {type(error).__name__}: {error}"
    for seed, sizes, layout in ((2, SIZES, "gapped"), (3, OTHER_SIZES, "expanded")):
        inputs = program.inputs(seed, sizes)
        try:
            truth, grads = autograd(function, inputs, lambda o: cotangents(o, 2, layout))  # noqa: B023
        except (RuntimeError, IndexError):
            continue  # the program itself does not run on these sizes or values
        try:
            got = call(back, inputs, grads)
        except GradninjaError as error:
            if sizes is not SIZES:
                continue  # sizes may be refused, and must never be answered wrongly
            return f"refused when called: {error}\n{back.source}"
        except Exception as error:
            return f"crash when called: {type(error).__name__}: {error}\n{back.source}"
        if all(t.isfinite().all() for t in truth.values()):
            wrong = differences(got, truth, TOLERANCE)
            if wrong:
                return "\n".join(["wrong: " + "; ".join(wrong), f"sizes {sizes}", back.source])
    return "right"
