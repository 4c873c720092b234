"""A derived backward in NumPy's words: held to what was derived, and as the pair people write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gradninja.derive.holding.against_autograd import cotangents_of
from gradninja.derive.statement import signature, with_imports
from gradninja.errors import DeriveError
from gradninja.lines.ndarray import as_arrays
from gradninja.lines.scope import run

if TYPE_CHECKING:
    from gradninja.derive.backward import Backward

TOLERANCE = 1e-9  # relative to the largest element: both are float64


def hold_said(back: Backward, text: str) -> str:
    """The text, which gives with arrays what was derived with tensors.

    Raises:
        DeriveError: it raises, or gives something else.
    """
    values = back.program.values
    cotangents = cotangents_of(back.program, values, seed=0)
    wanted = back.run(values, cotangents)
    given = {name: values[name] for name in back.arguments}
    if not back.scalar:
        given.update({back.gradient_names[name]: g for name, g in cotangents.items()})
    scope: dict[str, Any] = dict(back.program.namespace)
    try:
        with np.errstate(all="ignore"):
            run([text], scope, "<backward>")
            found = scope["backward"](**as_arrays(given))
    except Exception as error:  # what NumPy does not take as torch does
        raise DeriveError(
            f"the backward of `{back.program.name}` cannot be said in NumPy's words: {error}",
            hint="please report the forward",
        ) from None
    several = found if isinstance(found, tuple) else (found,)
    scale = max((float(g.abs().max()) for g in wanted.values() if g.numel()), default=0.0)
    for (name, true), mine in zip(wanted.items(), several, strict=True):
        same = np.shape(mine) == tuple(true.shape) and np.allclose(
            mine, true.numpy(), 0, TOLERANCE * max(scale, 1e-3), equal_nan=True
        )
        if not same:
            raise DeriveError(
                f"the gradient of `{name}` in NumPy's words is not the one that was derived, so it "
                "is not given",
                hint="please report the forward",
            )
    return text


def pair_source(back: Backward) -> str:
    """`f_forward(...)` -> (out, cache) and `f_backward(dout, cache)`, as text."""
    program = back.program
    name = program.name.removesuffix("_forward")
    name = "" if name == "forward" else f"{name}_"
    given = [f"{i.name}={i.value!r}" if i.optional else i.name for i in program.inputs]
    kept = ", ".join(back.arguments) + ("," if len(back.arguments) == 1 else "")
    forward = [program.say(line.code) for line in program.lines]
    forward += [f"cache = ({kept})", f"return {', '.join(program.outputs)}, cache"]
    backward = [f"{kept} = cache"] if back.arguments else []
    backward += back.body(say=program.say)
    backward += [f"return {', '.join(back.gradient_names[n] for n in program.differentiable)}"]
    texts = [
        signature(f"{name}forward", given) + "\n" + _indented(forward),
        signature(f"{name}backward", [*back.cotangents, "cache"]) + "\n" + _indented(backward),
    ]
    return with_imports("\n\n\n".join(texts) + "\n")


def _indented(lines: list[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)
