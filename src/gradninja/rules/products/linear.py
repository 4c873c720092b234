"""Products of vectors and matrices, at every rank."""

from __future__ import annotations

from gradninja.rules.rule import Rule, Site, Template

GILES = "Giles 2008, Collected matrix derivative results, section 2.2.1"
WHY = (
    "a matrix product hands each matrix the gradient times the other one transposed, on the side "
    "where the other one stood"
)
ROWS = "flatten(0, -2)"  # all axes but the last as one: the rows that one weight serves


def _left(site: Site) -> str:
    """The gradient of a in a @ b; derive sums over the axes that a was broadcast along."""
    a, b = site.ndim("a"), site.ndim("b")
    if b == 1:
        return "b * g" if a == 1 else "g.unsqueeze(-1) * b"
    if a == 1:
        return "b @ g" if b == 2 else "(b @ g.unsqueeze(-1)).squeeze(-1)"
    return "g @ b.T" if b == 2 else "g @ b.mT"


def _right(site: Site) -> str:
    """The gradient of b in a @ b."""
    a, b = site.ndim("a"), site.ndim("b")
    if a == 1:
        return "a * g" if b == 1 else "a.unsqueeze(-1) * g.unsqueeze(-2)"
    if b == 1:
        return "a.T @ g" if a == 2 else f"a.{ROWS}.T @ g.flatten()"
    if a == 2:
        return "a.T @ g"
    return f"a.{ROWS}.T @ g.{ROWS}" if b == 2 else "a.mT @ g"


def _left_exact(site: Site) -> str:
    """The same products in the layouts in which PyTorch takes them: folded to one matrix."""
    a, b = site.ndim("a"), site.ndim("b")
    if a == 1 and b == 2:
        return "(g.unsqueeze(0) @ b.T).squeeze(0)"
    if a == 1 and b > 2:
        return f"b.mT.{ROWS}.T @ g.flatten()"
    if a == 2 and b > 2:
        return f"g.mT.{ROWS}.T @ b.mT.{ROWS}"
    if a > 2 and b == 2:
        return f"(g.{ROWS} @ b.T).reshape(a.shape)"
    return _left(site)


def _right_exact(site: Site) -> str:
    if site.ndim("a") == 2 and site.ndim("b") > 2:
        return f"(g.mT.{ROWS} @ a).reshape(b.mT.shape).mT"
    return _right(site)


def _inner_left(site: Site) -> str:
    if 0 in (site.ndim("a"), site.ndim("b")):
        return "b * g"
    return f"torch.tensordot(g, b, dims={site.ndim('b') - 1})"


def _inner_right(site: Site) -> str:
    if 0 in (site.ndim("a"), site.ndim("b")):
        return "g * a"
    rows = list(range(site.ndim("a") - 1))
    return f"torch.tensordot(g, a, dims=({rows}, {rows}))"


def _scaled(factor: str, text: str) -> Template:
    """`factor` times a text, where it is not 1."""

    def template(site: Site) -> str:
        return text if site.value(factor) == 1 else f"{factor} * ({text})"

    return template


def _linear_weight(site: Site) -> str:
    """One weight matrix serves every row, so their contributions are summed."""
    a, weight = site.ndim("a"), site.ndim("weight")
    if a == 1:
        return "torch.outer(g, a)" if weight == 2 else "a * g"
    if weight == 1:
        return "a.T @ g" if a == 2 else f"a.{ROWS}.T @ g.flatten()"
    return "g.T @ a" if a == 2 else f"g.{ROWS}.T @ a.{ROWS}"


def _linear_input(site: Site) -> str:
    return "g.unsqueeze(-1) * weight" if site.ndim("weight") == 1 else "g @ weight"


def _linear_input_exact(site: Site) -> str:
    if site.ndim("a") > 2 and site.ndim("weight") == 2:
        return f"(g.{ROWS} @ weight).reshape(a.shape)"
    return _linear_input(site)


def _linear_bias_exact(site: Site) -> str:
    """PyTorch takes three axes for two, if the input lies in one piece."""
    one = site.ndim("a") > 2 and site.ndim("weight") == 2 and site.value("a").is_contiguous()
    return f"g.{ROWS}.sum(0)" if one else "g"


LINEAR = (
    Rule(
        "matmul",
        ("a @ b", "torch.matmul(a, b)", "a.matmul(b)"),
        {"a": _left, "b": _right},
        exact={"a": _left_exact, "b": _right_exact},
        why=WHY,
        notation="product of matrices",
        source=GILES,
        tests=(
            "a @ b where a: 3 4; b: 4 5",
            "a @ a where a: 3 3",
            "torch.matmul(a, b) where a: 4; b: 4",
            "a.matmul(b) where a: 4; b: 4 5",
            "a @ b where a: 3 4; b: 4",
            "a @ b where a: 2 3 4; b: 4 5",
            "a @ b where a: 6 2 3 4; b: 4 5",
            "a @ b where a: 2 3 4; b: 4",
            "a @ b where a: 4; b: 2 4 5",
            "a @ b where a: 4; b: 6 2 4 5",
            "a @ b where a: 3 4; b: 2 4 5",
            "a @ b where a: 3 4; b: 6 2 4 5",
            "a @ b where a: 2 3 4; b: 2 4 5",
            "a @ b where a: 6 2 3 4; b: 2 4 5",
            "a @ b where a: 6 1 3 4; b: 1 2 4 5",
            "a @ a.mT where a: 2 3 4",
        ),
    ),
    Rule(
        "mm",
        ("torch.mm(a, b)", "a.mm(b)"),
        {"a": "g @ b.T", "b": "a.T @ g"},
        why=WHY,
        notation="product of matrices",
        source=GILES,
        tests=("torch.mm(a, b) where a: 3 4; b: 4 5", "a.mm(b) where a: 1 4; b: 4 1"),
    ),
    Rule(
        "bmm",
        ("torch.bmm(a, b)", "a.bmm(b)"),
        {"a": "g @ b.mT", "b": "a.mT @ g"},
        why=WHY,
        notation="product of matrices",
        source=GILES,
        tests=("torch.bmm(a, b) where a: 2 3 4; b: 2 4 5", "a.bmm(b) where a: 2 3 4; b: 2 4 5"),
    ),
    Rule(
        "mv",
        ("torch.mv(a, b)", "a.mv(b)"),
        {"a": "torch.outer(g, b)", "b": "a.T @ g"},
        why=WHY,
        notation="product of matrices",
        source=GILES,
        tests=("torch.mv(a, b) where a: 3 4; b: 4", "a.mv(b) where a: 3 4; b: 4"),
    ),
    Rule(
        "dot",
        ("torch.dot(a, b)", "a.dot(b)", "torch.vdot(a, b)", "a.vdot(b)"),
        {"a": "b * g", "b": "a * g"},
        why="an inner product hands each vector the other one times the gradient",
        source=GILES,
        tests=("torch.dot(a, b) where a: 4; b: 4", "a.dot(a) where a: 4"),
    ),
    Rule(
        "outer",
        ("torch.outer(a, b)", "a.outer(b)", "torch.ger(a, b)", "a.ger(b)"),
        {"a": "g @ b", "b": "g.T @ a"},
        exact={"a": "(g * b).sum(1)", "b": "(g * a.unsqueeze(1)).sum(0)"},
        why="an outer product hands each vector the gradient times the other one",
        source=GILES,
        tests=("torch.outer(a, b) where a: 3; b: 4", "a.outer(b) where a: 3; b: 4"),
    ),
    Rule(
        "inner",
        ("torch.inner(a, b)", "a.inner(b)"),
        {"a": _inner_left, "b": _inner_right},
        why="every row of a meets every row of b: each row gets the other rows, weighted by the "
        "gradients of where they met",
        source=GILES,
        tests=(
            "torch.inner(a, b) where a: 4; b: 4",
            "torch.inner(a, b) where a: 3 4; b: 5 4",
            "torch.inner(a, b) where a: 2 3 4; b: 4",
            "torch.inner(a, b) where a: 4; b: 2 3 4",
            "a.inner(b) where a: 3 4; b: ()",
        ),
    ),
    Rule(
        "addmm",
        (
            "torch.addmm(bias, a, b, beta=1, alpha=1)",
            "bias.addmm(a, b, beta=1, alpha=1)",
        ),
        {
            "bias": _scaled("beta", "g"),
            "a": _scaled("alpha", "g @ b.T"),
            "b": _scaled("alpha", "a.T @ g"),
        },
        why="a matrix product and a sum: " + WHY,
        source=GILES,
        tests=(
            "torch.addmm(c, a, b) where c: 3 5; a: 3 4; b: 4 5",
            "torch.addmm(c, a, b, beta=0.5, alpha=2) where c: 5; a: 3 4; b: 4 5",
            "c.addmm(a, b) where c: 3 1; a: 3 4; b: 4 5",
        ),
    ),
    Rule(
        "addmv",
        ("torch.addmv(bias, a, b, beta=1, alpha=1)", "bias.addmv(a, b, beta=1, alpha=1)"),
        {
            "bias": _scaled("beta", "g"),
            "a": _scaled("alpha", "torch.outer(g, b)"),
            "b": _scaled("alpha", "a.T @ g"),
        },
        why="a matrix product and a sum: " + WHY,
        source=GILES,
        tests=(
            "torch.addmv(c, a, b) where c: 3; a: 3 4; b: 4",
            "c.addmv(a, b, beta=0.5, alpha=2) where c: 3; a: 3 4; b: 4",
        ),
    ),
    Rule(
        "baddbmm",
        (
            "torch.baddbmm(bias, a, b, beta=1, alpha=1)",
            "bias.baddbmm(a, b, beta=1, alpha=1)",
        ),
        {
            "bias": _scaled("beta", "g"),
            "a": _scaled("alpha", "g @ b.mT"),
            "b": _scaled("alpha", "a.mT @ g"),
        },
        why="a matrix product and a sum: " + WHY,
        source=GILES,
        tests=(
            "torch.baddbmm(c, a, b) where c: 2 3 5; a: 2 3 4; b: 2 4 5",
            "torch.baddbmm(c, a, b, beta=0.5, alpha=2) where c: 3 1; a: 2 3 4; b: 2 4 5",
        ),
    ),
    Rule(
        "linear",
        ("F.linear(a, weight, bias=None)",),
        {"a": _linear_input, "weight": _linear_weight, "bias": "g"},
        exact={"a": _linear_input_exact, "bias": _linear_bias_exact},
        why="a layer's input gets the gradient times the weights, the weights the gradient "
        "transposed times the input, the bias the gradient itself",
        source=GILES,
        tests=(
            "F.linear(a, w) where a: 3 4; w: 5 4",
            "F.linear(a, w, b) where a: 3 4; w: 5 4; b: 5",
            "F.linear(a, w, bias=b) where a: 2 3 4; w: 5 4; b: 5",
            "F.linear(a, w, b) where a: 4; w: 5 4; b: 5",
            "F.linear(a, w, b) where a: 6 2 3 4; w: 5 4; b: 5",
            "F.linear(a.mT, w, b) where a: 2 4 3; w: 5 4; b: 5",
            "F.linear(a, w) where a: 4; w: 4",
            "F.linear(a, w) where a: 3 4; w: 4",
            "F.linear(a, w) where a: 2 3 4; w: 4",
            "F.linear(a, w) where a: 3 4; w: 4",
            "F.linear(a, w) where a: 4; w: 4",
        ),
    ),
    Rule(
        "cross",
        ("torch.cross(a, b, dim=int)", "a.cross(b, dim=int)"),
        {"a": "torch.linalg.cross(b, g, dim=dim)", "b": "torch.linalg.cross(g, a, dim=dim)"},
        why="a vector product is a determinant with the gradient: it may be turned round in a ring",
        source=GILES,
        tests=("torch.cross(a, b, dim=-1) where a: 4 3; b: 4 3",),
        means="a.roll(-1, dim) * b.roll(-2, dim) - a.roll(-2, dim) * b.roll(-1, dim)",
    ),
)
