"""What picks elements by position: brackets of every kind, gather, scatter, lookups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from gradninja.lines import TUPLE, Expr
from gradninja.rules.rule import Refusal, Rule, Site, Template

DERIVATIVES = "PyTorch, tools/autograd/derivatives.yaml"
ADDS_UP = "an element that was picked several times gets the sum of their gradients"


@dataclass(frozen=True)
class Part:
    """One part of what stands between the brackets: its text, its value, how it was made."""

    text: str
    value: Any
    op: str = ""

    @property
    def mask(self) -> bool:
        return isinstance(self.value, torch.Tensor) and not _is_int(self.value)

    @property
    def advanced(self) -> bool:
        """Whether it picks by a list of positions (a 0-dim index tensor counts as an int)."""
        if isinstance(self.value, torch.Tensor):
            return self.mask or self.value.ndim > 0
        return isinstance(self.value, list | range)

    @property
    def axes(self) -> int:
        """How many axes of the operand it stands for; an ellipsis is counted elsewhere."""
        if self.value is None or self.value is Ellipsis:
            return 0
        return int(self.value.ndim) if self.mask else 1

    @property
    def ndim(self) -> int:
        """How many axes an advanced part gives, by itself."""
        if isinstance(self.value, torch.Tensor) and not self.mask:
            return int(self.value.ndim)
        return 1

    @property
    def tensor(self) -> str:
        """Text for an advanced part as a tensor."""
        return self.text if isinstance(self.value, torch.Tensor) else f"torch.tensor({self.text})"

    @property
    def distinct(self) -> bool:
        """Whether it names no position twice, whatever the sizes, nor is broadcast."""
        if self.op == "torch.arange":
            return len(self.value) > 1
        if not isinstance(self.value, list | range):
            return False
        one_sign = min(self.value) >= 0 or max(self.value) < 0
        return len(self.value) > 1 and one_sign and len(set(self.value)) == len(self.value)


def _is_int(tensor: torch.Tensor) -> bool:
    return tensor.dtype not in (torch.bool, torch.uint8)


def _parts(site: Site) -> list[Part]:
    """What stands between the brackets, part by part."""
    index = site.bound["index"]
    value = index.value
    if isinstance(value, tuple):
        elements: list[Expr | None] = list(index.args) if index.op == TUPLE else [None] * len(value)
        parts = [
            Part(f"index[{i}]", v, "" if e is None else e.op)
            for i, (v, e) in enumerate(zip(value, elements, strict=True))
        ]
    else:
        parts = [Part("index", value, index.op)]
    for part in parts:
        if isinstance(part.value, bool) or (part.mask and part.value.ndim == 0):
            raise Refusal("an index of True or False is outside; use None for a new axis")
        if isinstance(part.value, list) and not all(type(v) is int for v in part.value):
            raise Refusal("a list in brackets must be of plain ints; write a tuple or a tensor")
    return parts


def _adds_once(parts: list[Part]) -> bool:
    """Whether no element is picked twice: then adding into the picked part is right."""
    advanced = [part for part in parts if part.advanced]
    if not advanced or (len(advanced) == 1 and advanced[0].mask):
        return True
    if any(part.mask or part.ndim > 1 for part in advanced):
        return False
    return any(part.distinct for part in advanced)


@dataclass(frozen=True)
class Layout:
    """Where the axes lie once the plain parts (ints, slices, None, ...) were taken."""

    plain: list[str]  # the plain parts, `:` for each axis that an advanced part picks from
    picked: tuple[int, ...]  # axes that advanced parts pick from
    first: int  # the axis of the result at which the picked ones begin
    made: int  # how many axes they make there


def _layout(parts: list[Part], ndim: int) -> Layout:
    rest = ndim - sum(part.axes for part in parts)
    plain: list[str] = []
    picked: list[int] = []
    axis = 0
    for part in parts:
        if part.advanced:
            plain += [":"] * part.axes
            picked += range(axis, axis + part.axes)
            axis += part.axes
            continue
        plain.append(_plain(part))
        if part.value is Ellipsis:
            axis += rest
        elif part.value is None or isinstance(part.value, slice):
            axis += 1
    adjacent = picked == list(range(picked[0], picked[-1] + 1))
    made = max(part.ndim for part in parts if part.advanced)
    return Layout(plain, tuple(picked), picked[0] if adjacent else 0, made)


def _plain(part: Part) -> str:
    if part.value is None or part.value is Ellipsis:
        return repr(part.value) if part.value is None else "..."
    return ":" if part.value == slice(None) else part.text


def _to_front(text: str, axes: tuple[int, ...]) -> str:
    front = tuple(range(len(axes)))
    if axes == front:
        return text
    if len(axes) == 1:
        return f"{text}.movedim({axes[0]}, 0)"
    return f"{text}.movedim({axes}, {front})"


def _accumulate(site: Site, parts: list[Part]) -> str:
    """Add into the picked elements one by one, the picked axes brought to the front."""
    layout = _layout(parts, site.ndim("a"))
    while layout.plain and layout.plain[-1] == ":":
        layout.plain.pop()
    into = "d" if set(layout.plain) <= {":"} else f"d[{', '.join(layout.plain)}]"
    into = _to_front(into, layout.picked)
    made = tuple(range(layout.first, layout.first + layout.made))
    indices = ", ".join(part.tensor for part in parts if part.advanced)
    comma = "," if sum(part.advanced for part in parts) == 1 else ""
    return f"{into}.index_put_(({indices}{comma}), {_to_front('g', made)}, accumulate=True)"


def _index(site: Site) -> str:
    parts = _parts(site)
    return "d[index] += g" if _adds_once(parts) else _accumulate(site, parts)


def _index_exact(site: Site) -> str:
    """The same sum, made before it is added to what is there: autograd's order of additions."""
    parts = _parts(site)
    if _adds_once(parts):
        return "d[index] += g"
    whole = all(part.advanced or part.value == slice(None) for part in parts)
    if not whole:
        return _accumulate(site, parts)
    holes = ", ".join(part.tensor if part.advanced else "None" for part in parts)
    return f"torch.ops.aten.index_put(torch.zeros_like(a), [{holes}], g, True)"


def _view(site: Site) -> str:
    """New axes alone are squeezed out again; parts are added into."""
    value = site.value("basic")
    parts = value if isinstance(value, tuple) else (value,)
    if any(not (p is None or p is Ellipsis or p == slice(None)) for p in parts):
        return "d[basic] += g"
    whole = sum(isinstance(p, slice) for p in parts)
    new, axis = [], 0
    for part in parts:
        if part is None:
            new.append(axis)
        axis += site.ndim("a") - whole if part is Ellipsis else 1
    if not new:
        return "g"
    return f"g.squeeze({new[0] if len(new) == 1 else tuple(new)})"


def _dense(text: str) -> Template:
    def template(site: Site) -> str:
        if site.value_or("sparse_grad", False):
            raise Refusal("`sparse_grad=True` is outside; leave it out")
        return text

    return template


def _take_along(text: str) -> Template:
    """`indices` and `a` broadcast against each other over the axes other than `dim`."""

    def template(site: Site) -> str:
        if site.value("dim") is None:
            return "torch.zeros_like(a).put_(indices, g.reshape_as(indices), accumulate=True)"
        dim = site.value("dim") % site.ndim("a")
        others = [i for i in range(site.ndim("a")) if i != dim]
        narrow = any(site.shape("indices")[i] == 1 for i in others)
        index = "indices.expand_as(g)" if narrow else "indices"
        if any(site.shape("a")[i] == 1 for i in others):
            sizes = [
                f"a.shape[{i}]" if i == dim else f"y.shape[{i}]" for i in range(len(site.y.shape))
            ]
            return f"g.new_zeros({', '.join(sizes)}).scatter_add_(dim, {index}, g)"
        return text.replace("INDEX", index)

    return template


def _masked_select(site: Site) -> str:
    together = torch.broadcast_shapes(site.shape("a"), site.shape("mask"))
    if site.shape("a") == site.shape("mask"):
        return "d[mask] += g"
    if together == site.shape("a"):
        return "torch.zeros_like(a).masked_scatter(mask, g)"
    shape = "torch.broadcast_shapes(a.shape, mask.shape)"
    return f"g.new_zeros({shape}).masked_scatter(mask, g)"


def _source(text: str) -> Template:
    def template(site: Site) -> str:
        if site.shape("index") != site.shape("src"):
            raise Refusal("`src` must have the shape of `index`, else PyTorch has no gradient")
        return text

    return template


def _index_add(site: Site) -> str:
    alpha = "" if site.value_or("alpha", 1) == 1 else "alpha * "
    if site.ndim("source") == 0:
        return (
            f"{alpha}g.index_select(dim, index.reshape(1)).squeeze(dim)" if site.ndim("a") else "g"
        )
    return f"{alpha}g.index_select(dim, index)"


def _embedding(exact: bool) -> Template:
    def template(site: Site) -> str:
        if site.value("max_norm") is not None:
            raise Refusal("`max_norm` changes the table in place; leave it out")
        if site.value("scale_grad_by_freq") or site.value("sparse"):
            raise Refusal("`scale_grad_by_freq` and `sparse` are outside; leave them out")
        skipped = site.value("padding_idx")
        if exact:
            row = "-1" if skipped is None else "padding_idx % a.shape[0]"
            return f"torch.ops.aten.embedding_dense_backward(g, index, a.shape[0], {row}, False)"
        if skipped is None:
            return "d.index_put_((index,), g, accumulate=True)"
        kept = "(index != padding_idx % a.shape[0]).unsqueeze(-1)"
        return f"d.index_put_((index,), g * {kept}, accumulate=True)"

    return template


INDEXING = (
    Rule(
        "view of a part",
        ("a[basic]",),
        {"a": _view},
        why="what was picked gets its gradient at its place, what was not picked gets zero",
        source=DERIVATIVES,
        tests=(
            "a[1] where a: 3 4",
            "a[-1] where a: 3",
            "a[:, 2] where a: 3 4",
            "a[1, -2] where a: 3 4",
            "a[0:2] where a: 3 4",
            "a[:, 1::2] where a: 3 7",
            "a[..., 0] where a: 2 3 4",
            "a[-2:, ..., None, 1] where a: 4 2 3",
            "a[None] where a: 3 4",
            "a[None] where a: ()",
            "a[:, None] * b where a: 3 4; b: 3 2 4",
            "a[..., None] where a: 2 3",
            "a[None, :, None] where a: 3",
            "a[None, ..., None] where a: 3 4",
            "a[...] where a: 3 4",
            "a[:] where a: 3 4",
            "a[1:] * a[:-1] where a: 5 3",
            "a[:, :a.shape[1] // 2] where a: 3 6",
            "(2 * a)[1:] where a: 5 3",
        ),
        view=True,
    ),
    Rule(
        "index",
        ("a[index]",),
        {"a": _index},
        exact={"a": _index_exact},
        why=f"what was picked gets its gradient at its place; {ADDS_UP}",
        source=DERIVATIVES,
        tests=(
            "a[i] where a: 5 4; i: 3 < 5",
            "a[i] where a: 5 4; i: 3 2 < 5",
            "a[i] where a: 5 4; i: () < 5",
            "a[i - 5] where a: 5 4; i: 6 < 5",
            "a[m] where a: 3 4; m: 3 bool",
            "a[m] where a: 3 4; m: 3 4 bool",
            "a[a > 0] where a: 3 4",
            "a[:, m] where a: 3 4; m: 4 bool",
            "a[[0, 2]] where a: 3 4",
            "a[[0, 2, 2]] where a: 3 4",
            "a[[0, -3]] where a: 3 4",
            "a[:, [1, 0]] where a: 3 4",
            "a[:, [1, 1, 0]] where a: 3 4",
            "a[range(3), [0, 0, 2]] where a: 3 4",
            "a[[1, 1], [0, 0]] where a: 3 4",
            "a[range(1), i] where a: 3 4; i: 6 < 4",
            "a[range(3), i] where a: 3 4; i: 3 < 4",
            "a[torch.arange(3), i] where a: 3 4; i: 3 < 4",
            "a[range(3), i] where a: 3 4; i: 5 3 < 4",
            "a[i, j] where a: 3 4; i: 7 < 3; j: 7 < 4",
            "a[i[:, None], j] where a: 3 4; i: 6 < 3; j: 7 < 4",
            "a[:, i] where a: 3 4; i: 6 < 4",
            "a[:, i] where a: 3 4 2; i: 6 5 < 4",
            "a[i, 0] where a: 3 4; i: 6 < 3",
            "a[0, i] where a: 3 4; i: 6 < 4",
            "a[..., i] where a: 2 3 4; i: 6 < 4",
            "a[i, :, 1:] where a: 3 2 4; i: 6 < 3",
            "a[None, :, i, 1:] where a: 2 3 4; i: 6 < 3",
            "a[i, :, j] where a: 3 2 4; i: 6 < 3; j: 6 < 4",
            "a[:, i, :, j] where a: 2 3 2 4; i: 6 < 3; j: 6 < 4",
            "a[:, i, j] where a: 2 3 4; i: 6 < 3; j: 6 < 4",
            "a[i, None, j] where a: 3 4; i: 6 < 3; j: 6 < 4",
            "a[:, m, 1] where a: 2 3 4; m: 3 bool",
            "a[m, [1]] where a: 3 2 4; m: 3 2 bool",
            "a[1:, [0, 0], ..., None] where a: 3 2 4",
            "a[i] * a[j] where a: 3 4; i: 6 < 3; j: 6 < 3",
        ),
    ),
    Rule(
        "gather",
        (
            "torch.gather(a, dim, index, sparse_grad=False)",
            "a.gather(dim, index, sparse_grad=False)",
        ),
        {"a": _dense("d.scatter_add_(dim, index, g)")},
        exact={"a": _dense("torch.zeros_like(a).scatter_add_(dim, index, g)")},
        why=f"gathering turned round is scattering; {ADDS_UP}",
        source=DERIVATIVES,
        tests=(
            "a.gather(1, i) where a: 3 4; i: 3 6 < 4",
            "torch.gather(a, 0, i) where a: 3 4; i: 5 2 < 3",
            "torch.gather(a, dim=-1, index=i) where a: 2 3 4; i: 2 3 1 < 4",
        ),
    ),
    Rule(
        "take_along_dim",
        ("torch.take_along_dim(a, indices, dim=None)", "a.take_along_dim(indices, dim=None)"),
        {"a": _take_along("d.scatter_add_(dim, INDEX, g)")},
        exact={"a": _take_along("torch.zeros_like(a).scatter_add_(dim, INDEX, g)")},
        why=f"gathering turned round is scattering; {ADDS_UP}",
        source=DERIVATIVES,
        tests=(
            "a.take_along_dim(i, 1) where a: 3 4; i: 3 6 < 4",
            "torch.take_along_dim(a, i, dim=0) where a: 3 4; i: 5 1 < 3",
            "torch.take_along_dim(a, i, -1) where a: 1 4; i: 3 2 < 4",
            "torch.take_along_dim(a, i) where a: 3 4; i: 5 < 12",
            "torch.take_along_dim(a, i) where a: 3 4; i: 5 2 < 12",
        ),
    ),
    Rule(
        "take",
        ("torch.take(a, index)", "a.take(index)"),
        {"a": "d.put_(index, g, accumulate=True)"},
        exact={"a": "torch.zeros_like(a).put_(index, g, accumulate=True)"},
        why=f"what was picked gets its gradient at its place; {ADDS_UP}",
        source=DERIVATIVES,
        tests=("torch.take(a, i) where a: 3 4; i: 5 2 < 12", "a.take(i) where a: 3 4; i: 9 < 12"),
    ),
    Rule(
        "index_select",
        ("torch.index_select(a, dim, index)", "a.index_select(dim, index)"),
        {"a": "d.index_add_(dim, index, g)"},
        exact={"a": "torch.zeros_like(a).index_add_(dim, index, g)"},
        why=f"what was picked gets its gradient at its place; {ADDS_UP}",
        source=DERIVATIVES,
        tests=(
            "a.index_select(0, i) where a: 3 4; i: 6 < 3",
            "torch.index_select(a, -1, i) where a: 2 3 4; i: 6 < 4",
        ),
    ),
    Rule(
        "masked_select",
        ("torch.masked_select(a, mask)", "a.masked_select(mask)"),
        {"a": _masked_select},
        why="what was picked gets its gradient at its place, what was not picked gets zero",
        source=DERIVATIVES,
        tests=(
            "a.masked_select(m) where a: 3 4; m: 3 4 bool",
            "torch.masked_select(a, m) where a: 3 4; m: 4 bool",
            "torch.masked_select(a, m) where a: 4; m: 3 4 bool",
            "torch.masked_select(a, m) where a: 3 1; m: 4 bool",
        ),
    ),
    Rule(
        "scatter_add",
        ("torch.scatter_add(a, dim, index, src)", "a.scatter_add(dim, index, src)"),
        {"a": "g", "src": _source("g.gather(dim, index)")},
        why="a sum hands the gradient on to each of its terms: each source reads it where it went",
        source=DERIVATIVES,
        tests=(
            "a.scatter_add(1, i, b) where a: 3 4; i: 3 6 < 4; b: 3 6",
            "torch.scatter_add(a, 0, i, b) where a: 3 4; i: 5 2 < 3; b: 5 2",
        ),
    ),
    Rule(
        "scatter",
        (
            "torch.scatter(a, dim, index, src)",
            "a.scatter(dim, index, src)",
            "torch.scatter(a, dim, index, value)",
            "a.scatter(dim, index, value)",
        ),
        {"a": "g.scatter(dim, index, 0)", "src": _source("g.gather(dim, index)")},
        why="what was overwritten gets no gradient; what was written reads it where it went",
        source=DERIVATIVES,
        tests=(
            "a.scatter(1, i, 2.5) where a: 3 4; i: 3 2 < 4",
            "torch.scatter(a, 0, i, value=0.5) where a: 3 4; i: 2 4 < 3",
            "a.scatter(1, b.argsort(1), b) where a: 3 4; b: 3 4",
        ),
    ),
    Rule(
        "index_add",
        (
            "torch.index_add(a, dim, index, source, alpha=1)",
            "a.index_add(dim, index, source, alpha=1)",
        ),
        {"a": "g", "source": _index_add},
        why="a sum hands the gradient on to each of its terms: each source reads it where it went",
        source=DERIVATIVES,
        tests=(
            "a.index_add(0, i, b) where a: 3 4; i: 6 < 3; b: 6 4",
            "torch.index_add(a, -1, i, b, alpha=2.5) where a: 3 4; i: 6 < 4; b: 3 6",
        ),
    ),
    Rule(
        "index_copy",
        ("torch.index_copy(a, dim, index, source)", "a.index_copy(dim, index, source)"),
        {"a": "g.index_fill(dim, index, 0)", "source": "g.index_select(dim, index)"},
        why="what was overwritten gets no gradient; what was written reads it where it went",
        source=DERIVATIVES,
        tests=("a.index_copy(0, torch.tensor([2, 0]), b) where a: 3 4; b: 2 4",),
    ),
    Rule(
        "index_fill",
        ("torch.index_fill(a, dim, index, value)", "a.index_fill(dim, index, value)"),
        {"a": "g.index_fill(dim, index, 0)"},
        why="what was overwritten gets no gradient",
        source=DERIVATIVES,
        tests=("a.index_fill(1, i, 0.5) where a: 3 4; i: 2 < 4",),
    ),
    Rule(
        "embedding",
        (
            "F.embedding(index, a, padding_idx=None, max_norm=None, norm_type=2.0, "
            "scale_grad_by_freq=False, sparse=False)",
        ),
        {"a": _embedding(exact=False)},
        exact={"a": _embedding(exact=True)},
        why=f"a lookup is picking rows: each row gets its gradients; {ADDS_UP}",
        source=DERIVATIVES,
        tests=(
            "F.embedding(i, a) where i: 6 < 5; a: 5 4",
            "F.embedding(i, a) where i: 2 6 < 5; a: 5 4",
            "F.embedding(i, a, padding_idx=1) where i: 2 6 < 5; a: 5 4",
            "F.embedding(i, a, -2) where i: 9 < 5; a: 5 4",
        ),
    ),
)
