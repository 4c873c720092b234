"""Building expressions: an operation is run on its operands' values, and kept with what it gave."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import torch

from gradninja.errors import ReadError
from gradninja.lines import fence
from gradninja.lines.given.source import Source
from gradninja.lines.operators import output_syntax
from gradninja.lines.plain import belongs, continuous, counts, is_plain, literal
from gradninja.lines.program import ITEM, NAME, STATIC, TUPLE, Expr
from gradninja.lines.reading.bounds import bounds
from gradninja.lines.reading.numbers import hold_reckoned
from gradninja.lines.vocabulary import Vocabulary
from gradninja.memory import is_lack_of_memory

# What gives a plain Python value that the values of a tensor do not change.
OF_SHAPES = frozenset(
    "size numel nelement dim ndimension is_floating_point element_size is_tensor stride "
    "is_contiguous broadcast_shapes".split()
)


class DoesNotRun(ReadError):
    """An operation refuses its operands, because of their sizes perhaps."""


class Builder:
    """Builds expressions out of others, with the spot in the source that each comes from.

    `values_decide`: whether a tensor's value may become a plain one that decides what is read.
    """

    def __init__(self, source: Source, book: Vocabulary, values_decide: bool = True) -> None:
        self.source = source
        self.book = book
        self.values_decide = values_decide
        self.grad_enabled = True
        self.scope: dict[str, Expr] = {}
        self.frames: list[dict[str, Expr]] = []  # the scopes of the callers
        self.handed: frozenset[str] = frozenset()  # the inputs that are dictionaries or lists
        self.bounds: dict[int, int] = {}  # storage of an index tensor -> size of what it indexes
        self.overwritten: dict[str, tuple[int, str]] = {}  # name -> line that wrote, and to what
        self.spent = 0
        self.outermost = source.spot(source.function)  # the forward's own statement that is read

    def spend(self) -> None:
        """Count a line read, or what costs as much as one; raise ReadError where it is too many."""
        self.spent += 1
        if self.spent > fence.MOST_LINES:
            raise ReadError(
                f"this unrolls to more than {fence.MOST_LINES:,} lines, more than are read",
                spot=self.outermost,
                hint="loops, comprehensions and calls are written out, turn by turn: give it fewer "
                "turns, or say the same with operations on whole tensors",
            )

    def hold_fresh(self, node: ast.AST, expr: Expr) -> None:
        """Refuse what shares memory with something that was written to since."""
        for part in expr.walk() if self.overwritten else ():
            if part.op == NAME and str(part) in self.overwritten:
                line, through = self.overwritten[str(part)]
                self.fail(
                    node,
                    f"`{part}` shares memory with `{through}`, which line {line} changed in place",
                    "take a copy where the two become one, with `.clone()`",
                )

    def fail(self, node: ast.AST, message: str, hint: str | None = None) -> NoReturn:
        raise ReadError(message, spot=self.source.spot(node), hint=hint)

    def hold_single(
        self, node: ast.AST, operands: Iterable[Expr], kinds: tuple[type, ...] = (dict,)
    ) -> None:
        """Raise ReadError where what fails is that an input is a dictionary: `parameters * 2`."""
        forward = self.frames[0] if self.frames else self.scope
        for name in sorted(self.handed):
            held = forward.get(name)
            if held is None or not isinstance(held.value, kinds):
                continue
            if any(operand is held for operand in operands):
                first = next(iter(held.value), None) if isinstance(held.value, dict) else 0
                part = f"take a part of it, `{name}[{first!r}]`, or " if held.value else ""
                self.fail(
                    node,
                    f"`{name}` is given a {type(held.value).__name__}, which this line cannot take",
                    f"{part}give a tensor for `{name}`",
                )

    def static(
        self, node: ast.AST, value: Any, syntax: ast.expr, among: Iterable[Expr] = ()
    ) -> Expr:
        among = tuple(among)
        if counts(value):  # `Axis.batch` is a number, whose class no text has
            syntax = literal(value)
        written = isinstance(syntax, ast.Constant)
        if not written and any(e.op == STATIC and belongs(e.value) for e in among):
            syntax = literal(value) if is_plain(value) else syntax  # read off an object, as it is
        return Expr(
            STATIC, (), syntax, value, self.source.spot(node), sized=any(e.sized for e in among)
        )

    def operation(
        self,
        node: ast.AST,
        op: str,
        args: tuple[Expr, ...],
        syntax: ast.expr,
        run: Callable[..., Any],
        kwargs: Mapping[str, Expr] | None = None,
    ) -> Expr:
        """Run an operation on its operands' values and keep it as an expression."""
        kwargs = kwargs or {}
        operands = (*args, *kwargs.values())
        for operand in operands:
            self.hold_fresh(node, operand)
        hold_reckoned(*(e.value for e in operands if not e.is_tensor))
        size = fence.too_large(op, [e.value for e in operands if not e.is_tensor])
        if size is not None:
            self.fail(node, f"a size of {size:,} is more than is read", "use smaller sizes here")
        try:
            value = run(*(e.value for e in args), **{name: e.value for name, e in kwargs.items()})
        except Exception as error:  # whatever the operation raises is the person's to mend
            named = op[0].isalpha() or op == "[]"  # a function may take a list, `*` does not
            self.hold_single(node, operands, (dict,) if named else (dict, list, tuple))
            first = str(error).strip().partition("\n")[0] or type(error).__name__
            if is_lack_of_memory(error):
                first = "it wants more memory than there is"
            raise DoesNotRun(
                f"this line does not run: {first}",
                spot=self.source.spot(node),
            ) from None
        if isinstance(value, tuple | list) and any(isinstance(v, torch.Tensor) for v in value):
            value = tuple(value) if isinstance(value, list) else value
        elif not isinstance(value, torch.Tensor):
            self._hold_shapes(node, op, operands)
            return Expr(
                STATIC,
                (),
                syntax,
                value,
                self.source.spot(node),
                sized=any(e.is_tensor or e.sized for e in operands),
            )
        devices = {e.value.device for e in operands if e.is_tensor}
        if any(v.is_meta or (devices and v.device not in devices) for v in _tensors(value)):
            self.fail(
                node, "this moves to another device", "leave devices to who calls the forward"
            )
        if any(v.ndim >= fence.MOST_AXES for v in _tensors(value)):
            self.fail(node, "these are more axes than PyTorch works with")
        flows = (
            self.grad_enabled
            and not self.book.constant(op)
            and any(e.differentiable for e in operands)
            and any(continuous(v) for v in _tensors(value))
        )
        if op in fence.NO_GRADIENT and any(e.differentiable for e in operands):
            name = op.removeprefix("Tensor.")
            self.fail(node, f"PyTorch has no gradient for `{name}`", fence.NO_GRADIENT[op])
        if flows and not self.book.knows(op):
            name = op.removeprefix("Tensor.")
            self.fail(
                node,
                f"there is no rule for `{name}`",
                "write it with operations that have one, or give it a rule with gradninja.rule",
            )
        self._note_bounds(op, args, kwargs)
        return Expr(
            op,
            args,
            syntax,
            value,
            self.source.spot(node),
            kwargs,
            differentiable=flows,
            random=self.book.random(op)
            or (op in fence.DROPPING and value.data_ptr() != operands[0].value.data_ptr())
            or any(e.random for e in operands),
        )

    def _hold_shapes(self, node: ast.AST, op: str, operands: Iterable[Expr]) -> None:
        """Refuse a plain value that a tensor's values decide, where they may not."""
        if self.values_decide or op.rpartition(".")[2] in OF_SHAPES:
            return
        if any(part.is_tensor for operand in operands for part in operand.walk()):
            self.fail(node, "this asks for a value; the lines would hold for this one value alone")

    def _note_bounds(self, op: str, args: tuple[Expr, ...], kwargs: Mapping[str, Expr]) -> None:
        for index, size in bounds(op, args, kwargs):
            if index.is_tensor:  # a view of an input is told by its memory
                key = index.value.untyped_storage().data_ptr()
                self.bounds[key] = min(size, self.bounds.get(key, size))

    def item(self, node: ast.AST, several: Expr, index: int) -> Expr:
        """One output of an operation that gives several."""
        value = several.value[index]
        syntax = output_syntax(several.op, several.syntax, index)
        at = self.static(node, index, ast.Constant(index))
        flows = several.differentiable and continuous(value)
        return Expr(
            ITEM,
            (several, at),
            syntax,
            value,
            self.source.spot(node),
            differentiable=flows,
            random=several.random,
        )

    def container(self, node: ast.AST, elements: Iterable[Expr], kind: type = tuple) -> Expr:
        self.spend()
        elements = tuple(elements)
        if len(elements) > fence.MOST_HELD:
            self.fail(
                node,
                f"a list of {len(elements):,} elements is more than is read",
                "hold them in one tensor",
            )
        parts = [element.syntax for element in elements]
        syntax: ast.expr = (
            ast.List(parts, ast.Load()) if kind is list else ast.Tuple(parts, ast.Load())
        )
        value = kind(element.value for element in elements)
        if all(element.op == STATIC for element in elements) and elements:
            return self.static(node, value, syntax, elements)
        return Expr(
            TUPLE,
            elements,
            syntax,
            value,
            self.source.spot(node),
            differentiable=any(element.differentiable for element in elements),
            random=any(element.random for element in elements),
            sized=any(element.sized for element in elements),
        )

    def dictionary(
        self, node: ast.AST, entries: Mapping[Any, Expr], kind: type[dict[Any, Any]] = dict
    ) -> Expr:
        """A dictionary of plain keys, or a record."""
        self.spend()
        parts = tuple(entries.values())
        return Expr(
            TUPLE,
            parts,
            ast.Dict([literal(key) for key in entries], [part.syntax for part in parts]),
            kind((key, part.value) for key, part in entries.items()),
            self.source.spot(node),
            differentiable=any(part.differentiable for part in parts),
            random=any(part.random for part in parts),
            sized=any(part.sized for part in parts),
        )

    def rebuilt(self, node: ast.AST, several: Expr, parts: list[Expr]) -> Expr:
        """The same list, tuple or dictionary of other parts; itself where they are the same."""
        self.spend()
        if all(new is old for new, old in zip(parts, several.args, strict=True)):
            return several
        if isinstance(several.value, dict):
            entries = dict(zip(several.value, parts, strict=True))
            return self.dictionary(node, entries, type(several.value))
        return self.container(node, parts, type(several.value))


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    several = value if isinstance(value, tuple) else (value,)
    return (v for v in several if isinstance(v, torch.Tensor))
