"""NumPy's random draws in torch's words."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradninja.lines.ndarray.syntax import call_of, operator_of


def generators(tree: ast.Module, aliases: Mapping[str, str]) -> dict[str, str]:
    """The names of a file that are generators: `rng = np.random.default_rng(0)` is np.random."""
    makers = {"numpy.random.default_rng", "numpy.random.RandomState"}
    found: dict[str, str] = {}
    for line in tree.body:
        if isinstance(line, ast.Assign) and isinstance(line.value, ast.Call):
            head, _, rest = ast.unparse(line.value.func).partition(".")
            if f"{aliases.get(head, head)}.{rest}".rstrip(".") in makers:
                found |= {t.id: "numpy.random" for t in line.targets if isinstance(t, ast.Name)}
    return found


def drawers(around: Mapping[str, Any]) -> dict[str, str]:
    """The same of the values around a live function."""
    kinds = (np.random.Generator, np.random.RandomState)
    return {name: "numpy.random" for name, value in around.items() if isinstance(value, kinds)}


def drawn(name: str, args: list[ast.expr], keywords: list[ast.keyword]) -> ast.expr | None:
    """What `np.random.<name>` draws; None of what has no counterpart."""
    given = {k.arg: k.value for k in keywords}
    places = {"normal": ("loc", "scale", "size"), "uniform": ("low", "high", "size")}
    if name in {"randn", "rand"}:
        return call_of(f"torch.{name}", args)
    if name in {"random", "random_sample", "standard_normal"}:
        size = given.get("size", args[0] if args else None)
        word = "randn" if name == "standard_normal" else "rand"
        return None if size is None else call_of(f"torch.{word}", [size])
    if name in places:
        given.update(zip(places[name], args, strict=False))
        low, high, size = (given.get(word) for word in places[name])
        low, high = low or ast.Constant(0.0), high or ast.Constant(1.0)
        if size is None:
            return None
        drawn = call_of("torch.randn" if name == "normal" else "torch.rand", [size])
        width = high if name == "normal" else operator_of("-", high, low)
        return operator_of("+", low, operator_of("*", width, drawn))
    if name == "binomial" and len(args) + len(keywords) == 3:
        given.update(zip(("n", "p", "size"), args, strict=False))
        if isinstance(given.get("n"), ast.Constant) and {"p", "size"} <= set(given):
            return call_of("torch.bernoulli", [call_of("torch.full", [given["size"], given["p"]])])
    return None
