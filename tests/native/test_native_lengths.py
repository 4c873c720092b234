"""Steps of whole words by the kernel that has room for them: the same training, fewer columns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from gradninja import models
from gradninja.native import ByLength, Kernel, columns_of, compile_training, shorter
from native_plain import plainly

WORDS = ["ab", "c", "abcde", "ba", "", "dd", "abc"]
STREAM = np.array([" abcde".index(letter) for word in WORDS for letter in (*word, " ")], np.uint8)
ENDS = np.flatnonzero(STREAM == 0)
STARTS = np.array([0, *(ENDS + 1)[:-1]])
SIZES = {"vocab": 6, "embedding": 4, "hidden": 4}


def _kernel(columns: int) -> Kernel:
    step = models.load("bow").step(backward="backward_fused")
    batch = {name: np.zeros((2, columns), np.int64) for name in ("Xb", "Yb")}
    held = _parameters()
    return plainly(compile_training(step.source, {**SIZES, **held, **batch}, tuple(held)))


def _parameters() -> dict[str, np.ndarray]:
    generator = torch.Generator().manual_seed(1)
    made = models.load("bow").call("parameters", {**SIZES, "context": 6, "generator": generator})
    assert isinstance(made, dict)
    return {name: value.numpy() for name, value in made.items()}


def _spied(kernel: Kernel, taken: list[int]) -> Callable[..., None]:
    before = kernel.function
    assert before is not None

    def spy(*given: object) -> None:
        taken.append(kernel.context)
        before(*given)

    return spy


def test_a_step_is_taken_by_the_kernel_with_room_for_its_words() -> None:
    positions = STARTS[[[0, 1], [3, 5], [2, 1], [6, 4], [2, 2], [4, 4]]]
    assert columns_of(positions, ENDS).max(1).tolist() == [3, 3, 6, 4, 6, 1]
    rates = np.full(len(positions), 0.3)
    found = []
    for rooms, takes in (
        ([6], [6]),
        ([3, 6], [3, 6, 3]),
        ([3, 4, 6], [3, 6, 4, 6, 3]),
    ):
        kernels = [_kernel(columns) for columns in rooms]
        taken: list[int] = []
        for kernel in kernels:
            kernel.function = _spied(kernel, taken)
        parameters, losses = _parameters(), np.empty(len(positions), np.float32)
        ByLength(kernels).run(parameters, STREAM, positions, rates, losses)
        found.append((losses, parameters))
        assert taken == takes
    for losses, parameters in found[1:]:
        np.testing.assert_allclose(losses, found[0][0], rtol=1e-5)
        for name, value in parameters.items():
            np.testing.assert_allclose(value, found[0][1][name], rtol=1e-4, atol=1e-6)


def test_a_second_kernel_is_for_the_columns_that_save_most() -> None:
    names = np.repeat([4, 6, 7, 16], [300, 500, 199, 1])
    assert shorter(names, 8, 16) == 7
    assert shorter(names, 2000, 16) is None  # some word of a batch is long
    assert shorter(np.full(10, 16), 8, 16) is None
