"""A derived backward as the text of a whole `torch.autograd.Function`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gradninja.derive.statement import returned, with_imports

if TYPE_CHECKING:
    from gradninja.derive.backward import Backward

TEMPLATE = """\
class {name}(torch.autograd.Function):
    \"\"\"{title}\"\"\"

    @staticmethod
    def forward(ctx, {inputs}):
{forward}

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, {cotangents}):
{backward}


def {function}({signature}):
    return {name}.apply({arguments})
"""


def function_source(back: Backward) -> str:
    """The text: it saves only what the backward reads; None where no gradient is wanted."""
    program = back.program
    values = program.values
    tensors = [n for n in back.arguments if isinstance(values[n], torch.Tensor)]
    plain = [n for n in back.arguments if n not in tensors]
    ints = [n for n in program.outputs if n not in back.outputs]

    forward = [line.code for line in program.lines]
    forward += [f"ctx.save_for_backward({', '.join(tensors)})"] if tensors else []
    forward += [f"ctx.{name} = {name}" for name in plain]
    forward += [f"ctx.mark_non_differentiable({', '.join(ints)})"] if ints else []
    forward += returned(program.outputs)

    backward = []
    if tensors:
        comma = "," if len(tensors) == 1 else ""
        backward += [f"{', '.join(tensors)}{comma} = ctx.saved_tensors"]
    backward += [f"{name} = ctx.{name}" for name in plain]
    backward += back.body()
    wanted = set(program.differentiable)
    backward += returned(
        [back.gradient_names[i.name] if i.name in wanted else "None" for i in program.inputs]
    )

    names = [given.name for given in program.inputs]
    defaults = [f"{i.name}={i.value!r}" if i.optional else i.name for i in program.inputs]
    unused = iter(f"_d{n}" for n in ints)
    cotangents = [
        back.gradient_names[n] if n in back.outputs else next(unused) for n in program.outputs
    ]
    text = TEMPLATE.format(
        name="".join(part.capitalize() for part in program.name.split("_")),
        title=f"{program.name}, with a backward of its own.",
        inputs=", ".join(names),
        forward=_indented(forward),
        cotangents=", ".join(cotangents),
        backward=_indented(backward),
        function=program.name,
        signature=", ".join(defaults),
        arguments=", ".join(names),
    )
    return with_imports(text)


def _indented(lines: list[str]) -> str:
    return "\n".join(f"        {line}" for line in lines)
