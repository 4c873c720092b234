"""The largest, the smallest, the middle: what is selected gets the gradient."""

from __future__ import annotations

from gradninja.rules.elementwise.functions import DERIVATIVES
from gradninja.rules.rule import Rule, Site, Template, over

ONE = "the gradient goes to the one element that was selected; the others do not move the result"
SHARED = (
    "the gradient goes to the element that was selected, in equal shares where several are equal"
)


def _shared(g: str, y: str) -> Template:
    """Equal shares among the elements that equal the result."""

    def template(site: Site) -> str:
        chosen = f"(a == keep({y}))"
        return f"keep({g}) * {chosen} / {chosen}.sum({over(site)})"

    return template


def _both(site: Site) -> str:
    least, most = _shared("g0", "y[0]"), _shared("g1", "y[1]")
    assert callable(least) and callable(most)
    return site.added(str(least(site)), str(most(site)))


_NOTATION = {"max": "maximum", "amax": "maximum", "min": "minimum", "amin": "minimum"}


def _whole(name: str, *tests: str, chosen: str = "(a == y)") -> Rule:
    """The extreme or middle of all elements; `chosen`: which of them are the result."""
    return Rule(
        name,
        (f"torch.{name}(a)", f"a.{name}()"),
        {"a": f"torch.where({chosen}, g / {chosen}.sum(), 0)"},
        why=SHARED,
        notation=_NOTATION.get(name, ""),
        source=DERIVATIVES,
        tests=(
            f"a.{name}() where a: 3 4",
            f"torch.{name}(a) where a: 3 4 ties",
            f"a.{name}() where a: ()",
            *tests,
        ),
    )


def _selected(name: str, *tests: str, between: str = "", dim: str = "dim=int") -> Rule:
    """What is selected along an axis, with its indices."""
    return Rule(
        f"{name}_dim",
        (
            f"torch.{name}(a, {between}{dim}, keepdim=False)",
            f"a.{name}({between}{dim}, keepdim=False)",
        ),
        {"a": "d.scatter_add_(dim, keep(y[1]), keep(g0))"},
        why=ONE,
        source=DERIVATIVES,
        tests=tests,
    )


def _along(name: str, *tests: str) -> Rule:
    return _selected(
        name,
        f"torch.{name}(a, 0) where a: 3 4",
        f"a.{name}(1).values where a: 3 4",
        f"a.{name}(-1, keepdim=True)[0] where a: 3 4",
        f"a.{name}(dim=1, keepdim=True).values where a: 2 3 4 ties",
        f"a.{name}(0).values where a: ()",
        *tests,
    )


def _extreme(name: str) -> Rule:
    """The extreme over any axes, as one result."""
    return Rule(
        name,
        (f"torch.{name}(a, dim=(), keepdim=False)", f"a.{name}(dim=(), keepdim=False)"),
        {"a": _shared("g", "y")},
        why=SHARED,
        notation=_NOTATION[name],
        source=DERIVATIVES,
        tests=(
            f"a.{name}() where a: 3 4 ties",
            f"torch.{name}(a, 1) where a: 3 4 ties",
            f"a.{name}(-1, keepdim=True) where a: 3 4",
            f"a.{name}((0, 2)) where a: 3 4 2 ties",
            f"a.{name}(dim=(0, 1), keepdim=True) where a: 3 4 2",
            f"a.{name}() where a: ()",
        ),
    )


def _of_two(name: str, short: str, compare: str) -> Rule:
    """The larger or smaller of two tensors, element by element."""
    return Rule(
        name,
        (
            f"torch.{name}(a, b)",
            f"a.{name}(b)",
            f"torch.{short}(a, b)",
            f"a.{short}(b)",
        ),
        {
            "a": f"torch.where(a == b, 0.5 * g, g).masked_fill(b {compare} a, 0)",
            "b": f"torch.where(a == b, 0.5 * g, g).masked_fill(a {compare} b, 0)",
        },
        why="the gradient goes to the one of the two that was taken, half to each where they are "
        "equal",
        source=DERIVATIVES,
        tests=(
            f"torch.{name}(a, b) where a: 3 4; b: 3 4",
            f"torch.{name}(a, b) where a: 3 4 ties; b: 4 ties",
            f"torch.{short}(a, b) where a: 3 1; b: 3 4",
            f"a.{short}(b) where a: 4 ties; b: 3 4 ties",
        ),
        elementwise=True,
    )


def _of_two_numbers(name: str, keeps: str) -> Rule:
    """The same where one that is no number is passed over."""
    return Rule(
        name,
        (f"torch.{name}(a, b)", f"a.{name}(b)"),
        {
            "a": f"torch.where((a {keeps} b) | torch.isnan(b), g, 0)",
            "b": f"torch.where((a {keeps} b) | torch.isnan(b), 0, g)",
        },
        why="the gradient goes to the one of the two that was taken, the first of two equal ones",
        source=DERIVATIVES,
        tests=(
            f"torch.{name}(a, b) where a: 3 4; b: 3 4",
            f"torch.{name}(a, b) where a: 3 4 ties; b: 4 ties",
            f"torch.{name}(a, b + torch.where(m, 0.0, math.nan)) where a: 3 4; b: 4; m: 3 4 bool",
            f"torch.{name}(a + torch.where(m, 0.0, math.nan), b) where a: 3 4; b: 4; m: 3 4 bool",
        ),
        elementwise=True,
        means=f"torch.where((a {keeps[0]} b) | torch.isnan(b), a, b)",
    )


EXTREMES = (
    _whole("max"),
    _whole("min"),
    _whole("median"),
    _whole(
        "nanmedian",
        "torch.nanmedian(a + torch.where(m, 0.0, math.nan)) where a: 3 4; m: 3 4 bool",
        chosen="((a == y) | y.isnan())",  # no number is left: all of them are the result
    ),
    _along("max"),
    _along("min"),
    _along("median"),
    _along(
        "nanmedian",
        "torch.nanmedian(a + torch.where(m, 0.0, math.nan), 1)[0] where a: 3 4; m: 3 4 bool",
    ),
    _extreme("amax"),
    _extreme("amin"),
    Rule(
        "aminmax",
        ("torch.aminmax(a, dim=None, keepdim=False)", "a.aminmax(dim=None, keepdim=False)"),
        {"a": _both},
        why=SHARED,
        source=DERIVATIVES,
        tests=(
            "torch.aminmax(a) where a: 3 4 ties",
            "torch.aminmax(a, dim=1) where a: 3 4 ties",
            "a.aminmax(dim=-1, keepdim=True) where a: 2 3 4",
        ),
    ),
    _of_two("maximum", "max", ">"),
    _of_two("minimum", "min", "<"),
    _of_two_numbers("fmax", ">="),
    _of_two_numbers("fmin", "<="),
    _selected(
        "kthvalue",
        "torch.kthvalue(a, 2) where a: 3 4",
        "a.kthvalue(2, 0).values where a: 3 4",
        "a.kthvalue(1, dim=0, keepdim=True)[0] where a: 3 4",
        between="k, ",
        dim="dim=-1",
    ),
    _selected(
        "mode",
        "torch.mode(a) where a: 3 4 ties",
        "a.mode(0).values where a: 3 4 ties",
        "a.mode(dim=1, keepdim=True)[0] where a: 2 3 4",
        dim="dim=-1",
    ),
    Rule(
        "topk",
        (
            "torch.topk(a, k, dim=-1, largest=True, sorted=True)",
            "a.topk(k, dim=-1, largest=True, sorted=True)",
        ),
        {"a": "d.scatter_add_(dim, y[1], g0)"},
        why="the gradient goes back to where each of the selected elements came from",
        source=DERIVATIVES,
        tests=(
            "torch.topk(a, 2) where a: 3 4",
            "a.topk(2, 0).values where a: 3 4",
            "a.topk(2, dim=1, largest=False)[0] where a: 3 4 2",
            "a.topk(1) where a: ()",
        ),
    ),
    Rule(
        "sort",
        (
            "torch.sort(a, dim=-1, descending=False, stable=False)",
            "a.sort(dim=-1, descending=False, stable=False)",
        ),
        {"a": "d.scatter_add_(dim, y[1], g0)"},
        why="sorting moves elements about: each gradient goes back to where its element came from",
        source=DERIVATIVES,
        tests=(
            "torch.sort(a) where a: 3 4",
            "a.sort(0).values where a: 3 4",
            "a.sort(dim=1, descending=True)[0] where a: 3 4 2",
            "torch.sort(a, stable=True, dim=0)[0] where a: 3 4 ties",
            "a.sort() where a: ()",
        ),
    ),
    Rule(
        "msort",
        ("torch.msort(a)", "a.msort()"),
        {"a": "d.scatter_add_(0, a.sort(0).indices, g)"},
        why="sorting moves elements about: each gradient goes back to where its element came from",
        source=DERIVATIVES,
        tests=("torch.msort(a) where a: 3 4", "a.msort() where a: 3 distinct"),
    ),
    Rule(
        "cummax",
        ("torch.cummax(a, dim)", "a.cummax(dim)"),
        {"a": "d.scatter_add_(dim, y[1], g0)"},
        why="each running maximum is one of the elements, which gets the gradients of all that it "
        "was",
        source=DERIVATIVES,
        tests=(
            "torch.cummax(a, 0) where a: 3 4",
            "a.cummax(-1).values where a: 3 4",
            "a.cummax(1)[0] where a: 3 4 ties",
        ),
    ),
    Rule(
        "cummin",
        ("torch.cummin(a, dim)", "a.cummin(dim)"),
        {"a": "d.scatter_add_(dim, y[1], g0)"},
        why="each running minimum is one of the elements, which gets the gradients of all that it "
        "was",
        source=DERIVATIVES,
        tests=(
            "torch.cummin(a, 0) where a: 3 4",
            "a.cummin(-1).values where a: 3 4",
            "a.cummin(1)[0] where a: 3 4 ties",
        ),
    ),
)
