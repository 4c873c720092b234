"""What a row of the rule book is, and how a row is bound to a place in a program.

A row says how an operation is spelled and, for each input that has a gradient, the expression of
that gradient as plain PyTorch text. In that text

- the formals of the spelling (`a`, `b`, `dim`, ...) stand for what the person wrote there;
- `g` is the cotangent, the gradient of the loss with respect to the operation's result (`g0`, `g1`
  and the list `gs` for an operation with several results);
- `y` is the result (`y[0]` for the first of several);
- `keep(t)` puts the axes that the operation reduced back with size 1;
- `count(a)` is how many elements were reduced into one;
- a text that begins with `d[` or `d.` is a statement that adds into `d`, the gradient so far.

A row never sums over an axis that was broadcast, nor expands over one that was summed: `derive`
does both, in one place.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gradninja.lines import STATIC, TUPLE, Expr

# What a row gives for one input: text, or a function of the place that gives text. For an input
# that is a list of tensors the function gives one text for each of them.
Template = str | Callable[["Site"], "str | list[str]"]

# Names that PyTorch takes for the same argument.
SYNONYMS = {"keepdims": "keepdim", "axis": "dim", "dims": "dim"}
FIRST = {"input", "self"}
SECOND = {"other", "exponent", "mat2", "vec2", "tensor2"}
ANYTHING = "..."  # the formal that takes whatever stands there


class Refusal(Exception):
    """Raised by a row whose formula does not cover what was written; `message` says what."""


@dataclass(frozen=True)
class Formal:
    """A formal argument of a spelling."""

    name: str
    required: bool
    default: Any = None
    static: str = ""  # must be a plain Python value of this kind: written `dim=int` in a spelling
    many: bool = False  # takes all further positional arguments: written `*dim`


@dataclass(frozen=True)
class Spelling:
    """One way to write an operation: what is called, with which formals."""

    callee: str
    formals: tuple[Formal, ...]

    @staticmethod
    def parse(text: str) -> Spelling:
        """`a.sum(dim=None, keepdim=False)`, `torch.max(a, dim=int)`, `a + b`, `a.T`, `a[index]`."""
        node = ast.parse(text, mode="eval").body
        if isinstance(node, ast.BinOp):
            return Spelling(_symbol(node), (_formal(node.left), _formal(node.right)))
        if isinstance(node, ast.Compare):
            return Spelling(text.split()[1], (_formal(node.left), _formal(node.comparators[0])))
        if isinstance(node, ast.UnaryOp):
            name = {ast.UAdd: "pos", ast.USub: "neg", ast.Invert: "~"}[type(node.op)]
            return Spelling(name, (_formal(node.operand),))
        if isinstance(node, ast.Subscript):
            index = _formal(node.slice)
            if index.name == "basic":  # an index that gives a view, and no copy
                index = Formal("basic", True, static="basic")
            return Spelling("[]", (_formal(node.value), index))
        if isinstance(node, ast.Attribute):
            return Spelling(f".{node.attr}", (_formal(node.value),))
        assert isinstance(node, ast.Call), text
        owner: tuple[Formal, ...] = ()
        callee = ast.unparse(node.func)
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            name = node.func.value.id
            if name not in {"torch", "F"}:
                owner = (_formal(node.func.value),)
                callee = f"Tensor.{node.func.attr}"
        rest = [_formal(arg) for arg in node.args]
        rest += [_keyword(keyword) for keyword in node.keywords]
        return Spelling(callee, (*owner, *rest))

    def bind(self, expr: Expr) -> dict[str, Expr] | None:
        """The operands under their formals' names; None where the call does not fit."""
        bound: dict[str, Expr] = {}
        rest = list(expr.args)
        for formal in self.formals:
            if formal.many and (rest or formal.name not in expr.kwargs):
                bound[formal.name] = _gather(rest, expr)
                rest = []
            elif rest:
                bound[formal.name] = rest.pop(0)
        if rest:
            return None
        names = [formal.name for formal in self.formals]
        for key, value in expr.kwargs.items():
            name = key if key in names else SYNONYMS.get(key, key)
            if name in FIRST and name not in names:
                name = names[0]
            elif name in SECOND and name not in names and len(names) > 1:
                name = names[1]
            if name not in names and ANYTHING in names:
                continue
            if name not in names or name in bound:
                return None
            bound[name] = value
        for formal in self.formals:
            if formal.name not in bound:
                if formal.required:
                    return None
                bound[formal.name] = _default(formal, expr)
            elif not _static_fits(formal, bound[formal.name]):
                return None
        return bound


def _gather(rest: list[Expr], expr: Expr) -> Expr:
    """`a.view(2, -1)` and `a.view((2, -1))` are the same."""
    if len(rest) == 1 and isinstance(rest[0].value, tuple | list):
        return rest[0]
    values = tuple(e.value for e in rest)
    syntax = ast.Tuple([e.syntax for e in rest], ast.Load())
    static = all(e.op == STATIC for e in rest)
    flows = any(e.differentiable for e in rest)
    return Expr(
        STATIC if static else TUPLE, tuple(rest), syntax, values, expr.spot, differentiable=flows
    )


def _static_fits(formal: Formal, given: Expr) -> bool:
    """`dim=int` takes no tensor and no bool, `unbiased=bool` only a bool; a `dim` is no bool."""
    is_bool = isinstance(given.value, bool)
    if formal.static == "bool":
        return is_bool
    if formal.static == "basic":
        return given.op == STATIC and _is_basic(given.value)
    if formal.static == "complex":
        return given.is_tensor and bool(given.value.is_complex())
    if formal.static == "tensor":
        return given.is_tensor
    if formal.static:
        return given.op == STATIC and not is_bool
    return not (formal.name == "dim" and is_bool)


def _is_basic(index: Any) -> bool:
    """Ints, slices, None and ... alone."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None
        or part is Ellipsis
        or isinstance(part, slice)
        or (isinstance(part, int) and not isinstance(part, bool))
        for part in parts
    )


def _default(formal: Formal, expr: Expr) -> Expr:
    syntax = ast.parse(repr(formal.default), mode="eval").body
    return Expr(STATIC, (), syntax, formal.default, expr.spot)


def _formal(node: ast.expr) -> Formal:
    if isinstance(node, ast.Name) and node.id == "z":  # a complex tensor
        return Formal("z", True, static="complex")
    if isinstance(node, ast.Starred):
        assert isinstance(node.value, ast.Name)
        return Formal(node.value.id, False, default=(), many=True)
    if isinstance(node, ast.Constant) and node.value is Ellipsis:
        return Formal(ANYTHING, False, default=(), many=True)
    assert isinstance(node, ast.Name), ast.dump(node)
    return Formal(node.id, True)


def _keyword(node: ast.keyword) -> Formal:
    assert node.arg is not None
    if isinstance(node.value, ast.Name):  # dim=int
        return Formal(node.arg, True, static=node.value.id)
    return Formal(node.arg, False, default=ast.literal_eval(node.value))


def _symbol(node: ast.BinOp) -> str:
    symbols = {
        ast.Add: "+",
        ast.Sub: "-",
        ast.Mult: "*",
        ast.Div: "/",
        ast.Pow: "**",
        ast.MatMult: "@",
        ast.Mod: "%",
        ast.FloorDiv: "//",
        ast.BitAnd: "&",
        ast.BitOr: "|",
        ast.BitXor: "^",
    }
    return symbols[type(node.op)]


# About what one element of a result takes, counted in additions.
CHEAP, DIVISION, FUNCTION = 1, 4, 10


# Notations of what goes over axes: what it makes of the elements there, in words.
OVER_AXES = frozenset(
    {
        "sum",
        "mean",
        "product",
        "maximum",
        "minimum",
        "variance",
        "deviation",
        "norm",
        "log of the sum of exponentials",
    }
)


@dataclass(frozen=True, eq=False)
class Rule:
    """A row of the rule book.

    `backward` gives the text for each formal that has a gradient, `exact` replaces some of them by
    the form that equals autograd's bit for bit. `why` is the explanation in a sentence; `source`
    says where the formula is from. `tests` are calls to try it on (`tests/rules/test_rules.py`).
    `elementwise`: each element of the result depends on one element of each input, so a cotangent
    may stay unexpanded, and the result is cheap to write again instead of keeping it. `view`: the
    result shares the input's memory. `shape_only`: formals of which only the shape or the dtype
    counts, so that no gradient flows to them. `constant`: no gradient goes through at all, for it
    is zero wherever it exists; `random`: another result at each call.

    What other rooms read of an operation stands here, too. `means`: the result in simpler
    operations, a text in the formals. `loop`: one element of the result, as the text of compiled
    loops, where `{0}` is the operand's element; `cost` is about what that takes. `notation`: how a
    formula has it, where that is not its name: what it is over axes ("sum", "maximum"), or a form
    ("bars", "root", "transpose").
    """

    name: str
    spellings: tuple[str, ...]
    backward: Mapping[str, Template]
    why: str
    source: str
    tests: tuple[str, ...]
    exact: Mapping[str, Template] = field(default_factory=dict)
    elementwise: bool = False
    view: bool = False
    shape_only: tuple[str, ...] = ()
    means: Template = ""
    loop: str = ""
    cost: int = FUNCTION
    constant: bool = False
    random: bool = False
    notation: str = ""

    def template(self, formal: str, style: str) -> Template | None:
        """The text for one formal, in the style that is asked for."""
        if style == "exact" and formal in self.exact:
            return self.exact[formal]
        return self.backward.get(formal)

    def meaning(self, site: Site) -> str:
        """The text of what this means at a place: hidden values a line each, then the result."""
        text = self.means(site) if callable(self.means) else self.means
        assert isinstance(text, str)
        return text


def _names(syntax: ast.AST) -> set[str]:
    """The names that a value depends on; the number of axes of a tensor is what it is."""
    told = ast.unparse(syntax) if isinstance(syntax, ast.Call | ast.Attribute) else ""
    if re.fullmatch(r"\w+\.ndim|\w+\.dim\(\)|len\(\w+\.(shape|size\(\))\)", told):
        return set()
    own = {syntax.id} if isinstance(syntax, ast.Name) else set[str]()
    return own.union(*(_names(part) for part in ast.iter_child_nodes(syntax)))


@dataclass(frozen=True, eq=False)
class Site:
    """A row at one place in a program: what a row's function can ask about that place."""

    rule: Rule
    expr: Expr
    bound: Mapping[str, Expr]
    reached: frozenset[int] | None = None  # the outputs that have a cotangent; None: all of them

    def reaches(self, index: int) -> bool:
        """Whether a cotangent comes from this one of several outputs."""
        return self.reached is None or index in self.reached

    @property
    def y(self) -> Any:
        """The result's value."""
        return self.expr.value

    def value(self, formal: str) -> Any:
        """The value that a formal has here."""
        return self.bound[formal].value

    def value_or(self, formal: str, default: Any) -> Any:
        """The same, for a formal that only some spellings have."""
        return self.bound[formal].value if formal in self.bound else default

    def has(self, formal: str) -> bool:
        """Whether this spelling has the formal, and it is not None."""
        return self.value_or(formal, None) is not None

    def fixed(self, formal: str) -> bool:
        """Whether the value itself stands there, and no name for what may be another next time."""
        return _names(self.bound[formal].syntax) <= {"math", "torch", "float", "list", "range"}

    def shape(self, formal: str) -> tuple[int, ...]:
        return self.bound[formal].shape

    def ndim(self, formal: str) -> int:
        return len(self.bound[formal].shape)

    def flows(self, formal: str) -> bool:
        """Whether a gradient is wanted for this formal."""
        return self.bound[formal].differentiable

    def added(self, *texts: str) -> str:
        """The sum of what each of several results hands on, those left out that hand on nothing."""
        return " + ".join(text for at, text in enumerate(texts) if self.reaches(at))

    def is_tensor(self, formal: str) -> bool:
        return self.bound[formal].is_tensor

    def dims(self, formal: str = "a") -> tuple[int, ...]:
        """The axes that `dim` names, counted from 0; all of them where it is None or empty."""
        ndim = self.ndim(formal)
        dim = self.value("dim") if "dim" in self.bound else None
        if dim is None or dim == () or dim == []:
            return tuple(range(ndim))
        several = dim if isinstance(dim, tuple | list) else (dim,)
        return tuple(sorted(d % ndim if ndim else 0 for d in several))

    def keep(self, text: str) -> str:
        """`text` with the reduced axes put back with size 1."""
        ndim = self.ndim("a")
        given = self.value("dim") if "dim" in self.bound else None
        kept = "keepdim" in self.bound and self.value("keepdim")
        if kept or ndim == 0 or given is None or given == () or given == []:
            return text
        if isinstance(given, int):
            return f"({text}).unsqueeze(dim)"
        return f"({text})" + "".join(f".unsqueeze({d})" for d in self.dims())

    def count(self, text: str = "a") -> str:
        """How many elements of `text` were reduced into one."""
        dims = self.dims()
        if len(dims) == self.ndim("a") or not self.ndim("a"):
            return f"{text}.numel()"
        if isinstance(self.value("dim"), int):
            return f"{text}.shape[dim]"
        return "(" + " * ".join(f"{text}.shape[{d}]" for d in dims) + ")"

    def numel(self) -> int:
        """The number that `count` gives here."""
        shape = self.shape("a") or (1,)  # a number is a row of one
        return math.prod(shape[d] for d in self.dims())


def over(site: Site) -> str:
    """The arguments that reduce the same axes once more, kept with size 1; none for all axes."""
    return "dim, keepdim=True" if site.value_or("dim", None) not in (None, (), []) else ""
