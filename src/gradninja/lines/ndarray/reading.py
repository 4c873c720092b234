"""From NumPy's words to torch's, node by node; every node keeps its place in the person's text."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from copy import deepcopy

from gradninja.lines.ndarray.numpy_draws import drawn, generators
from gradninja.lines.ndarray.spellings import (
    ALIKE,
    ALONG,
    CONSTANTS,
    DTYPES,
    ELEMENTWISE,
    LAST_AXIS,
    MAKES,
    METHODS,
    OPERATORS,
    PLAIN,
    REWORDED,
)
from gradninja.lines.ndarray.statics import is_static, statics_of
from gradninja.lines.ndarray.syntax import (
    call_of,
    integer,
    is_backwards,
    is_none,
    is_whole,
    method_of,
    operator_of,
    path_of,
    subtracted,
    truths_in,
)

LEFT_OUT = frozenset({"order", "copy", "casting", "subok"})  # how it lies in memory


def translated(
    tree: ast.Module, aliases: Mapping[str, str], constants: frozenset[str] = frozenset()
) -> ast.Module:
    """The functions and classes of a text in torch's words.

    What stands outside of them is run as it is. `constants`: the names around them that hold plain
    values.
    """
    reading = _Reading({**aliases, **generators(tree, aliases)}, constants)
    body = [
        ast.fix_missing_locations(reading.statement(deepcopy(node)))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        else node
        for node in tree.body
    ]
    return ast.Module(body, tree.type_ignores)


def lines_translated(
    lines: list[ast.stmt], aliases: Mapping[str, str], constants: frozenset[str] = frozenset()
) -> list[ast.stmt]:
    """Lines that stand in no function, in torch's words."""
    if not lines:
        return []
    arguments = ast.arguments([], [], None, [], [], None, [])
    held = ast.copy_location(ast.FunctionDef("lines", arguments, lines, []), lines[0])
    (spoken,) = translated(ast.Module([held], []), aliases, constants).body
    assert isinstance(spoken, ast.FunctionDef)
    return spoken.body


class _Reading(ast.NodeTransformer):
    def __init__(self, aliases: Mapping[str, str], constants: frozenset[str]) -> None:
        self.aliases = aliases
        self.statics = constants
        self.lists: set[str] = set()
        self.truths: set[str] = set()

    def visit(self, node: ast.AST) -> ast.AST:
        found: ast.AST = super().visit(node)
        if found is not node and isinstance(node, ast.expr | ast.stmt):
            for part in ast.walk(found):
                if isinstance(part, ast.expr | ast.stmt) and not hasattr(part, "lineno"):
                    ast.copy_location(part, node)
        return found

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        before = self.statics, self.lists, self.truths
        self.statics, self.truths = statics_of(node, self.statics), truths_in(node)
        self.lists = {
            target.id
            for part in ast.walk(node)
            if isinstance(part, ast.Assign) and isinstance(part.value, ast.List | ast.ListComp)
            for target in part.targets
            if isinstance(target, ast.Name)
        }
        node.body = [self.statement(part) for part in node.body]
        self.statics, self.lists, self.truths = before
        return node

    def visit_BinOp(self, node: ast.BinOp | ast.AugAssign) -> ast.AST:
        return subtracted(self.generic_visit(node), self.truths)

    visit_AugAssign = visit_BinOp

    def statement(self, node: ast.stmt) -> ast.stmt:
        found = self.visit(node)
        assert isinstance(found, ast.stmt)
        return found

    def path(self, node: ast.expr) -> str | None:
        """`linalg.norm` of `np.linalg.norm`; None where it is not NumPy's."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        whole = ".".join([self.aliases.get(node.id, ""), *reversed(parts)])
        return whole.removeprefix("numpy.") if whole.startswith("numpy.") else None

    def static(self, node: ast.expr) -> bool:
        return is_static(node, self.statics)

    # -- names and attributes -----------------------------------------------------------------

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self._constant(node) or node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        found = self._constant(node)
        if found is not None:
            return found
        self.generic_visit(node)
        own = isinstance(node.value, ast.Name) and node.value.id in {"self", *self.aliases}
        if node.attr == "size" and isinstance(node.ctx, ast.Load) and not own:
            return method_of(node.value, "numel", [])
        return node

    def _constant(self, node: ast.expr) -> ast.expr | None:
        path = self.path(node)
        if path == "newaxis":
            return ast.Constant(None)
        if path in CONSTANTS:
            return path_of(CONSTANTS[path])
        return path_of(f"torch.{DTYPES[path]}") if path in DTYPES else None

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """`x[::-1]` is `x.flip(0)`: torch has no negative steps."""
        self.generic_visit(node)
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        plain = all(isinstance(part, ast.Slice) for part in parts)
        turned = [at for at, part in enumerate(parts) if plain and is_backwards(part)]
        if not turned or not isinstance(node.ctx, ast.Load):
            return node
        owner = method_of(node.value, "flip", [ast.Constant(at) for at in turned])
        kept = [ast.Slice() if at in turned else part for at, part in enumerate(parts)]
        if all(is_whole(part) for part in kept):
            return owner
        return ast.Subscript(owner, ast.Tuple(kept, ast.Load()), ast.Load())

    # -- statements ---------------------------------------------------------------------------

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        call = node.value
        if not isinstance(call, ast.Call):
            return self.generic_visit(node)
        path = self.path(call.func)
        outs = [k.value for k in call.keywords if k.arg == "out" and path is not None]
        if outs:  # `np.clip(dW, -5, 5, out=dW)`
            call.keywords = [k for k in call.keywords if k.arg != "out"]
            return ast.Expr(method_of(self._visited(outs[0]), "copy_", [self._visited(call)]))
        if path in {"random.seed", "seterr", "set_printoptions"}:
            return ast.Pass()
        if path in {"add.at", "subtract.at"} and len(call.args) == 3:
            into, index, value = (self._visited(part) for part in call.args)
            if path == "subtract.at":
                value = ast.UnaryOp(ast.USub(), value)
            if self.static(value):
                value = call_of(
                    "torch.full", [ast.Tuple([], ast.Load()), call_of("float", [value])]
                )
            if not isinstance(index, ast.Tuple):
                index = ast.Tuple([index], ast.Load())
            accumulate = [ast.keyword("accumulate", ast.Constant(True))]
            return ast.Expr(method_of(into, "index_put_", [index, value], accumulate))
        return self.generic_visit(node)

    def _visited(self, node: ast.expr) -> ast.expr:
        found = self.visit(node)
        assert isinstance(found, ast.expr)
        return found

    # -- calls --------------------------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> ast.AST:
        plain = all(self.static(part) for part in node.args) and bool(node.args)
        path = self.path(node.func)
        self.generic_visit(node)
        node.keywords = [k for k in node.keywords if k.arg not in LEFT_OUT]
        if path is not None:
            return self._function(node, path, plain) or node
        func = node.func
        number = isinstance(func, ast.Name) and func.id == "float" and len(node.args) == 1
        if number and not plain:  # `float(cost)`: the array itself
            return node.args[0]
        if isinstance(func, ast.Attribute) and func.attr == "item" and not node.args:
            return func.value
        if not isinstance(func, ast.Attribute) or func.attr not in METHODS:
            return node
        if isinstance(func.value, ast.Name) and func.value.id in {"self", *self.aliases}:
            return node
        return self._method(node, func.value, func.attr) or node

    def _function(self, node: ast.Call, path: str, plain: bool) -> ast.expr | None:
        args, keywords = node.args, node.keywords
        if plain and path in PLAIN and not keywords:
            return call_of(PLAIN[path], args)
        if path in ELEMENTWISE and len(args) == 1:
            return call_of(f"torch.{ELEMENTWISE[path]}", args)
        if path in OPERATORS and len(args) == 2 and not keywords:
            return operator_of(OPERATORS[path], *args)
        if path in {"maximum", "minimum", "fmax", "fmin"} and len(args) == 2 and not keywords:
            return self._extreme({"fmax": "maximum", "fmin": "minimum"}.get(path, path), *args)
        if path in ALONG and args:
            if isinstance(args[0], ast.GeneratorExp) and path == "sum":
                return call_of("sum", args)
            listed = isinstance(args[0], ast.List | ast.ListComp)
            array = self._array(args[0]) if listed else args[0]
            return self._along(array, path, args[1:], keywords)
        if path in ALIKE and not (path == "where" and len(args) != 3):
            return call_of(ALIKE[path], args, keywords)
        if path in REWORDED and args:
            return self._reworded(path, args, keywords)
        if path.startswith("random."):
            return drawn(path.removeprefix("random."), args, keywords)
        if path in MAKES:
            name = "eye" if path == "identity" else path
            if path == "full" and len(args) == 2 and self.static(args[1]):
                args = [args[0], call_of("float", [args[1]])]
            return call_of(f"torch.{name}", args, [_dtype(k, {"shape": "size"}) for k in keywords])
        if path in {"float32", "float64", "asarray", "ascontiguousarray"} and len(args) == 1:
            return args[0] if not keywords else None
        return self._arranged(path, args, keywords)

    def _arranged(
        self, path: str, args: list[ast.expr], keywords: list[ast.keyword]
    ) -> ast.expr | None:
        """What is a method in torch, or is put together there."""
        if path in {"reshape", "ravel", "transpose", "copy"} and args:
            return self._method(ast.Call(args[0], args[1:], keywords), args[0], path)
        if path == "array" and len(args) == 1:
            found = self._array(args[0])
            kinds = [_dtype(k, {}) for k in keywords]
            if isinstance(found, ast.Call) and ast.unparse(found.func) == "torch.tensor":
                found.keywords = kinds
            return found
        if path == "flip" and args:
            axis = args[1] if len(args) > 1 else next((k.value for k in keywords), None)
            if axis is not None:
                return method_of(args[0], "flip", [axis])
        if path == "sort" and args:
            axis = args[1] if len(args) > 1 else next((k.value for k in keywords), integer(-1))
            return ast.Attribute(call_of("torch.sort", [args[0], axis]), "values", ast.Load())
        if path == "take" and len(args) + len(keywords) == 3:
            axis = args[2] if len(args) > 2 else keywords[0].value
            return method_of(args[0], "index_select", [axis, args[1]])
        if path == "pad" and len(args) >= 2 and isinstance(args[1], ast.Tuple | ast.List):
            return self._pad(args, keywords)
        if path == "size" and len(args) == 1:
            return method_of(args[0], "numel", [])
        if path == "shape" and len(args) == 1:
            return ast.Attribute(args[0], "shape", ast.Load())
        return None

    def _pad(self, args: list[ast.expr], keywords: list[ast.keyword]) -> ast.expr | None:
        """`((0, 0), (1, 1))`, first axis first, is `(1, 1, 0, 0)`."""
        assert isinstance(args[1], ast.Tuple | ast.List)
        pairs = args[1].elts
        mode = [*args[2:], *(k.value for k in keywords if k.arg == "mode")]
        if any(not isinstance(m, ast.Constant) or m.value != "constant" for m in mode):
            return None
        if not all(isinstance(pair, ast.Tuple) and len(pair.elts) in (1, 2) for pair in pairs):
            return None
        both = [pair.elts for pair in pairs if isinstance(pair, ast.Tuple)]
        flat = [width for pair in reversed(both) for width in (pair[0], pair[-1])]
        more = [ast.keyword("value", k.value) for k in keywords if k.arg == "constant_values"]
        return call_of("torch.nn.functional.pad", [args[0], ast.Tuple(flat, ast.Load())], more)

    def _array(self, of: ast.expr) -> ast.expr:
        """An array of numbers, of arrays in a list, or a copy of one."""
        if self.static(of):
            return call_of("torch.tensor", [of])
        if isinstance(of, ast.List | ast.Tuple):
            parts = [
                call_of("torch.tensor", [call_of("float", [part])])
                if self.static(part)
                else self._array(part)
                if isinstance(part, ast.List | ast.Tuple)
                else part
                for part in of.elts
            ]
            return call_of("torch.stack", [ast.List(parts, ast.Load())])
        if isinstance(of, ast.ListComp) or (isinstance(of, ast.Name) and of.id in self.lists):
            return call_of("torch.stack", [of])
        return method_of(of, "clone", [])

    def _extreme(self, path: str, one: ast.expr, other: ast.expr) -> ast.expr:
        """`np.maximum(0, x)` is `torch.relu(x)`; a bound that is a number is a clamp."""
        number = one if self.static(one) else other if self.static(other) else None
        if number is None:
            return call_of(f"torch.{path}", [one, other])
        array = other if number is one else one
        if path == "maximum" and isinstance(number, ast.Constant) and number.value == 0:
            return call_of("torch.relu", [array])
        bound = "min" if path == "maximum" else "max"
        return call_of("torch.clamp", [array], [ast.keyword(bound, number)])

    def _along(
        self, array: ast.expr, path: str, args: list[ast.expr], keywords: list[ast.keyword]
    ) -> ast.expr | None:
        name = ALONG[path]
        words = {"axis": "dim", "keepdims": "keepdim", "ddof": "correction"}
        if len(args) > 1 or any(k.arg not in {*words, "dtype"} for k in keywords):
            return None
        given = [k for k in [*(ast.keyword("axis", a) for a in args), *keywords] if not is_none(k)]
        if path in {"cumsum", "cumprod"} and not given:
            return method_of(method_of(array, "flatten", []), name, [integer(0)])
        found = [_dtype(k, words) for k in given]
        if path in {"var", "std"} and not any(k.arg == "correction" for k in found):
            found.append(ast.keyword("correction", integer(0)))
        return method_of(array, name, [], found)

    def _reworded(
        self, path: str, args: list[ast.expr], keywords: list[ast.keyword]
    ) -> ast.expr | None:
        name, words = REWORDED[path]
        formals = [word.partition("=")[0] for word in words]
        said = {word.partition("=")[0]: word.partition("=")[2] or None for word in words}
        if len(args) > len(formals) or any(k.arg not in formals for k in keywords):
            return None
        plain: list[tuple[str | None, ast.expr]] = []
        named: list[tuple[str | None, ast.expr]] = []
        for formal, value in [
            *zip(formals, args, strict=False),
            *((str(k.arg), k.value) for k in keywords),
        ]:
            if isinstance(value, ast.Constant) and value.value is None:
                continue
            word = said[formal]
            (plain if word is None else named).append((word, value))
        if path in LAST_AXIS and not named:
            named.append(("dim", integer(-1)))
        more = [ast.keyword(word, value) for word, value in named]
        return call_of(f"torch.{name}", [value for _, value in plain], more)

    def _method(self, node: ast.Call, array: ast.expr, name: str) -> ast.expr | None:
        args, keywords = node.args, node.keywords
        if name == "dot" and len(args) == 1:
            return operator_of("@", array, args[0])
        if name == "copy":
            return method_of(array, "clone", [])
        if name in ALONG:
            return self._along(array, name, args, keywords)
        if name == "transpose":
            whole = args[0] if len(args) == 1 else None
            axes = whole.elts if isinstance(whole, ast.Tuple | ast.List) else args
            for keyword in keywords:
                axes = getattr(keyword.value, "elts", axes)
            if not axes:
                return ast.Attribute(array, "T", ast.Load())
            return method_of(array, "permute", axes)
        if name == "astype" and args:
            return method_of(array, "to", [_kind(args[0])])
        if name == "fill" and len(args) == 1:
            return method_of(array, "fill_", args)
        if name == "reshape" and keywords:
            return method_of(array, "reshape", [*args, *(k.value for k in keywords)])
        rewords: dict[str, Callable[[], ast.expr | None]] = {
            word: lambda: self._reworded(name, [array, *args], keywords)
            for word in ("swapaxes", "squeeze", "repeat", "clip", "argsort", "diagonal")
        }
        if name in rewords:
            return rewords[name]()
        return method_of(array, name, args, keywords)


def _kind(node: ast.expr) -> ast.expr:
    """A dtype: `float`, `"float32"`, or what `np.float32` has become."""
    name = node.id if isinstance(node, ast.Name) else getattr(node, "value", None)
    if isinstance(node, ast.Name | ast.Constant) and name in DTYPES:
        return path_of(f"torch.{DTYPES[str(name)]}")
    return node


def _dtype(keyword: ast.keyword, words: Mapping[str, str]) -> ast.keyword:
    if keyword.arg == "dtype":
        return ast.keyword("dtype", _kind(keyword.value))
    return ast.keyword(words.get(str(keyword.arg), keyword.arg), keyword.value)
