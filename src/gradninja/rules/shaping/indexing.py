"""What picks elements by position with a function: gather, scatter, lookups."""

from __future__ import annotations

from gradninja.rules.rule import Refusal, Rule, Site, Template
from gradninja.rules.shaping.brackets import ADDS_UP, DERIVATIVES


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
        if site.shape("a")[dim] == 1:  # whatever an index says, there is one element
            index = f"torch.zeros_like({index})"
        if any(site.shape("a")[i] == 1 for i in others):
            sizes = [
                f"a.shape[{i}]" if i == dim else f"y.shape[{i}]" for i in range(len(site.y.shape))
            ]
            return f"g.new_zeros({', '.join(sizes)}).scatter_add_(dim, {index}, g)"
        return text.replace("INDEX", index)

    return template


def _masked_select(site: Site) -> str:
    together = tuple((site.value("a") * site.value("mask")).shape)
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
    if site.ndim("a") == 0:
        return f"{alpha}g.reshape(source.shape)"
    return f"{alpha}g.index_select(dim, index)"


def _embedding(exact: bool) -> Template:
    def template(site: Site) -> str:
        if site.value("max_norm") is not None:
            raise Refusal("`max_norm` changes the table in place; leave it out")
        if site.value("scale_grad_by_freq"):
            raise Refusal("`scale_grad_by_freq` is outside; leave it out")
        skipped = site.value("padding_idx")
        if exact:
            row = "-1" if skipped is None else "padding_idx % a.shape[0]"
            return f"torch.ops.aten.embedding_dense_backward(g, index, a.shape[0], {row}, False)"
        if skipped is None:
            return "d.index_put_((index,), g, accumulate=True)"
        row = "padding_idx" if skipped >= 0 else "padding_idx % a.shape[0]"
        left = f"g.masked_fill((index == {row}).unsqueeze(-1), 0)"
        return f"d.index_put_((index,), {left}, accumulate=True)"

    return template


INDEXING = (
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
            "a.take_along_dim(i, 1) where a: 3 1; i: 3 6 < 4",
            "a.take_along_dim(i, 0) where a: 1 1; i: 5 3 < 4",
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
            "a.index_add(0, i, b, alpha=2) where a: (); i: 1 < 1; b: ()",
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
