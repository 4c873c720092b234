"""Softmax and what normalises: layers that a network repeats, each as one operation."""

from __future__ import annotations

from gradninja.rules.rule import Refusal, Rule, Site, Template

BISHOP = "Bishop 2006, Pattern recognition and machine learning, section 4.3.4"
BA = "Ba et al. 2016, Layer normalization; PyTorch, tools/autograd/derivatives.yaml"
IOFFE = "Ioffe & Szegedy 2015, Batch normalization, section 3"
ZHANG = "Zhang & Sennrich 2019, Root mean square layer normalization, section 4.2"
CALCULUS = "calculus: the quotient rule"


def _along(text: str) -> Template:
    def template(site: Site) -> str:
        if site.value("dim") is None:
            raise Refusal("say along which axis: `dim=-1`, say")
        return text

    return template


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


def _layer_hat(site: Site) -> str:
    return "F.layer_norm(a, normalized_shape, eps=eps)" if _affine(site) else "y"


def _layer_norm(site: Site) -> str:
    gradient = "g" if site.value("weight") is None else "(weight * g)"
    dims = _last(site)
    return _spread(dims, _layer_hat(site), _deviation("a", dims), gradient)


def _layer_norm_exact(output: int) -> Template:
    wanted = [i == output for i in range(3)]
    statistics = "torch.ops.aten.native_layer_norm(a, normalized_shape, weight, bias, eps)[1:]"
    return (
        "torch.ops.aten.native_layer_norm_backward(g, a, normalized_shape, "
        f"*{statistics}, weight, bias, {wanted})[{output}]"
    )


def _rms_hat(site: Site) -> str:
    return "F.rms_norm(a, normalized_shape, eps=eps)" if site.value("weight") is not None else "y"


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
    return "F.batch_norm(a, None, None, training=True, eps=eps)" if _affine(site) else "y"


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
    return "F.instance_norm(a, eps=eps)" if _affine(site) else "y"


def _instance_norm(site: Site) -> str:
    dims = tuple(range(2, site.ndim("a")))
    return _spread(dims, _instance_hat(site), _deviation("a", dims), _scaled(site))


def _group_hat(site: Site) -> str:
    return "F.group_norm(a, num_groups, eps=eps)" if _affine(site) else "y"


def _group_norm(site: Site) -> str:
    """Channels lie in groups, which get an axis of their own for the time being."""
    groups = "unflatten(1, (num_groups, -1))"
    dims = tuple(range(2, site.ndim("a") + 1))
    gradient = f"{_scaled(site)}.{groups}"
    hat = f"{_group_hat(site)}.{groups}"
    inner = _spread(dims, hat, _deviation(f"a.{groups}", dims), gradient)
    return f"({inner}).flatten(1, 2)"


def _normalize(site: Site) -> str:
    if site.value("p") != 2:
        raise Refusal(
            "F.normalize has a rule for p=2 alone; divide by the norm on lines of its own"
        )
    length = "torch.linalg.vector_norm(a, dim=dim, keepdim=True).clamp(min=eps)"
    return f"(g - y * (g * y).sum(dim, keepdim=True)) / {length}"


def _cosine(own: str, other: str) -> Template:
    def template(site: Site) -> str:
        if site.ndim("a") != site.ndim("b"):
            raise Refusal("both sides must have the same number of axes")
        mine, theirs = (
            f"torch.linalg.vector_norm({x}, dim=dim, keepdim=True).clamp(min=eps)"
            for x in (own, other)
        )
        return f"({other} / {theirs} - keep(y) * {own} / {mine}) / {mine} * keep(g)"

    return template


def _scale(site: Site) -> str:
    return "/ math.sqrt(q.shape[-1])" if site.value("scale") is None else "* scale"


def _attention(site: Site) -> str:
    """Text for the attention weights, which the one operation does not give."""
    if site.value("dropout_p"):
        raise Refusal("dropout is outside; leave it out, or write attention line by line")
    if site.value("enable_gqa"):
        raise Refusal("`enable_gqa=True` is outside; repeat the keys and values on lines")
    scores = f"q @ k.mT {_scale(site)}"
    if site.value("is_causal"):
        later = "torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).triu(1)"
        return f"({scores}).masked_fill({later}, -math.inf).softmax(-1)"
    if site.value("attn_mask") is None:
        return f"({scores}).softmax(-1)"
    if site.value("attn_mask").is_floating_point():
        return f"({scores} + attn_mask).softmax(-1)"
    # A row that is masked as a whole gives nothing, where softmax gives nan.
    hidden = "masked_fill(~attn_mask, "
    return f"({scores}).{hidden}-math.inf).softmax(-1).{hidden}0)"


def _attention_scores(site: Site) -> str:
    """The gradient of the scores: softmax's, of which the sum is that of g * y."""
    return f"{_attention(site)} * (g @ v.mT - (g * y).sum(-1, keepdim=True))"


NETWORKS = (
    Rule(
        "softmax",
        (
            "F.softmax(a, dim=None, _stacklevel=3, dtype=None)",
            "torch.softmax(a, dim, dtype=None)",
            "a.softmax(dim, dtype=None)",
        ),
        {"a": _along("y * (g - (g * y).sum(dim, keepdim=True))")},
        exact={"a": _along("torch.ops.aten._softmax_backward_data(g, y, dim, y.dtype)")},
        why="shares add up to 1: one grows only at the cost of the others, so each gradient counts "
        "less their mean, weighted by the shares",
        source=BISHOP,
        tests=(
            "F.softmax(a, 1) where a: 3 4",
            "torch.softmax(a, dim=0) where a: 3 4",
            "a.softmax(-1) where a: 2 3 4",
            "F.softmax(a, dim=0) where a: ()",
            "F.softmax(a, dim=1, dtype=torch.float64) where a: 3 4",
        ),
    ),
    Rule(
        "softmin",
        ("F.softmin(a, dim=None, _stacklevel=3, dtype=None)",),
        {"a": _along("-y * (g - (g * y).sum(dim, keepdim=True))")},
        exact={"a": _along("-torch.ops.aten._softmax_backward_data(g, y, dim, y.dtype)")},
        why="a softmax of minus the operand",
        source=BISHOP,
        tests=("F.softmin(a, 1) where a: 3 4", "F.softmin(a, dim=0) where a: 3 4"),
    ),
    Rule(
        "log_softmax",
        (
            "F.log_softmax(a, dim=None, _stacklevel=3, dtype=None)",
            "torch.log_softmax(a, dim, dtype=None)",
            "a.log_softmax(dim, dtype=None)",
        ),
        {"a": _along("g - y.exp() * g.sum(dim, keepdim=True)")},
        exact={"a": _along("torch.ops.aten._log_softmax_backward_data(g, y, dim, y.dtype)")},
        why="the logarithm of the sum takes the sum of the gradients, shared out by the softmax",
        source=BISHOP,
        tests=(
            "F.log_softmax(a, 1) where a: 3 4",
            "torch.log_softmax(a, dim=0) where a: 3 4",
            "a.log_softmax(-1) where a: 2 3 4",
        ),
    ),
    Rule(
        "layer_norm",
        ("F.layer_norm(a, normalized_shape, weight=None, bias=None, eps=1e-05)",),
        {"a": _layer_norm, "weight": lambda site: f"{_layer_hat(site)} * g", "bias": "g"},
        exact={
            "a": _layer_norm_exact(0),
            "weight": _layer_norm_exact(1),
            "bias": _layer_norm_exact(2),
        },
        why="mean 0 and variance 1 hold whatever comes in: what would move either is taken out of "
        "the gradient",
        source=BA,
        tests=(
            "F.layer_norm(a, (4,)) where a: 3 4",
            "F.layer_norm(a, (a.shape[-1],), w, b) where a: 2 3 4; w: 4; b: 4",
            "F.layer_norm(a, (3, 4), w, b, eps=0.1) where a: 2 3 4; w: 3 4; b: 3 4",
            "F.layer_norm(a, a.shape[1:], weight=w) where a: 2 3 4; w: 3 4",
            "F.layer_norm(a, [4], bias=b) where a: 3 4; b: 4",
        ),
    ),
    Rule(
        "rms_norm",
        ("F.rms_norm(a, normalized_shape, weight=None, eps=None)",),
        {"a": _rms_norm, "weight": lambda site: f"{_rms_hat(site)} * g"},
        why="a length of 1 holds whatever comes in: what would stretch it is taken out of the "
        "gradient",
        source=ZHANG,
        tests=(
            "F.rms_norm(a, (4,)) where a: 3 4",
            "F.rms_norm(a, (a.shape[-1],), w) where a: 2 3 4; w: 4",
            "F.rms_norm(a, (3, 4), w, 0.1) where a: 2 3 4; w: 3 4",
        ),
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
        why="mean 0 and variance 1 hold whatever comes in: what would move either is taken out of "
        "the gradient",
        source=IOFFE,
        tests=(
            "F.batch_norm(a, None, None, training=True) where a: 5 3",
            "F.batch_norm(a, None, None, w, b, True) where a: 5 3; w: 3; b: 3",
            "F.batch_norm(a, None, None, w, b, True, 0.1, 0.3) where a: 5 3 2 4; w: 3; b: 3",
            "F.batch_norm(a, m.detach(), v.detach(), w, b) where a: 5 3; m: 3; v: 3 positive; "
            "w: 3; b: 3",
            "F.batch_norm(a, m.detach(), v.detach(), w) where a: 5 3 2; m: 3; v: 3 positive; w: 3",
        ),
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
        why="mean 0 and variance 1 hold whatever comes in: what would move either is taken out of "
        "the gradient",
        source=IOFFE,
        tests=(
            "F.instance_norm(a) where a: 2 3 4",
            "F.instance_norm(a, weight=w, bias=b) where a: 2 3 4 5; w: 3; b: 3",
        ),
    ),
    Rule(
        "group_norm",
        ("F.group_norm(a, num_groups, weight=None, bias=None, eps=1e-05)",),
        {
            "a": _group_norm,
            "weight": lambda site: _per_channel(site, f"{_group_hat(site)} * g"),
            "bias": lambda site: _per_channel(site, "g"),
        },
        why="mean 0 and variance 1 hold whatever comes in: what would move either is taken out of "
        "the gradient",
        source=BA,
        tests=(
            "F.group_norm(a, 2) where a: 3 6 5",
            "F.group_norm(a, 3, w, b) where a: 2 6 4 5; w: 6; b: 6",
            "F.group_norm(a, 2, w, b, 0.1) where a: 3 4; w: 4; b: 4",
        ),
    ),
    Rule(
        "normalize",
        ("F.normalize(a, p=2.0, dim=1, eps=1e-12)",),
        {"a": _normalize},
        why="a length of 1 holds whatever comes in: what would stretch it is taken out of the "
        "gradient",
        source=CALCULUS,
        tests=(
            "F.normalize(a) where a: 3 4",
            "F.normalize(a, dim=-1) where a: 2 3 4",
            "F.normalize(a, 2.0, 0, eps=0.01) where a: 3 4",
        ),
    ),
    Rule(
        "cosine_similarity",
        (
            "F.cosine_similarity(a, b, dim=1, eps=1e-08)",
            "torch.cosine_similarity(a, b, dim=1, eps=1e-08)",
        ),
        {"a": _cosine("a", "b"), "b": _cosine("b", "a")},
        why="an angle does not see lengths: what would stretch either side is taken out of the "
        "gradient",
        source=CALCULUS,
        tests=(
            "F.cosine_similarity(a, b) where a: 3 4; b: 3 4",
            "F.cosine_similarity(a, b, dim=-1) where a: 2 3 4; b: 1 3 4",
            "F.cosine_similarity(a[:, None], b[None], dim=2) where a: 3 4; b: 5 4",
        ),
    ),
    Rule(
        "scaled_dot_product_attention",
        (
            "F.scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p=0.0, "
            "is_causal=False, scale=None, enable_gqa=False)",
        ),
        {
            "q": lambda site: f"({_attention_scores(site)}) @ k {_scale(site)}",
            "k": lambda site: f"({_attention_scores(site)}).mT @ q {_scale(site)}",
            "v": lambda site: f"{_attention(site)}.mT @ g",
            "attn_mask": _attention_scores,
        },
        why="a mixture of values by shares: the values get it back by the same shares, queries and "
        "keys what is left of it after softmax",
        source="Vaswani et al. 2017, Attention is all you need, equation 1; the chain rule",
        tests=(
            "F.scaled_dot_product_attention(q, k, v) where q: 2 3 4; k: 2 5 4; v: 2 5 6",
            "F.scaled_dot_product_attention(q, k, v, is_causal=True) where q: 2 3 5 4; "
            "k: 2 3 5 4; v: 2 3 5 4",
            "F.scaled_dot_product_attention(q, k, v, m, scale=0.3) where q: 2 3 4; k: 2 5 4; "
            "v: 2 5 6; m: 3 5",
            "F.scaled_dot_product_attention(q, k, v, attn_mask=m) where q: 2 3 4; k: 2 5 4; "
            "v: 2 5 6; m: 3 5 bool",
        ),
    ),
)
