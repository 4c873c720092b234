"""What joins tensors into one, and what splits one into several."""

from __future__ import annotations

from gradninja.rules.rule import Refusal, Rule, Site

SOURCE = "PyTorch, tools/autograd/derivatives.yaml"
JOINED = "each of the joined tensors gets the gradient of the part that it became"
PARTED = "the gradients of the parts are joined as the parts lay"


def _parts(site: Site, dim: str) -> list[str]:
    """Each tensor's part of the cotangent, beginning where the one before it ends."""
    count = len(site.value("tensors"))
    found = []
    for i in range(count):
        before = [f"tensors[{j}].shape[{dim}]" for j in range(i)]
        start = " + ".join(before) or "0"
        found.append(f"g.narrow({dim}, {start}, tensors[{i}].shape[{dim}])")
    return found


def _cat(site: Site) -> list[str]:
    """An empty vector may stand beside tensors of more axes, or be joined along any: no part."""
    tensors, dim = site.value("tensors"), site.value("dim")
    ndims = {tensor.ndim for tensor in tensors}
    if len(ndims) == 1 and all(-n <= dim < n for n in ndims):
        return _parts(site, "dim")
    found: list[str] = []
    before: list[str] = []
    for i, tensor in enumerate(tensors):
        if tensor.ndim == 1:
            found.append(f"torch.zeros_like(tensors[{i}])")
            continue
        size = f"tensors[{i}].shape[dim]"
        found.append(f"g.narrow(dim, {' + '.join(before) or '0'}, {size})")
        before.append(size)
    return found


def _hstack(site: Site) -> list[str]:
    dims = {t.ndim for t in site.value("tensors")}
    if 0 in dims:
        raise Refusal("give the numbers to be joined an axis: `torch.stack` joins 0-dim tensors")
    return _parts(site, "0" if dims == {1} else "1")


def _vstack(site: Site) -> list[str]:
    """Tensors of one axis are rows."""
    dims = [t.ndim for t in site.value("tensors")]
    if 0 in dims:
        raise Refusal("give the numbers to be joined an axis: `torch.stack` joins 0-dim tensors")
    if set(dims) == {1}:
        return [f"g[{i}]" for i in range(len(dims))]
    if 1 in dims:
        raise Refusal("rows and matrices are joined here: write `row[None]`, and `torch.cat`")
    return _parts(site, "0")


def _stack(site: Site) -> list[str]:
    return [f"g.select(dim, {i})" for i in range(len(site.value("tensors")))]


JOINS = (
    Rule(
        "cat",
        (
            "torch.cat(tensors, dim=0)",
            "torch.concat(tensors, dim=0)",
            "torch.concatenate(tensors, dim=0)",
        ),
        {"tensors": _cat},
        why=JOINED,
        source=SOURCE,
        tests=(
            "torch.cat([a, b], 1) where a: 3 4; b: 3 2",
            "torch.cat((a, b, c)) where a: 3 4; b: 1 4; c: 2 4",
            "torch.cat([a, b, a], dim=-1) where a: 3 4; b: 3 2",
            "torch.cat([a @ b, b * 2], 0) where a: 2 3; b: 3 4",
            "torch.cat([a, b, a], 1) where a: 3 4; b: 0",
            "torch.cat([a, a], -2) where a: 0",
        ),
    ),
    Rule(
        "hstack",
        ("torch.hstack(tensors)",),
        {"tensors": _hstack},
        why=JOINED,
        source=SOURCE,
        tests=(
            "torch.hstack([a, b]) where a: 3 4; b: 3 2",
            "torch.hstack((a, b)) where a: 3; b: 2",
        ),
    ),
    Rule(
        "vstack",
        ("torch.vstack(tensors)",),
        {"tensors": _vstack},
        why=JOINED,
        source=SOURCE,
        tests=(
            "torch.vstack([a, b]) where a: 3 4; b: 2 4",
            "torch.vstack((a, b)) where a: 3; b: 3",
        ),
    ),
    Rule(
        "stack",
        ("torch.stack(tensors, dim=0)",),
        {"tensors": _stack},
        why=JOINED,
        source=SOURCE,
        tests=(
            "torch.stack([a, b]) where a: 3 4; b: 3 4",
            "torch.stack((a, b), dim=1) where a: 3 4; b: 3 4",
            "torch.stack([a, b, a], -1) where a: 3 4; b: 3 4",
            "torch.stack([a, b]) where a: (); b: ()",
        ),
    ),
    Rule(
        "split",
        (
            "torch.chunk(a, chunks, dim=0)",
            "a.chunk(chunks, dim=0)",
            "torch.split(a, split_size_or_sections, dim=0)",
            "a.split(split_size, dim=0)",
            "torch.tensor_split(a, indices_or_sections, dim=0)",
            "a.tensor_split(indices_or_sections, dim=0)",
        ),
        {"a": "torch.cat(gs, dim)"},
        why=PARTED,
        view=True,
        source=SOURCE,
        tests=(
            "torch.chunk(a, 2, 1) where a: 3 4",
            "a.chunk(3) where a: 6 4",
            "a.chunk(3, dim=-1)[1] where a: 3 6",
            "torch.split(a, 2) where a: 5 3",
            "a.split([1, 3], -1) where a: 3 4",
            "a.split(2, dim=1)[0] where a: 3 4",
            "torch.tensor_split(a, 3) where a: 4 3",
            "a.tensor_split((1, 3), dim=1) where a: 3 4",
        ),
    ),
    Rule(
        "unbind",
        ("torch.unbind(a, dim=0)", "a.unbind(dim=0)"),
        {"a": "torch.stack(gs, dim)"},
        why=PARTED,
        view=True,
        source=SOURCE,
        tests=(
            "torch.unbind(a) where a: 3 4",
            "a.unbind(1) where a: 3 4",
            "a.unbind(-1)[1] where a: 2 3",
        ),
    ),
)
