"""A text's one function -> LLVM's language: its outermost loops are functions of their own.

LLVM's work grows faster than a function's length, and loops of the same lines over other arrays
(a network's second block) are one function, called again. What a loop names is handed to it; arrays
of different names share no memory, which spares it the checks before each loop.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from gradninja.lines.scope import run_tree
from gradninja.native.kernels.tile import VECTOR_BYTES
from gradninja.native.machine.llvm_scalars import Scalar
from gradninja.native.machine.llvm_values import Lines, Pointer, Value, constant
from gradninja.native.machine.write import Code, Name
from gradninja.native.maps.compiled_text import BUILTINS

ENTRY = "entry"
STEPS = "step"  # the variable of the loop over a run's steps: what is within it are the loops


class Module:
    """The text of a module in LLVM's language.

    `entry(table)` takes the addresses of arrays, and ints, in the order of the function's
    arguments, and gives 0, or 1 + the place in `messages` of the error that is raised.
    """

    def __init__(self, text: str, dtypes: Sequence[str]) -> None:
        """`dtypes`: of the arrays that are given, and "int64" of an int: `*` after an array's."""
        tree = ast.parse(text)
        (function,) = (s for s in tree.body if isinstance(s, ast.FunctionDef))
        self.names = _imported(tree)
        self.scalars: dict[str, Scalar] = {}
        self.messages: list[str] = []
        self.globals: list[str] = []
        self.loops: dict[str, tuple[str, bool]] = {}  # by their lines: name, and whether it fails
        self.written: list[str] = []
        self.constants = dict(self._constants(tree))
        self.known = {*self.names, *self.constants, *BUILTINS}
        self._entry(function, dtypes)

    @property
    def text(self) -> str:
        wide = f'"prefer-vector-width"="{VECTOR_BYTES * 8}"'
        declared = [scalar.declaration for scalar in self.scalars.values()]
        for kind, bits in (("float", 32), ("double", 64)):
            for name in ("maximum", "minimum"):
                declared.append(f"declare {kind} @llvm.{name}.f{bits}({kind}, {kind})")
        rest = f"attributes #0 = {{ nounwind noinline {wide} }}"
        return "\n".join([*self.globals, *declared, *self.written, rest, ""])

    def _constants(self, tree: ast.Module) -> Any:
        """Arrays of ints that stand before the function."""
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                (target,) = node.targets
                assert isinstance(target, ast.Name)
                numbers = ast.literal_eval(node.value.args[0])
                listed = ", ".join(f"i64 {number}" for number in numbers)
                kind = f"[{len(numbers)} x i64]"
                self.globals.append(f"@{target.id} = internal constant {kind} [{listed}]")
                yield target.id, Pointer(f"@{target.id}", "int64")

    def _entry(self, function: ast.FunctionDef, dtypes: Sequence[str]) -> None:
        code = Code(self.constants, self.names, self.scalars, self._fail)
        table = Pointer("%table", "int64")
        for place, (formal, dtype) in enumerate(zip(function.args.args, dtypes, strict=True)):
            found = code.out.load(table, constant(place, "int64"))
            if dtype.endswith("*"):
                kind = dtype.removesuffix("*")
                at = code.out.made(f"inttoptr {found} to ptr", "int64")
                code.scope[formal.arg] = Pointer(at.text, kind)
            else:
                code.scope[formal.arg] = found
        self._driven(code, function.body)
        code.out.add("ret i32 0")
        self._function(f"i32 @{ENTRY}(ptr %table)", code)

    def _function(self, head: str, code: Code) -> None:
        body = ["entry:", *code.entry, *code.out.lines]
        self.written.append("\n".join([f"define {head} #0 {{", *body, "}"]))

    def _fail(self, out: Lines, message: str) -> None:
        if message not in self.messages:
            self.messages.append(message)
        out.add(f"ret i32 {1 + self.messages.index(message)}")

    # -- what calls the loops -----------------------------------------------------------------

    def _driven(self, code: Code, statements: Sequence[ast.stmt]) -> None:
        for group in _grouped(statements):
            node = group[0]
            if isinstance(node, ast.For) and _target(node) == STEPS:
                code.loop(node, partial(self._driven, code, node.body))
            elif any(isinstance(statement, ast.For) for statement in group):
                self._called(code, group)
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
                self._part(code, node, node.value)
            else:
                code.run(group)

    def _part(self, code: Code, node: ast.Assign, value: ast.Subscript) -> None:
        """`name = array[start:end]`, or an element."""
        (target,) = node.targets
        if not isinstance(value.slice, ast.Slice):
            code.run([node])
            return
        array = code.named(value.value)
        assert isinstance(array, Pointer) and isinstance(target, ast.Name)
        assert value.slice.lower is not None
        code.scope[target.id] = code.out.element(array, code.value(value.slice.lower))

    def _called(self, code: Code, group: list[ast.stmt]) -> None:
        """A loop, with the sums around it, as the call of a function."""
        free = _free(group, self.known)
        given: list[Name] = [code.named(ast.Name(name, ast.Load())) for name in free]
        kinds = [(type(value).__name__, value.dtype) for value in given]
        renaming = _Renamed({name: f"a{place}" for place, name in enumerate(free)})
        group = [renaming.visit(statement) for statement in group]
        key = f"{kinds}\n{[ast.dump(statement) for statement in group]}"
        if key not in self.loops:
            self.loops[key] = self._loop(group, given)
        name, fails = self.loops[key]
        call = f"@{name}({', '.join(map(str, given))})"
        if not fails:
            code.out.add(f"call void {call}")
            return
        out = code.out
        error = out.made(f"call i32 {call}", "int64").text
        wrong, right = out.fresh("wrong"), out.fresh("right")
        out.branch(out.made(f"icmp ne i32 {error}, 0", "bool"), wrong, right)
        out.label(wrong)
        out.add(f"ret i32 {error}")
        out.label(right)

    def _loop(self, group: list[ast.stmt], given: list[Name]) -> tuple[str, bool]:
        inside: list[Name] = [
            Pointer(f"%a{place}", value.dtype)
            if isinstance(value, Pointer)
            else Value(f"%a{place}", value.dtype)
            for place, value in enumerate(given)
        ]
        scope = {**self.constants, **{f"a{place}": value for place, value in enumerate(inside)}}
        code = Code(scope, self.names, self.scalars, self._fail)
        code.run(group)
        fails = any(isinstance(part, ast.Raise) for part in _walk(group))
        code.out.add("ret i32 0" if fails else "ret void")
        formals = ", ".join(
            f"ptr noalias %a{place}" if isinstance(value, Pointer) else str(value)
            for place, value in enumerate(inside)
        )
        name = f"loop{len(self.loops)}"
        self._function(f"internal {'i32' if fails else 'void'} @{name}({formals})", code)
        return name, fails


class _Renamed(ast.NodeTransformer):
    """Gives names others; also the variables assigned to, by their order."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = dict(names)

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if isinstance(node.ctx, ast.Store):
            self.names.setdefault(node.id, f"t{len(self.names)}")
        return ast.Name(self.names.get(node.id, node.id), node.ctx)


def _grouped(statements: Sequence[ast.stmt]) -> Iterator[list[ast.stmt]]:
    """Each loop with the sums that grow in it: where they start, and where they are stored."""
    before: list[ast.stmt] = []
    rest = list(statements)
    while rest:
        node = rest.pop(0)
        if not isinstance(node, ast.For):
            before.append(node)
            continue
        grown = _stored([node]) & _stored(before)
        group: list[ast.stmt] = [node]
        if grown:
            starts = [s for s in before if _stored([s]) & grown]
            before = [s for s in before if s not in starts]
            group = [*starts, node]
            while rest and _is_store(rest[0]) and grown & _names([rest[0]]):
                group.append(rest.pop(0))
        yield from ([s] for s in before)
        yield group
        before = []
    yield from ([s] for s in before)


def _is_store(node: ast.stmt) -> bool:
    """Whether a statement writes to an array."""
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript)


def _target(node: ast.For) -> str:
    assert isinstance(node.target, ast.Name)
    return node.target.id


def _walk(statements: Sequence[ast.stmt]) -> Iterator[ast.AST]:
    for statement in statements:
        yield from ast.walk(statement)


def _names(statements: Sequence[ast.stmt]) -> set[str]:
    return {part.id for part in _walk(statements) if isinstance(part, ast.Name)}


def _stored(statements: Sequence[ast.stmt]) -> set[str]:
    parts = [part for part in _walk(statements) if isinstance(part, ast.Name)]
    return {part.id for part in parts if isinstance(part.ctx, ast.Store)}


def _free(statements: Sequence[ast.stmt], known: Container[str]) -> list[str]:
    """The names that statements take from outside, in order."""
    names = [part.id for part in _walk(statements) if isinstance(part, ast.Name)]
    own = _stored(statements)
    return [name for name in dict.fromkeys(names) if name not in own and name not in known]


def _imported(tree: ast.Module) -> dict[str, Any]:
    """What a text's imports name."""
    imports: list[ast.stmt]
    imports = [s for s in tree.body if isinstance(s, ast.Import | ast.ImportFrom)]
    names: dict[str, Any] = {}
    run_tree(imports, names, "<imports>")
    return names
