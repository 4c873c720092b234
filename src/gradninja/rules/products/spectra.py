"""Eigenvalues, singular values, and the factor that only turns."""

from __future__ import annotations

from gradninja.rules.rule import Refusal, Rule, Site

WALTER = "Walter & Lehmann 2010, Algorithmic differentiation of linear algebra functions"
SPECTRUM = (
    "an eigenvalue moves as its vector sees the change; vectors turn towards each other by what "
    "the change has between them, over the distance of their values (distinct values alone)"
)


def _distances(values: str) -> str:
    """Each value less each other one; inf where it is less itself, so that 1 / it is 0."""
    return (
        f"({values}.unsqueeze(-2) - {values}.unsqueeze(-1)).masked_fill("
        f"torch.eye({values}.shape[-1], dtype=torch.bool, device={values}.device), math.inf)"
    )


def _eigh(site: Site) -> str:
    if not site.reaches(1):
        return "y[1] * g0.unsqueeze(-2) @ y[1].mT"
    inner = f"(y[1].mT @ g1 - g1.mT @ y[1]) / 2 / {_distances('y[0]')}"
    values = " + g0.diag_embed()" if site.reaches(0) else ""
    return f"y[1] @ ({inner}{values}) @ y[1].mT"


def _eigvalsh(site: Site) -> str:
    given = "" if site.value("UPLO") == "L" else ", UPLO=UPLO"
    vectors = f"torch.linalg.eigh(a{given})[1]"
    return f"{vectors} * g.unsqueeze(-2) @ {vectors}.mT"


def _svd(site: Site) -> str:
    """A = U diag(S) Vh; with `full_matrices` the vectors beyond those have no gradient."""
    rows, columns = site.shape("a")[-2:]
    turned = site.reaches(0) or site.reaches(2)
    if turned and site.value("full_matrices") and rows != columns:
        raise Refusal("there is a rule for `full_matrices=False` alone: say so")
    if not turned:
        rank = "" if rows == columns or not site.value("full_matrices") else ":y[1].shape[-1]"
        left = f"y[0][..., {rank}]" if rank and rows > columns else "y[0]"
        right = f"y[2][..., {rank}, :]" if rank and columns > rows else "y[2]"
        return f"{left} * g1.unsqueeze(-2) @ {right}"
    gap = _distances("(y[1] ** 2)")
    inner = []
    if site.reaches(0):
        inner.append(f"(y[0].mT @ g0 - g0.mT @ y[0]) / {gap} * y[1].unsqueeze(-2)")
    if site.reaches(2):
        inner.append(f"y[1].unsqueeze(-1) * (y[2] @ g2.mT - g2 @ y[2].mT) / {gap}")
    if site.reaches(1):
        inner.append("g1.diag_embed()")
    text = f"y[0] @ ({' + '.join(inner)}) @ y[2]"
    if rows > columns and site.reaches(0):
        beyond = "g0 / y[1].unsqueeze(-2)"
        text += f" + ({beyond} - y[0] @ (y[0].mT @ ({beyond}))) @ y[2]"
    if columns > rows and site.reaches(2):
        beyond = "g2 / y[1].unsqueeze(-1)"
        text += f" + y[0] @ ({beyond} - ({beyond}) @ y[2].mT @ y[2])"
    return text


def _svdvals(site: Site) -> str:
    parts = "torch.linalg.svd(a, full_matrices=False)"
    return f"{parts}[0] * g.unsqueeze(-2) @ {parts}[2]"


def _qr(site: Site) -> str:
    rows, columns = site.shape("a")[-2:]
    if site.value("mode") != "reduced" or rows < columns:
        raise Refusal("there is a rule for `mode='reduced'` of at least as many rows as columns")
    skew = "(y[1] @ g1.mT - g0.mT @ y[0]).tril()"
    both = f"({skew} + {skew}.tril(-1).mT)"
    return f"torch.linalg.solve_triangular(y[1].mT, g0 + y[0] @ {both}, upper=False, left=False)"


SPECTRA = (
    Rule(
        "eigh",
        ("torch.linalg.eigh(a, UPLO='L')",),
        {"a": _eigh},
        why=SPECTRUM,
        source=WALTER,
        tests=(
            "torch.linalg.eigh(a + a.mT) where a: 3 3",
            "torch.linalg.eigh(a) where a: 3 3",
            "torch.linalg.eigh(a + a.mT, UPLO='U')[1] where a: 3 3",
            "torch.linalg.eigh(a + a.mT)[0] where a: 2 3 3",
        ),
    ),
    Rule(
        "eigvalsh",
        ("torch.linalg.eigvalsh(a, UPLO='L')",),
        {"a": _eigvalsh},
        why="an eigenvalue moves as its vector sees the change",
        source=WALTER,
        tests=(
            "torch.linalg.eigvalsh(a + a.mT) where a: 3 3",
            "torch.linalg.eigvalsh(a + a.mT, UPLO='U') where a: 2 3 3",
        ),
    ),
    Rule(
        "svd",
        ("torch.linalg.svd(a, full_matrices=True)",),
        {"a": _svd},
        why=SPECTRUM,
        source=WALTER,
        tests=(
            "(torch.linalg.svd(a, full_matrices=False)[0].abs(), "
            "torch.linalg.svd(a, full_matrices=False)[2].abs()) where a: 3 4",
            "torch.linalg.svd(a, full_matrices=False)[1] where a: 4 3",
            "(torch.linalg.svd(a, full_matrices=False)[0] ** 2) where a: 4 3",
            "(torch.linalg.svd(a)[2] ** 2) where a: 2 3 3",
            "torch.linalg.svd(a)[1] where a: 3 4",
            "torch.linalg.svd(a)[1] where a: 2 4 3",
        ),
    ),
    Rule(
        "svdvals",
        ("torch.linalg.svdvals(a)",),
        {"a": _svdvals},
        why="a singular value moves as its two vectors see the change",
        source=WALTER,
        tests=("torch.linalg.svdvals(a) where a: 3 4", "torch.linalg.svdvals(a) where a: 2 3 3"),
    ),
    Rule(
        "qr",
        ("torch.linalg.qr(a, mode='reduced')",),
        {"a": _qr},
        why="the orthogonal factor only turns, the triangular one only fills its triangle: what is "
        "neither is taken back through R",
        source=WALTER,
        tests=("torch.linalg.qr(a) where a: 4 3", "torch.linalg.qr(a)[1] where a: 2 3 3"),
    ),
)
