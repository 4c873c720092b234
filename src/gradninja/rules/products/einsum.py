"""einsum: every sum of products over named axes, and tensordot, which is one of them."""

from __future__ import annotations

import string
from dataclasses import dataclass

from gradninja.rules.rule import Refusal, Rule, Site, Template

SOURCE = "Laue et al. 2018, Computing higher order derivatives of matrix and tensor expressions"


@dataclass(frozen=True)
class Equation:
    """The letters of each operand and of the result; an ellipsis is written out as letters."""

    operands: tuple[str, ...]
    result: str

    @staticmethod
    def read(text: str, ndims: list[int]) -> Equation:
        """Read an equation; without an arrow the result has the letters that stand once."""
        given, arrow, result = text.replace(" ", "").partition("->")
        operands = given.split(",")
        fresh = _fresh(given)
        ranks = [n - len(o.replace("...", "")) for o, n in zip(operands, ndims, strict=True)]
        longest = max([0, *(r for o, r in zip(operands, ranks, strict=True) if "..." in o)])
        dots = fresh[:longest]
        written = tuple(
            o.replace("...", dots[longest - r :]) for o, r in zip(operands, ranks, strict=True)
        )
        if arrow:
            return Equation(written, result.replace("...", dots))
        letters = given.replace(",", "").replace("...", "")
        once = "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
        return Equation(written, dots + once)


def _fresh(taken: str) -> str:
    """Letters that do not stand in a text."""
    return "".join(c for c in string.ascii_letters if c not in taken)


def _text(equation: Equation, at: int) -> str:
    """The gradient of one operand: an einsum of the cotangent and the other operands."""
    wanted = equation.operands[at]
    inputs = ["g"]
    letters = [equation.result]
    for other, of in enumerate(equation.operands):
        if other != at:
            inputs.append(f"tensors[{other}]")
            letters.append(of)
    made = "".join(dict.fromkeys(wanted))
    known = set("".join(letters))
    result = "".join(c for c in made if c in known)
    text = f"torch.einsum('{','.join(letters)}->{result}', {', '.join(inputs)})"
    if letters == [result]:
        text = "g"
    for axis, letter in enumerate(made):
        if letter not in known:  # summed by itself: the same gradient for every element
            text = f"{text}.unsqueeze({axis})"
            if wanted.count(letter) > 1:
                sizes = [
                    f"tensors[{at}].shape[{wanted.index(letter)}]" if c == letter else "-1"
                    for c in made[: axis + 1]
                ]
                rest = ["-1"] * sum(c in known for c in made[axis + 1 :])
                text = f"{text}.expand({', '.join([*sizes, *rest])})"
    for axis, letter in enumerate(wanted):
        twin = wanted.index(letter)
        if twin < axis:  # only the diagonal was used: the gradient is there, and 0 elsewhere
            text = f"{text}.movedim({twin}, -1).diag_embed(dim1={twin}, dim2={axis})"
    return text


def _einsum(site: Site) -> list[str]:
    written = site.value("equation")
    tensors = site.value("tensors")
    if not isinstance(written, str):
        raise Refusal("write the equation as text, 'ij,jk->ik' say")
    if len({tensor.dtype for tensor in tensors}) > 1:  # at some sizes PyTorch lets it pass
        raise Refusal("operands of several dtypes: bring them to one with `.to(...)` first")
    equation = Equation.read(written, [t.ndim for t in tensors])
    return [_text(equation, at) for at in range(len(tensors))]


def _contracted(site: Site) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of a and of b that tensordot sums over."""
    dims = site.value("dims")
    if isinstance(dims, int):
        ndim = site.ndim("a")
        return tuple(range(ndim - dims, ndim)), tuple(range(dims))
    pair = [[d] if isinstance(d, int) else list(d) for d in dims]
    ndims = (site.ndim("a"), site.ndim("b"))
    left, right = (tuple(d % n for d in given) for given, n in zip(pair, ndims, strict=True))
    return left, right


def _tensordot(site: Site) -> tuple[str, str]:
    """Both gradients of tensordot, as einsums."""
    left, right = _contracted(site)
    letters = string.ascii_letters
    first = letters[: site.ndim("a")]
    rest = iter(letters[site.ndim("a") :])
    second = "".join(
        first[left[right.index(axis)]] if axis in right else next(rest)
        for axis in range(site.ndim("b"))
    )
    result = "".join(c for i, c in enumerate(first) if i not in left)
    result += "".join(c for i, c in enumerate(second) if i not in right)
    return (
        f"torch.einsum('{result},{second}->{first}', g, b)",
        f"torch.einsum('{result},{first}->{second}', g, a)",
    )


def _matrix(name: str, order: tuple[int, ...], rows: int) -> str:
    """An operand as one matrix: the first `rows` of the axes in this order as its rows."""
    sizes = [f"{name}.shape[{axis}]" for axis in order[:rows]]
    return f"{name}.permute({order}).reshape({' * '.join(sizes) or 1}, -1)"


def _back(name: str, order: tuple[int, ...], matrix: str) -> str:
    """The gradient of a matrix in the operand's own axes."""
    inverse = tuple(order.index(axis) for axis in range(len(order)))
    return f"({matrix}).reshape({name}.permute({order}).shape).permute({inverse})"


def _tensordot_exact(wanted: int) -> Template:
    """As PyTorch does it: one product of two matrices; what meets an axis of size 1 is summed."""

    def template(site: Site) -> str:
        left, right = _contracted(site)
        if not site.value("a").numel() or not site.value("b").numel():
            return _tensordot(site)[wanted]
        sizes = [(site.shape("a")[i], site.shape("b")[j]) for i, j in zip(left, right, strict=True)]
        one = "".join(
            f".sum({i}, keepdim=True)" for i, (n, m) in zip(left, sizes, strict=True) if m == 1 < n
        )
        two = "".join(
            f".sum({j}, keepdim=True)" for j, (n, m) in zip(right, sizes, strict=True) if n == 1 < m
        )
        rows = [axis for axis in range(site.ndim("a")) if axis not in left]
        columns = [axis for axis in range(site.ndim("b")) if axis not in right]
        of_a, of_b = (*rows, *left), (*right, *columns)
        a, b = _matrix(f"a{one}", of_a, len(rows)), _matrix(f"b{two}", of_b, len(right))
        if wanted == 0:
            kept = " * ".join(f"b.shape[{axis}]" for axis in columns) or "1"
            return _back(f"a{one}", of_a, f"g.reshape(-1, {kept}) @ {b}.T")
        kept = " * ".join(f"a.shape[{axis}]" for axis in rows) or "1"
        return _back(f"b{two}", of_b, f"{a}.T @ g.reshape({kept}, -1)")

    return template


EINSUM = (
    Rule(
        "einsum",
        ("torch.einsum(equation, *tensors)",),
        {"tensors": _einsum},
        why="a sum of products: each operand gets the gradient times all the others, summed over "
        "the axes that it does not have, repeated along those that it alone had",
        source=SOURCE,
        tests=(
            "torch.einsum('ij,jk->ik', a, b) where a: 3 4; b: 4 5",
            "torch.einsum('bij, bjk -> bik', a, b) where a: 2 3 4; b: 2 4 5",
            "torch.einsum('ij,jk', a, b) where a: 3 4; b: 4 5",
            "torch.einsum('ba', a) where a: 3 4",
            "torch.einsum('bhid,bhjd->bhij', [a, b]) where a: 2 3 4 5; b: 2 3 6 5",
            "torch.einsum('i,j->ij', a, b) where a: 3; b: 4",
            "torch.einsum('ij->ji', a) where a: 3 4",
            "torch.einsum('ij->i', a) where a: 3 4",
            "torch.einsum('ijk->j', a) where a: 3 4 2",
            "torch.einsum('ij->', a) where a: 3 4",
            "torch.einsum('ii->i', a) where a: 3 3",
            "torch.einsum('ii', a) where a: 3 3",
            "torch.einsum('iij,jk->ik', a, b) where a: 3 3 4; b: 4 5",
            "torch.einsum('ij,k->i', a, b) where a: 3 4; b: 5",
            "torch.einsum('i,ij,j->', a, b, c) where a: 3; b: 3 4; c: 4",
            "torch.einsum('i,i->', a, a) where a: 3",
            "torch.einsum('...ij,...jk->...ik', a, b) where a: 2 3 4; b: 2 4 5",
            "torch.einsum('...ij,jk->...ik', a, b) where a: 6 2 3 4; b: 4 5",
            "torch.einsum('...i,...i->...', a, b) where a: 2 3 4; b: 3 4",
            "torch.einsum('i...,i...->...', a, b) where a: 4 3; b: 4 2 3",
            "torch.einsum('...ij', a) where a: 2 3 4",
            "torch.einsum('bi,bi->b', a, b) where a: 1 4; b: 3 4",
        ),
    ),
    Rule(
        "tensordot",
        ("torch.tensordot(a, b, dims=2)",),
        {"a": lambda site: _tensordot(site)[0], "b": lambda site: _tensordot(site)[1]},
        exact={"a": _tensordot_exact(0), "b": _tensordot_exact(1)},
        why="a sum of products: each side gets the gradient times the other side, summed over the "
        "axes that it does not have",
        source=SOURCE,
        tests=(
            "torch.tensordot(a, b, dims=1) where a: 2 3 4; b: 4 5",
            "torch.tensordot(a, b) where a: 2 3 4; b: 3 4 5",
            "torch.tensordot(a, b, dims=([0, 2], [1, 0])) where a: 2 3 4; b: 4 2 5",
            "torch.tensordot(a, b, dims=0) where a: 2 3; b: 4",
            "torch.tensordot(a, b, dims=1) where a: 2 3 1; b: 4 5",
            "torch.tensordot(a, b) where a: 3 4; b: 3 4",
        ),
    ),
)
