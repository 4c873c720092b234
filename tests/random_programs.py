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
    return _judge_ones(program)


def _judge_call(
    program: RandomProgram, back: gn.Backward, seed: int, sizes: dict[str, int], layout: str
) -> str:
    inputs = program.inputs(seed, sizes)
    try:
        truth, grads = autograd(
            program.function(), inputs, lambda out: cotangents(out, seed, layout)
        )
    except (RuntimeError, IndexError, ZeroDivisionError):
        return "right"  # the program itself does not run on these sizes or values
    if not all(t.isfinite().all() for t in truth.values()):
        return "right"
    try:
        wrong = differences(call(back, inputs, grads), truth, TOLERANCE)
    except GradninjaError as error:
        # Other sizes may be refused; they must never be answered wrongly.
        return "right" if sizes != SIZES else f"refused when called: {error}"
    except Exception as error:
        return f"crash when called: {type(error).__name__}: {error}"
    return "wrong: " + "; ".join(wrong) if wrong else "right"


def _judge_ones(program: RandomProgram) -> str:
    """Derived where an axis has size 1, which hides what is broadcast, then called with more."""
    hidden = dict(SIZES, n=1)
    try:
        back = gn.derive(program.text, inputs=program.inputs(4, hidden))
    except GradninjaError as error:
        return f"wrong: {error}" if "not autograd's" in error.message else "right"
    except Exception as error:
        return f"crash where n is 1: {type(error).__name__}: {error}"
    verdict = _judge_call(program, back, 5, dict(SIZES, n=4), "plain")
    return "right" if verdict == "right" else f"derived where n is 1, {verdict}\n{back.source}"
