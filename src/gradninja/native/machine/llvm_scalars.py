"""Functions of scalars, compiled by Numba and taken as LLVM's language.

Whatever of a text is no plain arithmetic (`exp(x)`, `math.erf(x)`, `x ** y`) is a function of a few
scalars. Numba compiles it alone; its text is kept on disk, and put into the loops that call it.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from numba import njit, types

from gradninja.lines.scope import value_of
from gradninja.native.cache import kept
from gradninja.native.machine.llvm_values import TYPES

_KINDS = {name: types.boolean if name == "bool" else getattr(types, name) for name in TYPES}

# No call from Python: with it LLVM would be given twice as much.
_ALONE: Any = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


class Scalar:
    """One function: `text` in LLVM's language, `name` in it, and the `dtype` of what it gives."""

    def __init__(self, expression: str, dtypes: Sequence[str], names: Mapping[str, Any]) -> None:
        """`expression`: Python of a0, a1, ...; `names`: what else stands in it."""
        self.arguments = tuple(dtypes)
        words = set(re.findall(r"\w+", expression))
        homes = sorted(f"{n} of {_home(names[n])}" for n in words if n in names)
        key = f"scalar {expression} of {dtypes}, {homes}"
        self.name = f"scalar_{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        found = kept(key, lambda: self._compiled(expression, names)).decode()
        self.dtype, _, self.text = found.partition("\n")

    def _compiled(self, expression: str, names: Mapping[str, Any]) -> bytes:
        formals = ", ".join(f"a{place}" for place in range(len(self.arguments)))
        function = value_of(f"lambda {formals}: {expression}", {**names})
        made: Any = njit(**_ALONE)(function)
        signature = tuple(_KINDS[dtype] for dtype in self.arguments)
        made.compile(signature)
        found = made.overloads[signature]
        text: str = found.library.get_llvm_str().replace(found.fndesc.llvm_func_name, self.name)
        kind = found.signature.return_type
        dtype = "bool" if kind == types.boolean else str(kind)
        if dtype not in TYPES:
            raise TypeError(f"`{expression}` is {kind}")
        return f"{dtype}\n{text}".encode()

    @property
    def declaration(self) -> str:
        """How a text that calls it names it: a place for the result, one for errors, arguments."""
        kinds = ", ".join("i8" if d == "bool" else TYPES[d] for d in self.arguments)
        return f"declare i32 @{self.name}(ptr, ptr{', ' if kinds else ''}{kinds})"


def _home(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__name__', repr(value))}"


def is_literal(node: ast.expr) -> bool:
    """Whether an expression is numbers alone."""
    if isinstance(node, ast.Tuple):
        return all(is_literal(part) for part in node.elts)
    if isinstance(node, ast.UnaryOp):
        return is_literal(node.operand)
    return isinstance(node, ast.Constant)
