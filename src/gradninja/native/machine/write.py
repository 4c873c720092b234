"""Python's lines -> LLVM's: expressions, assignments, loops."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import Any

from gradninja.native.machine.llvm_scalars import Scalar, is_literal
from gradninja.native.machine.llvm_values import IN_MEMORY, TYPES, Lines, Pointer, Value, constant

_SIGNS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Pow: "**", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<",
    ast.RShift: ">>", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==",
    ast.NotEq: "!=",
}  # fmt: skip
_EXTREMES = {"most": "maximum", "least": "minimum"}
_WRAPPING = {"int_add": "+", "int_sub": "-", "int_mul": "*"}

Name = Value | Pointer


class Code:
    """Writes statements into the body of one function.

    `scope` holds what the names given to it stand for; names that are assigned to are variables
    on the stack, which LLVM makes registers of.
    """

    def __init__(
        self,
        scope: Mapping[str, Name],
        names: Mapping[str, Any],
        scalars: dict[str, Scalar],
        fail: Callable[[Lines, str], None],
    ) -> None:
        """`names`: the text's imports; `scalars`: functions by their names, more are added;
        `fail`: writes the way out where an error with this message is raised."""
        self.out = Lines()
        self.scope = dict(scope)
        self.names = names
        self.scalars = scalars
        self.fail = fail
        self.variables: dict[str, Pointer] = {}
        self.entry: list[str] = []  # of the function: the variables' places

    # -- statements ---------------------------------------------------------------------------

    def run(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            getattr(self, f"_{type(statement).__name__}")(statement)

    def _Assign(self, node: ast.Assign) -> None:
        (target,) = node.targets
        value = self.value(node.value)
        if isinstance(target, ast.Subscript):
            self.out.store(value, self._array(target), self._index(target))
            return
        assert isinstance(target, ast.Name)
        if target.id not in self.variables:
            self.variables[target.id] = self.place(value.dtype)
        self.out.store(value, self.variables[target.id])

    def _Expr(self, node: ast.Expr) -> None:
        call = node.value
        assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        assert call.func.id == "gemm"
        self._gemm(call)

    def _For(self, node: ast.For) -> None:
        if isinstance(node.iter, ast.Tuple):  # a few turns, each written out
            assert isinstance(node.target, ast.Name)
            for turn in node.iter.elts:
                self.scope[node.target.id] = self.value(turn)
                self.run(node.body)
            return
        self.loop(node, lambda: self.run(node.body))

    def loop(self, node: ast.For, within: Callable[[], None]) -> None:
        """A loop over a range, with what `within` writes inside."""
        assert isinstance(node.target, ast.Name) and isinstance(node.iter, ast.Call)
        ends = [self.out.cast(self.value(a), "int64") for a in node.iter.args]
        start, end = ends if len(ends) == 2 else (constant(0, "int64"), *ends)
        out, name = self.out, node.target.id
        loop, body, done = (out.fresh(kind) for kind in ("loop", "body", "done"))
        place = self.place("int64")
        out.store(start, place)
        out.jump(loop)
        out.label(loop)
        index = out.load(place)
        out.branch(out.compared("<", index, end), body, done)
        out.label(body)
        self.scope[name] = index
        self.variables.pop(name, None)
        within()
        out.store(out.made(f"add nuw nsw {index}, 1", "int64"), place)
        out.jump(loop)
        out.label(done)

    def _If(self, node: ast.If) -> None:
        out = self.out
        yes, no = out.fresh("yes"), out.fresh("no")
        out.branch(out.cast(self.value(node.test), "bool"), yes, no)
        out.label(yes)
        self.run(node.body)
        if not isinstance(node.body[-1], ast.Raise):
            out.jump(no)
        out.label(no)

    def _Raise(self, node: ast.Raise) -> None:
        assert isinstance(node.exc, ast.Call)
        self.fail(self.out, ast.literal_eval(node.exc.args[0]))

    def _gemm(self, call: ast.Call) -> None:
        """By the address that stands at an address, which the function is told."""
        out = self.out
        at, m, n, k, alpha, A, a, ars, acs, B, b, brs, bcs, beta, C, c, crs, ccs = call.args
        matrices = []
        for array, start in ((A, a), (B, b), (C, c)):
            pointer = self.named(array)
            assert isinstance(pointer, Pointer)
            matrices.append(out.element(pointer, self.value(start)))
        one, two, three = matrices
        given: list[Name] = [self.value(x) for x in (at, m, n, k, alpha)]
        given += [one, self.value(ars), self.value(acs), two, self.value(brs), self.value(bcs)]
        given += [self.value(beta), three, self.value(crs), self.value(ccs)]
        cell = out.made(f"inttoptr {given[0]} to ptr", "int64").text
        function = out.made(f"load ptr, ptr {cell}", "int64").text
        out.add(f"call void {function}({', '.join(map(str, given))})")

    def _collective(self, call: ast.Call) -> Value:
        """Whether a call of the function at an address fails."""
        at, place, handed, found = call.args
        function = self.out.made(f"inttoptr {self.value(at)} to ptr", "int64").text
        listed = f"{self.value(place)}, {self.named(handed)}, {self.named(found)}"
        failed = self.out.made(f"call i32 {function}({listed})", "int64").text
        return self.out.made(f"icmp ne i32 {failed}, 0", "bool")

    def place(self, dtype: str) -> Pointer:
        """A place on the stack."""
        name = self.out.fresh("at")
        self.entry.append(f"  {name} = alloca {IN_MEMORY[dtype]}")
        return Pointer(name, dtype)

    # -- expressions --------------------------------------------------------------------------

    def named(self, node: ast.expr) -> Name:
        assert isinstance(node, ast.Name)
        if node.id in self.variables:
            return self.out.load(self.variables[node.id])
        return self.scope[node.id]

    def _array(self, node: ast.Subscript) -> Pointer:
        array = self.named(node.value)
        assert isinstance(array, Pointer)
        return array

    def _index(self, node: ast.Subscript) -> Value:
        return self.out.cast(self.value(node.slice), "int64")

    def value(self, node: ast.expr) -> Value:
        found = getattr(self, f"value_{type(node).__name__}", self._other)(node)
        assert isinstance(found, Value)
        return found

    def value_Name(self, node: ast.Name) -> Name:
        return self.named(node)

    def value_Constant(self, node: ast.Constant) -> Value:
        number = node.value
        assert isinstance(number, bool | int | float)
        kinds = {bool: "bool", int: "int64", float: "float64"}
        return constant(number, kinds[type(number)])

    def value_Attribute(self, node: ast.Attribute) -> Value:
        number = {"inf": math.inf, "nan": math.nan, "pi": math.pi}[node.attr]
        return constant(number, "float64")

    def value_Subscript(self, node: ast.Subscript) -> Value:
        return self.out.load(self._array(node), self._index(node))

    def value_Compare(self, node: ast.Compare) -> Value:
        (sign,), (other,) = node.ops, node.comparators
        return self.out.compared(_SIGNS[type(sign)], self.value(node.left), self.value(other))

    def value_BoolOp(self, node: ast.BoolOp) -> Value:
        first, *rest = (self.out.cast(self.value(part), "bool") for part in node.values)
        how = "and" if isinstance(node.op, ast.And) else "or"
        for value in rest:
            first = self.out.made(f"{how} {first}, {value.text}", "bool")
        return first

    def value_UnaryOp(self, node: ast.UnaryOp) -> Value:
        value = self.value(node.operand)
        if isinstance(node.op, ast.USub) and value.dtype != "bool":
            if "float" in value.dtype:
                return self.out.made(f"fneg {value}", value.dtype)
            return self.out.made(f"sub i64 0, {value.text}", "int64")
        if isinstance(node.op, ast.Not):
            return self.out.made(f"xor {self.out.cast(value, 'bool')}, true", "bool")
        return self._other(node)

    def value_BinOp(self, node: ast.BinOp) -> Value:
        sign = _SIGNS[type(node.op)]
        if sign == "**":
            return self._other(node)
        a, b = self.value(node.left), self.value(node.right)
        if sign in ("//", "%") and a.dtype == "int64" and _positive(node.right):
            return self.out.rounded_down(sign, a, ast.literal_eval(node.right))
        found = self.out.arithmetic(sign, a, b)
        return self._other(node, [a, b]) if found is None else found

    def value_Call(self, node: ast.Call) -> Value:
        out, name = self.out, node.func.id if isinstance(node.func, ast.Name) else ""
        if name in TYPES:
            (inner,) = node.args
            value = self.value(inner)
            number = _number(inner)
            return out.cast(value, name) if number is None else constant(number, name)
        if name == "collective":
            return self._collective(node)
        if name in ("plus", "select", *_WRAPPING, *_EXTREMES):
            values = [self.value(argument) for argument in node.args]
            if name == "plus":
                total, more = values[0], out.cast(values[1], values[0].dtype)
                add = "fadd reassoc contract" if "float" in total.dtype else "add"
                return out.made(f"{add} {total}, {more.text}", total.dtype)
            if name in _EXTREMES:
                total, more = values[0], out.cast(values[1], values[0].dtype)
                function = f"@llvm.{_EXTREMES[name]}.f{total.dtype.removeprefix('float')}"
                return out.made(
                    f"call {TYPES[total.dtype]} {function}({total}, {more})", total.dtype
                )
            if name == "select":
                test, a, b = values
                return out.made(
                    f"select {out.cast(test, 'bool')}, {a}, {out.cast(b, a.dtype)}", a.dtype
                )
            found = out.arithmetic(_WRAPPING[name], *values)
            assert found is not None
            return found
        return self._other(node)

    def _other(self, node: ast.expr, known: list[Value] | None = None) -> Value:
        """A function of scalars: all but the numbers in it are its arguments."""
        taken: list[Value] = []

        def argument(part: ast.expr, place: int) -> ast.expr:
            if is_literal(part):
                return part
            taken.append(self.value(part) if known is None else known[place])
            return ast.Name(f"a{len(taken) - 1}", ast.Load())

        whole: ast.expr
        if isinstance(node, ast.Call):
            args = [argument(part, place) for place, part in enumerate(node.args)]
            whole = ast.Call(node.func, args, [])
        elif isinstance(node, ast.BinOp):
            whole = ast.BinOp(argument(node.left, 0), node.op, argument(node.right, 1))
        else:
            assert isinstance(node, ast.UnaryOp)
            whole = ast.UnaryOp(node.op, argument(node.operand, 0))
        made = Scalar(ast.unparse(whole), [value.dtype for value in taken], self.names)
        self.scalars[made.name] = made
        return self._called(made, taken)

    def _called(self, made: Scalar, taken: list[Value]) -> Value:
        out, place = self.out, self.place(made.dtype)
        given = ["ptr " + place.text, "ptr null"]
        for value in taken:
            if value.dtype == "bool":
                given.append(f"i8 {out.made(f'zext {value} to i8', 'bool').text}")
            else:
                given.append(str(value))
        out.made(f"call i32 @{made.name}({', '.join(given)})", "int64")
        return out.load(place)


def _number(node: ast.expr) -> float | None:
    """A constant's value; None of anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Attribute):
        return {"inf": math.inf, "nan": math.nan}.get(node.attr)
    return node.value if isinstance(node, ast.Constant) else None  # type: ignore[return-value]


def _positive(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value > 0
