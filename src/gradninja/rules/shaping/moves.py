"""What puts elements in another order, takes a part of them, or puts others around them."""

from __future__ import annotations

import ast

from gradninja.rules.rule import Refusal, Rule, Site

DERIVATIVES = "PyTorch, tools/autograd/derivatives.yaml"
ORDER = "the same elements in another order: the gradient goes back into the order before"
PART = "the gradient goes into the part that was taken; the rest has none from here"
DIAGONAL = "the gradient goes onto the diagonal; beside it there is none"


def _minus(site: Site, formal: str) -> str:
    """Minus an int, or minus each of several, as a person would write it."""
    value = site.value(formal)
    if isinstance(value, tuple | list):
        if site.fixed(formal):
            return repr(tuple(-v for v in value))
        syntax = site.bound[formal].syntax
        if not isinstance(syntax, ast.Tuple):
            return f"tuple(-step for step in {formal})"
        plain = [not any(isinstance(n, ast.Name) for n in ast.walk(e)) for e in syntax.elts]
        each = [
            str(-v) if known else f"-{formal}[{at}]"
            for at, (v, known) in enumerate(zip(value, plain, strict=True))
        ]
        return f"({', '.join(each)},)"
    return str(-value) if site.fixed(formal) else f"-{formal}"


def _pad(site: Site) -> str:
    """Padding by less than nothing cuts; the gradient is padded by minus what the value was."""
    if site.value("mode") != "constant":
        return _rim(site)
    return f"F.pad(g, {_minus(site, 'pad')})"


RIMS = {
    "circular": "{places} % {size}",
    "replicate": "{places}.clamp(0, {size} - 1)",
    "reflect": "{size} - 1 - ({size} - 1 - {places}.abs()).abs()",
}


def _rim(site: Site) -> str:
    """What was copied to the rim adds its gradient where it was copied from, axis by axis."""
    pad = site.value("pad")
    if site.value("mode") == "circular" and min(pad) < 0:
        raise Refusal("circular padding by less than nothing is outside: cut on a line of its own")
    text = "g"
    for axis in range(1, len(pad) // 2 + 1):
        before, behind = f"pad[{2 * axis - 2}]", f"pad[{2 * axis - 1}]"
        if site.fixed("pad"):
            before, behind = str(pad[2 * axis - 2]), str(pad[2 * axis - 1])
        size = f"a.shape[-{axis}]"
        places = f"torch.arange(-{before}, {size} + {behind}, device=g.device)"
        source = RIMS[site.value("mode")].format(places=places, size=size)
        shape = f"(*g.shape[:-{axis}], *a.shape[-{axis}:])"
        text = f"g.new_zeros({shape}).index_add_(-{axis}, {source}, {text})"
    return text


def _rim_exact(site: Site) -> str:
    """PyTorch's own kernel, which adds in an order of its own."""
    mode, rank = site.value("mode"), len(site.value("pad")) // 2
    if mode in ("constant", "circular"):
        return _pad(site)
    kernel = {"reflect": "reflection", "replicate": "replication"}[mode]
    return f"torch.ops.aten.{kernel}_pad{rank}d_backward(g, a, pad)"


def _unfold(site: Site) -> str:
    """Windows overlap: each element sums the gradients of all windows that it was in."""
    if not site.fixed("dimension"):
        raise Refusal("the axis must be written as an int here")
    if site.ndim("a") == 0:
        return "g.reshape(a.shape)"
    axis = site.value("dimension") % site.ndim("a")
    places = "torch.arange(a.shape[dimension], device=a.device).unfold(0, size, step).flatten()"
    windows = f"g.movedim(-1, {axis + 1}).flatten({axis}, {axis + 1})"
    return f"d.index_add_({axis}, {places}, {windows})"


MOVES = (
    Rule(
        "pad",
        ("F.pad(a, pad, mode='constant', value=None)",),
        {"a": _pad},
        exact={"a": _rim_exact},
        why="what was put around has no gradient: the padding is cut off; where the rim is a copy, "
        "it adds its gradient where it was copied from",
        source=DERIVATIVES,
        tests=(
            "F.pad(a, (1, 2)) where a: 3 4",
            "F.pad(a, (0, 0, 2, 1), value=1.5) where a: 3 4",
            "F.pad(a, (-1, 2)) where a: 3 4",
            "F.pad(a, [1, 0, 0, 1], 'constant', 0) where a: 2 3 4",
            "F.pad(a, (2, 1), mode='reflect') where a: 2 3 4",
            "F.pad(a, (1, 2, 2, 0), mode='replicate') where a: 2 3 4 5",
            "F.pad(a, (2, 1, 1, 1), mode='reflect') where a: 2 3 4 5",
            "F.pad(a, (2, 1), mode='circular') where a: 2 3 4",
            "F.pad(a, (1, 2, 2, 0), 'circular') where a: 2 3 4 5",
        ),
    ),
    Rule(
        "roll",
        ("torch.roll(a, shifts, dims=None)", "a.roll(shifts, dims=None)"),
        {
            "a": lambda site: (
                f"g.roll({_minus(site, 'shifts')}"
                + (", dims)" if site.value("dims") is not None else ")")
            )
        },
        why=ORDER,
        source=DERIVATIVES,
        tests=(
            "torch.roll(a, 1, 0) where a: 3 4",
            "a.roll(-2, dims=-1) where a: 3 4",
            "a.roll((1, 2), (0, 1)) where a: 3 5",
            "a.roll(5) where a: 3 4",
        ),
    ),
    Rule(
        "flip",
        ("torch.flip(a, dims)", "a.flip(*dims)"),
        {"a": "g.flip(dims)"},
        why=ORDER,
        source=DERIVATIVES,
        tests=(
            "torch.flip(a, (0,)) where a: 3 4",
            "a.flip(-1) where a: 3 4",
            "a.flip(0, 2) where a: 2 3 4",
            "a.flip([1]) where a: 3 4",
        ),
    ),
    Rule(
        "fliplr",
        ("torch.fliplr(a)", "a.fliplr()"),
        {"a": "g.fliplr()"},
        why=ORDER,
        source=DERIVATIVES,
        tests=("torch.fliplr(a) where a: 3 4",),
    ),
    Rule(
        "flipud",
        ("torch.flipud(a)", "a.flipud()"),
        {"a": "g.flipud()"},
        why=ORDER,
        source=DERIVATIVES,
        tests=("torch.flipud(a) where a: 3 4",),
    ),
    Rule(
        "rot90",
        ("torch.rot90(a, k=1, dims=(0, 1))", "a.rot90(k=1, dims=(0, 1))"),
        {"a": lambda site: f"g.rot90({_minus(site, 'k')}, dims)"},
        why=ORDER,
        source=DERIVATIVES,
        tests=("torch.rot90(a) where a: 3 4", "a.rot90(-1, (1, 2)) where a: 2 3 4"),
    ),
    Rule(
        "tril",
        ("torch.tril(a, diagonal=0)", "a.tril(diagonal=0)"),
        {"a": "g.tril(diagonal)"},
        why="above the diagonal the value was put to 0, so no gradient passes there",
        source=DERIVATIVES,
        tests=(
            "torch.tril(a) where a: 3 4",
            "a.tril(1) where a: 3 4",
            "a.tril(diagonal=-1) where a: 2 3 3",
        ),
    ),
    Rule(
        "triu",
        ("torch.triu(a, diagonal=0)", "a.triu(diagonal=0)"),
        {"a": "g.triu(diagonal)"},
        why="below the diagonal the value was put to 0, so no gradient passes there",
        source=DERIVATIVES,
        tests=(
            "torch.triu(a) where a: 3 4",
            "a.triu(1) where a: 3 4",
            "a.triu(diagonal=-1) where a: 2 3 3",
        ),
    ),
    Rule(
        "diagonal",
        (
            "torch.diagonal(a, offset=0, dim1=0, dim2=1)",
            "a.diagonal(offset=0, dim1=0, dim2=1)",
            "torch.linalg.diagonal(a, offset=0, dim1=-2, dim2=-1)",
        ),
        {"a": "d.diagonal(offset, dim1, dim2).add_(g)"},
        why=DIAGONAL,
        source=DERIVATIVES,
        tests=(
            "torch.diagonal(a) where a: 3 4",
            "a.diagonal(1) where a: 3 4",
            "a.diagonal(-1, dim1=-1, dim2=0) where a: 3 2 4",
            "torch.linalg.diagonal(a, offset=1) where a: 2 3 4",
        ),
        view=True,
    ),
    Rule(
        "diag",
        ("torch.diag(a, diagonal=0)", "a.diag(diagonal=0)"),
        {
            "a": lambda site: (
                "g.diagonal(diagonal)" if site.ndim("a") == 1 else "d.diagonal(diagonal).add_(g)"
            )
        },
        why=DIAGONAL,
        source=DERIVATIVES,
        tests=(
            "torch.diag(a) where a: 4",
            "a.diag(-1) where a: 4",
            "torch.diag(a) where a: 3 4",
            "a.diag(1) where a: 3 4",
        ),
    ),
    Rule(
        "diag_embed",
        (
            "torch.diag_embed(a, offset=0, dim1=-2, dim2=-1)",
            "a.diag_embed(offset=0, dim1=-2, dim2=-1)",
        ),
        {"a": "g.diagonal(offset, dim1, dim2)"},
        why="only the diagonal was set from here: its gradient is taken",
        source=DERIVATIVES,
        tests=(
            "torch.diag_embed(a) where a: 3 4",
            "a.diag_embed(1) where a: 4",
            "a.diag_embed(-1, 0, 2) where a: 3 4",
        ),
    ),
    Rule(
        "trace",
        ("torch.trace(a)", "a.trace()"),
        {"a": "d.diagonal().add_(g)"},
        why="a sum of the diagonal: each element on it gets the gradient of the sum",
        source=DERIVATIVES,
        tests=("torch.trace(a) where a: 3 4", "a.trace() where a: 3 3"),
    ),
    Rule(
        "narrow",
        ("torch.narrow(a, dim, start, length)", "a.narrow(dim, start, length)"),
        {"a": "d.narrow(dim, start, length).add_(g)"},
        why=PART,
        source=DERIVATIVES,
        tests=(
            "torch.narrow(a, 1, 1, 2) where a: 3 4",
            "a.narrow(-1, 0, 3) where a: 2 3 4",
            "a.narrow(0, -2, 1) where a: 3 4",
        ),
        view=True,
    ),
    Rule(
        "select",
        ("torch.select(a, dim, index)", "a.select(dim, index)"),
        {"a": "d.select(dim, index).add_(g)"},
        why=PART,
        source=DERIVATIVES,
        tests=(
            "torch.select(a, 1, 2) where a: 3 4",
            "a.select(0, -1) where a: 2 3 4",
        ),
        view=True,
    ),
    Rule(
        "sliding windows",
        ("a.unfold(dimension, size, step)",),
        {"a": _unfold},
        why="an element stands in every window that covers it, so it gets the sum of the gradients "
        "of them all",
        source=DERIVATIVES,
        tests=(
            "a.unfold(1, 3, 1) where a: 3 5",
            "a.unfold(0, 2, 2) where a: 5 3",
            "a.unfold(-1, 2, 1) where a: 2 3 4",
            "a.unfold(0, 2, 3) where a: 5",
            "a.unfold(0, 1, 1) where a: ()",
        ),
        view=True,
    ),
)
