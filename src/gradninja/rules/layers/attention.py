"""Softmax, and attention, which is made of it."""

from __future__ import annotations

from collections.abc import Callable

from gradninja.rules.rule import Refusal, Rule, Site, Template

BISHOP = "Bishop 2006, Pattern recognition and machine learning, section 4.3.4"


def _along(text: str) -> Template:
    def template(site: Site) -> str:
        if site.value("dim") is None:
            raise Refusal("say along which axis: `dim=-1`, say")
        return text if site.value("dtype") is None else f"({text}).to(a.dtype)"

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
        later = "torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).triu(1)"
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


def _fused(site: Site) -> bool:
    """Whether PyTorch takes its fused kernel on the CPU."""
    ndims = {site.ndim(name) for name in "qkv"}
    masked = site.value("attn_mask") is not None
    if masked and (site.flows("attn_mask") or site.ndim("attn_mask") not in (2, 4)):
        return False
    rows = {site.shape(name)[:2] for name in "qkv"}  # that do not broadcast
    return ndims == {4} and len(rows) == 1 and site.shape("q")[-1] == site.shape("v")[-1]


def _fused_backward(site: Site, output: int) -> str:
    mask = "attn_mask"
    if site.value("attn_mask") is not None and not site.value("attn_mask").is_floating_point():
        mask = "torch.zeros_like(attn_mask, dtype=q.dtype).masked_fill(~attn_mask, -math.inf)"
    kernel = "torch.ops.aten._scaled_dot_product_flash_attention_for_cpu"
    rest = f"0.0, is_causal, attn_mask={mask}, scale=scale)"
    return f"{kernel}_backward(g, q, k, v, *{kernel}(q, k, v, {rest}, {rest}[{output}]"


def _attention_exact(wanted: str) -> Template:
    """PyTorch's own kernels, or its steps one by one: half of the scale for queries and keys."""

    def template(site: Site) -> str:
        weights = _attention(site)
        if wanted != "attn_mask" and _fused(site):
            return _fused_backward(site, "qkv".index(wanted))
        scale = "1 / math.sqrt(q.shape[-1])" if site.value("scale") is None else "scale"
        q, k = f"(q * math.sqrt({scale}))", f"(k.mT * math.sqrt({scale}))"
        weights = weights.replace(f"q @ k.mT {_scale(site)}", f"{q} @ {k}")
        scores = f"torch.ops.aten._softmax_backward_data(g @ v.mT, {weights}, -1, q.dtype)"
        return {
            "q": f"({scores} @ {k}.mT) * math.sqrt({scale})",
            "k": f"(({q}.mT @ {scores}) * math.sqrt({scale})).mT",
            "v": f"{weights}.mT @ g",
            "attn_mask": scores,
        }[wanted]

    return template


def _shares_meaning(text: str) -> Callable[[Site], str]:
    """What no axis and no dtype is left out of: exponentials of what the largest is taken off."""

    def meaning(site: Site) -> str:
        if site.value("dim") is None or site.has("dtype") or not site.ndim("a"):
            raise Refusal("no axis, or another dtype")
        return f"below = a - a.amax(dim, keepdim=True)\nshares = torch.exp(below)\n{text}"

    return meaning


NETWORKS = (
    Rule(
        "softmax",
        (
            "F.softmax(a, dim=None, _stacklevel=3, dtype=None)",
            "torch.softmax(a, dim, dtype=None)",
            "torch.special.softmax(a, dim, dtype=None)",
            "a.softmax(dim, dtype=None)",
        ),
        {"a": _along("y * (g - (g * y).sum(dim, keepdim=True))")},
        exact={"a": _along("torch.ops.aten._softmax_backward_data(g, y, dim, y.dtype)")},
        why="shares add up to 1: one grows only at the cost of the others, so each gradient counts "
        "less their mean, weighted by the shares",
        notation="along an axis",
        source=BISHOP,
        tests=(
            "F.softmax(a, 1) where a: 3 4",
            "torch.softmax(a, dim=0) where a: 3 4",
            "a.softmax(-1) where a: 2 3 4",
            "F.softmax(a, dim=0) where a: ()",
            "F.softmax(a, dim=1, dtype=torch.float64) where a: 3 4",
        ),
        means=_shares_meaning("shares / shares.sum(dim, keepdim=True)"),
    ),
    Rule(
        "softmin",
        ("F.softmin(a, dim=None, _stacklevel=3, dtype=None)",),
        {"a": _along("-y * (g - (g * y).sum(dim, keepdim=True))")},
        exact={"a": _along("-torch.ops.aten._softmax_backward_data(g, y, dim, y.dtype)")},
        why="a softmax of minus the operand",
        source=BISHOP,
        tests=("F.softmin(a, 1) where a: 3 4", "F.softmin(a, dim=0) where a: 3 4"),
        means="torch.softmax(-a, dim)",
    ),
    Rule(
        "log_softmax",
        (
            "F.log_softmax(a, dim=None, _stacklevel=3, dtype=None)",
            "torch.log_softmax(a, dim, dtype=None)",
            "torch.special.log_softmax(a, dim, dtype=None)",
            "a.log_softmax(dim, dtype=None)",
        ),
        {"a": _along("g - y.exp() * g.sum(dim, keepdim=True)")},
        exact={"a": _along("torch.ops.aten._log_softmax_backward_data(g, y, dim, y.dtype)")},
        why="the logarithm of the sum takes the sum of the gradients, shared out by the softmax",
        notation="along an axis",
        source=BISHOP,
        tests=(
            "F.log_softmax(a, 1) where a: 3 4",
            "torch.log_softmax(a, dim=0) where a: 3 4",
            "a.log_softmax(-1) where a: 2 3 4",
        ),
        means=_shares_meaning("below - torch.log(shares.sum(dim, keepdim=True))"),
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
        exact={name: _attention_exact(name) for name in ("q", "k", "v", "attn_mask")},
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
            "F.scaled_dot_product_attention(q, k, v, is_causal=True) where q: 2 5 4; k: 2 5 4; "
            "v: 2 5 6",
            "F.scaled_dot_product_attention(q, k, v) where q: 1 3 5 4; k: 2 3 5 4; v: 2 3 5 4",
            "F.scaled_dot_product_attention(q, k, v, m, scale=0.3) where q: 2 1 3 4; k: 2 1 5 4; "
            "v: 2 1 5 4; m: 3 5 bool",
            "F.scaled_dot_product_attention(q, k, v, m.detach()) where q: 2 2 3 4; k: 2 2 5 4; "
            "v: 2 2 5 4; m: 3 5",
        ),
    ),
)
