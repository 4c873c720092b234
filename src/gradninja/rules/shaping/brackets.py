"""What stands in brackets: ints, slices, new axes, masks, tensors of positions, mixes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from gradninja.rules.rule import Refusal, Rule, Site

DERIVATIVES = "PyTorch, tools/autograd/derivatives.yaml"
ADDS_UP = "an element that was picked several times gets the sum of their gradients"


@dataclass(frozen=True)
class Part:
    """One part of what stands between the brackets: its text and its value."""

    text: str
    value: Any

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
        if not isinstance(self.value, list | range) or len(self.value) == 1:
            return False
        one_sign = all(v >= 0 for v in self.value) or all(v < 0 for v in self.value)
        return one_sign and len(set(self.value)) == len(self.value)


def _is_int(tensor: torch.Tensor) -> bool:
    return tensor.dtype not in (torch.bool, torch.uint8)


def _parts(site: Site) -> list[Part]:
    """What stands between the brackets, part by part."""
    value = site.value("index")
    if isinstance(value, tuple):
        parts = [Part(f"index[{i}]", v) for i, v in enumerate(value)]
    else:
        parts = [Part("index", value)]
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


BRACKETS = (
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
            "a[[]] where a: 3 4",
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
)
