"""The forward that a person has run: the lines that lead to the loss, found and run again."""

from __future__ import annotations

import ast
import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch

from gradninja.errors import GradninjaError
from gradninja.learn.session import Session, Statement
from gradninja.lines.scope import LIBRARY, run_tree


class Lacks(GradninjaError):
    """What cannot be known, and what would tell it."""


@dataclass(frozen=True, eq=False)
class Forward:
    """`lines` lead from `leaves`, the tensors that are given, to the scalar `loss`."""

    lines: tuple[Statement, ...]
    leaves: tuple[str, ...]
    loss: str
    namespace: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """What has a gradient: leaves and what the lines bind, float tensors all."""
        found = [*self.leaves, *(n for line in self.lines for n in sorted(line.binds))]
        return tuple(n for n in dict.fromkeys(found) if is_float(self.namespace.get(n)))

    def uses(self, name: str) -> list[Statement]:
        return [line for line in self.lines if name in line.reads]

    @property
    def text(self) -> str:
        """The same as a function of its leaves, each line below the other from line 2 on."""
        body = "".join(f"    {one_line(line)}\n" for line in self.lines)
        given = [*self.leaves, *(f"{n}={v!r}" for n, v in self.numbers.items())]
        return f"def forward({', '.join(given)}):\n{body}    return {self.loss}\n"

    def place_of(self, number: int) -> str:
        """Where the line stands that has this number in `text`."""
        at = number - 2
        return self.lines[at].where if 0 <= at < len(self.lines) else f"line {number}"

    @property
    def numbers(self) -> dict[str, int | float]:
        """The plain numbers that the lines read by name."""
        read = {n: self.namespace.get(n) for line in self.lines for n in _in_order(line.node)}
        bound = {n for line in self.lines for n in line.binds}
        plain = {n: v for n, v in read.items() if isinstance(v, int | float)}
        return {n: v for n, v in plain.items() if not isinstance(v, bool) and n not in bound}


@dataclass(frozen=True, eq=False)
class Run:
    """A forward run again under autograd: every name's value and true gradient.

    `stale`: the names whose live values are others than the lines give.
    """

    forward: Forward
    values: Mapping[str, torch.Tensor]
    gradients: Mapping[str, torch.Tensor]
    stale: tuple[str, ...]


def one_line(line: Statement) -> str:
    """A statement on one line, as the person wrote it where it was on one."""
    return line.text if "\n" not in line.text else ast.unparse(line.node)


def is_float(value: Any) -> TypeGuard[torch.Tensor]:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def forward_of(session: Session, name: str, loss: str | None = None) -> Forward:
    """The lines from the leaves to the loss, among which `name` is.

    Raises:
        Lacks: there are no lines, or no scalar comes of `name`.
    """
    value = session.namespace.get(name)
    if isinstance(value, torch.Tensor) and not value.is_floating_point():
        raise Lacks(f"`{name}` holds no floats: it cannot be moved a little, and has no gradient")
    candidates = [loss] if loss is not None else list(_losses(session))
    for candidate in candidates:
        found = _slice(session, candidate)
        if name in found.names:
            return found
    if not session.statements:
        raise Lacks(
            "the lines that you ran cannot be found here",
            hint="in a notebook, in IPython and in a script they can; else try gradninja check",
        )
    if not candidates:
        raise Lacks(
            "no line that ran gives a scalar: what is the loss?",
            hint="run the forward, down to a loss without axes; if that has a name of its own, say "
            "which: cmp(..., loss='name')",
        )
    function = _function_that_reads(session, name)
    if function is not None:
        raise Lacks(
            f"`{name}` is read inside of the function `{function}`, from outside of it: what such "
            "a function does with it is not looked at",
            hint=f"give it to the function as an argument, `{function}(..., {name})`, or write its "
            "lines in the cell",
        )
    raise Lacks(
        f"`{name}` is not on the way to `{candidates[0]}` in the lines that ran",
        hint="if another scalar is meant, say which: cmp(..., loss='name'); if a line was bound "
        f"anew after `{candidates[0]}` was computed, run the forward's cells again in their order",
    )


def _function_that_reads(session: Session, name: str) -> str | None:
    """A person's own function that reads a name from around it."""
    read = {n for statement in session.statements for n in statement.reads}
    for called in sorted(read):
        code = getattr(session.namespace.get(called), "__code__", None)
        if code is not None and name in code.co_names:
            return called
    return None


def _losses(session: Session) -> Iterator[str]:
    """Names that may be the loss: what `.backward()` was called on, `loss`, the last scalar."""
    called = [
        node.func.value.id
        for statement in session.statements
        for node in ast.walk(statement.node)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "backward"
        and isinstance(node.func.value, ast.Name)
    ]
    bound = [name for statement in session.statements for name in statement.binds]
    for name in dict.fromkeys([*reversed(called), "loss", *reversed(bound)]):
        value = session.namespace.get(name)
        if is_float(value) and value.ndim == 0:
            yield name


def _slice(session: Session, loss: str) -> Forward:
    """The lines that a scalar comes of."""
    frozen: set[str] = set()
    while True:
        found = _attempt(session, loss, frozen)
        bound = {name for line in found.lines for name in line.binds}
        again = bound & set(found.leaves)  # its earlier value is not there any more
        if not again:
            return found
        frozen |= again


def _attempt(session: Session, loss: str, frozen: set[str]) -> Forward:
    namespace = session.namespace
    wanted, leaves, kept = {loss}, set[str](), list[Statement]()
    begun = False
    for line in reversed(session.statements):
        begun = begun or (loss in line.binds and not isinstance(line.node, ast.AugAssign))
        mine = wanted & line.writes
        if not begun or not mine or isinstance(line.node, ast.FunctionDef | ast.ClassDef):
            continue
        if not all(_computed(session, n, line) and n not in frozen for n in mine):
            continue
        kept.append(line)
        if not isinstance(line.node, ast.AugAssign):
            wanted -= line.binds
        wanted |= line.reads
    bound = {name for line in kept for name in line.binds}
    leaves = {n for n in wanted if isinstance(namespace.get(n), torch.Tensor)}
    order = [n for line in reversed(kept) for n in _in_order(line.node) if n in leaves]
    lines = tuple(reversed(kept))
    return Forward(lines, tuple(dict.fromkeys(order)), loss, namespace if bound else {})


def _in_order(node: ast.stmt) -> list[str]:
    names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
    return [part.id for part in sorted(names, key=lambda part: (part.lineno, part.col_offset))]


def _computed(session: Session, name: str, line: Statement) -> bool:
    """Whether a name is computed from other float tensors, so that a gradient flows on."""
    value = session.namespace.get(name)
    if not is_float(value):
        return False
    if value.grad_fn is not None:
        return True
    if value.requires_grad:
        return False
    # Without autograd nothing tells but the text: what is made of no tensor is a parameter.
    read = [v for n in line.reads if is_float(v := session.namespace.get(n)) and n != name]
    return bool(read) and not any(v.grad_fn is not None for v in read)


def run(forward: Forward, dtype: torch.dtype | None = None) -> Run:
    """Run the lines again from the leaves as they are now; `dtype`: in another precision.

    Raises:
        Lacks: a line does not run, or autograd cannot go through.
    """
    names = {n for line in forward.lines for n in line.reads if n in forward.namespace}
    scope: dict[str, Any] = {**LIBRARY, **{n: forward.namespace[n] for n in names}}
    for name in forward.leaves:
        value = forward.namespace[name].detach().clone()
        if value.is_floating_point():
            value = (value if dtype is None else value.to(dtype)).requires_grad_()
        scope[name] = value
    seen = {id(scope[name]) for name in forward.leaves}
    with torch.enable_grad(), torch.random.fork_rng(devices=[]), _quiet():
        for line in forward.lines:
            try:
                run_tree([line.said], scope, line.place)
            except Exception as error:  # the person's own line
                raise Lacks(
                    f"`{line.text}` ({line.where}) does not run again: "
                    f"{type(error).__name__}: {error}",
                    hint="run the forward's cells again, in their order",
                ) from None
            for name in line.binds:
                if is_float(scope.get(name)) and id(scope[name]) in seen:
                    scope[name] = scope[name].view_as(scope[name])  # a gradient of its own
                seen.add(id(scope.get(name)))
    values = {n: scope[n] for n in forward.names if is_float(scope.get(n))}
    flowing = {n: v for n, v in values.items() if v.requires_grad}
    if forward.loss not in flowing:
        raise Lacks(f"`{forward.loss}` does not depend on a float tensor")
    found = torch.autograd.grad(scope[forward.loss], list(flowing.values()), allow_unused=True)
    gradients = {
        name: torch.zeros_like(value).detach() if gradient is None else gradient.detach()
        for (name, value), gradient in zip(flowing.items(), found, strict=True)
    }
    stale = tuple(
        name
        for name, value in values.items()
        if dtype is None and not _same(value.detach(), forward.namespace[name].detach())
    )
    plain = {name: value.detach() for name, value in values.items()}
    return Run(forward, plain, gradients, stale)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(
        one, other.to(one.dtype), rtol=1e-5, atol=1e-7, equal_nan=True
    )


def same_lines(one: Forward, other: Forward) -> bool:
    """Whether two forwards are of the same lines and the same values of what is given."""
    if [line.node for line in one.lines] != [line.node for line in other.lines]:
        texts = [[line.text for line in forward.lines] for forward in (one, other)]
        if texts[0] != texts[1]:
            return False
    return one.leaves == other.leaves and one.loss == other.loss


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()):
        yield
