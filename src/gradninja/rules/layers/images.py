"""Convolutions, and what slides a window: unfold, fold, pooling."""

from __future__ import annotations

from gradninja.rules.rule import Refusal, Rule, Site, Template

DUMOULIN = "Dumoulin & Visin 2016, A guide to convolution arithmetic for deep learning, chapter 4"
DERIVATIVES = "PyTorch, tools/autograd/derivatives.yaml"
GEOMETRY = (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1))


def _padding(site: Site, rank: int) -> str:
    """Padding as numbers: 'same' is half of what the window is longer than 1."""
    padding = site.value("padding")
    if padding == "valid":
        return "0"
    if padding != "same":
        return "padding"
    dilation = site.value("dilation")
    dilations = [dilation] * rank if isinstance(dilation, int) else list(dilation)
    window = site.shape("weight")[2:]
    if any(d * (size - 1) % 2 for d, size in zip(dilations, window, strict=True)):
        raise Refusal("padding='same' is uneven here: pad with F.pad on a line of its own")
    halves = [f"{d} * (weight.shape[{i + 2}] - 1) // 2" for i, d in enumerate(dilations)]
    return f"({', '.join(halves)},)" if rank == 1 else f"({', '.join(halves)})"


def _geometry(site: Site, rank: int, *names: str) -> str:
    """What was given of stride, padding, dilation, groups, as keywords."""
    found = []
    for name, usual in GEOMETRY:
        if name in names and site.value(name) not in (usual, "valid"):
            found.append(f", {name}={_padding(site, rank) if name == 'padding' else name}")
    return "".join(found)


def _one_batch(text: str) -> str:
    """Out of a batch of one example."""
    return f"{text}.squeeze(0)"


def _batched(site: Site, rank: int) -> bool:
    return site.ndim("a") == rank + 2


def _convolution(rank: int, wanted: str) -> Template:
    def template(site: Site) -> str:
        if not site.value("weight").numel():
            return f"torch.zeros_like({wanted})"
        geometry = _geometry(site, rank, "stride", "padding", "dilation", "groups")
        batched = _batched(site, rank)
        g, a = ("g", "a") if batched else ("g.unsqueeze(0)", "a.unsqueeze(0)")
        if wanted == "weight":
            return f"torch.nn.grad.conv{rank}d_weight({a}, weight.shape, {g}{geometry})"
        text = f"torch.nn.grad.conv{rank}d_input({a}.shape, weight, {g}{geometry})"
        return text if batched else _one_batch(text)

    return template


def _transposed(rank: int, wanted: str) -> Template:
    """A transposed convolution is a convolution turned round, so its gradient is one."""

    def template(site: Site) -> str:
        geometry = _geometry(site, rank, "stride", "padding", "dilation", "groups")
        if wanted == "a":
            return f"F.conv{rank}d(g, weight{geometry})"
        g, a = ("g", "a") if _batched(site, rank) else ("g.unsqueeze(0)", "a.unsqueeze(0)")
        return f"torch.nn.grad.conv{rank}d_weight({g}, weight.shape, {a}{geometry})"

    return template


def _bias(rank: int) -> Template:
    def template(site: Site) -> str:
        if not site.value("weight").numel():  # then PyTorch's result is empty, too
            return "torch.zeros_like(bias)"
        dims = tuple(range(1, rank + 1))
        if _batched(site, rank):
            dims = (0, *range(2, rank + 2))
        return f"g.sum({dims[0] if len(dims) == 1 else dims})"

    return template


def _bias_exact(rank: int, transposed: bool) -> Template:
    """PyTorch's own kernel, which sums in an order of its own."""

    def template(site: Site) -> str:
        if not site.value("weight").numel():
            return "torch.zeros_like(bias)"
        g, a = ("g", "a") if _batched(site, rank) else ("g.unsqueeze(0)", "a.unsqueeze(0)")
        stride, dilation = (_each(site, name, rank) for name in ("stride", "dilation"))
        padding = _padding(site, rank)
        padding = _each(site, "padding", rank) if padding == "padding" else padding
        padding = f"({', '.join(['0'] * rank)},)" if padding == "0" else padding
        further = _each(site, "output_padding", rank) if transposed else str([0] * rank)
        return (
            f"torch.ops.aten.convolution_backward({g}, {a}, weight, [g.shape[{-rank - 1}]], "
            f"{stride}, {padding}, {dilation}, {transposed}, {further}, groups, "
            "[False, False, True])[2]"
        )

    return template


def _each(site: Site, name: str, rank: int) -> str:
    """One number for each axis of the window."""
    several = isinstance(site.value(name), tuple | list)
    return name if several else f"({', '.join([name] * rank)},)"


CONV_WHY = (
    "a window slides over the input: each element gets the gradients of all windows that saw it, "
    "each weight those of all places that it was used in"
)


def _conv(rank: int, *tests: str) -> Rule:
    name = f"conv{rank}d"
    return Rule(
        name,
        (
            f"F.{name}(a, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)",
            f"torch.{name}(a, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)",
        ),
        {
            "a": _convolution(rank, "a"),
            "weight": _convolution(rank, "weight"),
            "bias": _bias(rank),
        },
        exact={"bias": _bias_exact(rank, transposed=False)},
        why=CONV_WHY,
        source=DUMOULIN,
        tests=tests,
    )


def _conv_transpose(rank: int, *tests: str) -> Rule:
    name = f"conv_transpose{rank}d"
    formals = "bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1"
    return Rule(
        name,
        (f"F.{name}(a, weight, {formals})", f"torch.{name}(a, weight, {formals})"),
        {
            "a": _transposed(rank, "a"),
            "weight": _transposed(rank, "weight"),
            "bias": _bias(rank),
        },
        exact={"bias": _bias_exact(rank, transposed=True)},
        why=CONV_WHY,
        source=DUMOULIN,
        tests=tests,
    )


# -- pooling -----------------------------------------------------------------------------------


def _average(rank: int) -> Template:
    """An average over windows is a convolution of each channel with equal weights."""

    def template(site: Site) -> str:
        padding = site.value("padding")
        padded = padding not in (0, (0,) * rank, [0] * rank)
        uneven = site.value("ceil_mode") or (padded and not site.value("count_include_pad"))
        if uneven or site.value_or("divisor_override", None) is not None:
            return _average_exact(site, rank)
        size = site.value("kernel_size")
        window = (
            "*kernel_size" if isinstance(size, tuple | list) else ", ".join(["kernel_size"] * rank)
        )
        batched = _batched(site, rank)
        g, a = ("g", "a") if batched else ("g.unsqueeze(0)", "a.unsqueeze(0)")
        channels = f"a.shape[{-rank - 1}]"
        ones = f"torch.ones({channels}, 1, {window}, dtype=g.dtype)"
        step = "kernel_size" if site.value("stride") in (None, (), []) else "stride"
        pad = "" if padding == 0 else ", padding=padding"
        count = f"math.prod({_tuple_of(size, rank)})"
        text = (
            f"torch.nn.grad.conv{rank}d_input({a}.shape, {ones} / {count}, {g}, "
            f"stride={step}{pad}, groups={channels})"
        )
        return text if batched else _one_batch(text)

    return template


def _tuple_of(size: object, rank: int) -> str:
    if isinstance(size, tuple | list):
        return "kernel_size"
    return f"({', '.join(['kernel_size'] * rank)},)"


def _average_exact(site: Site, rank: int) -> str:
    """PyTorch's own kernel, which has a window of two axes: for one axis the other is 1."""
    numbers = []
    for name, alone in (("kernel_size", 1), ("stride", 1), ("padding", 0)):
        given = site.value(name)
        if given in (None, (), []):
            numbers.append("()")
        elif rank == 2:
            numbers.append(_each(site, name, rank))
        else:
            numbers.append(f"({alone}, {'*' if isinstance(given, tuple | list) else ''}{name})")
    g, a = ("g", "a") if rank == 2 else ("g.unsqueeze(-2)", "a.unsqueeze(-2)")
    divisor = "divisor_override" if rank == 2 else "None"
    text = (
        f"torch.ops.aten.avg_pool2d_backward({g}, {a}, {', '.join(numbers)}, ceil_mode, "
        f"count_include_pad, {divisor})"
    )
    return text if rank == 2 else f"{text}.squeeze(-2)"


def _maximum(rank: int) -> Template:
    """The gradient of each window goes to its largest element."""

    def template(site: Site) -> str:
        given = "".join(
            f", {name}={name}"
            for name, usual in (("stride", None), ("padding", 0), ("dilation", 1))
            if site.value(name) != usual
        )
        if site.value("ceil_mode"):
            given += ", ceil_mode=True"
        if site.value("return_indices"):
            gradient, where = "g0", "y[1]"
        else:
            gradient = "g"
            where = f"F.max_pool{rank}d(a, kernel_size{given}, return_indices=True)[1]"
        places = f"flatten({-rank})"
        return (
            f"torch.zeros_like(a).{places}.scatter_add(-1, {where}.{places}, "
            f"{gradient}.{places}).reshape(a.shape)"
        )

    return template


def _adaptive(rank: int) -> Template:
    """A mean over everything; else over windows whose sizes differ, by PyTorch's own kernel."""

    def template(site: Site) -> str:
        if site.value("output_size") not in (1, (1,) * rank, [1] * rank):
            kernel = "torch.ops.aten._adaptive_avg_pool2d_backward"
            if rank == 2:
                return f"{kernel}(g, a)"
            return f"{kernel}(g.unsqueeze(-2), a.unsqueeze(-2)).squeeze(-2)"
        sizes = " * ".join(f"a.shape[{-i}]" for i in range(rank, 0, -1))
        return f"g / ({sizes})"

    return template


def _pools(rank: int, size: str) -> tuple[Rule, ...]:
    average = "stride=None, padding=0, ceil_mode=False, count_include_pad=True"
    average += ", divisor_override=None" if rank == 2 else ""
    largest = "stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False"
    return (
        Rule(
            f"avg_pool{rank}d",
            (f"F.avg_pool{rank}d(a, kernel_size, {average})",),
            {"a": _average(rank)},
            exact={"a": lambda site: _average_exact(site, rank)},
            why="a mean over a window hands each element of it an equal share of the gradient",
            source=DERIVATIVES,
            tests=(
                f"F.avg_pool{rank}d(a, 2) where a: 2 3 {size}",
                f"F.avg_pool{rank}d(a, 3, stride=2, padding=1) where a: 2 3 {size}",
                f"F.avg_pool{rank}d(a, {(2, 3)[:rank]}, stride=1) where a: 3 {size}",
                f"F.avg_pool{rank}d(a, 3, 2, 1, ceil_mode=True) where a: 2 3 {size}",
                f"F.avg_pool{rank}d(a, 3, padding=1, count_include_pad=False) where a: 2 3 {size}",
                *(
                    [f"F.avg_pool2d(a, 2, divisor_override=3) where a: 3 {size}"]
                    if rank == 2
                    else []
                ),
            ),
        ),
        Rule(
            f"max_pool{rank}d",
            (f"F.max_pool{rank}d(a, kernel_size, {largest})",),
            {"a": _maximum(rank)},
            why="the gradient of each window goes to the element that was the largest there",
            source=DERIVATIVES,
            tests=(
                f"F.max_pool{rank}d(a, 2) where a: 2 3 {size}",
                f"F.max_pool{rank}d(a, 3, stride=1, padding=1) where a: 2 3 {size}",
                f"F.max_pool{rank}d(a, 2, dilation=2, ceil_mode=True) where a: 3 {size}",
                f"F.max_pool{rank}d(a, 2, return_indices=True)[0] where a: 2 3 {size}",
            ),
        ),
        Rule(
            f"adaptive_avg_pool{rank}d",
            (f"F.adaptive_avg_pool{rank}d(a, output_size)",),
            {"a": _adaptive(rank)},
            why="a mean hands each element an equal share of the gradient",
            source=DERIVATIVES,
            tests=(
                f"F.adaptive_avg_pool{rank}d(a, 1) where a: 2 3 {size}",
                f"F.adaptive_avg_pool{rank}d(a, 3) where a: 2 3 {size}",
                f"F.adaptive_avg_pool{rank}d(a, {(5, 3)[:rank]}) where a: 3 {size}",
            ),
        ),
    )


WINDOWS = "dilation=1, padding=0, stride=1"
SAME_WINDOWS = "kernel_size, dilation, padding, stride"

IMAGES = (
    _conv(
        1,
        "F.conv1d(a, w) where a: 2 3 8; w: 4 3 3",
        "F.conv1d(a, w, b, stride=2, padding=1) where a: 2 3 8; w: 4 3 3; b: 4",
        "F.conv1d(a, w, b, padding='same', dilation=2) where a: 2 3 8; w: 4 3 3; b: 4",
        "F.conv1d(a, w, padding='valid', groups=2) where a: 2 4 8; w: 6 2 3",
        "F.conv1d(a, w, b, 1, 2) where a: 3 8; w: 4 3 2; b: 4",
    ),
    _conv(
        2,
        "F.conv2d(a, w) where a: 2 3 6 5; w: 4 3 3 2",
        "F.conv2d(a, w, b, stride=(2, 1), padding=(1, 0)) where a: 2 3 6 5; w: 4 3 3 2; b: 4",
        "F.conv2d(a, w, padding='same', groups=3) where a: 2 3 6 5; w: 6 1 3 1",
        "torch.conv2d(a, w, b, dilation=2) where a: 3 7 6; w: 4 3 3 2; b: 4",
    ),
    _conv(3, "F.conv3d(a, w, b, padding=1) where a: 2 3 4 5 3; w: 4 3 3 2 1; b: 4"),
    _conv_transpose(
        1,
        "F.conv_transpose1d(a, w, b) where a: 2 3 8; w: 3 4 3; b: 4",
        "F.conv_transpose1d(a, w, stride=2, padding=1, output_padding=1) where a: 2 3 8; w: 3 4 3",
        "F.conv_transpose1d(a, w, b, 1, 0, 0, 2, 2) where a: 4 8; w: 4 3 3; b: 6",
    ),
    _conv_transpose(
        2, "F.conv_transpose2d(a, w, b, stride=2, padding=1) where a: 2 3 4 5; w: 3 4 3 2; b: 4"
    ),
    Rule(
        "unfold",
        (f"F.unfold(a, kernel_size, {WINDOWS})",),
        {"a": f"F.fold(g, a.shape[-2:], {SAME_WINDOWS})"},
        why="each element gets the sum of the gradients of all windows that saw it",
        source=DERIVATIVES,
        tests=(
            "F.unfold(a, 2) where a: 2 3 4 5",
            "F.unfold(a, (2, 3), padding=1, stride=2) where a: 2 3 4 5",
            "F.unfold(a, 2, dilation=2) where a: 3 4 5",
        ),
    ),
    Rule(
        "fold",
        (f"F.fold(a, output_size, kernel_size, {WINDOWS})",),
        {"a": f"F.unfold(g, {SAME_WINDOWS})"},
        why="what was added up hands the gradient on to each of its terms, window by window",
        source=DERIVATIVES,
        tests=(
            "F.fold(a, (4, 5), 2) where a: 2 12 12",
            "F.fold(a, (4, 5), (2, 3), padding=1, stride=2) where a: 18 9",
        ),
    ),
    *_pools(1, "8"),
    *_pools(2, "6 7"),
)
