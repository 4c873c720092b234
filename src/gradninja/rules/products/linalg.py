"""Linear algebra: inverses, determinants, what solves, products of many matrices."""

from __future__ import annotations

from gradninja.rules.products.linear import GILES
from gradninja.rules.rule import Refusal, Rule, Site, Template

MURRAY = "Murray 2016, Differentiation of the Cholesky decomposition, section 4"
GOLUB = "Golub & Pereyra 1973, The differentiation of pseudo-inverses, equation 4.12"
HIGHAM = "Al-Mohy & Higham 2009, Computing the Frechet derivative of the matrix exponential, (1.4)"
INVERSE = "what A does to the result is undone: the gradient goes through A's transpose"


# -- inverses --------------------------------------------------------------------------------


def _solved(site: Site) -> str:
    """What goes back through A's transpose: the gradient of the right-hand side."""
    left = "" if site.value_or("left", True) else ", left=False"
    return f"torch.linalg.solve(A.mT, g{left})"


def _is_vector(site: Site) -> bool:
    """PyTorch's own question: one axis, or all that A has but its last."""
    return site.ndim("B") == 1 or site.shape("B") == site.shape("A")[:-1]


def _solve_matrix(site: Site) -> str:
    if _is_vector(site):
        return f"-{_solved(site)}.unsqueeze(-1) * y.unsqueeze(-2)"
    return f"-{_solved(site)} @ y.mT" if site.value("left") else f"-(y.mT @ {_solved(site)})"


def _triangular(site: Site) -> str:
    given = "" if site.value("left") else ", left=False"
    given += ", unitriangular=True" if site.value("unitriangular") else ""
    return f"torch.linalg.solve_triangular(A.mT, g, upper=not upper{given})"


def _triangular_matrix(site: Site) -> str:
    """The part that the solver reads: one triangle, without a diagonal of ones."""
    inner = f"{_triangular(site)} @ y.mT" if site.value("left") else f"y.mT @ {_triangular(site)}"
    unit = bool(site.value("unitriangular"))
    if site.value("upper"):
        return f"-({inner}).triu({int(unit) or ''})"
    return f"-({inner}).tril({-1 if unit else ''})"


def _factor_solved(site: Site) -> str:
    """A is L @ L.mT, which is its own transpose."""
    upper = ", upper=True" if site.value("upper") else ""
    return f"torch.cholesky_solve(g, L{upper})"


def _factor(site: Site) -> str:
    """Both places of L in L @ L.mT."""
    x = _factor_solved(site)
    both = f"({x} @ y.mT + y @ {x}.mT)"
    return f"-(L @ {both})" if site.value("upper") else f"-({both} @ L)"


def _factor_inverse(site: Site) -> str:
    both = "(g + g.mT)"
    inner = f"y @ {both} @ y"
    return f"-(L @ {inner})" if site.value("upper") else f"-({inner} @ L)"


def _cholesky(site: Site) -> str:
    """With upper factors, the same turned round."""
    upper = site.value("upper")
    inner = "(g @ y.mT).triu()" if upper else "(y.mT @ g).tril()"
    halved = f"({inner} - {inner}.diagonal(dim1=-2, dim2=-1).diag_embed() / 2)"
    both = f"({halved} + {halved}.mT) / 2"
    if upper:
        return (
            f"torch.linalg.solve_triangular(y, torch.linalg.solve_triangular(y.mT, {both}, "
            "upper=False, left=False), upper=True)"
        )
    return (
        f"torch.linalg.solve_triangular(y.mT, torch.linalg.solve_triangular(y, {both}, "
        "upper=False, left=False), upper=True)"
    )


# -- all the others ----------------------------------------------------------------------------


def _pinv(site: Site) -> str:
    """Of full rank: what lies outside of the ranges of A and of its transpose adds two terms."""
    if site.value_or("hermitian", False):
        raise Refusal("there is a rule for `hermitian=False` alone")
    rows, columns = site.shape("a")[-2:]
    text = "-(y.mT @ g @ y.mT)"
    if rows > columns:
        text += " + (g.mT - a @ (y @ g.mT)) @ (y @ y.mT)"
    if columns > rows:
        text += " + (y.mT @ y) @ (g.mT - g.mT @ y @ a)"
    return text


def _least_squares(of: str) -> Template:
    def template(site: Site) -> str:
        rows, columns = site.shape("a")[-2:]
        if rows < columns:
            raise Refusal("there is a rule for at least as many rows as columns, of full rank")
        if site.ndim("b") < 2:
            raise Refusal("give `b` a last axis: `b.unsqueeze(-1)`")
        given = site.reaches(1) and site.y[1].numel()
        left = "(b - a @ y[0])"
        terms = []
        if site.reaches(0):
            back = "torch.linalg.pinv(a).mT @ g0"
            inner = f"torch.linalg.pinv(a) @ ({back})"
            terms = [back] if of == "b" else [f"{left} @ ({inner}).mT", f"-({back}) @ y[0].mT"]
        if given:
            text = f"2 * {left} * g1.unsqueeze(-2)"
            terms.append(text if of == "b" else f"-({text}) @ y[0].mT")
        return " + ".join(terms) or f"torch.zeros_like({of})"

    return template


def _matrix_power(site: Site) -> str:
    n = site.value("n")
    if n == 0:
        return "torch.zeros_like(a)"
    if n < 0:
        raise Refusal("there is a rule for powers from 1 on; invert on a line of its own")
    power = {0: "", 1: "a.mT", 2: "(a @ a).mT"}
    terms = []
    for before in range(n):
        sides = [
            power.get(k, f"torch.linalg.matrix_power(a, {k}).mT") for k in (before, n - 1 - before)
        ]
        terms.append(" @ ".join(part for part in (sides[0], "g", sides[1]) if part))
    return " + ".join(terms)


def _exponential(site: Site) -> str:
    """The block above the diagonal of the exponential of [[A.mT, g], [0, A.mT]]."""
    blocks = "torch.cat((torch.cat((a.mT, g), -1), torch.cat((torch.zeros_like(a), a.mT), -1)), -2)"
    return f"torch.linalg.matrix_exp({blocks})[..., :a.shape[-1], a.shape[-1]:]"


def _chain(site: Site) -> list[str]:
    """Each matrix gets the gradient between the products of those before and after, transposed."""
    tensors = site.value("tensors")
    count = len(tensors)
    found = []
    for i in range(count):
        before = " @ ".join(f"tensors[{j}]" for j in range(i))
        after = " @ ".join(f"tensors[{j}]" for j in range(i + 1, count))
        found.append(" @ ".join(filter(None, (_turned(before), "g", _turned(after)))))
    if any(tensor.ndim != 2 for tensor in tensors):
        raise Refusal("there is a rule for matrices alone; write `@`")
    return found


def _turned(product: str) -> str:
    return f"({product}).T" if " @ " in product else f"{product}.T" if product else ""


LINALG = (
    Rule(
        "inv",
        ("torch.linalg.inv(a)", "torch.inverse(a)", "a.inverse()"),
        {"a": "-(y.mT @ g @ y.mT)"},
        exact={"a": "-(y.mT @ (g @ y.mT))"},
        why="an inverse moves against its matrix, seen from both sides",
        source=GILES,
        tests=(
            "torch.linalg.inv(a + 3 * torch.eye(3)) where a: 3 3",
            "torch.inverse(a) where a: 2 2 2",
        ),
    ),
    Rule(
        "solve",
        ("torch.linalg.solve(A, B, left=True)",),
        {"A": _solve_matrix, "B": _solved},
        why=INVERSE,
        source=GILES,
        tests=(
            "torch.linalg.solve(a, b) where a: 3 3; b: 3 2",
            "torch.linalg.solve(a, b) where a: 3 3; b: 3",
            "torch.linalg.solve(a, b, left=False) where a: 3 3; b: 2 3",
            "torch.linalg.solve(a, b) where a: 2 3 3; b: 2 3",
            "torch.linalg.solve(a, b) where a: 2 3 3; b: 3 4",
        ),
    ),
    Rule(
        "solve_triangular",
        ("torch.linalg.solve_triangular(A, B, upper=bool, left=True, unitriangular=False)",),
        {"A": _triangular_matrix, "B": _triangular},
        why=INVERSE + "; what lies beyond the triangle is not read",
        source=GILES,
        tests=(
            "torch.linalg.solve_triangular(a, b, upper=False) where a: 3 3; b: 3 2",
            "torch.linalg.solve_triangular(a, b, upper=True) where a: 2 3 3; b: 2 3 2",
            "torch.linalg.solve_triangular(a, b, upper=False, left=False) where a: 3 3; b: 2 3",
            "torch.linalg.solve_triangular(a, b, upper=True, unitriangular=True) where a: 3 3; "
            "b: 3 2",
            "torch.linalg.solve_triangular(a, b, upper=False, unitriangular=True) where a: 3 3; "
            "b: 3 2",
        ),
    ),
    Rule(
        "cholesky_solve",
        ("torch.cholesky_solve(B, L, upper=False)", "B.cholesky_solve(L, upper=False)"),
        {"B": _factor_solved, "L": _factor},
        why=INVERSE,
        source=GILES,
        tests=(
            "torch.cholesky_solve(b, a.tril() + 2 * torch.eye(3)) where a: 3 3; b: 3 2",
            "b.cholesky_solve(a.triu() + 2 * torch.eye(3), True) where a: 3 3; b: 3 2",
        ),
    ),
    Rule(
        "cholesky_inverse",
        ("torch.cholesky_inverse(L, upper=False)", "L.cholesky_inverse(upper=False)"),
        {"L": _factor_inverse},
        why=INVERSE,
        source=GILES,
        tests=(
            "torch.cholesky_inverse(a.tril() + 2 * torch.eye(3)) where a: 3 3",
            "torch.cholesky_inverse(a.triu() + 2 * torch.eye(3), upper=True) where a: 3 3",
        ),
    ),
    Rule(
        "cholesky",
        (
            "torch.linalg.cholesky(a, upper=False)",
            "torch.cholesky(a, upper=False)",
            "a.cholesky(upper=False)",
        ),
        {"a": _cholesky},
        why="the factor's gradient is seen from the factor, its lower half with half of the "
        "diagonal kept, and taken back through the factor on both sides",
        source=MURRAY,
        tests=(
            "torch.linalg.cholesky(a @ a.mT + torch.eye(3)) where a: 3 3",
            "torch.linalg.cholesky(a @ a.mT + torch.eye(3), upper=True) where a: 2 3 3",
        ),
    ),
    Rule(
        "det",
        ("torch.linalg.det(a)", "torch.det(a)", "a.det()"),
        {"a": "(g * y)[..., None, None] * torch.linalg.inv(a).mT"},
        why="a determinant grows along each element by that element's cofactor",
        source=GILES,
        tests=(
            "torch.linalg.det(a) where a: 3 3 positive",
            "(a + 7 * torch.eye(3)).det() where a: 2 3 3",
        ),
    ),
    Rule(
        "slogdet",
        ("torch.linalg.slogdet(a)", "torch.slogdet(a)", "a.slogdet()"),
        {"a": "g1[..., None, None] * torch.linalg.inv(a).mT"},
        why="the logarithm of a determinant has the inverse, transposed, for its slope; the sign "
        "does not move",
        source=GILES,
        tests=("torch.linalg.slogdet(a) where a: 3 3", "a.slogdet()[1] where a: 2 3 3"),
    ),
    Rule(
        "logdet",
        ("torch.logdet(a)", "a.logdet()"),
        {"a": "g[..., None, None] * torch.linalg.inv(a).mT"},
        why="the logarithm of a determinant has the inverse, transposed, for its slope",
        source=GILES,
        tests=(
            "torch.logdet(a + 7 * torch.eye(3)) where a: 3 3",
            "(a + 7 * torch.eye(3)).logdet() where a: 2 3 3",
        ),
    ),
    Rule(
        "matrix_exp",
        ("torch.linalg.matrix_exp(a)", "torch.matrix_exp(a)", "a.matrix_exp()"),
        {"a": _exponential},
        why="the slope along g is the upper block of the exponential of a twice as large matrix",
        source=HIGHAM,
        tests=("torch.linalg.matrix_exp(a) where a: 3 3", "a.matrix_exp() where a: 2 3 3"),
    ),
    Rule(
        "matrix_power",
        (
            "torch.linalg.matrix_power(a, n)",
            "torch.matrix_power(a, n)",
            "a.matrix_power(n)",
        ),
        {"a": _matrix_power},
        why="each place of the matrix in the product gets the gradient between the other ones",
        source=GILES,
        tests=(
            "torch.linalg.matrix_power(a, 3) where a: 3 3",
            "a.matrix_power(2) where a: 2 3 3",
            "torch.matrix_power(a, 5) where a: 3 3",
        ),
    ),
    Rule(
        "pinv",
        (
            "torch.linalg.pinv(a, rcond=None, atol=None, rtol=None, hermitian=False)",
            "torch.pinverse(a)",
            "a.pinverse()",
        ),
        {"a": _pinv},
        why="an inverse moves against its matrix, seen from both sides; what lies outside of the "
        "matrix's range adds a term",
        source=GOLUB,
        tests=(
            "torch.linalg.pinv(a) where a: 4 3",
            "torch.linalg.pinv(a) where a: 2 3 4",
            "torch.pinverse(a + 3 * torch.eye(3)) where a: 3 3",
        ),
    ),
    Rule(
        "lstsq",
        ("torch.linalg.lstsq(a, b, rcond=None, driver=None)",),
        {"a": _least_squares("a"), "b": _least_squares("b")},
        why="the solution solves the normal equations: the right-hand side gets the gradient "
        "through the pseudo-inverse, the matrix what both of its places there give",
        source=GOLUB,
        tests=(
            "torch.linalg.lstsq(a, b)[0] where a: 4 3; b: 4 2",
            "torch.linalg.lstsq(a, b)[1] where a: 4 3; b: 4 2",
            "torch.linalg.lstsq(a, b) where a: 5 3; b: 5 1",
        ),
    ),
    Rule(
        "linalg_cross",
        ("torch.linalg.cross(a, b, dim=-1)",),
        {"a": "torch.linalg.cross(b, g, dim=dim)", "b": "torch.linalg.cross(g, a, dim=dim)"},
        why="a vector product is a determinant with the gradient: it may be turned round in a ring",
        source=GILES,
        tests=(
            "torch.linalg.cross(a, b) where a: 4 3; b: 4 3",
            "torch.linalg.cross(a, b, dim=0) where a: 3 4; b: 3 1",
        ),
        means="a.roll(-1, dim) * b.roll(-2, dim) - a.roll(-2, dim) * b.roll(-1, dim)",
    ),
    Rule(
        "vecdot",
        ("torch.linalg.vecdot(a, b, dim=-1)",),
        {"a": "b * g.unsqueeze(dim)", "b": "a * g.unsqueeze(dim)"},
        why="an inner product hands each vector the other one times the gradient",
        source=GILES,
        tests=(
            "torch.linalg.vecdot(a, b) where a: 3 4; b: 3 4",
            "torch.linalg.vecdot(a, b, dim=0) where a: 3 4; b: 3 1",
        ),
        means="(a * b).sum(dim)",
    ),
    Rule(
        "multi_dot",
        ("torch.linalg.multi_dot(tensors)", "torch.chain_matmul(*tensors)"),
        {"tensors": _chain},
        why="each matrix gets the gradient between the transposed products of those before and "
        "after it",
        source=GILES,
        tests=(
            "torch.linalg.multi_dot([a, b, c]) where a: 3 4; b: 4 2; c: 2 5",
            "torch.linalg.multi_dot([a, b]) where a: 3 4; b: 4 2",
        ),
    ),
    Rule(
        "addr",
        ("torch.addr(c, a, b, beta=1, alpha=1)", "c.addr(a, b, beta=1, alpha=1)"),
        {
            "c": "beta * g",
            "a": "alpha * (g @ b)",
            "b": "alpha * (g.T @ a)",
        },
        why="an outer product hands each vector the gradient times the other one",
        source=GILES,
        tests=(
            "torch.addr(c, a, b) where c: 3 4; a: 3; b: 4",
            "c.addr(a, b, beta=0.5, alpha=2) where c: 3 4; a: 3; b: 4",
        ),
        means="beta * c + alpha * (a[:, None] * b)",
    ),
    Rule(
        "addbmm",
        ("torch.addbmm(c, a, b, beta=1, alpha=1)", "c.addbmm(a, b, beta=1, alpha=1)"),
        {
            "c": "beta * g",
            "a": "alpha * (g @ b.mT)",
            "b": "alpha * (a.mT @ g)",
        },
        why="a sum of matrix products: each matrix gets the gradient times the other one",
        source=GILES,
        tests=(
            "torch.addbmm(c, a, b) where c: 3 5; a: 2 3 4; b: 2 4 5",
            "c.addbmm(a, b, beta=0.5, alpha=2) where c: 3 5; a: 2 3 4; b: 2 4 5",
        ),
        means="beta * c + alpha * (a @ b).sum(0)",
    ),
)
