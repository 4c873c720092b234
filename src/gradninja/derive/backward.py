"""What deriving gives: a backward pass as lines, as text that runs alone, and as a function."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from gradninja.derive.function import function_source
from gradninja.derive.holding.dtypes import default_dtype
from gradninja.derive.holding.sizes import HINT, Sizes, hold
from gradninja.derive.loops import looped
from gradninja.derive.results import BackwardLine, Gradients
from gradninja.derive.said import hold_said, pair_source
from gradninja.derive.statement import Statement, returned, signature, with_imports
from gradninja.errors import DeriveError
from gradninja.lines import Line, Program
from gradninja.lines.given.packed import spread
from gradninja.lines.ndarray import NUMPY, as_arrays, as_float64, as_tensors, holds_arrays
from gradninja.lines.scope import LIBRARY, run, value_of
from gradninja.rules import BOOK, Book

WIDEST = 64  # characters of a line that still moves the column in which the rules stand


@dataclass(frozen=True, eq=False)
class Backward:
    """The backward pass of a forward. See `gradninja.derive`."""

    program: Program
    style: str
    statements: tuple[Statement, ...]
    gradient_names: Mapping[str, str]
    book: Book = field(default=BOOK, kw_only=True)  # whose rules made it

    @cached_property
    def lines(self) -> tuple[BackwardLine, ...]:
        """The backward pass, line by line."""
        return tuple(self._told(statement) for statement in self.statements)

    def _told(self, statement: Statement) -> BackwardLine:
        return BackwardLine(
            name=statement.target,
            of=statement.of,
            source=self.program.say(str(statement)),
            code=str(statement),
            forward=statement.line,
            rules=tuple(rule.name for rule in statement.rules),
            why=(*dict.fromkeys(rule.why for rule in statement.rules), *statement.notes),
            shape=statement.shape,
            axes=self.program.axes_of(statement.shape),
        )

    @property
    def parameters(self) -> dict[str, str]:
        """The inputs that are a module's own tensors: `{"fc1_weight": "fc1.weight"}`."""
        live = self.program.live
        if live is None:
            return {}
        own = live.own_names
        return {i.name: own[i.name] for i in self.program.inputs if i.name in own}

    @cached_property
    def scalar(self) -> bool:
        """Whether the output is one 0-dim tensor: its cotangent is then 1 and need not be given."""
        values = self.program.values
        return len(self.outputs) == 1 and values[self.outputs[0]].ndim == 0

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that a gradient leads back from: ints and what is detached have none."""
        return self.program.flowing

    @property
    def cotangents(self) -> tuple[str, ...]:
        """The names of the gradients of the outputs."""
        return tuple(self.gradient_names[name] for name in self.outputs)

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """The names of the forward that the backward lines read, in the forward's order."""
        read = {
            node.id
            for statement in self.statements
            for node in ast.walk(statement.tree())
            if isinstance(node, ast.Name)
        }
        if self.scalar:
            read.add(self.outputs[0])
        return tuple(name for name in self.program.values if name in read)

    @cached_property
    def kept(self) -> tuple[str, ...]:
        """The intermediates of the forward whose values the backward needs."""
        given = {i.name for i in self.program.inputs}
        return tuple(name for name in self.arguments if name not in given)

    @cached_property
    def not_kept(self) -> tuple[str, ...]:
        """The intermediates that may be forgotten once the forward has run."""
        given = {i.name for i in self.program.inputs}
        needed = given | set(self.arguments) | set(self.program.outputs)
        return tuple(name for name in self.program.values if name not in needed)

    @cached_property
    def source(self) -> str:
        """`def backward(...)` as text that runs alone, given the forward's values."""
        if self.program.dialect != NUMPY:
            return self.code
        return hold_said(self, self._text(self.arguments, self._seed, say=self.program.say))

    @cached_property
    def code(self) -> str:
        """`source` in torch's words, whatever the forward speaks."""
        return self._text(self.arguments, self._seed)

    @cached_property
    def seeded_source(self) -> str:
        """The same in torch's words, with the cotangent of a 0-dim output as a last argument."""
        if self.scalar:
            return self._text((*self.arguments, *self.cotangents), [])
        return self._text(self.arguments, [])

    @cached_property
    def annotated(self) -> str:
        """`source` with the rules behind each line beside it: what `gradninja derive` prints."""
        if self.program.dialect == NUMPY:
            _ = self.source  # which is held to what was derived
        return self._text(self.arguments, self._seed, rules=True, say=self.program.say)

    @cached_property
    def looped(self) -> str:
        """A forward and its backward as text in which the person's loops stay loops.

        Empty where there is no loop of four turns or more, or where its turns differ. The forward
        gives its outputs and then what the backward takes, in lists where it is a turn's.
        """
        if self.program.dialect == NUMPY:
            return ""
        with self.as_read():
            return looped(self)

    @property
    def _seed(self) -> list[str]:
        if not self.scalar:
            return []
        return [f"{self.cotangents[0]} = torch.ones_like({self.outputs[0]})"]

    def _text(
        self,
        arguments: tuple[str, ...],
        first: list[str],
        rules: bool = False,
        say: Callable[[str], str] = str,
    ) -> str:
        if not self.scalar:
            arguments = tuple(dict.fromkeys((*arguments, *self.cotangents)))
        end = returned([self.gradient_names[name] for name in self.program.differentiable])
        lines = [*map(say, first), *self.body(rules, say), *end]
        body = "\n".join(f"    {line}" for line in lines)
        return with_imports(f"{signature('backward', arguments)}\n{body}\n")

    def body(self, rules: bool = False, say: Callable[[str], str] = str) -> list[str]:
        """The backward lines as text, each group under the forward line that it answers.

        `say`: puts them in the words of a dialect.
        """
        texts = [say(str(statement)) for statement in self.statements]
        column = max((len(text) for text in texts if len(text) <= WIDEST), default=0)
        found: list[str] = []
        line: Line | None = None
        for statement, text in zip(self.statements, texts, strict=True):
            if statement.line is not line:
                line = statement.line
                found.append(f"# {say(line.code)}")
            names = ", ".join(dict.fromkeys(rule.name for rule in statement.rules))
            found.append(f"{text:{column}}  # {names}" if rules and names else text)
        return found

    @cached_property
    def function_source(self) -> str:
        """A whole `torch.autograd.Function` as text, and a function that applies it.

        In NumPy's words: a forward that gives its output and a cache, and the backward of both.
        """
        if self.program.dialect == NUMPY:
            _ = self.source
            return pair_source(self)
        return function_source(self)

    @cached_property
    def forward_source(self) -> str:
        """The forward in names that are bound once, giving its output and the values kept."""
        kept = [name for name in self.kept if name not in self.program.outputs]
        return self._forward(*self.program.outputs, *kept)

    @cached_property
    def whole_forward(self) -> str:
        """The forward in names that are bound once, giving its output alone."""
        return self._forward(*self.program.outputs)

    def _forward(self, *handed: str) -> str:
        names = [
            f"{given.name}={given.value!r}" if given.optional else given.name
            for given in self.program.inputs
        ]
        body = [f"    {self.program.say(line.code)}" for line in self.program.lines]
        body += [f"    {line}" for line in returned(handed)]
        return with_imports("\n".join([signature("forward", names), *body]) + "\n")

    # -- running ----------------------------------------------------------------------------

    @cached_property
    def _function(self) -> Callable[..., Any]:
        scope: dict[str, Any] = {**LIBRARY, **self.program.namespace}
        run([self.seeded_source], scope, "<backward>")
        function: Callable[..., Any] = scope["backward"]
        return function

    def forward_values(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Every name's value when the forward runs on these inputs (defaults may be left out).

        Raises:
            DeriveError: an input is missing or unknown, or sizes differ where the reading of a
                loop or branch depended on them.
        """
        live = self.program.live
        names = [given.name for given in self.program.inputs]
        if live is not None:
            inputs = {live.paths.get(name, name): value for name, value in inputs.items()}
        inputs = spread(self.program.packed, inputs)
        unknown = set(inputs) - set(names)
        if unknown:
            raise DeriveError(
                f"the forward has no input `{min(unknown)}`",
                hint=f"its inputs are: {', '.join(names)}",
            )
        scope: dict[str, Any] = {**LIBRARY, **self.program.namespace}
        values: dict[str, Any] = {}
        for given in self.program.inputs:
            value = given.value
            if given.name in inputs:
                value = inputs[given.name]
            elif live is not None and given.name in live.tensors:
                value = live.now[given.name]
            elif not given.optional:
                raise DeriveError(f"no value for `{given.name}` is given")
            values[given.name] = value.detach() if isinstance(value, torch.Tensor) else value
        scope.update(values)
        with torch.no_grad(), self._numbers():
            try:
                run((line.code for line in self.program.lines), scope, "<forward>")
            except Exception as error:
                raise DeriveError(f"the forward does not run on these inputs: {error}") from None
        for line in self.program.lines:
            values.update({name: scope[name] for name in line.targets})
        for assumption in self.program.assumptions:
            now = value_of(assumption.syntax, scope)
            if now != assumption.value:
                raise DeriveError(
                    f"`{ast.unparse(assumption.syntax)}` is {now} and was {assumption.value} when "
                    "the forward was read",
                    spot=assumption.spot,
                    hint="what was read for one size does not hold for another: derive again",
                )
        return values

    def forward(self, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Any, ...]]:
        """The same, and the sizes of all that it is made of, with what is given beside tensors.

        Raises:
            DeriveError: as for `forward_values`.
        """
        with Sizes() as sizes:
            values = self.forward_values(inputs)
        given = [values[each.name] for each in self.program.inputs]
        plain = [repr(value) for value in given if not isinstance(value, torch.Tensor)]
        return values, (*plain, *sizes.seen)

    @contextmanager
    def as_read(self) -> Iterator[None]:
        """The default dtype that the forward was read with; no random number is used up."""
        quiet = warnings.catch_warnings()
        with default_dtype(self.program.default), torch.random.fork_rng(devices=[]), quiet:
            warnings.simplefilter("ignore")
            yield

    @cached_property
    def _held(self) -> set[tuple[Any, ...]]:
        """The sizes at which the lines are known to give autograd's gradients."""
        with self.as_read():
            return {self.forward({given.name: given.value for given in self.program.inputs})[1]}

    def __call__(
        self, inputs: Mapping[str, Any], grad: torch.Tensor | tuple[torch.Tensor, ...] | None = None
    ) -> dict[str, torch.Tensor]:
        """The gradients of the wanted inputs: `{"dx": tensor}`, each of its input's shape.

        At sizes that are new the lines are first compared with autograd's gradients, in the
        precision that the forward was read in.

        Args:
            inputs: a tensor for every input, of any sizes that fit the forward.
                A module's own parameters and buffers may be left out: they are what they are now.
            grad: the cotangent, of the output's shape; for several outputs a tuple. None means 1
                for the one 0-dim output, a loss, and 0 for what is returned beside it.

        Arrays of NumPy's are taken as well, and answered with arrays.
        A module's gradients are found by its own names as well: `found["fc1.weight"]`.

        Raises:
            DeriveError: values or a cotangent that do not fit, or sizes at which the lines do not
                give autograd's gradients.
        """
        arrays = holds_arrays(inputs)
        if arrays:
            inputs, grad = as_tensors(as_float64(dict(inputs))), as_tensors(as_float64(grad))
        values, sizes = self.forward(inputs)
        if sizes not in self._held:
            hold(self, values, sizes)
            self._held.add(sizes)
        outputs = [values[name] for name in self.outputs]
        if grad is None:
            if [output.ndim for output in outputs].count(0) != 1:
                raise DeriveError(
                    f"the output `{self.outputs[0]}` is no 0-dim tensor",
                    hint="give its cotangent, a tensor of its shape, as `grad`",
                )
            grad = tuple(torch.full_like(output, output.ndim == 0) for output in outputs)
        grads = self.program.of_flowing(grad if isinstance(grad, tuple | list) else (grad,))
        if [tuple(g.shape) for g in grads] != [tuple(o.shape) for o in outputs]:
            raise DeriveError(
                f"the cotangent has shape {[tuple(g.shape) for g in grads]}, "
                f"the output {[tuple(o.shape) for o in outputs]}"
            )
        found = self.run(values, dict(zip(self.outputs, grads, strict=True)))
        paths = {} if self.program.live is None else self.program.live.paths
        named = {f"d{name}": gradient for name, gradient in found.items()}
        return Gradients(as_arrays(named) if arrays else named, paths)

    def run(
        self, values: Mapping[str, Any], cotangents: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Run the text on the forward's values: the gradient of each wanted input, by its name.

        Args:
            values: every name's value, as `forward_values` gives them.
            cotangents: one for each of `outputs`.

        Raises:
            DeriveError: the text does not run on them.
        """
        arguments = {name: values[name] for name in self.arguments}
        arguments.update({self.gradient_names[of]: g for of, g in cotangents.items()})
        with torch.no_grad(), self._numbers():
            try:
                found = self._function(**arguments)
            except (RuntimeError, ArithmeticError, IndexError, ValueError) as error:
                raise DeriveError(
                    f"these inputs do not fit the derived backward: {error}", hint=HINT
                ) from None
        several = found if isinstance(found, tuple) else (found,)
        return dict(zip(self.program.differentiable, several, strict=True))

    def _numbers(self) -> AbstractContextManager[None]:
        """NumPy makes doubles; torch what its default is."""
        wide = self.program.dialect == NUMPY
        return default_dtype(torch.float64) if wide else nullcontext()

    def __repr__(self) -> str:
        return self.annotated
