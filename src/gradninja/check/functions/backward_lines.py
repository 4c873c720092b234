"""A Function's backward as lines: gradients by place, `ctx` as the values that it holds.

`grad_out` is the gradient of the output, `x, w = ctx.saved_tensors` are the values of the forward
that they hold, and what is returned in place i is the gradient of input i, whatever it is called.
All keep their places in the text, and the names that they have there (`Written.called`).
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import torch

from gradninja.check.functions.folding import A, answer
from gradninja.check.functions.function_text import Text, Unreadable
from gradninja.check.functions.held import (
    QUIET,
    Context,
    Held,
    changed,
    elements,
    fresh,
    names,
    names_in,
    pairs,
    place,
    returns_in,
)
from gradninja.check.functions.helpers import laid_in
from gradninja.check.functions.plain_forward import Put
from gradninja.check.given.backward_text import EMPTY, Inside, Within, Written
from gradninja.check.walks.trials import Trial


def lines_of(text: Text, held: Held, trial: Trial) -> Written:
    """The lines of a Function's backward, in the forward's names.

    Args:
        trial: a draw of the forward that it answers.

    Raises:
        Unreadable: `ctx` is used, or gradients are returned, in a way that is not followed.
    """
    return _Backward(text, held, trial).written()


class _Backward:
    def __init__(self, text: Text, held: Held, trial: Trial) -> None:
        self.text, self.held, self.trial = text, held, trial
        self.function = deepcopy(text.backward)
        self.laid = laid_in(self.function, text.helpers)
        self.function.body = self.laid.body
        arguments = self.function.args
        positional = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
        if not positional:
            raise Unreadable("its backward takes no `ctx`")
        self.ctx, *self.given = positional
        self.star = arguments.vararg.arg if arguments.vararg is not None else None
        self.wants = set(trial.draw.program.differentiable)
        self.known: dict[str, Any] = {
            name: A() if isinstance(value, torch.Tensor) else value
            for name, value in trial.wide.natural.items()
        }
        self.known.update({name: A() for name in trial.wide.cotangents})
        self.early = set(changed(held.made))
        self.values = held.names - self.early
        self.aliases: dict[str, ast.expr] = {}
        self.ends: ast.Return | None = None
        self.taken = names_in(self.function)
        ends = [end.value for end in returns_in(self.function) if end.value is not None]
        parts = [part for end in ends for part in elements(end) or [end]]
        self.handed = {part.id for part in parts if isinstance(part, ast.Name)}

    def written(self) -> Written:
        trial, text = self.trial, self.text
        body = _laid_out([self._without_context(s) for s in self.function.body])
        self.changed = changed(body)
        cotangents, absent, own = self._cotangents()
        self.aliases.update(cotangents)
        made = deepcopy(self.held.made)
        for statement in made:
            statement.early = True  # type: ignore[attr-defined]
        body = [*made, *own, *self._flat(body)]
        if self.ends is None or self.ends.value is None:
            raise Unreadable("its backward does not end in one `return`")
        ends = self.ends
        if any(returns_in(ast.Module(body, []))):
            raise Unreadable("its backward returns from a branch that depends on data")
        self.bound = set(changed(body))
        renamed = self._renamed(body, self._parts(ends))
        rename = _Rename(renamed, self.early)
        body = [rename.visit(statement) for statement in body]
        ends = rename.visit(ends)
        parts = self._parts(ends)
        body += self._returned(ends, parts)
        last = [trial.names.gradient(name) for name, part in parts if part is not None]
        end = ast.copy_location(ast.Return(names(last)), ends)
        end.unwritten = True  # type: ignore[attr-defined]
        body.append(end)
        called = self._called(renamed)
        ast.fix_missing_locations(ast.Module(body, []))
        read = set().union(*map(names_in, made)) & {*trial.wide.values}
        given = [*trial.wide.cotangents, *self.values, *sorted(read - self.early)]
        parameters: dict[str, Any] = dict.fromkeys(given, EMPTY)
        parameters.update(absent)
        return Written(
            name=text.function.__name__,
            file=text.file,
            text=text.text,
            statements=tuple(body),
            parameters=parameters,
            is_function=True,
            called={n: there for n, there in called.items() if n not in self.taken},
            hidden=frozenset(n for n in called if n in self.taken),
            inside=self._inside(renamed),
            held=self.values,
            again=lambda patched: lines_of(text.again(patched), self.held, trial),
        )

    # -- what it is given -------------------------------------------------------------------

    def _without_context(self, statement: ast.stmt) -> ast.stmt:
        found = Context(self.ctx, self._attribute).visit(statement)
        assert isinstance(found, ast.stmt)
        return found

    def _attribute(self, name: str, node: ast.Attribute) -> ast.expr:
        if name == "needs_input_grad":
            flags: list[ast.expr] = [ast.Constant(n in self.wants) for n in self.held.inputs]
            return ast.Tuple(flags, ast.Load())
        if name in {"saved_tensors", "saved_variables"}:
            return names(self.held.saved)
        if name not in self.held.kept or not isinstance(node.ctx, ast.Load):
            raise Unreadable(f"`{self.ctx}.{name}` is not followed (line {node.lineno})")
        return ast.Name(self.held.kept[name], ast.Load())

    def _cotangents(self) -> tuple[dict[str, ast.expr], dict[str, None], list[ast.stmt]]:
        """The backward's parameters as gradients of outputs; those of outputs without one.

        And the lines that give one a name of the person's own, where it is bound anew further down.
        """
        names_, program = self.trial.names, self.trial.draw.program
        outputs = iter(program.outputs)
        every: list[ast.expr] = []
        absent: dict[str, None] = {}
        for at, output in enumerate(self.held.outputs):
            name = next(outputs) if output is not None else None
            if name is not None and name in self.trial.wide.given:
                found = names_.gradient(names_.outputs[name])
            else:
                found = f"no_gradient_{at}"
                absent[found] = None
                self.known[found] = None
            every.append(ast.Name(found, ast.Load()))
        given = dict(zip(self.given, every, strict=False))
        if self.star is not None:
            given[self.star] = ast.Tuple(every[len(self.given) :], ast.Load())
        own: list[ast.stmt] = []
        for name in list(given):
            if name in self.changed:
                first = self.function.body[0]
                value = place(given.pop(name), ast.copy_location(ast.Constant(None), first))
                mine = ast.Assign([ast.Name(name, ast.Store())], value)
                own.append(ast.copy_location(mine, first))
                own[-1].given = own[-1].unwritten = True  # type: ignore[attr-defined]
        return given, absent, own

    # -- statements -------------------------------------------------------------------------

    def _flat(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        """The statements that run, up to the return: no branches that are known, no aliases."""
        found: list[ast.stmt] = []
        for node in body:
            if self.ends is not None:
                break
            found += self._statement(node)
        return found

    def _statement(self, node: ast.stmt) -> list[ast.stmt]:
        if isinstance(node, ast.Pass | ast.Assert):
            return []
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return []
        if isinstance(node, ast.With):
            calls = {ast.unparse(item.context_expr) for item in node.items}
            if calls <= QUIET:
                return self._flat(node.body)
        node = Put(self.aliases).visit(node)
        if isinstance(node, ast.If):
            told = answer(node.test, self.known)
            if told is not None:
                return self._flat(node.body if told else node.orelse)
        if isinstance(node, ast.Return):
            self.ends = node
            return []
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            node = ast.copy_location(ast.Assign([node.target], node.value), node)
        if isinstance(node, ast.Assign):
            return self._assigned(node)
        return [node]

    def _assigned(self, node: ast.Assign) -> list[ast.stmt]:
        """Without what only gives a value of the forward another name."""
        told = pairs(node)
        if told is None:
            return [node]
        several = list(told)
        kept = []
        for target, value in several:
            if isinstance(target, ast.Name) and self._is_alias(target.id, value):
                self.aliases[target.id] = value
            elif not (isinstance(value, ast.Constant) and value.value is None):
                kept.append((target, value))
            elif isinstance(target, ast.Name) and len(self.changed[target.id]) == 1:
                self.known[target.id] = None
        if len(kept) == len(several):
            return [node]
        made: list[ast.stmt] = []
        for target, value in kept:
            made.append(ast.copy_location(ast.Assign([target], value), node))
            if hasattr(value, "ours"):
                made[-1].given = True  # type: ignore[attr-defined]
        return made

    def _is_alias(self, name: str, value: ast.expr) -> bool:
        if len(self.changed.get(name, ())) > 1:
            return False
        if isinstance(value, ast.Tuple):
            return all(isinstance(part, ast.Name) for part in value.elts)
        if not isinstance(value, ast.Name):
            return False
        if name in self.handed and value.id in self.trial.wide.cotangents:
            return False  # `grad_x = grad_out` is the line of a gradient
        ours = {*self.held.names, *self.trial.wide.cotangents}
        crossed = name in ours or value.id in self.changed
        return value.id in ours and (name == value.id or not crossed)

    # -- what it returns --------------------------------------------------------------------

    def _parts(self, ends: ast.Return) -> list[tuple[str, ast.expr | None]]:
        """For each float input, what is returned in its place; None where that is None."""
        assert ends.value is not None
        inputs = self.held.inputs
        found = elements(ends.value)
        if found is None and len(inputs) == 1:
            found = [ends.value]
        if found is None or not len(inputs) <= len(found):
            raise Unreadable(f"what it returns is not listed by place (line {ends.lineno})")
        parts: list[tuple[str, ast.expr | None]] = []
        for name, part in zip(inputs, found, strict=False):
            nothing = isinstance(part, ast.Constant) and part.value is None
            if isinstance(part, ast.Name) and part.id in self.known and part.id not in self.bound:
                nothing = nothing or self.known[part.id] is None
            if name in self.wants:
                parts.append((name, None if nothing else part))
        return parts

    def _returned(
        self, ends: ast.Return, parts: Sequence[tuple[str, ast.expr | None]]
    ) -> Iterator[ast.stmt]:
        """A line for each gradient that has none of its own name: `dx = <what is returned>`."""
        for name, part in parts:
            gradient = self.trial.names.gradient(name)
            if part is None or (isinstance(part, ast.Name) and part.id == gradient):
                continue
            made = ast.Assign([ast.Name(gradient, ast.Store())], part)
            stands = ast.copy_location(made, ends)
            stands.within = Within(ends, part)  # type: ignore[attr-defined]
            yield stands

    # -- names ------------------------------------------------------------------------------

    def _renamed(
        self, body: list[ast.stmt], parts: Sequence[tuple[str, ast.expr | None]]
    ) -> dict[str, str]:
        """The backward's own names -> ours: gradients by what they are of, no name for two."""
        gradient, forward = self.trial.names.gradient, self.trial.names.versions
        used = {n.id for s in body for n in ast.walk(s) if isinstance(n, ast.Name)}
        values = {n for n in forward if self.trial.versions(n)}
        gradients = {gradient(n) for n in values}
        returned = Counter(p.id for _, p in parts if isinstance(p, ast.Name))
        found: dict[str, str] = {}

        def take(name: str, ours: str) -> None:
            mine = name in self.bound and name not in {*found, *gradients}
            if mine and ours not in {*used, *found.values(), *self.trial.wide.cotangents}:
                found[name] = ours

        for name, part in parts:
            if isinstance(part, ast.Name) and returned[part.id] == 1:
                other = self._of(part.id)
                if other in (None, name) or other not in self.held.inputs:
                    take(part.id, gradient(name))
        for name in sorted(self.bound):
            of = self._of(name)
            if of in values:
                take(name, gradient(of))
        # What is left must mean nothing of ours: the forward's values, the outputs' gradients. In a
        # loop a name holds one turn's part.
        ours = {*self.values, *self.trial.wide.cotangents}
        loops = [s for s in body if isinstance(s, ast.For | ast.While)]
        turns = (set(changed(loops)) & gradients) - {gradient(name) for name, _ in parts}
        for name in sorted((self.bound & ours | turns) - set(found)):
            found[name] = fresh(f"{name}_", {*used, *forward, *found.values(), *gradients})
        return found

    def _of(self, name: str) -> str | None:
        """What a name is the gradient of, by the ways in which people call gradients."""
        bare = name
        for ahead in ("grad_", "dL_d", "d_", "g_", "d"):
            if name.startswith(ahead) and len(name) > len(ahead):
                bare = name.removeprefix(ahead)
                break
        else:
            bare = name.removesuffix("_grad")
        if bare == name:
            return None
        alias = self.aliases.get(bare)
        of = alias.id if isinstance(alias, ast.Name) else bare
        return of if of in self.trial.names.versions else None

    def _called(self, renamed: dict[str, str]) -> dict[str, str]:
        """Our names -> what stands for them in the text."""
        found = {name: f"{self.ctx}.{attribute}" for attribute, name in self.held.kept.items()}
        for at, name in enumerate(self.held.saved):
            found[name] = f"{self.ctx}.saved_tensors[{at}]"
        for name, value in self.aliases.items():
            if isinstance(value, ast.Name):
                found[value.id] = name
        found.update({ours: name for name, ours in renamed.items()})
        return {ours: name for ours, name in found.items() if ours != name}

    def _inside(self, renamed: dict[str, str]) -> tuple[Inside, ...]:
        """For each helper that was laid in: its names -> ours."""

        def ours(name: str) -> str:
            alias = self.aliases.get(name)
            return alias.id if isinstance(alias, ast.Name) else renamed.get(name, name)

        return tuple(
            Inside(one.first, one.last, {there: ours(name) for there, name in one.names.items()})
            for one in self.laid.inside
        )


def _laid_out(body: list[ast.stmt]) -> list[ast.stmt]:
    """Without `x = x.contiguous()`: the same values, laid out in memory otherwise."""

    def only_moves(node: ast.stmt) -> bool:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            return False
        return ast.unparse(node.value) == f"{node.targets[0].id}.contiguous()"

    return [node for node in body if not only_moves(node)]


class _Rename(ast.NodeTransformer):
    """The person's own names; those of the forward's values are ours already."""

    def __init__(self, renamed: dict[str, str], early: set[str]) -> None:
        self.renamed, self.early = renamed, early

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self.renamed and (node.id in self.early or not hasattr(node, "ours")):
            return ast.copy_location(ast.Name(self.renamed[node.id], node.ctx), node)
        return node
