"""What makes mean, variance or length the same for all: normalising layers, unit vectors."""

from __future__ import annotations

from collections.abc import Callable

import torch

from gradninja.rules.rule import Refusal, Rule, Site, Template

BA = "Ba et al. 2016, Layer normalization; PyTorch, tools/autograd/derivatives.yaml"
IOFFE = "Ioffe & Szegedy 2015, Batch normalization, section 3"
ZHANG = "Zhang & Sennrich 2019, Root mean square layer normalization, section 4.2"
HOLDS = (
    "mean 0 and variance 1 hold whatever comes in: what would move either is taken out of the "
    "gradient"
)


def _spread(dims: int | tuple[int, ...], hat: str, spread: str, gradient: str) -> str:
    """The gradient through (a - mean) / deviation: less its mean, less its part along the result.

    `hat` is the normalised operand, `spread` 1 over the deviation.
    """
    return (
        f"({gradient} - ({gradient}).mean({dims}, keepdim=True) "
        f"- {hat} * ({gradient} * {hat}).mean({dims}, keepdim=True)) * {spread}"
    )


def _deviation(operand: str, dims: int | tuple[int, ...]) -> str:
    return f"({operand}.var({dims}, correction=0, keepdim=True) + eps).rsqrt()"


def _affine(site: Site) -> bool:
    """Whether the result was scaled or shifted after it was normalised."""
    return site.value("weight") is not None or site.value("bias") is not None


def _last(site: Site) -> int | tuple[int, ...]:
    """The axes of `normalized_shape`."""
    count = len(site.value("normalized_shape"))
    return -1 if count == 1 else tuple(range(-count, 0))


def _eps(site: Site) -> str:
    """`eps`, where it was given."""
    return "" if site.value("eps") in (None, 1e-5) else ", eps=eps"


def _layer_hat(site: Site) -> str:
    return f"F.layer_norm(a, normalized_shape{_eps(site)})" if _affine(site) else "y"


def _layer_norm(site: Site) -> str:
    gradient = "g" if site.value("weight") is None else "(weight * g)"
    dims = _last(site)
    return _spread(dims, _layer_hat(site), _deviation("a", dims), gradient)


def _rms_hat(site: Site) -> str:
    if site.value("weight") is None:
        return "y"
    eps = "" if site.value("eps") is None else ", eps=eps"
    return f"F.rms_norm(a, normalized_shape{eps})"


def _rms_norm(site: Site) -> str:
    gradient = "g" if site.value("weight") is None else "(weight * g)"
    dims, hat = _last(site), _rms_hat(site)
    eps = "torch.finfo(a.dtype).eps" if site.value("eps") is None else "eps"
    size = f"((a**2).mean({dims}, keepdim=True) + {eps}).rsqrt()"
    along = f"({gradient} * {hat}).mean({dims}, keepdim=True)"
    return f"({gradient} - {hat} * {along}) * {size}"


def _channels(site: Site, name: str) -> str:
    """A vector with one element for each channel, beside axis 1."""
    if site.ndim("a") == 2:
        return name
    return f"{name}.reshape({', '.join(['-1'] + ['1'] * (site.ndim('a') - 2))})"


def _scaled(site: Site) -> str:
    return "g" if site.value("weight") is None else f"({_channels(site, 'weight')} * g)"


def _per_channel(site: Site, text: str) -> str:
    """Summed over all axes but the channels'."""
    dims = (0, *range(2, site.ndim("a")))
    return text if len(dims) == 1 else f"({text}).sum({dims})"


def _batch_statistics(site: Site) -> bool:
    """Whether the batch's own statistics are used; the running ones would change in place."""
    if not site.value("training"):
        return False
    if site.value("running_mean") is not None:
        raise Refusal("training changes the running statistics in place; hand in None for them")
    return True


def _batch_hat(site: Site) -> str:
    if not _batch_statistics(site):
        mean, var = (_channels(site, f"running_{name}") for name in ("mean", "var"))
        return f"(a - {mean}) * ({var} + eps).rsqrt()"
    return f"F.batch_norm(a, None, None, training=True{_eps(site)})" if _affine(site) else "y"


def _batch_norm(site: Site) -> str:
    if not _batch_statistics(site):
        return f"({_channels(site, 'running_var')} + eps).rsqrt() * {_scaled(site)}"
    dims: int | tuple[int, ...] = (0, *range(2, site.ndim("a")))
    dims = 0 if dims == (0,) else dims
    return _spread(dims, _batch_hat(site), _deviation("a", dims), _scaled(site))


def _instance_only(site: Site) -> None:
    if site.value("running_mean") is not None or not site.value("use_input_stats"):
        raise Refusal("running statistics are outside here; leave them out")


def _instance_hat(site: Site) -> str:
    _instance_only(site)
    return f"F.instance_norm(a{_eps(site)})" if _affine(site) else "y"


def _instance_norm(site: Site) -> str:
    dims = tuple(range(2, site.ndim("a")))
    return _spread(dims, _instance_hat(site), _deviation("a", dims), _scaled(site))


def _group_hat(site: Site) -> str:
    return f"F.group_norm(a, num_groups{_eps(site)})" if _affine(site) else "y"


def _group_norm(site: Site) -> str:
    """Channels lie in groups, which get an axis of their own for the time being."""
    groups = "unflatten(1, (num_groups, -1))"
    dims = tuple(range(2, site.ndim("a") + 1))
    gradient = f"{_scaled(site)}.{groups}"
    hat = f"{_group_hat(site)}.{groups}"
    inner = _spread(dims, hat, _deviation(f"a.{groups}", dims), gradient)
    return f"({inner}).flatten(1, 2)"


# -- exact: PyTorch's own kernels, which give the gradients of operand, weight and bias ------------


def _exact(gradient: Callable[[Site, int], str]) -> dict[str, Template]:
    def output(index: int) -> Template:
        return lambda site: gradient(site, index)

    return {name: output(index) for index, name in enumerate(("a", "weight", "bias"))}


def _kernel(name: str, arguments: str, output: int) -> str:
    wanted = [i == output for i in range(3)]
    return f"torch.ops.aten.{name}_backward({arguments}, {wanted})[{output}]"


def _layer_exact(site: Site, output: int) -> str:
    statistics = "*torch.ops.aten.native_layer_norm(a, normalized_shape, weight, bias, eps)[1:]"
    # The kernel looks at no sizes: a gradient of others would have it read what is not there.
    arguments = f"g.expand_as(a), a, normalized_shape, {statistics}, weight, bias"
    return _kernel("native_layer_norm", arguments, output)


def _rms_exact(site: Site) -> str:
    """Product by product, as PyTorch's own forward is made of them."""
    gradient = "g" if site.value("weight") is None else "(g * weight)"
    dims = _last(site)
    eps = "torch.finfo(a.dtype).eps" if site.value("eps") is None else "eps"
    size = f"(a.pow(2).mean({dims}, keepdim=True) + {eps}).rsqrt()"
    count = f"a[{', '.join(['0'] * (site.ndim('a') - len(site.value('normalized_shape'))))}]"
    count = f"{count}.numel()" if count != "a[]" else "a.numel()"
    slope = f"-0.5 * ({gradient} * a).sum({dims}, keepdim=True) * {size}.pow(3)"
    return f"{gradient} * {size} + {slope} / {count} * (2 * a)"


BATCH = "native_batch_norm"


def _batch_exact(site: Site, output: int) -> str:
    if not _batch_statistics(site):
        arguments = "g, a, weight, running_mean, running_var, None, None, False, eps"
        return _kernel(BATCH, arguments, output)
    forward = f"torch.ops.aten.{BATCH}(a, weight, bias, None, None, True, momentum, eps)"
    return _kernel(BATCH, f"g, a, weight, None, None, *{forward}[1:], True, eps", output)


def _instance_exact(site: Site, output: int) -> str:
    """Every channel of every example is a channel of one batch."""
    _instance_only(site)
    one = "reshape(1, -1, *a.shape[2:])"
    weight, bias = (
        "None" if site.value(name) is None else f"{name}.repeat(a.shape[0])"
        for name in ("weight", "bias")
    )
    forward = f"torch.ops.aten.{BATCH}(a.{one}, {weight}, {bias}, None, None, True, momentum, eps)"
    arguments = f"g.{one}, a.{one}, {weight}, None, None, *{forward}[1:], True, eps"
    text = _kernel(BATCH, arguments, output)
    return f"{text}.reshape(a.shape)" if output == 0 else f"{text}.reshape(a.shape[:2]).sum(0)"


def _group_exact(site: Site, output: int) -> str:
    """This kernel takes every tensor to lie in memory row by row."""
    sizes = "a.shape[0], a.shape[1], a[0, 0].numel(), num_groups"
    forward = f"torch.ops.aten.native_group_norm(a.contiguous(), weight, bias, {sizes}, eps)"
    arguments = f"g.contiguous(), a.contiguous(), *{forward}[1:], weight, {sizes}"
    return _kernel("native_group_norm", arguments, output)


# -- what they mean ----------------------------------------------------------------------------


def _standard(over: str, axes: tuple[int, ...]) -> str:
    """Mean taken off, divided by the deviation; `over` is a name."""
    dim = axes[0] if len(axes) == 1 else axes
    return (
        f"centred = {over} - {over}.mean({dim}, keepdim=True)\n"
        f"centred * ({over}.var({dim}, correction=0, keepdim=True) + eps) ** -0.5"
    )


def _affine_of(site: Site, text: str, weight: str = "weight", bias: str = "bias") -> str:
    """Times a weight, plus a bias, where there are such."""
    *hidden, last = text.split("\n")
    last = f"({last}) * {weight}" if site.has("weight") else last
    return "\n".join([*hidden, f"{last} + {bias}" if site.has("bias") else last])


def _trailing(site: Site) -> tuple[int, ...]:
    return tuple(range(-len(site.value("normalized_shape")), 0))


def _layer_norm_meaning(site: Site) -> str:
    return _affine_of(site, _standard("a", _trailing(site)))


def _rms_norm_meaning(site: Site) -> str:
    eps = "eps" if site.has("eps") else repr(torch.finfo(site.value("a").dtype).eps)
    return _affine_of(site, f"a * ((a * a).mean({_trailing(site)}, keepdim=True) + {eps}) ** -0.5")


def _by_channel(site: Site) -> tuple[str, str]:
    """Weight and bias of axis 1."""
    shape = (1, -1, *(1 for _ in range(site.ndim("a") - 2)))
    return f"weight.reshape{shape}", f"bias.reshape{shape}"


def _batch_norm_meaning(site: Site) -> str:
    rank = site.ndim("a")
    if not site.value("training"):
        shape = (1, -1, *(1 for _ in range(rank - 2)))
        mean, var = f"running_mean.reshape{shape}", f"running_var.reshape{shape}"
        return _affine_of(site, f"(a - {mean}) * ({var} + eps) ** -0.5", *_by_channel(site))
    _refuse_statistics(site)
    axes = tuple(axis for axis in range(rank) if axis != 1)
    return _affine_of(site, _standard("a", axes), *_by_channel(site))


def _refuse_statistics(site: Site) -> None:
    if site.has("running_mean") or site.has("running_var"):
        raise Refusal("this changes the running statistics in place, and is not compiled")


def _instance_norm_meaning(site: Site) -> str:
    _refuse_statistics(site)
    return _affine_of(site, _standard("a", tuple(range(2, site.ndim("a")))), *_by_channel(site))


def _group_norm_meaning(site: Site) -> str:
    shape = site.shape("a")
    grouped = f"grouped = a.reshape({shape[0]}, {site.value('num_groups')}, -1)\n"
    *hidden, last = _standard("grouped", (2,)).split("\n")
    text = "\n".join([*hidden, f"({last}).reshape{shape}"])
    return _affine_of(site, grouped + text, *_by_channel(site))


NORMALISATION = (
    Rule(
        "layer_norm",
        ("F.layer_norm(a, normalized_shape, weight=None, bias=None, eps=1e-05)",),
        {"a": _layer_norm, "weight": lambda site: f"{_layer_hat(site)} * g", "bias": "g"},
        exact=_exact(_layer_exact),
        why=HOLDS,
        source=BA,
        tests=(
            "F.layer_norm(a, (4,)) where a: 3 4",
            "F.layer_norm(a, (a.shape[-1],), w, b) where a: 2 3 4; w: 4; b: 4",
            "F.layer_norm(a, (3, 4), w, b, eps=0.1) where a: 2 3 4; w: 3 4; b: 3 4",
            "F.layer_norm(a, a.shape[1:], weight=w) where a: 2 3 4; w: 3 4",
            "F.layer_norm(a, [4], bias=b) where a: 3 4; b: 4",
        ),
        means=_layer_norm_meaning,
    ),
    Rule(
        "rms_norm",
        ("F.rms_norm(a, normalized_shape, weight=None, eps=None)",),
        {"a": _rms_norm, "weight": lambda site: f"{_rms_hat(site)} * g"},
        exact={
            "a": _rms_exact,
            "weight": lambda site: f"g * {_rms_hat(site)}",
        },
        why="a length of 1 holds whatever comes in: what would stretch it is taken out of the "
        "gradient",
        source=ZHANG,
        tests=(
            "F.rms_norm(a, (4,)) where a: 3 4",
            "F.rms_norm(1e-8 * a, (4,)) where a: 3 4",
            "F.rms_norm(a, (a.shape[-1],), w) where a: 2 3 4; w: 4",
            "F.rms_norm(a, (3, 4), w, 0.1) where a: 2 3 4; w: 3 4",
        ),
        means=_rms_norm_meaning,
    ),
    Rule(
        "batch_norm",
        (
            "F.batch_norm(a, running_mean, running_var, weight=None, bias=None, training=False, "
            "momentum=0.1, eps=1e-05)",
        ),
        {
            "a": _batch_norm,
            "weight": lambda site: _per_channel(site, f"{_batch_hat(site)} * g"),
            "bias": lambda site: _per_channel(site, "g"),
        },
        exact=_exact(_batch_exact),
        why=HOLDS,
        source=IOFFE,
        tests=(
            "F.batch_norm(a, None, None, training=True) where a: 5 3",
            "F.batch_norm(a, None, None, w, b, True) where a: 5 3; w: 3; b: 3",
            "F.batch_norm(a, None, None, w, b, True, 0.1, 0.3) where a: 5 3 2 4; w: 3; b: 3",
            "F.batch_norm(a, m.detach(), v.detach(), w, b) where a: 5 3; m: 3; v: 3 positive; "
            "w: 3; b: 3",
            "F.batch_norm(a, m.detach(), v.detach(), w) where a: 5 3 2; m: 3; v: 3 positive; w: 3",
        ),
        means=_batch_norm_meaning,
    ),
    Rule(
        "instance_norm",
        (
            "F.instance_norm(a, running_mean=None, running_var=None, weight=None, bias=None, "
            "use_input_stats=True, momentum=0.1, eps=1e-05)",
        ),
        {
            "a": _instance_norm,
            "weight": lambda site: _per_channel(site, f"{_instance_hat(site)} * g"),
            "bias": lambda site: _per_channel(site, "g"),
        },
        exact=_exact(_instance_exact),
        why=HOLDS,
        source=IOFFE,
        tests=(
            "F.instance_norm(a) where a: 2 3 4",
            "F.instance_norm(a, weight=w, bias=b) where a: 2 3 4 5; w: 3; b: 3",
        ),
        means=_instance_norm_meaning,
    ),
    Rule(
        "group_norm",
        ("F.group_norm(a, num_groups, weight=None, bias=None, eps=1e-05)",),
        {
            "a": _group_norm,
            "weight": lambda site: _per_channel(site, f"{_group_hat(site)} * g"),
            "bias": lambda site: _per_channel(site, "g"),
        },
        exact=_exact(_group_exact),
        why=HOLDS,
        source=BA,
        tests=(
            "F.group_norm(a, 2) where a: 3 6 5",
            "F.group_norm(a, 3, w, b) where a: 2 6 4 5; w: 6; b: 6",
            "F.group_norm(a, 2, w, b, 0.1) where a: 3 4; w: 4; b: 4",
        ),
        means=_group_norm_meaning,
    ),
)
