"""From expression trees to PyTorch syntax: axes of size 1, keepdim and transposes come back."""

from __future__ import annotations

import ast
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from gradninja.algebra.index.axes import (
    Layout,
    Written,
    aligned,
    broadcasts,
    call,
    constant,
    fitted,
    joined,
    method,
    negated,
)
from gradninja.algebra.index.graph import Graph, Node, NotWritten
from gradninja.algebra.index.terms import Indices
from gradninja.algebra.write.factors import (
    Item,
    bits,
    grouped,
    has_float,
    is_mask,
    masked,
    narrow,
    short,
    static,
    unsigned,
)
from gradninja.algebra.write.tree import Contracted, Leaf, Product, Reduced, Total, Tree, leaves


@dataclass
class Writer:
    """Writes trees over one graph. `unnamed` writes a node that has neither name nor syntax."""

    graph: Graph
    unnamed: Callable[[Node], Tree]
    aliases: Mapping[int, Sequence[tuple[Node, Indices]]] = field(default_factory=dict)
    bits: int = 0  # of the gradient that is written
    dtype: ast.expr = field(default_factory=lambda: ast.Name("", ast.Load()))

    def statement(self, tree: Tree, like: Node, typed: str) -> ast.expr:
        """The syntax of a gradient, of exactly the shape of `like`; `typed` is of its dtype."""
        want = layout_of(like, like.free)
        name = typed if like.name is None else like.name
        self.dtype = ast.Attribute(ast.Name(name, ast.Load()), "dtype", ast.Load())
        self.bits = bits(Leaf(frozenset(), "", 0.0, like, ()))
        if not tree.indices and (like.size > 1 or static(tree)):
            return self._filled(tree, like)
        written = fitted(self._typed(tree, want), want, exact=True)
        if len(tree.indices) < len(like.places):
            return method(written.syntax, "expand_as", [like.text()])
        return written.syntax

    def _filled(self, tree: Tree, like: Node) -> ast.expr:
        """One number for every element."""
        written = self._typed(tree, ())
        if len(written.layout) > len(like.shape):  # nothing is expanded to fewer axes
            written = fitted(written, layout_of(like, like.free), exact=True)
        if static(tree):
            return call("torch.full_like", [like.text(), written.syntax])
        return method(written.syntax, "expand_as", [like.text()]) if like.shape else written.syntax

    def _typed(self, tree: Tree, want: Layout) -> Written:
        """A tree as floats: a mask is a gradient where what it lets through is 1."""
        written = self.write(tree, want)
        plain = isinstance(tree, Leaf) and not has_float(tree) and not static(tree)
        return self._as_float(written) if plain else written

    # -- trees ------------------------------------------------------------------------------

    def write(self, tree: Tree, want: Layout) -> Written:
        """The syntax of a tree, laid out to broadcast with `want` if it can be."""
        if isinstance(tree, Leaf):
            return self._leaf(tree, want)
        if isinstance(tree, Product):
            return self._product(tree, want)
        if isinstance(tree, Total):
            return self._total(tree, want)
        if isinstance(tree, Reduced):
            return self._reduced(tree, want)
        assert isinstance(tree, Contracted)
        return self._contracted(tree, want)

    def _leaf(self, tree: Leaf, want: Layout) -> Written:
        node = tree.node
        if node.static:
            return Written(self.number(node), ())
        if node.name is not None:
            return self._aliased(node, tree.at, want)
        if node.hot is not None:
            index = self.write(Leaf(tree.indices, "", 0.0, node.hot, tree.at[:-1]), ())
            classes, given = self.number(self.graph.extent(node.axes[-1])), index.syntax
            if bool((node.hot.value < 0).any()):  # -1 is the last class, as Python counts
                given = ast.BinOp(given, ast.Mod(), classes)
            return Written(call("F.one_hot", [given, classes]), layout_of(node, tree.at))
        if node.applied is not None:
            function, argument = node.applied
            whole = Leaf(tree.indices, "", 0.0, argument, tree.at)
            inner = self.write(whole, layout_of(node, tree.at))
            return Written(call(function, [inner.syntax]), inner.layout)
        if node.writes is not None or node.syntax is not None:
            return Written(node.text(), layout_of(node, tree.at))
        inner = self.write(self.unnamed(node), layout_of(node, node.free))
        names = dict(enumerate(tree.at))
        return Written(inner.syntax, tuple(None if i is None else names[i] for i in inner.layout))

    def _aliased(self, node: Node, at: tuple[int, ...], want: Layout) -> Written:
        """A value by the one of its names whose axes lie as they are wanted."""
        choices = [Written(ast.Name(node.name or "", ast.Load()), layout_of(node, at))]
        for other, indices in self.aliases.get(node.number, ()):
            layout = layout_of(other, [at[i] for i in indices])
            choices.append(Written(ast.Name(other.name or "", ast.Load()), layout))
        swapped = (*want[:-2], *want[:-3:-1])
        for wanted in (want, swapped):
            for written in choices:
                if broadcasts(written.layout, wanted):
                    return written
        return choices[0]

    def number(self, node: Node) -> ast.expr:
        """A size by its name, or by the shape of something; other numbers as they are written."""
        if node.name is not None:
            return ast.Name(node.name, ast.Load())
        if node.syntax is not None:
            return node.syntax
        axis = next(a for a, n in self.graph.size_nodes.items() if n is node)
        root = self.graph.find(axis)
        for known in self.graph.named.values():
            if known.static or known.name is None:
                continue
            for place, mine in zip(known.places, known.axes, strict=True):
                if self.graph.find(mine) == root:
                    shape = ast.Attribute(ast.Name(known.name, ast.Load()), "shape", ast.Load())
                    return ast.Subscript(shape, constant(place), ast.Load())
        raise NotWritten("a size that no named value has")

    def _product(self, tree: Product, want: Layout) -> Written:
        """Small factors first, then larger ones; a divisor with those of its size."""
        if tree.number == 0:
            return Written(constant(0), ())
        tree = unsigned(tree)
        want = self._want(tree, want)
        items = [
            (part, -power, True) if power < 0 and power.denominator == 1 else (part, power, False)
            for part, power in grouped(tree)
        ]
        items, masks = masked(items)
        whole = not has_float(tree) and (len(items) > 1 or abs(tree.number) != 1)
        first = min((len(part.indices) for part, _, down in items if not down), default=0)
        written, divisors = self._number(tree.number, any(not down for _, _, down in items))
        first = 0 if written is not None else first
        # A number divides the smallest factor that there is.
        items.sort(
            key=lambda item: (
                max(len(item[0].indices), first * item[2]),
                item[2],
                not has_float(item[0]) and not static(item[0]),  # a mask cannot be negated
            )
        )
        wider = narrow(tree, [part for part, _, _ in items], self.bits)
        below, items = self._below(items, first, want, whole)
        if below is not None:
            for divisor in divisors:
                below = joined(Written(divisor, ()), ast.Mult(), below, want)
            divisors = []
        for part, power, down in items:
            if part.indices and written is not None and divisors and len(part.indices) > first:
                written, divisors = self._divided(written, divisors), []
            right = self._power(part, power, want, whole or part is wider)
            if down and not right.layout:
                divisors.append(right.syntax)
            elif written is None and not down:
                written = right
            else:
                left = written or Written(constant(1), ())
                written = joined(left, ast.Div() if down else ast.Mult(), right, want)
            if below is not None and written is not None:
                written, below = joined(written, ast.Div(), below, want), None
        written = written or Written(constant(1), ())
        if divisors:
            written = self._divided(written, divisors)
        for mask in masks:
            written = self._selected(mask, written, want)
        negative = tree.number < 0
        return Written(negated(written.syntax), written.layout) if negative else written

    def _selected(self, mask: Leaf, written: Written, want: Layout) -> Written:
        """A value where a mask lets it through, and 0 elsewhere, whatever stands there."""
        hides = mask.node.fills
        node = mask.node if hides is None else hides
        shown = self.write(Leaf(mask.indices, "", 0.0, node, mask.at), want)
        left, right, layout = aligned(shown, written, want)
        if hides is not None and layout == written.layout:
            filled = [left.syntax, constant(0)]
            return Written(method(written.syntax, "masked_fill", filled), layout)
        sides = [right.syntax, constant(0)]
        sides = sides if hides is None else sides[::-1]
        return Written(call("torch.where", [left.syntax, *sides]), layout)

    def _below(
        self, items: list[Item], first: int, want: Layout, whole: bool
    ) -> tuple[Written | None, list[Item]]:
        """One divisor for those that are smaller than all that is divided; and the other items."""
        rows = [i for i in items if i[2] and 0 < len(i[0].indices) < first]
        if not rows or len({i[0].indices for i in rows}) > 1:
            return None, items
        numbers = [i for i in items if i[2] and not i[0].indices]
        found: Written | None = None
        for part, power, _ in (*numbers, *rows):
            right = self._power(part, power, want, whole)
            found = right if found is None else joined(found, ast.Mult(), right, want)
        return found, [i for i in items if i not in numbers and i not in rows]

    def _number(self, number: Fraction, factors: bool) -> tuple[Written | None, list[ast.expr]]:
        """A number's size: what multiplies, and what divides."""
        size = abs(number)
        if size.denominator != 1 and short(size):
            return Written(constant(float(size)), ()), []
        above = size.numerator != 1 or not factors
        below = [constant(size.denominator)] if size.denominator != 1 else []
        return Written(constant(size.numerator), ()) if above else None, below

    def cast(self, syntax: ast.expr) -> ast.expr:
        """In the dtype of what the last statement is the gradient of."""
        return method(syntax, "to", [self.dtype])

    def _as_float(self, written: Written) -> Written:
        """An int or bool tensor in the gradient's dtype: numbers alone would make it float32."""
        return Written(self.cast(written.syntax), written.layout)

    def _divided(self, written: Written, divisors: Sequence[ast.expr]) -> Written:
        below = divisors[0]
        for divisor in divisors[1:]:
            below = ast.BinOp(below, ast.Mult(), divisor)
        return Written(ast.BinOp(written.syntax, ast.Div(), below), written.layout)

    def _power(self, part: Tree, power: Fraction, want: Layout, whole: bool) -> Written:
        inner = self.write(part, want)
        if whole and not static(part):
            inner = self._as_float(inner)
        if power == 1:
            return inner
        exponent = constant(int(power) if power.denominator == 1 else float(power))
        return Written(ast.BinOp(inner.syntax, ast.Pow(), exponent), inner.layout)

    def _total(self, tree: Total, want: Layout) -> Written:
        want = self._want(tree, want)
        # First what may cancel: `x - s + 1` keeps the 1 that `1 + x - s` loses for a large x.
        signs = {part.number < 0 for part in tree.parts if not static(part)}
        ordered = sorted(tree.parts, key=lambda p: (len(signs) > 1 and static(p), p.number < 0))
        written: Written | None = None
        for part in ordered:
            sign = part.number < 0 and written is not None
            right = self.write(
                Product(part.indices, part.key, part.cost, -part.number, part.parts)
                if sign
                else part,
                want,
            )
            if is_mask(part):
                right = self._as_float(right)
            if written is None:
                written = right
            else:
                written = joined(written, ast.Sub() if sign else ast.Add(), right, want)
        assert written is not None
        return written

    def _reduced(self, tree: Reduced, want: Layout) -> Written:
        name = "mean" if tree.mean else "sum"
        inner = self.write(tree.body, self._want(tree.body, want))
        if tree.mean and not has_float(tree.body):
            inner = self._as_float(inner)  # ints and bools have no mean
        dims = [d for d, i in enumerate(inner.layout) if i in tree.over]
        left = [i for i in inner.layout if i is not None and i not in tree.over]
        if not left:
            return Written(method(inner.syntax, name), ())
        given: ast.expr = constant(dims[0])
        given = given if len(dims) == 1 else ast.Tuple([*map(constant, dims)], ast.Load())
        dropped = Written(
            method(inner.syntax, name, [given]),
            tuple(i for i in inner.layout if i not in tree.over),
        )
        kept = Written(
            method(inner.syntax, name, [given], keepdim=constant(True)),
            tuple(None if i in tree.over else i for i in inner.layout),
        )
        lead = len(want) - len(inner.layout)
        if lead >= 0 and all(want[lead + d] is None for d in dims):
            return kept  # the axis is there with size 1 in what is asked for
        fits = fitted(dropped, want) is dropped or fitted(kept, want) is not kept
        return dropped if fits else kept

    def _want(self, tree: Tree, want: Layout) -> Layout:
        """A layout for all indices of a tree: the one asked for, or that of its largest leaf."""
        here = {index for index in want if index is not None}
        several = isinstance(tree, Product | Total) and len(tree.parts) > 1
        if tree.indices == here or (tree.indices < here and not several):
            return want
        best: Layout = ()
        most = (0, False)
        for leaf in leaves(tree):
            found = layout_of(leaf.node, leaf.at) if not leaf.node.static else ()
            fits = len(set(found) & tree.indices), broadcasts(found, want)
            if fits > most:
                best, most = found, fits
        missing = sorted(tree.indices - set(best))
        return (*missing, *best)

    def _contracted(self, tree: Contracted, want: Layout) -> Written:
        a, b, over = tree.a, tree.b, tree.over
        batch = (a.indices & b.indices) - over
        rest_a, rest_b = a.indices - over - batch, b.indices - over - batch
        order = [i for i in want if i is not None]
        order += sorted((batch | rest_a | rest_b) - set(order))
        if len(over) == 1 and max(len(rest_a), len(rest_b)) <= 1 + (not batch):
            if rest_a and rest_b and min(map(order.index, rest_b)) < min(map(order.index, rest_a)):
                a, b, rest_a, rest_b = b, a, rest_b, rest_a
            if not rest_a:
                a, b, rest_a, rest_b = b, a, rest_b, rest_a
            if len(rest_b) <= 1 and (len(rest_a) == 1 or not batch):
                outer = tuple(i for i in order if i in batch)
                (k,) = over
                rows = tuple(i for i in order if i in rest_a)
                columns = tuple(rest_b)
                if batch and not columns:
                    return self._einsum(a, b, tree, order)
                left = self._laid(a, (*outer, *rows, k))
                right = self._laid(b, (*outer, k, *columns))
                product = ast.BinOp(left, ast.MatMult(), right)
                return Written(product, (*outer, *rows, *columns))
        flat = self._flat(a, b, tree, order) if len(over) > 1 and not batch else None
        return flat or self._einsum(a, b, tree, order)

    def _laid(self, tree: Tree, layout: Layout) -> ast.expr:
        composite = isinstance(tree, Product | Total)
        written = self.write(tree, self._want(tree, ()) if composite else layout)
        if not has_float(tree):
            written = self._as_float(written)
        return fitted(written, layout, exact=True).syntax

    def _flat(self, a: Tree, b: Tree, tree: Contracted, order: Sequence[int]) -> Written | None:
        """Several leading axes summed: `x.flatten(0, -2).T @ dy.flatten(0, -2)`."""
        rest_a, rest_b = a.indices - tree.over, b.indices - tree.over
        if len(rest_a) != 1 or len(rest_b) != 1:
            return None
        if order.index(min(rest_b)) < order.index(min(rest_a)):
            a, b, rest_a, rest_b = b, a, rest_b, rest_a
        (i,), (j,) = rest_a, rest_b
        first = self.write(a, self._want(a, (*sorted(tree.over), i)))
        over = tuple(k for k in first.layout if k in tree.over)
        second = self.write(b, (*over, j))
        if first.layout != (*over, i) or second.layout != (*over, j):
            return None
        ends = [constant(0), constant(-2)]
        left = ast.Attribute(method(first.syntax, "flatten", ends), "T", ast.Load())
        product = ast.BinOp(left, ast.MatMult(), method(second.syntax, "flatten", ends))
        return Written(product, (i, j))

    def _einsum(self, a: Tree, b: Tree, tree: Contracted, order: Sequence[int]) -> Written:
        letters: dict[int, str] = {}
        parts = []
        syntaxes = []
        for part in (a, b):
            layout: Layout = tuple(sorted(part.indices, key=lambda i: (i in tree.over, i)))
            natural = self.write(part, self._want(part, ()))
            if None not in natural.layout and set(natural.layout) == part.indices:
                layout = natural.layout
            syntaxes.append(self._laid(part, layout))
            for index in layout:
                assert index is not None
                letters.setdefault(index, string.ascii_lowercase[len(letters)])
            parts.append("".join(letters[i] for i in layout if i is not None))
        out = tuple(i for i in order if i in tree.indices)
        equation = f"{parts[0]},{parts[1]}->{''.join(letters[i] for i in out)}"
        return Written(call("torch.einsum", [ast.Constant(equation), *syntaxes]), out)


def layout_of(node: Node, at: Sequence[int]) -> Layout:
    """Which index runs along each axis of a node's tensor; None along those of size 1."""
    found: list[int | None] = [None] * len(node.shape)
    for place, index in zip(node.places, at, strict=True):
        found[place] = index
    return tuple(found)
