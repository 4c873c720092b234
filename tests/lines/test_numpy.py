"""NumPy as a dialect: what is derived of NumPy programs is held to NumPy's own differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy_programs import PROGRAMS, source_of

import gradninja as gn

STEP = 1e-6


def drawn(arguments: str, seed: int = 0) -> dict[str, Any]:
    """Arrays, and plain numbers, by name."""
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    for part in arguments.split():
        if "=" in part:
            name, _, value = part.partition("=")
            found[name] = float(value) if "." in value or "e" in value else int(value)
            continue
        name, _, told = part.partition(":")
        told, _, below = told.partition("<")
        shape = tuple(int(size) for size in told.rstrip("+").split(",") if size)
        if below:
            found[name] = rng.integers(0, int(below), shape)
        elif told.endswith("+"):
            found[name] = rng.uniform(0.2, 0.8, shape)
        else:
            found[name] = rng.standard_normal(shape)
    return found


def run(text: str, name: str) -> Any:
    scope: dict[str, Any] = {}
    exec(compile(text, "<program>", "exec"), scope)
    return scope[name]


def copied(given: dict[str, Any]) -> dict[str, Any]:
    return {n: v.copy() if isinstance(v, np.ndarray) else v for n, v in given.items()}


def total(returned: Any, cotangents: list[Any]) -> float:
    several = returned if isinstance(returned, tuple) else (returned,)
    return float(sum(np.sum(o * g) for o, g in zip(several, cotangents, strict=True)))


@pytest.mark.parametrize("name", PROGRAMS)
def test_derived_of_numpy(name: str) -> None:
    text, given = source_of(name), drawn(PROGRAMS[name][0])
    forward = run(text, "forward")
    back = gn.derive(text, given)
    assert "torch" not in back.annotated + back.whole_forward + back.function_source
    # The pair that is written runs with NumPy alone.
    pair = run(back.function_source, "forward"), run(back.function_source, "backward")
    *outputs, cache = pair[0](**copied(given))
    rng = np.random.default_rng(1)
    cotangents = [rng.standard_normal(np.shape(o)) for o in outputs]
    returned = forward(**copied(given))
    several = returned if isinstance(returned, tuple) else (returned,)
    for mine, true in zip(outputs, several, strict=True):
        np.testing.assert_allclose(mine, true, rtol=1e-12, atol=1e-12)
    gradients = pair[1](*cotangents, cache)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    floats = [n for n, v in given.items() if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
    direction = {n: rng.standard_normal(given[n].shape) for n in floats}
    ends = []
    for step in (STEP, -STEP):
        moved = {n: v + step * direction[n] if n in direction else v for n, v in given.items()}
        ends.append(total(forward(**moved), cotangents))
    slope = (ends[0] - ends[1]) / (2 * STEP)
    mine = 0.0
    for n, gradient in zip(floats, gradients, strict=True):
        assert np.shape(gradient) == given[n].shape
        mine += float(np.sum(gradient * direction[n]))
    assert mine == pytest.approx(slope, rel=1e-6, abs=1e-7)
    found = back(given, tuple(cotangents))
    assert all(isinstance(found[f"d{n}"], np.ndarray) for n in floats)
    for n, gradient in zip(floats, gradients, strict=True):
        np.testing.assert_allclose(found[f"d{n}"], gradient, rtol=1e-9, atol=1e-9)
