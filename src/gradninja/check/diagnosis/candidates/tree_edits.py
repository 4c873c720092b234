"""Single edits of syntax trees, and how an edited statement is written in its author's style.

Trees are shared and never changed: an edit copies the nodes from the root to the place and nothing
else, so the nodes that the person wrote can be told from new ones by identity.
"""

from __future__ import annotations

import ast
import itertools
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Node = TypeVar("Node", bound=ast.AST)


@dataclass(frozen=True)
class Place:
    """A node inside a statement: the way to it from the statement, (field, index in a list)."""

    node: ast.AST
    path: tuple[tuple[str, int | None], ...]
    parents: tuple[ast.AST, ...]

    @property
    def parent(self) -> ast.AST:
        return self.parents[-1]

    @property
    def field(self) -> str:
        return self.path[-1][0]


def places(statement: ast.stmt) -> Iterator[Place]:
    """Every node below a statement, outer ones first."""
    pending = [Place(statement, (), ())]
    while pending:
        here = pending.pop(0)
        if here.path:
            yield here
        for name, value in ast.iter_fields(here.node):
            below = (*here.parents, here.node)
            if isinstance(value, ast.AST):
                pending.append(Place(value, (*here.path, (name, None)), below))
            elif isinstance(value, list):
                pending.extend(
                    Place(item, (*here.path, (name, index)), below)
                    for index, item in enumerate(value)
                    if isinstance(item, ast.AST)
                )


def replaced(statement: ast.stmt, place: Place, new: ast.AST) -> ast.stmt:
    """A copy of the statement with `new` at a place."""
    tree = new
    for parent, (name, index) in zip(reversed(place.parents), reversed(place.path), strict=True):
        copy = shallow(parent)
        if index is None:
            setattr(copy, name, tree)
        else:
            items = list(getattr(parent, name))
            items[index] = tree
            setattr(copy, name, items)
        tree = copy
    assert isinstance(tree, ast.stmt)
    return tree


def shallow(node: Node) -> Node:
    """A copy of one node that shares what is below it and stands at the same position."""
    copy = type(node)(**dict(ast.iter_fields(node)))
    return ast.copy_location(copy, node) if hasattr(node, "lineno") else copy


def same(one: ast.AST, other: ast.AST) -> bool:
    """Whether two trees mean the same, wherever they stand."""
    return ast.dump(one) == ast.dump(other)


class Style:
    """Writes edited statements so that all that was not edited stays as its author wrote it."""

    def __init__(
        self,
        source: str,
        statements: Iterator[ast.stmt] | list[ast.stmt],
        plain: Callable[[str, int | None], str] = lambda text, line: text,
    ) -> None:
        """`plain`: puts the author's names, at a line, for those that the trees have."""
        self.source, self._plain = source, plain
        self._at: int | None = None
        self._lines = source.splitlines(keepends=True)
        every = [part for s in statements for part in (s, *_around(s))]
        self._own = {id(node): node for s in every for node in ast.walk(s)}

    def line(self, number: int) -> str:
        """A line of the author's text, from 1."""
        return self._lines[number - 1]

    @property
    def count(self) -> int:
        """How many lines the author's text has."""
        return len(self._lines)

    def statement(self, new: ast.stmt, old: ast.stmt | None = None) -> str:
        """The text of a statement; `old` is the one that it came from, where it is an edit."""
        self._at = getattr(new if old is None else old, "lineno", None)
        return self.plain(self._statement(new, old))

    def plain(self, text: str) -> str:
        """A text with the author's names where the statement stands that is written."""
        return self._plain(text, self._at)

    def _statement(self, new: ast.stmt, old: ast.stmt | None) -> str:
        within = getattr(old, "within", None)
        if within is not None and isinstance(new, ast.Assign):
            old, new = within.statement, within.holding(new.value)
        if old is not None:
            spliced = self._spliced(old, new)
            if spliced is not None:
                return spliced
        if id(new) in self._own:
            written = self.segment(new)
            if written is not None:
                return written
        if isinstance(new, ast.Assign | ast.AugAssign | ast.Expr):
            text = self._with_own_parts(new)
            if text is not None:
                return text
        return self._as_written(ast.unparse(ast.fix_missing_locations(new)))

    def _as_written(self, text: str) -> str:
        """`h**2`, unless its author sets powers apart."""
        return text if " ** " in self.source else text.replace(" ** ", "**")

    def segment(self, node: ast.AST) -> str | None:
        """A node as its author wrote it, its first line not indented."""
        span = self._span(node)
        if span is None:
            return None
        text = self.source.encode()[span[0] : span[1]].decode()
        if isinstance(node, ast.stmt):
            return textwrap.dedent(" " * node.col_offset + text)
        return text

    def comment_after(self, node: ast.stmt) -> str:
        """The comment behind a statement, on its last line."""
        span = self._span(node)
        if span is None:
            return ""
        rest = self.source.encode()[span[1] :].decode().partition("\n")[0].strip()
        return rest if rest.startswith("#") else ""

    def expression(self, node: ast.expr) -> str:
        """The text of an expression, parts that the author wrote as they were written."""
        if id(node) in self._own:
            written = self.segment(node)
            if written is not None and "\n" not in written:
                return written
        return self.plain(self._with_own_parts(node) or self._as_written(ast.unparse(node)))

    def _span(self, node: ast.AST) -> tuple[int, int] | None:
        """Where a node stands in the text, in bytes."""
        line, end = getattr(node, "lineno", None), getattr(node, "end_lineno", None)
        if line is None or end is None or end > len(self._lines):
            return None
        start_of = list(itertools.accumulate((len(t.encode()) for t in self._lines), initial=0))
        return (
            start_of[line - 1] + getattr(node, "col_offset", 0),
            start_of[end - 1] + getattr(node, "end_col_offset", 0),
        )

    def _spliced(self, old: ast.stmt, new: ast.stmt) -> str | None:
        """The old statement's text with only the part that differs written anew."""
        was, now = _difference(old, new)
        outer, inner = self._span(old), self._span(was)
        if outer is None or inner is None or id(was) not in self._own:
            return None
        if not isinstance(now, ast.expr):
            return None
        source = self.source.encode()
        # Parentheses around the part may be its own, which the new text then brings along.
        wider = (inner[0] - 1, inner[1] + 1)
        around = source[wider[0] : inner[0]] + source[inner[1] : wider[1]] == b"()"
        for start, end in [wider, inner] if around else [inner]:
            written = self.expression(now)
            texts = _with_or_without_parentheses(written)
            if isinstance(now, ast.Tuple) and len(now.elts) > 1 and written.startswith("("):
                texts.insert(0, written[1:-1])
            for text in texts:
                whole = source[outer[0] : start] + text.encode() + source[end : outer[1]]
                found = textwrap.dedent(" " * old.col_offset + whole.decode())
                if self._means(found, new):
                    return found
        return None

    def _with_own_parts(self, node: ast.AST) -> str | None:
        """Unparsed, with the author's own text for what is below it."""
        parts: list[tuple[str, list[str]]] = []
        copy = shallow(node)
        for name, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                mark = f"part_{len(parts)}_"
                setattr(copy, name, ast.Name(mark, ast.Load()))
                parts.append((mark, _with_or_without_parentheses(self.expression(value))))
            elif isinstance(value, list) and all(isinstance(v, ast.expr) for v in value):
                marks: list[ast.expr] = []
                for item in value:
                    mark = f"part_{len(parts)}_"
                    marks.append(ast.Name(mark, ast.Load()))
                    parts.append((mark, _with_or_without_parentheses(self.expression(item))))
                setattr(copy, name, marks)
        if len(parts) > 6:
            return None
        template = self._as_written(ast.unparse(ast.fix_missing_locations(copy)))
        for choice in itertools.product(*(texts for _, texts in parts)):
            text = template
            for (mark, _), part in zip(parts, choice, strict=True):
                text = text.replace(mark, part)
            if "\n" not in text and self._means(text, node):
                return text
        return None

    def _means(self, text: str, node: ast.AST) -> bool:
        """Whether a text is read as this statement or expression."""
        try:
            tree: ast.AST = ast.parse(text).body[0]
        except (SyntaxError, IndexError):
            return False
        if isinstance(node, ast.expr):
            if not isinstance(tree, ast.Expr):
                return False
            tree = tree.value
        if self.plain(ast.dump(tree)) == self.plain(ast.dump(node)):
            return True
        called = self.plain(ast.unparse(ast.fix_missing_locations(node)))
        mine: ast.AST = ast.parse(called).body[0]
        mine = mine.value if isinstance(node, ast.expr) and isinstance(mine, ast.Expr) else mine
        return ast.dump(tree) == ast.dump(mine)


def _around(statement: ast.stmt) -> list[ast.stmt]:
    """The person's statement that a line of ours is a part of."""
    within = getattr(statement, "within", None)
    return [] if within is None else [within.statement]


def _with_or_without_parentheses(text: str) -> list[str]:
    return [text, f"({text})"]


def _difference(old: ast.AST, new: ast.AST) -> tuple[ast.AST, ast.AST]:
    """The smallest pair of nodes that holds all in which two trees differ."""
    if type(old) is not type(new):
        return old, new
    found: tuple[ast.AST, ast.AST] | None = None
    for name, value in ast.iter_fields(old):
        other = getattr(new, name)
        pairs: list[tuple[object, object]] = [(value, other)]
        if isinstance(value, list):
            if len(value) != len(other):
                return old, new
            pairs = list(zip(value, other, strict=True))
        for one, two in pairs:
            if one is two:
                continue
            if not (isinstance(one, ast.AST) and isinstance(two, ast.AST)):
                if one != two:
                    return old, new
            elif isinstance(one, ast.expr_context | ast.operator | ast.unaryop):
                if type(one) is not type(two):
                    return old, new
            elif found is not None:
                return old, new
            else:
                found = _difference(one, two)
    return found or (old, new)
