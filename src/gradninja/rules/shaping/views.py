"""What gives the same elements in another shape, or several times over."""

from __future__ import annotations

from gradninja.rules.rule import Refusal, Rule, Site
from gradninja.rules.shaping.joins import JOINS
from gradninja.rules.shaping.moves import MOVES

SHAPES = "PyTorch, tools/autograd/derivatives.yaml"
SAME = "the same elements in another shape: the gradient goes back into the shape before"
COPIES = "a copy of an element is another use of it: the gradients of all copies are summed"


def _reshape(site: Site) -> str:
    if any(not isinstance(size, int) for size in _several(site.value_or("shape", ()))):
        raise Refusal("a view as another dtype has no gradient")
    return "g.reshape(a.shape)"


def _several(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _dims(site: Site, formal: str) -> tuple[int, ...]:
    if not site.fixed(formal):
        raise Refusal("these axes must be written as ints here")
    return tuple(site.value(formal))


def _unpermute(site: Site) -> str:
    """The permutation that undoes the one that was done."""
    dims = [dim % len(site.y.shape) for dim in _dims(site, "dims")]
    back = [dims.index(axis) for axis in range(len(dims))]
    return f"g.permute({', '.join(map(str, back))})"


def _repeat(site: Site) -> str:
    """New axes are summed; each other axis is split into copies and elements, copies summed."""
    formal = "repeats" if "repeats" in site.bound else "dims"
    times = site.value(formal)
    several = isinstance(times, tuple | list)
    lead = (len(times) if several else 1) - site.ndim("a")
    summed = "g" + ".sum(0)" * lead
    sizes: list[str] = []
    copies: list[int] = []
    for axis in range(site.ndim("a")):
        place = axis + lead
        if place >= 0 and not (site.fixed(formal) and (times[place] if several else times) == 1):
            copies.append(len(sizes))
            sizes.append(f"{formal}[{place}]" if several else formal)
        sizes.append(f"a.shape[{axis}]")
    if not copies:
        return summed
    dims = copies[0] if len(copies) == 1 else tuple(copies)
    return f"{summed}.reshape({', '.join(sizes)}).sum({dims})"


def _repeat_interleave(site: Site) -> str:
    if site.value("dim") is None:
        if site.is_tensor("repeats"):
            raise Refusal("with a tensor of repeats, give `dim` here")
        return "g.reshape(*a.shape, repeats).sum(-1)"
    if site.is_tensor("repeats"):
        if site.ndim("repeats") != 1 or site.shape("repeats") != (
            site.shape("a")[site.value("dim")],
        ):
            raise Refusal("a tensor of repeats must have one for each element of the axis")
        return "d.index_add_(dim, torch.repeat_interleave(repeats), g)"
    if not site.fixed("dim"):
        raise Refusal("the axis must be written as an int here")
    dim = site.value("dim")
    return f"g.unflatten(dim, (a.shape[dim], repeats)).sum({dim if dim < 0 else dim + 1})"


VIEWS = (
    Rule(
        "reshape",
        (
            "torch.reshape(a, shape)",
            "a.reshape(*shape)",
            "a.view(*shape)",
            "a.view_as(other)",
            "a.reshape_as(other)",
            "torch.flatten(a, start_dim=0, end_dim=-1)",
            "a.flatten(start_dim=0, end_dim=-1)",
            "torch.ravel(a)",
            "a.ravel()",
            "torch.unflatten(a, dim, sizes)",
            "a.unflatten(dim, sizes)",
            "torch.squeeze(a, dim=None)",
            "a.squeeze(dim=None)",
        ),
        {"a": _reshape},
        why=SAME,
        notation="reshape",
        source=SHAPES,
        tests=(
            "a.reshape(2, 6) where a: 3 4",
            "torch.reshape(a, (-1, 2)) where a: 3 4",
            "a.view(-1) where a: 3 4",
            "a.view((4, 3)) where a: 3 4",
            "a.view(1, 1) where a: ()",
            "a.view_as(b) * b where a: 3 4; b: 2 6",
            "a.reshape_as(b) * b where a: 3 4; b: 2 6",
            "torch.flatten(a) where a: 2 3 4",
            "a.flatten(1) where a: 2 3 4",
            "a.flatten(0, -2) where a: 2 3 4",
            "a.ravel() where a: 3 4",
            "a.unflatten(1, (2, 2)) where a: 3 4",
            "torch.unflatten(a, -1, (2, -1)) where a: 3 4",
            "a.squeeze() where a: 3 1 4 1",
            "torch.squeeze(a, 1) where a: 3 1 4",
            "a.squeeze(-1) where a: 3 4 1",
            "a.squeeze((0, 2)) where a: 1 4 1",
            "a.squeeze(0) where a: 3 4",
        ),
        shape_only=("other",),
        view=True,
    ),
    Rule(
        "unsqueeze",
        ("torch.unsqueeze(a, dim)", "a.unsqueeze(dim)"),
        {"a": "g.squeeze(dim)"},
        why="an axis of size 1 that was put in is taken out again",
        source=SHAPES,
        tests=(
            "torch.unsqueeze(a, 1) where a: 3 4",
            "a.unsqueeze(-1) where a: 3 4",
            "a.unsqueeze(0) where a: 1 4",
            "a.unsqueeze(0) where a: ()",
        ),
        view=True,
    ),
    Rule(
        "transpose",
        (
            "torch.transpose(a, dim0, dim1)",
            "a.transpose(dim0, dim1)",
            "torch.swapaxes(a, dim0, dim1)",
            "a.swapaxes(dim0, dim1)",
            "torch.swapdims(a, dim0, dim1)",
            "a.swapdims(dim0, dim1)",
        ),
        {"a": "g.transpose(dim0, dim1)"},
        why="two axes that were swapped are swapped back",
        notation="transpose",
        source=SHAPES,
        tests=(
            "torch.transpose(a, 0, 1) where a: 3 4",
            "a.transpose(-2, -1) where a: 2 3 4",
            "a.swapaxes(0, 2) where a: 2 3 4",
        ),
        view=True,
    ),
    Rule(
        "T",
        ("a.T", "a.H", "torch.t(a)", "a.t()"),
        {"a": "g.T"},
        why="rows that became columns become rows again",
        notation="transpose",
        source=SHAPES,
        tests=("a.T where a: 3 4", "a.t() where a: 3 4"),
        view=True,
    ),
    Rule(
        "mT",
        ("a.mT", "a.mH", "a.adjoint()", "torch.adjoint(a)"),
        {"a": "g.mT"},
        why="rows that became columns become rows again",
        notation="transpose",
        source=SHAPES,
        tests=("a.mT where a: 3 4", "a.mT where a: 2 3 4"),
        view=True,
    ),
    Rule(
        "permute",
        ("torch.permute(a, dims)", "a.permute(*dims)"),
        {"a": _unpermute},
        why="axes that were put in another order are put back",
        source=SHAPES,
        tests=(
            "a.permute(2, 0, 1) where a: 2 3 4",
            "torch.permute(a, (0, 2, 1)) where a: 2 3 4",
            "a.permute(-1, 0, -2) where a: 2 3 4",
            "a.permute((1, 0)) where a: 3 4",
        ),
        view=True,
    ),
    Rule(
        "movedim",
        (
            "torch.movedim(a, source, destination)",
            "a.movedim(source, destination)",
            "torch.moveaxis(a, source, destination)",
            "a.moveaxis(source, destination)",
        ),
        {"a": "g.movedim(destination, source)"},
        why="an axis that was moved is moved back",
        source=SHAPES,
        tests=(
            "torch.movedim(a, 0, -1) where a: 2 3 4",
            "a.moveaxis(1, 2) where a: 2 3 4",
            "a.movedim((0, 1), (2, 0)) where a: 2 3 4",
        ),
        view=True,
    ),
    Rule(
        "expand",
        (
            "a.expand(*sizes)",
            "a.expand_as(other)",
            "torch.broadcast_to(a, sizes)",
            "a.broadcast_to(sizes)",
        ),
        {"a": "g"},
        why="a broadcast in the forward is a sum in the backward: what was used many times gets "
        "the sum of all its gradients",
        notation="broadcast",
        source=SHAPES,
        tests=(
            "a.expand(3, 4) where a: 4",
            "a.expand(-1, 4) where a: 3 1",
            "a.expand(2, 3, 4) where a: 3 1",
            "a.expand_as(b) * b where a: 1 4; b: 3 4",
            "torch.broadcast_to(a, (3, 4)) where a: ()",
        ),
        shape_only=("other",),
        view=True,
    ),
    Rule(
        "repeat",
        ("a.repeat(*repeats)", "torch.tile(a, dims)", "a.tile(*dims)"),
        {"a": _repeat},
        why=COPIES,
        source=SHAPES,
        tests=(
            "a.repeat(2, 3) where a: 3 4",
            "a.repeat(2, 1) where a: 3 4",
            "a.repeat(1, 2) where a: 3 4",
            "a.repeat(2, 3, 1) where a: 3 4",
            "a.repeat(1, 2, 3) where a: 3 4",
            "a.repeat(3) where a: ()",
            "a.repeat(1, 1) where a: 3 4",
            "torch.tile(a, (2,)) where a: 3 4",
            "a.tile(2, 1, 2) where a: 3 4",
        ),
    ),
    Rule(
        "repeat_interleave",
        (
            "torch.repeat_interleave(a, repeats, dim=None)",
            "a.repeat_interleave(repeats, dim=None)",
        ),
        {"a": _repeat_interleave},
        why=COPIES,
        source=SHAPES,
        tests=(
            "torch.repeat_interleave(a, 3, dim=1) where a: 3 4",
            "a.repeat_interleave(2, 0) where a: 3 4",
            "a.repeat_interleave(2, -1) where a: 2 3 4",
            "a.repeat_interleave(2) where a: 3 4",
            "a.repeat_interleave(k, 1) where a: 3 4; k: 4 < 3",
        ),
    ),
    *MOVES,
    *JOINS,
)
