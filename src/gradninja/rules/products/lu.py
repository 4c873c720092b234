"""Two triangles whose product is a matrix with its rows in another order."""

from __future__ import annotations

from gradninja.rules.rule import Refusal, Rule, Site, Template

HOOGEN = (
    "de Hoog, Anderssen & Lukas 2011, Differentiation of matrix functionals using triangular "
    "factorization"
)
FACTORS = (
    "each factor's gradient is seen from that factor, a triangle of each kept, and taken back "
    "through both; the order of the rows does not move"
)


def _square(site: Site) -> None:
    rows, columns = site.shape("a")[-2:]
    if rows != columns:
        raise Refusal("there is a rule for square matrices alone")


def _back(both: str, inner: list[str]) -> str:
    """Through U from the right, through L from the left: `both` holds one in each triangle."""
    text = " + ".join(inner)
    right = f"torch.linalg.solve_triangular({both}.mT, {text}, upper=False, left=False)"
    return f"torch.linalg.solve_triangular({both}.mT, {right}, upper=True, unitriangular=True)"


def _packed(site: Site) -> str:
    _square(site)
    lower = "y[0].tril(-1)"
    of_lower = f"({lower}.mT @ g0.tril(-1) + g0).tril(-1)"
    of_upper = "(g0.triu() @ y[0].triu().mT).triu()"
    return f"torch.lu_unpack(y[0], y[1])[0] @ {_back('y[0]', [of_lower, of_upper])}"


def _three(site: Site) -> str:
    """P, L and U as matrices of their own; P is given."""
    _square(site)
    if not site.value("pivot"):
        raise Refusal("there is a rule for `pivot=True` alone")
    inner = []
    if site.reaches(1):
        inner.append("(y[1].mT @ g1).tril(-1)")
    if site.reaches(2):
        inner.append("(g2 @ y[2].mT).triu()")
    if not inner:
        return "torch.zeros_like(a)"
    right = f"torch.linalg.solve_triangular(y[2].mT, {' + '.join(inner)}, upper=False, left=False)"
    whole = f"torch.linalg.solve_triangular(y[1].mT, {right}, upper=True, unitriangular=True)"
    return f"y[0] @ {whole}"


def _unpacked(site: Site) -> str:
    _square(site)
    lower = ["g1.tril(-1)"] if site.reaches(1) else []
    upper = ["g2.triu()"] if site.reaches(2) else []
    return " + ".join(lower + upper) or "torch.zeros_like(a)"


def _solved(of: str) -> Template:
    def template(site: Site) -> str:
        if not site.value("left") or site.value("adjoint"):
            raise Refusal("there is a rule for `left=True` and `adjoint=False` alone")
        back = "torch.linalg.lu_solve(a, pivots, g, adjoint=True)"
        if of == "b":
            return back
        turned = f"(torch.lu_unpack(a, pivots)[0].mT @ {back} @ y.mT)"
        lower = "(a.tril(-1).mT @ TURNED + TURNED).triu()"
        text = f"-(TURNED @ a.triu().mT).tril(-1) - {lower}"
        return text.replace("TURNED", turned)

    return template


LU = (
    Rule(
        "lu_factor",
        ("torch.linalg.lu_factor(a, pivot=True)",),
        {"a": _packed},
        why=FACTORS,
        source=HOOGEN,
        tests=(
            "torch.linalg.lu_factor(a)[0] where a: 3 3 positive",
            "torch.linalg.lu_factor(a).LU where a: 2 3 3 positive",
        ),
    ),
    Rule(
        "lu",
        ("torch.linalg.lu(a, pivot=True)",),
        {"a": _three},
        why=FACTORS,
        source=HOOGEN,
        tests=(
            "torch.linalg.lu(a)[1:] where a: 3 3",
            "torch.linalg.lu(a).U where a: 2 3 3",
            "torch.linalg.lu(a)[1] where a: 3 3",
        ),
    ),
    Rule(
        "lu_unpack",
        ("torch.lu_unpack(a, pivots, unpack_data=True, unpack_pivots=True)",),
        {"a": _unpacked},
        why="each triangle goes back where it was taken from; the diagonal of ones was not there",
        source=HOOGEN,
        tests=(
            "torch.lu_unpack(a, torch.linalg.lu_factor(a.detach())[1])[2] where a: 3 3",
            "torch.lu_unpack(a, torch.linalg.lu_factor(a.detach())[1])[1:] where a: 2 3 3",
        ),
    ),
    Rule(
        "lu_solve",
        (
            "torch.linalg.lu_solve(a, pivots, b, left=True, adjoint=False)",
            "torch.lu_solve(b, a, pivots, left=True, adjoint=False)",
            "b.lu_solve(a, pivots, left=True, adjoint=False)",
        ),
        {"a": _solved("a"), "b": _solved("b")},
        why="what the matrix does to the result is undone: the gradient goes through its "
        "transpose, and then to each triangle",
        source=HOOGEN,
        tests=(
            "torch.linalg.lu_solve(a + 3 * torch.eye(3), "
            "torch.linalg.lu_factor(a.detach())[1], b) where a: 3 3; b: 3 2",
            "torch.lu_solve(b, a + 3 * torch.eye(3), torch.linalg.lu_factor(a.detach())[1]) "
            "where a: 2 3 3; b: 2 3 2",
        ),
    ),
)
