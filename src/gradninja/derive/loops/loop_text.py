"""A forward and its backward as text in which loops stay loops.

    for t in range(n):              for t in reversed(range(len(hs))):
        h_prev = h                      h, h_prev = hs[t], h_prevs[t]
        h = ...                         dh = dh_prev + douts[t]
        hs.append(h)                    ...

What is carried hands its gradient on to the turn before; what stands outside of the loop adds up.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gradninja.derive.loops.body import Body
from gradninja.derive.loops.turns import Differs
from gradninja.derive.statement import Statement, returned, signature, with_imports
from gradninja.lines import Line, Program

STEP = "    "


@dataclass
class Segment:
    """Lines that stand next to each other: a loop's, or none's."""

    lines: list[Line]
    body: Body | None = None
    length: str = ""  # of a loop: how many turns it has


@dataclass
class Texts:
    """Writes both texts. `kept`: names of a loop that its backward reads, each in a list."""

    program: Program
    segments: list[Segment]
    statements: Sequence[Statement]
    gradients: dict[str, str]
    outputs: tuple[str, ...]
    scalar: bool  # the output is a loss: its cotangent is 1
    lists: dict[str, str] = field(default_factory=dict)  # a turn's name -> the list of all turns'
    started: set[str] = field(default_factory=set)  # the gradients that have a value already

    # -- names ------------------------------------------------------------------------------

    @property
    def bodies(self) -> list[Body]:
        return [segment.body for segment in self.segments if segment.body is not None]

    def said(self, tree: ast.AST) -> str:
        """Code outside of a loop: a loop's last names, and the lists of all of them.

        Raises:
            Differs: it reads what one turn alone made.
        """
        return ast.unparse(_Outside(self).visit(ast.parse(ast.unparse(tree))))

    def list_of(self, name: str) -> str:
        if name not in self.lists:
            self.lists[name] = fresh(f"{name}s", self.taken)
        return self.lists[name]

    @property
    def taken(self) -> set[str]:
        found = {*self.program.values, *self.gradients.values(), *self.lists.values()}
        for body in self.bodies:
            found |= {*body.gradients.values(), *body.before.values(), *body.element.values()}
        return found

    # -- the forward --------------------------------------------------------------------------

    def forward(self, kept: Sequence[str]) -> str:
        names = [
            f"{given.name}={given.value!r}" if given.optional else given.name
            for given in self.program.inputs
        ]
        lines = []
        for segment in self.segments:
            if segment.body is None:
                lines += [self.said(ast.parse(line.code)) for line in segment.lines]
            else:
                lines += self._turn(segment, segment.body)
        outputs = [self.said(ast.Name(name, ast.Load())) for name in self.program.outputs]
        lines += returned([*dict.fromkeys([*outputs, *kept])])
        return "\n".join([signature("forward", names), *(STEP + line for line in lines)]) + "\n"

    def _turn(self, segment: Segment, body: Body) -> list[str]:
        lines = []
        for key, start in body.turns.carried.items():
            lines.append(f"{key} = {self.said(start)}")
        made = {name for line in body.lines for name in line.targets}
        listed = [n for n in (*body.before.values(), *made) if n in self.lists]
        lines += [f"{self.lists[name]} = []" for name in listed]
        lines.append(f"for t in range({segment.length}):")
        inner = [f"{before} = {key}" for key, before in body.before.items()]
        for key, row in body.turns.rows.items():
            inner.append(f"{body.element[key]} = {self._row(row)}[t]")
        inner += [line.code for line in body.lines]
        inner += [f"{self.lists[name]}.append({name})" for name in listed]
        return [*lines, *(STEP + line for line in inner)]

    def _row(self, row: list[str]) -> str:
        return self.said(ast.List([ast.Name(name, ast.Load()) for name in row], ast.Load()))

    # -- the backward -------------------------------------------------------------------------

    def backward(self) -> tuple[str, list[str]]:
        """Its text, and the names that it takes besides the cotangents."""
        lines: list[str] = []
        cotangents = [self._cotangent(name) for name in self.outputs]
        self.started.update(cotangents)
        if self.scalar:
            output = self.said(ast.Name(self.outputs[0], ast.Load()))
            lines.append(f"{cotangents.pop()} = torch.ones_like({output})")
        for segment in reversed(self.segments):
            if segment.body is None:
                lines += self._plain(segment)
            else:
                lines += self._loop(segment.body)
        end = [self.gradients[name] for name in self.program.differentiable]
        missing = [name for name in end if name not in self.started]
        lines += [f"{name} = torch.zeros_like({self._of(name)})" for name in missing]
        text = "\n".join([*lines, *returned(end)])
        free = [name for name in read_first(text) if name not in cotangents]
        arguments = [*free, *cotangents]
        body = "\n".join(STEP + line for line in text.splitlines())
        return f"{signature('backward', arguments)}\n{body}\n", free

    def _of(self, gradient: str) -> str:
        return next(name for name, d in self.gradients.items() if d == gradient)

    def _cotangent(self, name: str) -> str:
        for body in self.bodies:
            key = body.turns.first(name)
            if key is not None:
                if name != body.turns.names[key][-1] or key not in body.before:
                    raise Differs
                return body.gradients[body.before[key]]
        return self.gradients[name]

    def _plain(self, segment: Segment) -> list[str]:
        own = {id(line) for line in segment.lines}
        lines, listed = [], dict[str, list[Statement]]()
        for statement in self.statements:
            if id(statement.line) not in own:
                continue
            home = self._home(statement.of)
            if home is None:
                lines.append(self._stated(statement))
                continue
            body, key = home
            row = [*body.turns.names.get(key, []), *body.turns.rows.get(key, [])]
            if key in body.turns.names and _collects(statement.line, row):
                listed.setdefault(key, []).append(statement)
                if len(listed[key]) == body.turns.count:
                    lines.append(self._all(body, key, listed.pop(key)))
                continue
            if statement.of != row[-1] or key not in body.before or statement.scatter is not None:
                raise Differs
            carry = body.gradients[body.before[key]]
            lines.append(self._assigned(carry, self.said(_value(statement))))
        if listed:
            raise Differs
        return lines

    def _home(self, name: str) -> tuple[Body, str] | None:
        """The loop that made a name, and what stands for it there."""
        for body in self.bodies:
            key = body.turns.first(name)
            if key is not None:
                return body, key
        return None

    def _stated(self, statement: Statement) -> str:
        if statement.value is None or statement.target in self.started:
            self.started.add(statement.target)
            return self.said(statement.tree())
        return self._assigned(statement.target, self.said(_value(statement)))

    def _assigned(self, target: str, value: str) -> str:
        sign = "+=" if target in self.started else "="
        self.started.add(target)
        return f"{target} {sign} {value}"

    def _all(self, body: Body, key: str, statements: list[Statement]) -> str:
        """The gradients of all turns' values as one list."""
        by_name = {s.of: s for s in statements}
        values = [_bare(by_name[name]) for name in body.turns.names[key]]
        target = "d" + self.list_of(key)
        if target in self.started:
            raise Differs
        self.started.add(target)
        each = self.said(_progressing(values))
        return f"{target} = [{each} for t in range(len({self.list_of(key)}))]"

    def _loop(self, body: Body) -> list[str]:
        lines, inner = [], list[str]()
        gradients = body.gradients
        carries = {gradients[b]: key for key, b in body.before.items() if b in gradients}
        for carry, key in carries.items():
            if carry not in self.started:
                lines.append(f"{carry} = torch.zeros_like({key})")
                self.started.add(carry)
        outside = [
            n for n in body.inputs if n not in {*body.before.values(), *body.element.values()}
        ]
        for name in outside:
            if gradients[name] != self.gradients[name]:
                raise Differs
            if gradients[name] not in self.started:
                lines.append(f"{gradients[name]} = torch.zeros_like({name})")
                self.started.add(gradients[name])
        if set(body.element.values()) & set(body.inputs):
            raise Differs  # a list's elements are parts of what has a gradient of its own
        for output in body.outputs:
            parts = []
            if output in body.before and body.before[output] in body.inputs:
                parts.append(gradients[body.before[output]])
            if output in self.lists and "d" + self.lists[output] in self.started:
                parts.append(f"d{self.lists[output]}[t]")
            if not parts:
                raise Differs
            inner.append(f"{gradients[output]} = {' + '.join(parts)}")
        sums = {gradients[name] for name in outside}
        for statement in body.statements:
            if statement.target in sums:
                if statement.scatter is None and _is_zeros(statement):
                    continue
                if statement.scatter is None:
                    inner.append(f"{statement.target} += {ast.unparse(_bare(statement))}")
                    continue
            inner.append(str(statement))
        made = {name for line in body.lines for name in line.targets}
        local = {*made, *body.before.values(), *body.element.values()}
        needed = [n for n in read_first("\n".join(inner)) if n in local]
        listed = [n for n in needed if n not in body.element.values()]
        took = [f"{name} = {self.list_of(name)}[t]" for name in listed]
        took += [
            f"{body.element[key]} = {self._row(row)}[t]"
            for key, row in body.turns.rows.items()
            if body.element[key] in needed
        ]
        length = f"len({self.list_of(listed[0])})" if listed else str(body.turns.count)
        lines.append(f"for t in reversed(range({length})):")
        lines += [STEP + line for line in (*took, *inner)]
        for carry, key in carries.items():
            start = body.turns.carried[key]
            flows = isinstance(start, ast.Name) and start.id in self.gradients
            if flows and isinstance(start, ast.Name) and body.before[key] in body.inputs:
                lines.append(self._assigned(self.gradients[start.id], carry))
        return lines


class _Outside(ast.NodeTransformer):
    """A loop's names as they are called after it."""

    def __init__(self, texts: Texts) -> None:
        self.texts = texts
        self.last = {old: new for body in texts.bodies for old, new in body.turns.last.items()}
        self.rows = {tuple(n): (k, b) for b in texts.bodies for k, n in b.turns.names.items()}
        self.inner = {n for b in texts.bodies for names in b.turns.names.values() for n in names}

    def visit_List(self, node: ast.List) -> ast.AST:
        return self._several(node)

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        return self._several(node)

    def _several(self, node: ast.List | ast.Tuple) -> ast.AST:
        names = tuple(e.id for e in node.elts if isinstance(e, ast.Name))
        if len(names) == len(node.elts) and names in self.rows:
            return ast.Name(self.texts.list_of(self.rows[names][0]), ast.Load())
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self.last:
            return ast.Name(self.last[node.id], node.ctx)
        if node.id in self.inner:
            raise Differs
        return node


def _collects(line: Line, names: list[str]) -> bool:
    """Whether a line reads a list of all turns' names."""
    for node in ast.walk(line.expr.syntax):
        elements = node.elts if isinstance(node, ast.List | ast.Tuple) else []
        if elements and [e.id for e in elements if isinstance(e, ast.Name)] == names:
            return True
    return False


def _value(statement: Statement) -> ast.expr:
    tree = statement.tree()
    if not isinstance(tree, ast.Assign | ast.AugAssign):
        raise Differs
    return tree.value


def _bare(statement: Statement) -> ast.expr:
    if statement.value is None:
        raise Differs
    return statement.value


def _is_zeros(statement: Statement) -> bool:
    return ast.unparse(_bare(statement)).startswith("torch.zeros_like(")


def _progressing(values: list[ast.expr]) -> ast.expr:
    """One expression for all, in terms of `t`: the same but for a number that grows by one."""
    texts = {ast.unparse(value) for value in values}
    if len(texts) == 1:
        return values[0]
    found = ast.parse(ast.unparse(values[0]), mode="eval").body
    others = [ast.parse(ast.unparse(value), mode="eval").body for value in values]
    for place in range(sum(1 for _ in ast.walk(found))):
        node = list(ast.walk(found))[place]
        if isinstance(node, ast.Constant) and node.value == 0:
            for turn, other in enumerate(others):
                at = list(ast.walk(other))[place]
                if not (isinstance(at, ast.Constant) and at.value == turn):
                    break
            else:
                return _swapped(found, node)
    raise Differs


def _swapped(tree: ast.expr, old: ast.AST) -> ast.expr:
    class Swap(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.AST:
            return ast.Name("t", ast.Load()) if node is old else node

    found: ast.expr = Swap().visit(tree)
    return found


LIBRARIES = {"torch", "F", "math", "range", "reversed", "len", "t", "float", "bool", "int"}


def read_first(text: str) -> list[str]:
    """The names that a text reads before it writes them, in order."""
    known, found = set(LIBRARIES), dict[str, None]()

    def expression(node: ast.AST) -> None:
        inner = {
            n.id
            for comp in ast.walk(node)
            if isinstance(comp, ast.comprehension)
            for n in ast.walk(comp.target)
            if isinstance(n, ast.Name)
        }
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and part.id not in known | inner:
                found.setdefault(part.id)

    def block(statements: Iterable[ast.stmt]) -> None:
        for node in statements:
            if isinstance(node, ast.For):
                expression(node.iter)
                block(node.body)
                continue
            targets = node.targets if isinstance(node, ast.Assign) else []
            written = {n.id for t in targets if isinstance(t, ast.Name) for n in [t]}
            read = [node.value] if isinstance(node, ast.Assign) else [node]
            for part in read:
                expression(part)
            for target in targets:
                if not isinstance(target, ast.Name):
                    expression(target)
            known.update(written)

    block(ast.parse(f"def f():\n{_indented(text)}").body[0].body)  # type: ignore[attr-defined]
    return list(found)


def _indented(text: str) -> str:
    return "\n".join(STEP + line for line in text.splitlines()) or f"{STEP}pass"


def fresh(base: str, taken: set[str]) -> str:
    """A name that is not taken."""
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}{count}"
    return name


def joined(forward: str, backward: str) -> str:
    return with_imports(f"{forward}\n\n{backward}")
