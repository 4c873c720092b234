"""From torch's words to NumPy's: how what was read and derived is written for who speaks NumPy."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import lru_cache

from gradninja.lines.ndarray.phrases import (
    TEXTS,
    Phrases,
    dotted,
    first,
    index_value,
    is_zero,
    np_call,
    phrase,
    tuple_of,
    unsayable,
)
from gradninja.lines.ndarray.spellings import ALIKE, ALONG, DTYPES, ELEMENTWISE, MAKES, REWORDED
from gradninja.lines.ndarray.syntax import method_of

# torch's name -> NumPy's, of two that are the same the plainer one.
_ELEMENTWISE = {torch: numpy for numpy, torch in reversed(list(ELEMENTWISE.items()))}
_ELEMENTWISE.update({"abs": "abs", "neg": "negative", "pow": "power"})
_ALONG = {torch: numpy for numpy, torch in ALONG.items()} | {"amax": "max", "amin": "min"}
_ALIKE = {torch: numpy for numpy, torch in ALIKE.items()}
_REWORDED = {
    torch: (numpy, words) for numpy, (torch, words) in REWORDED.items() if numpy != "array_split"
}
_REWORDED["cat"] = ("concatenate", ("arrays", "axis=dim"))
_DTYPES = {**{torch: numpy for numpy, torch in reversed(DTYPES.items())}, "bool": "bool_"}
_DTYPES.update({"float64": "float64", "float32": "float32", "int64": "int64", "int32": "int32"})
DROPPED = frozenset({"device", "requires_grad", "memory_format", "generator", "layout"})


@lru_cache(maxsize=4096)
def said(text: str) -> str:
    """A statement, or several, in NumPy's words.

    Raises:
        Unsayable: it has none for a part of them.
    """
    tree = _Writing().visit(ast.parse(text))
    return ast.unparse(ast.fix_missing_locations(tree))


class _Writing(Phrases):
    """Visits the parts first: what a node stands on is in NumPy's words already."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            owner, name = call.func.value, call.func.attr
            args = [self._visited(a) for a in call.args]
            accumulates = any(k.arg == "accumulate" for k in call.keywords)
            if name == "index_put_" and accumulates:
                index = args[0]
                if isinstance(index, ast.Tuple) and len(index.elts) == 1:
                    index = index.elts[0]
                return ast.Expr(np_call("add.at", [self._visited(owner), index, args[1]]))
            if name == "index_add_" and len(args) == 3:
                index = index_value(args[0], args[1])
                return ast.Expr(np_call("add.at", [self._visited(owner), index, args[2]]))
            if name in {"add_", "sub_", "mul_", "div_"} and len(args) == 1:
                signs = {"add_": ast.Add, "sub_": ast.Sub, "mul_": ast.Mult, "div_": ast.Div}
                target = self._written(owner)
                if isinstance(target, ast.Name | ast.Subscript | ast.Attribute):
                    target.ctx = ast.Store()
                    return ast.AugAssign(target, signs[name](), args[0])
            if name == "scatter_add_" and len(args) == 3:
                dim, at, value = args
                call = phrase(
                    "add_along_axis(x, at, value, dim)",
                    x=self._visited(owner),
                    at=at,
                    value=value,
                    dim=dim,
                )
                return ast.Expr(call)
            if name == "scatter_" and len(args) == 3:
                dim, at, value = args
                put = np_call("put_along_axis", [self._visited(owner), at, value, dim])
                return ast.Expr(put)
        return self.generic_visit(node)

    def _written(self, owner: ast.expr) -> ast.expr:
        """What an in-place operation writes to: of a diagonal, the view of it that can be."""
        func = owner.func if isinstance(owner, ast.Call) else None
        if not isinstance(func, ast.Attribute) or func.attr != "diagonal":
            return self._visited(owner)
        if isinstance(owner, ast.Call) and not all(is_zero(a) for a in owner.args):
            raise unsayable(owner)
        return phrase("np.einsum('...ii->...i', x)[...]", x=self._visited(func.value))

    def _visited(self, node: ast.expr) -> ast.expr:
        found = self.visit(node)
        assert isinstance(found, ast.expr)
        return found

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "torch":
            if node.attr in _DTYPES:
                return ast.Attribute(ast.Name("np", ast.Load()), _DTYPES[node.attr], ast.Load())
            raise unsayable(node)
        if node.attr in {"values", "indices"} and isinstance(node.value, ast.Call):
            found = self._output(node.value, node.attr)
            if found is not None:
                return found
        self.generic_visit(node)
        if node.attr in {"mT", "mH"}:
            return phrase("x.swapaxes(-1, -2)", x=node.value)
        return node

    def _output(self, call: ast.Call, which: str) -> ast.expr | None:
        """`x.max(1).values`, `torch.sort(x, 1).indices`."""
        if not isinstance(call.func, ast.Attribute):
            return None
        name, owner = call.func.attr, call.func.value
        args = [self._visited(a) for a in call.args]
        if not (isinstance(owner, ast.Name) and owner.id == "torch"):
            args = [self._visited(owner), *args]
        words = {
            ("max", "values"): "max",
            ("max", "indices"): "argmax",
            ("min", "values"): "min",
            ("min", "indices"): "argmin",
            ("sort", "values"): "sort",
            ("sort", "indices"): "argsort",
        }
        word = words.get((name, which))
        kept = {self._word(k.arg): self._visited(k.value) for k in call.keywords if k.arg}
        return None if word is None else np_call(word, args[:1], axis=first(args[1:]), **kept)

    @staticmethod
    def _word(name: str) -> str:
        return {"dim": "axis", "keepdim": "keepdims"}.get(name, name)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        func = node.func
        node.keywords = [k for k in node.keywords if k.arg not in DROPPED]
        if not isinstance(func, ast.Attribute):
            return self.generic_visit(node)
        path = dotted(func)
        if path.startswith("np."):
            return self.generic_visit(node)
        args = [self._visited(a) for a in node.args]
        keywords = {str(k.arg): self._visited(k.value) for k in node.keywords}
        for library in ("torch.nn.functional.", "torch.linalg.", "torch.", "F."):
            if path.startswith(library):
                inner = "linalg." if library == "torch.linalg." else ""
                name = inner + path.removeprefix(library)
                return self._function(node, name, args, keywords)
        if path.startswith("math."):
            return ast.Call(func, args, [])
        owner = self._visited(func.value)
        return self._function(node, func.attr, [owner, *args], keywords, method=True)

    def _function(
        self,
        node: ast.Call,
        name: str,
        args: list[ast.expr],
        keywords: dict[str, ast.expr],
        method: bool = False,
    ) -> ast.expr:
        found = self._plain(name, args, keywords, method)
        if found is None:
            raise unsayable(node)
        return found

    def _plain(
        self, name: str, args: list[ast.expr], keywords: dict[str, ast.expr], method: bool
    ) -> ast.expr | None:
        if name in _ELEMENTWISE and len(args) == 1:
            return np_call(_ELEMENTWISE[name], args)
        if name in {"max", "min"} and len(args) == 1 and not keywords:
            return method_of(args[0], name)
        if name in _ALONG and args:
            return self._along(name, args, keywords)
        if name in TEXTS:
            return self._texted(name, args, keywords)
        special: Callable[..., ast.expr | None] | None = getattr(self, f"_{name}", None)
        if special is not None:
            return special(args, keywords)
        if f"torch.{name}" in _ALIKE:
            return np_call(_ALIKE[f"torch.{name}"], args, **keywords)
        if name in {"maximum", "minimum"}:
            return np_call(name, args)
        if name in _REWORDED:
            return self._reworded(name, args, keywords)
        if not method and name in {*MAKES, "tensor", "as_tensor", "scalar_tensor"}:
            word = "array" if "tensor" in name else name
            return np_call(
                word, [tuple_of(args)] if word in {"zeros", "ones", "empty"} else args, **keywords
            )
        return None

    def _texted(
        self, name: str, args: list[ast.expr], keywords: dict[str, ast.expr]
    ) -> ast.expr | None:
        formals, text = TEXTS[name]
        names = formals.split()
        given = dict(zip(names, args, strict=False)) | {
            {"input": "x", "other": "y", "num_classes": "n"}.get(k, k): v
            for k, v in keywords.items()
        }
        if set(given) != set(names) or len(args) > len(names) or not text:
            return None
        return phrase(text, **given)

    def _along(
        self, name: str, args: list[ast.expr], keywords: dict[str, ast.expr]
    ) -> ast.expr | None:
        array, *axes = args
        more = dict(keywords)
        axis = more.pop("dim", None)
        if axes:
            axis = axes[0]
        if len(axes) > 1:
            more["keepdim"] = axes[1]
        if isinstance(axis, ast.List):
            axis = ast.Tuple(axis.elts, ast.Load())
        correction = more.pop("correction", None)
        unbiased = more.pop("unbiased", None)
        ddof: ast.expr | None = None
        if name in {"var", "std"}:
            ddof = correction if correction is not None else ast.Constant(1)
            if isinstance(unbiased, ast.Constant):
                ddof = ast.Constant(int(bool(unbiased.value)))
            if isinstance(ddof, ast.Constant) and ddof.value == 0:
                ddof = None
        found = method_of(array, _ALONG[name])
        named = {"axis": axis, "keepdims": more.pop("keepdim", None), "ddof": ddof, **more}
        found.keywords = [ast.keyword(k, v) for k, v in named.items() if v is not None]
        return found

    def _reworded(
        self, name: str, args: list[ast.expr], keywords: dict[str, ast.expr]
    ) -> ast.expr | None:
        word, words = _REWORDED[name]
        formals = [w.partition("=")[0] for w in words]
        back = {w.partition("=")[2] or w: w.partition("=")[0] for w in words}
        named = dict(zip(formals, args, strict=False))
        for key, value in keywords.items():
            if key not in back:
                return None
            named[back[key]] = value
        plain = [f for f, w in zip(formals, words, strict=True) if "=" not in w and f in named]
        return np_call(
            word,
            [named[f] for f in plain],
            **{f: v for f, v in named.items() if f not in plain},
        )
