"""Gradients by the place in which they are returned, and by the key under which they are kept.

    grads["dW"] = x.T @ ds                      is a line that writes `dW`
    grad_x = ...; return grad_x, grad_w         `grad_x` is the gradient of the first input
    return ds @ w.T, None                       what stands first is the line `dx = ds @ w.T`

All keep their places in the text, and the names that they have there (`Written.called`).
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

from gradninja.check.given.backward_text import Within, Written, returns
from gradninja.check.given.plan import bound


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a backward is asked for: `gradients` by name, of `inputs`, of which `floats` have one.

    `gradient`: what the gradient of a variable is called; `values`: all names of the forward.
    """

    inputs: Sequence[str]
    floats: Sequence[str]
    gradients: Mapping[str, str]
    gradient: Callable[[str], str]
    values: frozenset[str]


def placed(written: Written, asked: Wanted) -> Written:
    """The backward with a line of its name for each gradient that only has a place or a key."""
    if not written.is_function or written.held is not None:
        return written
    found = _Placed(written, asked)
    statements = found.statements()
    if not found.called and len(statements) == len(written.statements):
        return written

    def again(text: str) -> Written:
        if written.again is not None:
            return placed(written.again(text), asked)
        functions = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef))
        function = next(node for node in functions if node.name == written.name)
        return placed(replace(written, text=text, statements=tuple(function.body)), asked)

    return replace(
        written,
        statements=tuple(statements),
        called={**written.called, **found.called},
        again=again,
    )


class _Placed:
    def __init__(self, written: Written, asked: Wanted) -> None:
        self.written, self.asked = written, asked
        self.called: dict[str, str] = {}  # our names -> what stands for them in the text
        self.names = {
            n.id for s in written.statements for n in ast.walk(s) if isinstance(n, ast.Name)
        }
        self.bound = {name for s in written.statements for name in bound(s)}
        self.free = self.bound - set(asked.gradients) - asked.values - set(written.parameters)

    def statements(self) -> list[ast.stmt]:
        keys = _Keys({n: self._keyed(n) for n in sorted(self._dicts())})
        body = [keys.visit(deepcopy(s)) for s in self.written.statements] if keys.of else None
        body = body or list(self.written.statements)
        self.called.update(keys.called)
        ends = list(returns(replace(self.written, statements=tuple(body))))
        if len(ends) != 1 or ends[0] is not body[-1]:
            return body
        parts = list(self._parts(ends[0].value))
        rename = dict(self._renamed(parts))
        self.called.update({ours: name for name, ours in rename.items()})
        if rename:
            names = _Names(rename)
            body = [names.visit(deepcopy(statement)) for statement in body]
            parts = list(self._parts(body[-1].value))
        taken = self.names | set(self.called)
        return [*body[:-1], *self._lines(parts, body[-1], taken), body[-1]]

    # -- by key -----------------------------------------------------------------------------

    def _dicts(self) -> set[str]:
        """The names that are bound once, to an empty dict, and read by plain keys alone."""
        stored = Counter(name for s in self.written.statements for name in bound(s))
        begun = {
            s.targets[0].id
            for s in self.written.statements
            if isinstance(s, ast.Assign)
            and isinstance(s.targets[0], ast.Name)
            and ast.unparse(s.value) in {"{}", "dict()"}
        }
        keyed: Counter[str] = Counter()
        seen: Counter[str] = Counter()
        for node in (n for s in self.written.statements for n in ast.walk(s)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                seen[node.id] += 1
            if isinstance(node, ast.Return):  # by itself, or beside the loss
                value = node.value
                beside = value.elts if isinstance(value, ast.Tuple) else [value]
                keyed.update(part.id for part in beside if isinstance(part, ast.Name))
            keyed.update(filter(None, [_key_of(node)]))
        return {
            name for name in begun & self.free if stored[name] == 1 and keyed[name] == seen[name]
        }

    def _keyed(self, name: str) -> dict[str, str]:
        """Its keys that are gradients of variables -> their names, where those are not taken."""
        keys = [
            node.slice.value  # type: ignore[attr-defined]
            for s in self.written.statements
            for node in ast.walk(s)
            if _key_of(node) == name
        ]
        found: dict[str, str] = {}
        for key in keys:
            ours = key if key in self.asked.gradients else self._of(key)
            if ours is not None and ours not in {*self.names, *found.values()} - {found.get(key)}:
                found[key] = ours
        return found

    def _of(self, key: str) -> str | None:
        bare = key.removeprefix("grad_").removesuffix("_grad")
        ours = self.asked.gradient(bare) if bare in self.asked.values else None
        return ours if ours in self.asked.gradients else None

    # -- by place ---------------------------------------------------------------------------

    def _parts(self, value: ast.expr | None) -> Iterator[tuple[str, ast.expr]]:
        """What is returned for each float input, where the text tells, and as its own name says."""
        inner = [
            part
            for part in (value.elts if isinstance(value, ast.Tuple) else [])
            if isinstance(part, ast.Tuple | ast.List | ast.Dict)
        ]
        value = inner[0] if len(inner) == 1 else value  # beside the loss
        if isinstance(value, ast.Dict):
            for key, part in zip(value.keys, value.values, strict=True):
                text = str(key.value) if isinstance(key, ast.Constant) else ""
                ours = text if text in self.asked.gradients else self._of(text)
                if ours is not None:
                    yield self.asked.gradients[ours], part
            return
        listed = isinstance(value, ast.Tuple | ast.List)
        several = (
            value.elts if isinstance(value, ast.Tuple | ast.List) else [value] if value else []
        )
        lists = (self.asked.inputs, self.asked.floats)
        order = next((o for o in lists if len(o) == len(several) and (listed or len(o) == 1)), None)
        pairs = list(zip(order or (), several, strict=False))
        for name, part in pairs:
            if not isinstance(part, ast.Name):
                continue
            of = self.asked.gradients.get(part.id)
            if of not in (None, name) or part.id in self.asked.values:
                return  # in another order, or beside the forward's values
        for name, part in pairs:
            if name in self.asked.floats:
                yield name, part

    def _renamed(self, parts: Sequence[tuple[str, ast.expr]]) -> Iterator[tuple[str, str]]:
        """The person's own names for gradients -> ours: what they say they are, else by place."""
        names = [(name, part.id) for name, part in parts if isinstance(part, ast.Name)]
        returned = Counter(mine for _, mine in names)
        for name, mine in names:
            ours = self._of(mine) or self.asked.gradient(name)
            free = ours not in self.names and ours not in self.called
            if returned[mine] == 1 and mine in self.free and free:
                yield mine, ours

    def _lines(
        self, parts: Sequence[tuple[str, ast.expr]], ends: ast.stmt, taken: set[str]
    ) -> Iterator[ast.stmt]:
        """A line for each gradient that is put together where it is returned."""
        for name, part in parts:
            ours = self.asked.gradient(name)
            plain = isinstance(part, ast.Name | ast.Constant) or _key_of(part) is not None
            if not plain and ours not in taken:
                made = ast.Assign([ast.Name(ours, ast.Store())], part)
                made = ast.fix_missing_locations(ast.copy_location(made, ends))
                made.within = Within(ends, part)  # type: ignore[attr-defined]
                yield made


def _key_of(node: ast.AST) -> str | None:
    """`grads` of `grads["dW"]`."""
    if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Name):
        return None
    key = node.slice.value if isinstance(node.slice, ast.Constant) else None
    return node.value.id if isinstance(key, str) else None


class _Keys(ast.NodeTransformer):
    """What is kept under a key, as a name. `of`: dict -> key -> name."""

    def __init__(self, of: Mapping[str, Mapping[str, str]]) -> None:
        self.of = {name: keys for name, keys in of.items() if keys}
        self.called = {
            ours: f"{name}[{key!r}]" for name, keys in of.items() for key, ours in keys.items()
        }

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        ours = self.of.get(_key_of(node) or "", {}).get(getattr(node.slice, "value", ""))
        return node if ours is None else ast.copy_location(ast.Name(ours, node.ctx), node)


class _Names(ast.NodeTransformer):
    def __init__(self, renamed: Mapping[str, str]) -> None:
        self.renamed = renamed

    def visit_Name(self, node: ast.Name) -> ast.AST:
        ours = self.renamed.get(node.id)
        return node if ours is None else ast.copy_location(ast.Name(ours, node.ctx), node)
