"""Tensors laid out anew: shuffled pixels, grids, products of all pairs, blocks, padded lists."""

from __future__ import annotations

from gradninja.rules.rule import Refusal, Rule, Site, Template
from gradninja.rules.shaping.joins import JOINED, PARTED, SOURCE

MOVED = "elements that were laid out in another order are laid back"
AXIS = "each axis of the grid is one vector repeated along the others: it gets the sum over those"
STEPS = "each element stands once with plus and once with minus, in the steps on either side of it"


def _count(site: Site) -> int:
    return len(site.value("tensors"))


def _meshgrid(site: Site) -> list[str]:
    """With 'xy', the first two axes lie the other way round."""
    count = _count(site)
    axes = list(range(count))
    if site.value("indexing") == "xy" and count > 1:
        axes[:2] = [1, 0]
    return [
        _summed(f"g{i}", [axis for axis in range(count) if axis != axes[i]]) for i in range(count)
    ]


def _summed(text: str, dims: list[int]) -> str:
    return f"{text}.sum({dims[0] if len(dims) == 1 else tuple(dims)})" if dims else text


def _cartesian(site: Site) -> list[str]:
    count = _count(site)
    if count == 1:
        return ["g"]
    sizes = ", ".join(f"tensors[{i}].shape[0]" for i in range(count))
    return [
        _summed(f"g[:, {i}].reshape({sizes})", [j for j in range(count) if j != i])
        for i in range(count)
    ]


def _blocks(site: Site) -> list[str]:
    """A vector is a block of one row, a number one of one element."""
    if any(tensor.ndim == 1 and not len(tensor) for tensor in site.value("tensors")):
        raise Refusal("beside an empty vector, a row without columns, PyTorch's gradient is wrong")
    found = []
    starts: tuple[list[str], list[str]] = ([], [])
    for i, tensor in enumerate(site.value("tensors")):
        sizes = [f"tensors[{i}].shape[{axis}]" for axis in range(tensor.ndim)]
        rows, columns = ["1"] * (2 - tensor.ndim) + sizes
        text = f"g.narrow(0, {_total(starts[0])}, {rows}).narrow(1, {_total(starts[1])}, {columns})"
        found.append(text if tensor.ndim == 2 else f"{text}.reshape(tensors[{i}].shape)")
        starts[0].append(rows)
        starts[1].append(columns)
    return found


def _total(sizes: list[str]) -> str:
    return " + ".join(sizes) or "0"


def _columns(site: Site) -> list[str]:
    found: list[str] = []
    before: list[str] = []
    for i, tensor in enumerate(site.value("tensors")):
        wide = tensor.ndim > 1
        width = f"tensors[{i}].shape[1]" if wide else "1"
        text = f"g.narrow(1, {_total(before)}, {width})" if wide else f"g[:, {_total(before)}]"
        found.append(text if tensor.ndim else f"{text}.reshape(())")
        before.append(width)
    return found


def _deep(site: Site) -> list[str]:
    found: list[str] = []
    before: list[str] = []
    for i, tensor in enumerate(site.value("tensors")):
        depth = f"tensors[{i}].shape[2]" if tensor.ndim > 2 else "1"
        text = f"g.narrow(2, {_total(before)}, {depth})"
        found.append(text if tensor.ndim > 2 else f"{text}.reshape(tensors[{i}].shape)")
        before.append(depth)
    return found


def _padded(site: Site) -> list[str]:
    if site.value("padding_side") != "right":
        raise Refusal("there is a rule for padding on the right alone")
    form = "g[{i}, :tensors[{i}].shape[0]]"
    if not site.value("batch_first"):
        form = "g[:tensors[{i}].shape[0], {i}]"
    return [form.format(i=i) for i in range(_count(site))]


def _kron(of: str) -> Template:
    """Both operands' axes side by side: those of `a` before those of `b`, pair by pair."""

    def template(site: Site) -> str:
        ranks = {name: site.ndim(name) for name in "ab"}
        rank = max(ranks.values())
        if rank == 0:
            return "b * g" if of == "a" else "a * g"
        sizes = {
            name: ["1"] * (rank - ndim) + [f"{name}.shape[{i}]" for i in range(ndim)]
            for name, ndim in ranks.items()
        }
        both = ", ".join(f"{m}, {n}" for m, n in zip(sizes["a"], sizes["b"], strict=True))
        other = "b" if of == "a" else "a"
        axes = ", ".join(f"1, {n}" if of == "a" else f"{n}, 1" for n in sizes[other])
        dims = list(range(1, 2 * rank, 2) if of == "a" else range(0, 2 * rank, 2))
        text = _summed(f"(g.reshape({both}) * {other}.reshape({axes}))", dims)
        return text if ranks[of] == rank else f"{text}.reshape({of}.shape)"

    return template


def _difference(site: Site, wanted: str) -> str:
    """The gradient of what was joined before the differences were taken; then the part of it."""
    n = site.value("n")
    if n == 0:  # then PyTorch joins nothing
        return "g" if wanted == "a" else f"torch.zeros_like({wanted})"
    zeros = "torch.zeros_like(a.narrow(dim, 0, n))"
    order = "dim=dim" if n == 1 else "n=n, dim=dim"
    text = f"torch.diff(g, {order}, prepend={zeros}, append={zeros})"
    text = f"-{text}" if n % 2 else text
    if n > site.shape("a")[site.value("dim")]:
        raise Refusal("`n` is larger than the axis is long")
    if site.value("prepend") is None and site.value("append") is None:
        return text
    before = [] if site.value("prepend") is None else ["prepend.shape[dim]"]
    starts = {"prepend": [], "a": before, "append": [*before, "a.shape[dim]"]}
    whole = f"({text})" if text.startswith("-") else text
    return f"{whole}.narrow(dim, {_total(starts[wanted])}, {wanted}.shape[dim])"


ARRANGEMENTS = (
    Rule(
        "pixel_shuffle",
        ("F.pixel_shuffle(a, upscale_factor)", "torch.pixel_shuffle(a, upscale_factor)"),
        {"a": "F.pixel_unshuffle(g, upscale_factor)"},
        why=MOVED,
        source="Shi et al. 2016, Real-time single image and video super-resolution, equation 4",
        tests=(
            "F.pixel_shuffle(a, 2) where a: 2 8 3 4",
            "torch.pixel_shuffle(a, 3) where a: 9 2 1",
        ),
    ),
    Rule(
        "pixel_unshuffle",
        ("F.pixel_unshuffle(a, downscale_factor)", "torch.pixel_unshuffle(a, downscale_factor)"),
        {"a": "F.pixel_shuffle(g, downscale_factor)"},
        why=MOVED,
        source="Shi et al. 2016, Real-time single image and video super-resolution, equation 4",
        tests=(
            "F.pixel_unshuffle(a, 2) where a: 2 3 4 6",
            "torch.pixel_unshuffle(a, 3) where a: 1 3 6",
        ),
    ),
    Rule(
        "channel_shuffle",
        ("F.channel_shuffle(a, groups)", "torch.channel_shuffle(a, groups)"),
        {"a": "F.channel_shuffle(g, a.shape[1] // groups)"},
        why=MOVED,
        source="Zhang et al. 2018, ShuffleNet, section 3.1",
        tests=("F.channel_shuffle(a, 2) where a: 2 6 3 4",),
    ),
    Rule(
        "meshgrid",
        ("torch.meshgrid(*tensors, indexing=None)",),
        {"tensors": _meshgrid},
        why=AXIS,
        view=True,
        source=SOURCE,
        tests=(
            "torch.meshgrid(a, b, indexing='ij') where a: 3; b: 4",
            "torch.meshgrid([a, b, c], indexing='xy') where a: 3; b: 4; c: 2",
            "torch.meshgrid(a, b, indexing='xy')[1] where a: 3; b: 4",
        ),
    ),
    Rule(
        "cartesian_prod",
        ("torch.cartesian_prod(*tensors)",),
        {"tensors": _cartesian},
        why=AXIS,
        view=True,
        source=SOURCE,
        tests=(
            "torch.cartesian_prod(a, b) where a: 3; b: 4",
            "torch.cartesian_prod(a, b, c) where a: 3; b: 4; c: 2",
            "torch.cartesian_prod(a) where a: 3",
        ),
    ),
    Rule(
        "broadcast_tensors",
        ("torch.broadcast_tensors(*tensors)",),
        {"tensors": lambda site: [f"g{i}" for i in range(_count(site))]},
        why="what was used many times gets the sum of all its gradients",
        view=True,
        source=SOURCE,
        tests=(
            "torch.broadcast_tensors(a, b) where a: 3 1; b: 4",
            "torch.broadcast_tensors(a, b)[1] where a: 2 3 4; b: 4",
        ),
    ),
    Rule(
        "block_diag",
        ("torch.block_diag(*tensors)",),
        {"tensors": _blocks},
        why=JOINED,
        source=SOURCE,
        tests=(
            "torch.block_diag(a, b) where a: 2 3; b: 3 2",
            "torch.block_diag(a, b, c) where a: 3; b: 2 2; c: ()",
        ),
    ),
    Rule(
        "column_stack",
        ("torch.column_stack(tensors)",),
        {"tensors": _columns},
        why=JOINED,
        source=SOURCE,
        tests=(
            "torch.column_stack((a, b)) where a: 3; b: 3",
            "torch.column_stack([a, b, c]) where a: 3 2; b: 3; c: 3 3",
        ),
    ),
    Rule(
        "dstack",
        ("torch.dstack(tensors)",),
        {"tensors": _deep},
        why=JOINED,
        source=SOURCE,
        tests=(
            "torch.dstack((a, b)) where a: 3 4; b: 3 4",
            "torch.dstack([a, b]) where a: 3; b: 3",
            "torch.dstack([a, b]) where a: 3 4 2; b: 3 4 3",
        ),
    ),
    Rule(
        "hsplit",
        ("torch.hsplit(a, parts)", "a.hsplit(parts)"),
        {"a": lambda site: f"torch.cat(gs, {min(site.ndim('a') - 1, 1)})"},
        why=PARTED,
        view=True,
        source=SOURCE,
        tests=("torch.hsplit(a, 2) where a: 3 4", "a.hsplit([1, 3]) where a: 4"),
    ),
    Rule(
        "vsplit",
        ("torch.vsplit(a, parts)", "a.vsplit(parts)"),
        {"a": "torch.cat(gs, 0)"},
        why=PARTED,
        view=True,
        source=SOURCE,
        tests=("torch.vsplit(a, 2) where a: 4 3", "a.vsplit([1, 3])[1] where a: 4 3"),
    ),
    Rule(
        "atleast",
        ("torch.atleast_1d(a)", "torch.atleast_2d(a)", "torch.atleast_3d(a)"),
        {"a": "g.reshape(a.shape)"},
        why="an axis of size 1 more or less changes no element",
        source=SOURCE,
        tests=(
            "torch.atleast_1d(a) where a: ()",
            "torch.atleast_2d(a) where a: 3",
            "torch.atleast_3d(a) where a: 3 4",
        ),
        view=True,
    ),
    Rule(
        "sum_to_size",
        ("a.sum_to_size(*size)",),
        {"a": "g"},
        why="a sum in the forward is a broadcast in the backward",
        source=SOURCE,
        tests=("a.sum_to_size(4) where a: 3 4", "a.sum_to_size((3, 1)) where a: 2 3 4"),
    ),
    Rule(
        "pad_sequence",
        (
            "torch.nn.utils.rnn.pad_sequence(tensors, batch_first=False, padding_value=0.0, "
            "padding_side='right')",
        ),
        {"tensors": _padded},
        why="each sequence gets the gradient of the part that it became; the padding is a constant",
        source=SOURCE,
        tests=(
            "torch.nn.utils.rnn.pad_sequence([a, b]) where a: 3 4; b: 2 4",
            "torch.nn.utils.rnn.pad_sequence([a, b], batch_first=True) where a: 3; b: 5",
        ),
    ),
    Rule(
        "kron",
        ("torch.kron(a, b)", "a.kron(b)"),
        {"a": _kron("a"), "b": _kron("b")},
        why="every element of a meets every one of b: each gets the other ones, weighted by the "
        "gradients of where they met",
        source="Van Loan 2000, The ubiquitous Kronecker product",
        tests=(
            "torch.kron(a, b) where a: 2 3; b: 3 4",
            "torch.kron(a, b) where a: 3; b: 2 4",
            "a.kron(b) where a: 2 3; b: 4",
            "torch.kron(a, b) where a: (); b: ()",
        ),
    ),
    Rule(
        "diff",
        (
            "torch.diff(a, n=1, dim=-1, prepend=None, append=None)",
            "a.diff(n=1, dim=-1, prepend=None, append=None)",
        ),
        {
            "a": lambda site: _difference(site, "a"),
            "prepend": lambda site: _difference(site, "prepend"),
            "append": lambda site: _difference(site, "append"),
        },
        why=STEPS,
        source=SOURCE,
        tests=(
            "torch.diff(a) where a: 3 4",
            "a.diff(dim=0) where a: 3 4",
            "torch.diff(a, 2, 0) where a: 4 3",
            "torch.diff(a, n=3) where a: 5",
            "torch.diff(a, prepend=b) where a: 3 4; b: 3 1",
            "torch.diff(a, dim=0, prepend=b, append=c) where a: 3 4; b: 2 4; c: 1 4",
        ),
    ),
)
