"""NumPy's random draws in torch's words."""

from __future__ import annotations

import ast

from gradninja.lines.ndarray.syntax import call_of, operator_of


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
        if low is None or high is None or size is None:
            return None
        drawn = call_of("torch.randn" if name == "normal" else "torch.rand", [size])
        width = high if name == "normal" else operator_of("-", high, low)
        return operator_of("+", low, operator_of("*", width, drawn))
    if name == "binomial" and len(args) + len(keywords) == 3:
        given.update(zip(("n", "p", "size"), args, strict=False))
        if isinstance(given.get("n"), ast.Constant) and {"p", "size"} <= set(given):
            return call_of("torch.bernoulli", [call_of("torch.full", [given["size"], given["p"]])])
    return None
