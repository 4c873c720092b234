"""Programs on simulated ranks, held to the whole: the catalogue's and random ones."""

from __future__ import annotations

import random
from collections.abc import Iterator

import torch

import gradninja as gn
from catalogue import DISTINCT, Cataloged, autograd, cotangents, differences
from gradninja.errors import DeriveError, GradninjaError
from random_writer import SIZES, RandomProgram, Writer

RANKS = (2, 3, 4)
TOLERANCE = 1e-8


def named_axes(program: Cataloged) -> list[str]:
    """The axes of a program that stand by themselves in an annotation."""
    axes = program.axes(DISTINCT)
    said = " ".join(kind.dim_str for kind in program.annotations.values()).split()
    return [axis for axis in axes if axis in said]


def judge(program: Cataloged, axis: str) -> str:
    """The word "right", "refused: ..." or what is wrong, on 2, 3 and 4 ranks."""
    try:
        found = gn.shard(program.function, split={axis: "data"}, inputs=program.draw(DISTINCT, 1))
    except DeriveError as refused:
        return f"refused: {refused.message}"
    inputs = program.draw(DISTINCT, 5)
    truth, grads = autograd(
        program.function,
        inputs,
        lambda out: (
            [torch.ones_like(o) for o in out] if found.scalar else cotangents(out, 3, "plain")
        ),
    )
    for ranks in RANKS:
        if program.axes(DISTINCT)[axis] >= ranks:
            try:
                got = found(inputs, None if found.scalar else grads, ranks)
            except DeriveError as refused:  # a text that decides by sizes, as a view in literals
                return f"refused: {refused.message}"
            wrong = differences({n: got[n] for n in truth}, truth, 1e-9)
            if wrong:
                return f"{ranks} ranks: {wrong}"
    return "right"


def random_programs(seed: int) -> Iterator[RandomProgram]:
    """Random straight-line programs, one after the other."""
    rng = random.Random(seed)
    while True:
        yield Writer(rng).write()


def judge_random(program: RandomProgram, axis: str) -> str:
    """The same of a random program, whose axes are named by their places."""
    places = []
    for name, axes in program.shapes.items():
        if axis in axes.split():
            places.append(f"{name}.{axes.split().index(axis)}")
    if not places:
        return "no such axis"
    try:
        back = gn.derive(program.text, program.inputs(1, SIZES))
        found = gn.shard(back, split={" ".join(places): "data"})
    except GradninjaError as refused:
        return f"refused: {refused.message}"
    inputs = program.inputs(2, SIZES)
    try:
        truth, grads = autograd(
            program.function(),
            inputs,
            lambda out: (
                [torch.ones_like(o) for o in out] if found.scalar else cotangents(out, 3, "plain")
            ),
        )
        whole = back(inputs, None if found.scalar else tuple(grads) if len(grads) > 1 else grads[0])
    except (RuntimeError, GradninjaError):
        return "no truth at these values"
    for ranks in (count for count in RANKS if count <= SIZES[axis]):
        got = found(inputs, None if found.scalar else grads, ranks)
        wrong = differences({n: got[n] for n in whole}, whole, TOLERANCE, share=1.0)
        if wrong and not differences(dict(whole), truth, TOLERANCE, share=1.0):
            return f"{ranks} ranks: {wrong}\n{program.text}"
    return "right"
