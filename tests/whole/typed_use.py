"""What a type checker says of code that uses gradninja: `make lint` gives this file to mypy.

A comment `type: ignore` that is not needed is an error there, so each of them stands for a word
that is caught.
"""

from __future__ import annotations

from typing import assert_type

import torch

import gradninja as gn
from gradninja.check.tell.findings import LineRow


def used(x: torch.Tensor) -> None:
    back = gn.derive("layer.py", style="exact")
    assert_type(back, gn.Backward)
    gn.derive("layer.py", style="fast")  # type: ignore[arg-type]
    gn.fuse("layer.py", prefer="memory", style="in place")
    gn.fuse("layer.py", prefer="fast")  # type: ignore[arg-type]
    gn.explain(back, "html")
    gn.explain(back, "pdf")  # type: ignore[call-overload]

    step = gn.compile("layer.py")
    assert_type(step(x=x)["dx"], torch.Tensor)
    step(x="x")  # type: ignore[call-overload]

    report = gn.check("layer.py")
    rows = report.to_dict()["lines"]
    assert_type(rows, list[LineRow])
    assert_type(rows[0]["fix"], str | None)
    rows[0]["mend"]  # type: ignore[typeddict-item]
