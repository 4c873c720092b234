"""Images at other sizes and places: interpolation, grids, pools."""

from __future__ import annotations

from gradninja.rules.layers.images import DERIVATIVES
from gradninja.rules.rule import Refusal, Rule, Site, Template

WEIGHTS = (
    "each result is a mix of its neighbours by fixed weights: each neighbour gets the gradient by "
    "the same weights"
)
KERNELS = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}


def _scales(site: Site, rank: int) -> list[str]:
    """The scale that PyTorch takes for each axis: the one that was given, unless recomputed."""
    given = site.value("scale_factor")
    if given is None or site.value("recompute_scale_factor"):
        return ["None"] * rank
    if isinstance(given, tuple | list):
        return [f"scale_factor[{i}]" for i in range(rank)]
    return ["scale_factor"] * rank


def _interpolated(site: Site) -> str:
    """PyTorch's own kernel, which has the same weights; by whole factors, a sum over blocks."""
    mode, rank = site.value("mode"), site.ndim("a") - 2
    if site.value("antialias"):
        raise Refusal("`antialias=True` is outside; leave it out")
    if mode == "area" and rank > 1:
        return f"torch.ops.aten._adaptive_avg_pool{rank}d_backward(g, a)"
    if mode == "area":
        kernel = "torch.ops.aten._adaptive_avg_pool2d_backward"
        return f"{kernel}(g.unsqueeze(-2), a.unsqueeze(-2)).squeeze(-2)"
    sizes = f"g.shape[{-rank}:], a.shape"
    scales = ", ".join(_scales(site, rank))
    if mode in ("nearest", "nearest-exact"):
        name = "_upsample_nearest_exact" if mode == "nearest-exact" else "upsample_nearest"
        return f"torch.ops.aten.{name}{rank}d_backward(g, {sizes}, {scales})"
    if KERNELS.get(mode) != rank:
        raise Refusal(f"the mode {mode!r} does not fit {rank} axes")
    corners = bool(site.value("align_corners"))
    return f"torch.ops.aten.upsample_{mode}{rank}d_backward(g, {sizes}, {corners}, {scales})"


def _nearest(site: Site) -> str:
    """By a whole factor each element became a block: it gets the block's sum."""
    factor = site.value("scale_factor")
    rank = site.ndim("a") - 2
    whole = isinstance(factor, int) or (isinstance(factor, float) and factor.is_integer())
    if site.value("mode") != "nearest" or rank not in (1, 2) or factor is None or not whole:
        return _interpolated(site)
    window = "scale_factor" if isinstance(factor, int) else "int(scale_factor)"
    if rank == 1:
        return f"F.avg_pool1d(g, {window}) * {window}"
    return f"F.avg_pool2d(g, {window}, divisor_override=1)"


MODES = {"bilinear": 0, "nearest": 1, "bicubic": 2}
PADDINGS = {"zeros": 0, "border": 1, "reflection": 2}


def _sampled(output: int) -> Template:
    def template(site: Site) -> str:
        rank = site.ndim("a") - 2
        mode, padding = MODES[site.value("mode")], PADDINGS[site.value("padding_mode")]
        corners = bool(site.value("align_corners"))
        wanted = [site.flows("a"), site.flows("grid")]
        return (
            f"torch.ops.aten.grid_sampler_{rank}d_backward(g, a, grid, {mode}, {padding}, "
            f"{corners}, {wanted})[{output}]"
        )

    return template


def _affine(site: Site) -> str:
    """Each place is a matrix times where it lies in the square from -1 to 1."""
    if site.ndim("theta") != 3 or site.shape("theta")[-2:] != (2, 3):
        raise Refusal("there is a rule for images alone: `theta` of 2 rows and 3 columns")
    base = (
        "F.affine_grid(torch.eye(2, 3, dtype=g.dtype, device=g.device).expand_as(theta), "
        f"size, align_corners={bool(site.value('align_corners'))})"
    )
    return (
        f"torch.cat((torch.einsum('bhwi,bhwj->bij', g, {base}), g.sum((1, 2)).unsqueeze(-1)), -1)"
    )


def _response(site: Site) -> str:
    """y = a / D**beta, D = k + alpha * mean of squares over a window of channels."""
    before, behind = "size // 2", "(size - 1) // 2"
    windows = (
        "F.avg_pool2d(F.pad({}.flatten(2).unsqueeze(1), (0, 0, {}, {})), (size, 1), stride=1)"
        ".reshape(a.shape)"
    )
    spread = f"(k + alpha * {windows.format('(a * a)', before, behind)})"
    inner = windows.format(f"(g * y / {spread})", behind, before)
    return f"g * {spread} ** -beta - 2 * alpha * beta * a * {inner}"


def _pool3d(site: Site) -> str:
    numbers = []
    for name in ("kernel_size", "stride", "padding"):
        given = site.value(name)
        if given in (None, (), []):
            numbers.append("()")
        else:
            numbers.append(name if isinstance(given, tuple | list) else f"({name},) * 3")
    return (
        f"torch.ops.aten.avg_pool3d_backward(g, a, {', '.join(numbers)}, ceil_mode, "
        "count_include_pad, divisor_override)"
    )


def _largest(rank: int) -> Template:
    """The gradient of each window goes to its largest element."""

    def template(site: Site) -> str:
        if site.value("return_indices"):
            raise Refusal("there is a rule without `return_indices=True` alone")
        call = f"F.adaptive_max_pool{rank}d(a, output_size, return_indices=True)[1]"
        places = f"flatten({-rank})"
        return (
            f"torch.zeros_like(a).{places}.scatter_add(-1, {call}.{places}, "
            f"g.{places}).reshape(a.shape)"
        )

    return template


def _max3d(site: Site) -> str:
    if site.value("return_indices"):
        raise Refusal("there is a rule without `return_indices=True` alone")
    given = "".join(
        f", {name}={name}"
        for name, usual in (("stride", None), ("padding", 0), ("dilation", 1), ("ceil_mode", False))
        if site.value(name) != usual
    )
    where = f"F.max_pool3d(a, kernel_size{given}, return_indices=True)[1].flatten(-3)"
    return (
        f"torch.zeros_like(a).flatten(-3).scatter_add(-1, {where}, g.flatten(-3)).reshape(a.shape)"
    )


RESAMPLING = (
    Rule(
        "interpolate",
        (
            "F.interpolate(a, size=None, scale_factor=None, mode='nearest', align_corners=None, "
            "recompute_scale_factor=None, antialias=False)",
        ),
        {"a": _nearest},
        exact={"a": _interpolated},
        why=WEIGHTS,
        source=DERIVATIVES,
        tests=(
            "F.interpolate(a, scale_factor=2) where a: 2 3 4 5",
            "F.interpolate(a, scale_factor=3) where a: 2 3 4",
            "F.interpolate(a, size=(7, 6), mode='bilinear') where a: 2 3 4 5",
            "F.interpolate(a, scale_factor=2.0, mode='bilinear', align_corners=True) "
            "where a: 2 3 4 5",
            "F.interpolate(a, scale_factor=(1.5, 2.0), mode='nearest') where a: 2 3 4 5",
            "F.interpolate(a, scale_factor=1.5, mode='linear') where a: 2 3 4",
            "F.interpolate(a, (3, 2), mode='area') where a: 2 3 4 5",
            "F.interpolate(a, 2, mode='area') where a: 2 3 5",
            "F.interpolate(a, 9, mode='bicubic') where a: 2 3 4 5",
            "F.interpolate(a, (5, 4), mode='nearest-exact') where a: 2 3 4 5",
            "F.interpolate(a, scale_factor=2, mode='trilinear') where a: 1 2 2 3 2",
            "F.interpolate(a, scale_factor=0.5, mode='bilinear', recompute_scale_factor=True) "
            "where a: 1 2 5 7",
        ),
    ),
    Rule(
        "grid_sample",
        ("F.grid_sample(a, grid, mode='bilinear', padding_mode='zeros', align_corners=None)",),
        {"a": _sampled(0), "grid": _sampled(1)},
        why=WEIGHTS + "; a place gets how the mix changes as it moves",
        source="Jaderberg et al. 2015, Spatial transformer networks, equations 6 and 7",
        tests=(
            "F.grid_sample(a, g.tanh()) where a: 2 3 4 5; g: 2 3 4 2",
            "F.grid_sample(a, g, padding_mode='border', align_corners=True) where a: 2 3 4 5; "
            "g: 2 3 4 2",
            "F.grid_sample(a, g, mode='bicubic', padding_mode='reflection') where a: 2 3 4 5; "
            "g: 2 3 4 2",
            "F.grid_sample(a, g.tanh()) where a: 1 2 3 4 3; g: 1 2 3 2 3",
        ),
    ),
    Rule(
        "affine_grid",
        ("F.affine_grid(theta, size, align_corners=None)",),
        {"theta": _affine},
        why="each place is a matrix times where it lies: the matrix gets the sum of the gradients "
        "times those",
        source="Jaderberg et al. 2015, Spatial transformer networks, equation 1",
        tests=(
            "F.affine_grid(a, (2, 3, 4, 5), align_corners=False) where a: 2 2 3",
            "F.affine_grid(a, (2, 1, 3, 3), align_corners=True) where a: 2 2 3",
        ),
    ),
    Rule(
        "local_response_norm",
        ("F.local_response_norm(a, size, alpha=0.0001, beta=0.75, k=1.0)",),
        {"a": _response},
        why="a channel over a power of its neighbours' squares: its own gradient, less what it did "
        "to theirs",
        source="Krizhevsky et al. 2012, ImageNet classification, section 3.3",
        tests=(
            "F.local_response_norm(a, 3, alpha=0.5) where a: 2 5 4 3",
            "F.local_response_norm(a, 2, 0.3, 0.5, 2.0) where a: 2 5 4",
        ),
    ),
    Rule(
        "avg_pool3d",
        (
            "F.avg_pool3d(a, kernel_size, stride=None, padding=0, ceil_mode=False, "
            "count_include_pad=True, divisor_override=None)",
        ),
        {"a": _pool3d},
        why="a mean over a window hands each element of it an equal share of the gradient",
        source=DERIVATIVES,
        tests=(
            "F.avg_pool3d(a, 2) where a: 2 2 4 5 4",
            "F.avg_pool3d(a, (2, 3, 2), stride=1, padding=1) where a: 2 2 4 5 4",
        ),
    ),
    Rule(
        "max_pool3d",
        (
            "F.max_pool3d(a, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, "
            "return_indices=False)",
        ),
        {"a": _max3d},
        why="the gradient of each window goes to the element that was the largest there",
        source=DERIVATIVES,
        tests=(
            "F.max_pool3d(a, 2) where a: 2 2 4 5 4",
            "F.max_pool3d(a, 3, stride=1, padding=1) where a: 2 4 5 4",
        ),
    ),
    Rule(
        "adaptive_max_pool2d",
        ("F.adaptive_max_pool2d(a, output_size, return_indices=False)",),
        {"a": _largest(2)},
        why="the gradient of each window goes to the element that was the largest there",
        source=DERIVATIVES,
        tests=(
            "F.adaptive_max_pool2d(a, 1) where a: 2 3 4 5",
            "F.adaptive_max_pool2d(a, (2, 3)) where a: 3 4 5",
        ),
    ),
    Rule(
        "adaptive_max_pool1d",
        ("F.adaptive_max_pool1d(a, output_size, return_indices=False)",),
        {"a": _largest(1)},
        why="the gradient of each window goes to the element that was the largest there",
        source=DERIVATIVES,
        tests=(
            "F.adaptive_max_pool1d(a, 1) where a: 2 3 5",
            "F.adaptive_max_pool1d(a, 3) where a: 3 5",
        ),
    ),
    Rule(
        "adaptive_avg_pool3d",
        ("F.adaptive_avg_pool3d(a, output_size)",),
        {"a": "torch.ops.aten._adaptive_avg_pool3d_backward(g, a)"},
        why="a mean hands each element an equal share of the gradient",
        source=DERIVATIVES,
        tests=("F.adaptive_avg_pool3d(a, (2, 3, 2)) where a: 2 2 4 5 4",),
    ),
)
