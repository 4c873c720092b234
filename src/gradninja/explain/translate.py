"""From a line's syntax to its formula.

Products element by element are written with a dot in a circle; a product of matrices stands without
a sign. Sums and their kin carry the names of the axes that they go over. What has no notation is
written as a function with an upright name.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from gradninja.explain.formula import (
    Big,
    Cases,
    Fence,
    Formula,
    Fraction,
    Number,
    Root,
    Row,
    Script,
    Symbol,
    Text,
    Word,
    row,
    separated,
)
from gradninja.explain.names import axes, axis, number, plain, variable
from gradninja.explain.seen_shapes import SCATTERS, Shapes, call_parts

# How tightly a piece holds together: one that holds less is put in brackets.
COMPARED, ADDED, SUMMED, MULTIPLIED, APPLIED, ATOM = range(6)

# Notations of what goes over axes, with the sign that stands before the operand.
BIG = {
    "sum": "sum",
    "product": "prod",
    "mean": "mean",
    "maximum": "max",
    "minimum": "min",
    "variance": "var",
    "deviation": "std",
    "log of the sum of exponentials": "logsumexp",
    "place of the maximum": "argmax",
    "place of the minimum": "argmin",
}
PLAIN_KEYWORDS = frozenset({"dim", "axis", "keepdim", "keepdims"})
COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "=",
    ast.NotEq: "ne",
    ast.Lt: "<",
    ast.LtE: "le",
    ast.Gt: ">",
    ast.GtE: "ge",
    ast.In: "in",
    ast.NotIn: "notin",
}


@dataclass(frozen=True)
class Piece:
    """A formula, how tightly it holds together, and what a product with it must know."""

    formula: Formula
    level: int = ATOM
    matrices: bool = False
    negative: bool = False  # begins with a minus, which may stand before a whole product

    def at(self, level: int) -> Formula:
        """The formula, in brackets where it holds together less than `level`."""
        return self.formula if self.level >= level else Fence("(", self.formula, ")")


class Translator:
    """Lines to formulas.

    Args:
        shapes: what was seen when the lines ran; only for lines that it has seen is it known which
            parts are tensors and which axes an operation goes over.
        gradients: the names that are gradients, and of what.
    """

    def __init__(self, shapes: Shapes, gradients: Mapping[str, str]) -> None:
        self.shapes = shapes
        self.gradients = gradients

    def statement(self, tree: ast.stmt) -> Formula:
        """The formula of a line."""
        if isinstance(tree, ast.Assign):
            return row(self._of(tree.targets[0]), Symbol("="), self._of(tree.value))
        if isinstance(tree, ast.AugAssign):
            added = self._of(tree.value)
            have, want = self.shapes.tensor(tree.value), self.shapes.target(tree.target)
            if have is not None and want is not None and have != want:
                added = self._broadcast(added, have, want).formula
            return row(self._of(tree.target), Symbol("+="), added)
        if isinstance(tree, ast.Expr):
            return self._added(tree.value) or self._of(tree.value)
        return Text(ast.unparse(tree))

    def _added(self, node: ast.expr) -> Formula | None:
        """`dC.index_put_((Xb,), demb, accumulate=True)`: added where the index says."""
        if not isinstance(node, ast.Call):
            return None
        name, operands = call_parts(node)
        at = SCATTERS.get(name)
        if at is None or len(operands) <= at + 1:
            return None
        index = operands[at]
        parts = index.elts if isinstance(index, ast.Tuple) else [index]
        target = row(self._of(operands[0]), Fence("[", self._listed(parts), "]"))
        return row(target, Symbol("+="), self._of(operands[at + 1]))

    # -- expressions ------------------------------------------------------------------------

    def _of(self, node: ast.expr) -> Formula:
        return self.piece(node).formula

    def _listed(self, nodes: list[ast.expr]) -> Formula:
        return separated([self._of(node) for node in nodes])

    def piece(self, node: ast.expr) -> Piece:
        """The formula of an expression."""
        match node:
            case ast.Name():
                level = APPLIED if node.id in self.gradients else ATOM
                return Piece(variable(node.id, self.gradients), level)
            case ast.Constant():
                return self._constant(node.value)
            case ast.BinOp():
                return self._binary(node)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.Compare():
                return self._comparison(node)
            case ast.Call():
                return self._call(node)
            case ast.Attribute():
                return self._attribute(node)
            case ast.Subscript():
                index = node.slice
                parts = index.elts if isinstance(index, ast.Tuple) else [index]
                base = self.piece(node.value).at(APPLIED)
                return Piece(row(base, Fence("[", self._listed(parts), "]")), APPLIED)
            case ast.Slice():
                return Piece(self._slice(node))
            case ast.Tuple() if node.elts and isinstance(node.ctx, ast.Store):
                return Piece(self._listed(node.elts), COMPARED)
            case ast.Tuple() | ast.List():
                sides = "()" if isinstance(node, ast.Tuple) else "[]"
                inner = self._listed(node.elts) if node.elts else Row(())
                return Piece(Fence(sides[0], inner, sides[1]))
            case ast.IfExp():
                rows = (
                    (self._of(node.body), row(Text("if "), self._of(node.test))),
                    (self._of(node.orelse), Text("else")),
                )
                return Piece(Cases(rows), ADDED)
        return Piece(plain(node), ATOM)

    def _constant(self, value: object) -> Piece:
        if value is Ellipsis:
            return Piece(Symbol("dots"))
        if isinstance(value, str):
            return Piece(Text(f'"{value}"'))
        formula = number(value)
        return Piece(formula, MULTIPLIED if isinstance(formula, Row) else ATOM)

    def _slice(self, node: ast.Slice) -> Formula:
        parts = [node.lower, node.upper, *([node.step] if node.step else [])]
        return separated([self._of(part) if part else Row(()) for part in parts], ":")

    def _unary(self, node: ast.UnaryOp) -> Piece:
        operand = self.piece(node.operand)
        if isinstance(node.op, ast.USub):
            return Piece(row(Symbol("minus"), operand.at(SUMMED)), ADDED, negative=True)
        if isinstance(node.op, ast.Invert | ast.Not):
            return Piece(row(Symbol("lnot"), operand.at(APPLIED)), MULTIPLIED)
        return operand

    def _comparison(self, node: ast.Compare) -> Piece:
        """In Iverson's brackets: 1 where it holds, 0 elsewhere."""
        parts: list[Formula] = [self.piece(node.left).at(ADDED)]
        for operator, operand in zip(node.ops, node.comparators, strict=True):
            sign = COMPARISONS.get(type(operator))
            parts.append(Symbol(sign) if sign else Text(" is "))
            parts.append(self.piece(operand).at(ADDED))
        return Piece(Fence("[", row(*parts), "]"))

    def _binary(self, node: ast.BinOp) -> Piece:
        left, right = self.piece(node.left), self.piece(node.right)
        match node.op:
            case ast.Add():
                return Piece(row(left.at(ADDED), Symbol("+"), right.at(SUMMED)), ADDED)
            case ast.Sub():
                return Piece(row(left.at(ADDED), Symbol("minus"), right.at(SUMMED)), ADDED)
            case ast.Mult():
                return self._times(node, left, right)
            case ast.Div():
                return Piece(Fraction(left.formula, right.formula), MULTIPLIED)
            case ast.Pow():
                return self._power(left, right.formula)
            case ast.MatMult():
                return self._product(left, right)
            case ast.Mod():
                parts = (left.at(MULTIPLIED), Symbol("mod"), right.at(APPLIED))
                return Piece(row(*parts), MULTIPLIED)
            case ast.FloorDiv():
                return Piece(Fence("lfloor", Fraction(left.formula, right.formula), "rfloor"))
            case ast.BitAnd():
                return Piece(row(left.at(APPLIED), Symbol("land"), right.at(APPLIED)), COMPARED)
            case ast.BitOr():
                return Piece(row(left.at(APPLIED), Symbol("lor"), right.at(APPLIED)), COMPARED)
        return Piece(plain(node), COMPARED)

    def _times(self, node: ast.BinOp, left: Piece, right: Piece) -> Piece:
        scalar = self.shapes.scalar(node.left) or self.shapes.scalar(node.right)
        sign = "cdot" if isinstance(right.formula, Number) else " " if scalar else "odot"
        tight = [ATOM if piece.matrices else MULTIPLIED for piece in (left, right)]
        first = left.formula if left.negative else left.at(tight[0])
        if ast.unparse(node.left) == "-1":  # one need not be written
            first, sign = Symbol("minus"), " "
        level = ADDED if left.negative else MULTIPLIED
        if right.level == SUMMED:  # a sum that comes last needs no brackets
            tight[1] = level = SUMMED
        product = row(first, Symbol(sign), right.at(tight[1]))
        return Piece(product, level, negative=left.negative)

    @staticmethod
    def _product(left: Piece, right: Piece) -> Piece:
        first = left.at(MULTIPLIED if left.matrices else APPLIED)
        return Piece(row(first, Symbol(" "), right.at(APPLIED)), MULTIPLIED, matrices=True)

    @staticmethod
    def _power(base: Piece, exponent: Formula) -> Piece:
        inner = base.at(ATOM)
        if isinstance(inner, Script) and inner.above is None:
            return Piece(Script(inner.base, inner.below, exponent), APPLIED)
        return Piece(Script(inner, above=exponent), APPLIED)

    # -- attributes and calls ---------------------------------------------------------------

    def _attribute(self, node: ast.Attribute) -> Piece:
        if node.attr in ("T", "mT"):
            return self._power(self.piece(node.value), Symbol("top"))
        if node.attr == "values" and isinstance(node.value, ast.Call):
            return self.piece(node.value)
        if node.attr == "indices" and isinstance(node.value, ast.Call):
            name, _ = call_parts(node.value)
            if name in ("max", "min"):
                return self._big(node.value, f"arg{name}") or Piece(plain(node))
        if ast.unparse(node) in ("math.pi", "torch.pi"):
            return Piece(variable("pi", {}))
        if self.shapes.tensor(node.value) is None:
            return Piece(Text(ast.unparse(node)))
        return self._apply(node.attr, [node.value], [])

    def _call(self, node: ast.Call) -> Piece:
        name, operands = call_parts(node)
        notation = self.shapes.book.notation(name)
        if notation in BIG:
            big = self._big(node, BIG[notation])
            if big is not None:
                return big
        if operands and self.shapes.tensor(operands[0]) is not None:
            known = self._known(node, name, notation, operands)
            if known is not None:
                return known
        if name == "where" and len(operands) == 3:
            where, yes, no = (self._of(operand) for operand in operands)
            rows = ((yes, row(Text("where "), where)), (no, Text("else")))
            return Piece(Cases(rows), ADDED)
        if ast.unparse(node.func) == "math.sqrt":
            return Piece(Root(self._of(operands[0])))
        if ast.unparse(node) in ("float('inf')", "float('-inf')"):
            return self._constant(float(ast.literal_eval(node.args[0])))
        if name == "range" and len(operands) == 1:
            return Piece(row(Number("0"), Symbol(":"), self._of(operands[0])))
        return self._apply(name, operands, node.keywords)

    def _known(
        self, node: ast.Call, name: str, notation: str, operands: list[ast.expr]
    ) -> Piece | None:
        """A function of a tensor that is not written by its name."""
        first = self.piece(operands[0])
        match notation, len(operands):
            case "same", _:
                return first
            case "bars", _:
                return Piece(Fence("|", first.formula, "|"))
            case "root", _:
                return Piece(Root(first.formula))
            case "square", _:
                return self._power(first, Number("2"))
            case "reciprocal", _:
                return self._power(first, row(Symbol("minus"), Number("1")))
            case "power", 2:
                return self._power(first, self._of(operands[1]))
            case "transpose", _ if self._swaps_the_last_two(operands):
                return self._power(first, Symbol("top"))
            case "product of matrices", 2:
                return self._product(first, self.piece(operands[1]))
            case "sigma", _:
                return Piece(row(variable("sigma", {}), Fence("(", first.formula, ")")), APPLIED)
            case (("one" | "zero"), _):
                return Piece(Number("1" if notation == "one" else "0"))
            case (("broadcast" | "reshape" | "along an axis"), _):
                return self._over(node, name, notation, first.formula)
        return None

    def _over(self, node: ast.Call, name: str, notation: str, inner: Formula) -> Piece | None:
        """A function whose axes stand below its name."""
        shape, have = self.shapes.tensor(node), self.shapes.tensor(call_parts(node)[1][0])
        if shape is None or have is None:
            return None
        if notation == "broadcast":
            return self._broadcast(inner, have, shape)
        head: Formula = Word("reshape")
        if notation == "reshape" and shape:
            head = Script(head, separated([axis(n) for n in self.shapes.axes(shape)], "times"))
        if notation == "along an axis":
            found = self.shapes.reduced(node)
            if found is None:
                return None
            over = [self.shapes.axis(found[0], k) for k in found[1]]
            head = Script(Word(name.replace("_", "-")), axes(over))
        return Piece(row(head, Fence("(", inner, ")")), APPLIED)

    def _swaps_the_last_two(self, operands: list[ast.expr]) -> bool:
        axes = len(self.shapes.tensor(operands[0]) or ())
        dims = [ast.unparse(operand) for operand in operands[1:]]
        return axes == 2 or {*dims} in ({"-2", "-1"}, {str(axes - 2), str(axes - 1)})

    def _broadcast(self, inner: Formula, have: tuple[int, ...], want: tuple[int, ...]) -> Piece:
        over = axes([self.shapes.axis(want, k) for k in self.shapes.broadcast_axes(have, want)])
        return Piece(row(Script(Word("broadcast"), over), Fence("(", inner, ")")), APPLIED)

    def _big(self, node: ast.Call, sign: str) -> Piece | None:
        """A sum, a mean, a maximum ... over axes."""
        found = self.shapes.reduced(node)
        _, operands = call_parts(node)
        if found is None or {given.arg for given in node.keywords} - PLAIN_KEYWORDS:
            return None
        if sign in ("var", "std") and len(operands) > 2:
            return None
        shape, over = found
        operand = self.piece(operands[0])
        inner = operand.at(MULTIPLIED if sign in ("sum", "prod") else APPLIED)
        names = axes([self.shapes.axis(shape, k) for k in over])
        return Piece(row(Big(sign, names), Symbol(" "), inner), SUMMED)

    def _apply(self, name: str, operands: list[ast.expr], keywords: list[ast.keyword]) -> Piece:
        """A function by its name: the fallback for all that has no notation."""
        parts = [self._of(operand) for operand in operands]
        for given in keywords:
            key = Text(f"{given.arg}=" if given.arg else "**")
            parts.append(row(key, self._of(given.value)))
        inner = separated(parts) if parts else Row(())
        return Piece(row(Word(name.replace("_", "-")), Fence("(", inner, ")")), APPLIED)
