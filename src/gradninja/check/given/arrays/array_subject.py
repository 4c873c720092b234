"""A text of arrays to be judged, in torch's words: the forms in which people write a backward.

`x_forward(...)` -> `(out, cache)` beside `x_backward(dout, cache)`; a loss and its gradients in one
function; a class whose `forward` keeps what its `backward` reads. Each becomes a forward and the
lines that answer it, which are judged as all others are. Every node keeps its place in the text.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gradninja.check.given.arrays.around import (
    as_function,
    as_numpy,
    given_to,
    imports_of,
    instance_of,
    is_loaded,
    read_in,
    with_tensors,
)
from gradninja.check.given.arrays.array_types import ArraySubject, SeveralForwards
from gradninja.check.given.arrays.cost_functions import with_cost
from gradninja.check.given.arrays.fitting import (
    SOME,
    answer_of,
    counterpart,
    given_beside,
    in_torch,
    spoken_by,
    steep_of,
    with_arrays_around,
    with_cache,
    with_cotangent,
)
from gradninja.check.given.arrays.layer import (
    functional,
    layer_of,
    plain_functions,
    static_methods,
)
from gradninja.check.given.arrays.live_pair import live_pair
from gradninja.check.given.arrays.people import (
    answering,
    of_layer,
    with_guesses,
)
from gradninja.check.given.arrays.scripts import (
    as_run,
    counted,
    function_of,
    script_of,
    stirred,
    told_apart,
)
from gradninja.check.given.arrays.speech import (
    called_by_torch,
    in_torch_words,
    lines_in_torch_words,
)
from gradninja.check.given.arrays.spelling import respelt
from gradninja.check.given.backward_text import EMPTY, Written
from gradninja.check.given.backwards import loose_from, pair_of
from gradninja.check.given.module import run_module
from gradninja.check.given.texts import text_at
from gradninja.check.tell.findings import CheckError
from gradninja.errors import ReadError
from gradninja.lines.given.source import (
    USUAL_ALIASES,
    Source,
    aliases,
    constants,
    load,
    plain_of,
)
from gradninja.lines.guess import hints_of, reached
from gradninja.lines.ndarray import (
    TORCH,
    as_tensors,
    backward_within,
    dialect_of,
    forward_of,
    names_of,
)


def array_subject(
    forward: Any, backward: Any, inputs: Mapping[str, Any] | None
) -> ArraySubject | None:
    """What is judged of a forward in one of these forms; None where it is in none of them.

    Raises:
        ReadError, CheckError: a file or function is missing, is no Python, or does not run.
    """
    if isinstance(forward, types.FunctionType) and isinstance(backward, types.FunctionType):
        return live_pair(forward, backward, inputs)
    if not isinstance(forward, str | Path):
        return None
    here = text_at(forward, "<text>")
    dialect = dialect_of(here.tree, {**USUAL_ALIASES, **aliases(here.tree)})
    if dialect is None or (dialect == TORCH and (called_by_torch(here.tree) or pair_of(here))):
        return None
    text_of, name = _Text(here.file, here.text, here.tree, dialect), here.name
    if name is not None and "backward" in name and backward is None:
        name, backward = name.replace("backward", "forward"), name
    name = name or text_of.forward_named()
    name = text_of.static.get(name or "", {}).get("forward", name)
    if name in text_of.classes:
        return text_of.layer(name, inputs)
    if name is None and backward is None and "forward" not in text_of.functions:
        return text_of.flat()
    if name is None or name not in text_of.functions:
        return None
    return text_of.pair(name, backward, inputs)


class _Text:
    """A file's text, the names that it makes, and both in torch's words.

    `static`: of each class its methods that are plain functions, and how these are called.
    """

    def __init__(self, file: str, text: str, tree: ast.Module, dialect: str) -> None:
        self.file, self.text, self.tree, self.dialect = file, text, tree, dialect
        self.plain = frozenset(constants(tree))
        self.known = {**USUAL_ALIASES, **aliases(tree)}
        spoken = in_torch_words(dialect, tree, self.known, self.plain)
        self.functions = plain_functions(spoken)
        self.classes = {n.name: n for n in spoken.body if isinstance(n, ast.ClassDef)}
        self.static = {name: static_methods(node) for name, node in self.classes.items()}

    def parsed(self, name: str) -> Source:
        """A function up to its outputs."""
        function, kept = forward_of(self.functions[name])
        return Source(
            self.file,
            self.text,
            function,
            self.functions,
            self.known,
            constants(self.tree),
            dialect=self.dialect,
            kept=kept,
        )

    def forward_named(self) -> str | None:
        """The one forward of a file whose name is not given.

        Raises:
            SeveralForwards: there are several.
        """
        if "forward" in self.functions:
            plain = self.dialect == TORCH and forward_of(self.functions["forward"])[1] is None
            return None if plain else "forward"  # without a cache, as all of torch's functions
        functions = self.functions
        names = [n for n in functions if "forward" in n and counterpart(n, functions)]
        names += [n for n in functions if n not in names and f"{n}_backward" in functions]
        answers = {counterpart(n, functions) for n in names}
        names += [n for n, v in functions.items() if backward_within(v) and n not in answers]
        names += [n for n, node in self.classes.items() if layer_of(node) is not None]
        if len(names) > 1:
            raise SeveralForwards(self.file, names)
        return names[0] if names else None

    def run(self, tree: ast.Module) -> dict[str, Any]:
        """The names that the file makes, run; those of static methods, too."""
        names = run_module(tree, self.file)
        for kind, methods in self.static.items():
            names.update({ours: getattr(names[kind], name) for name, ours in methods.items()})
        return names

    def anew(self, text: str) -> _Text:
        """The same file with another text: mended."""
        return _Text(self.file, text, ast.parse(text), self.dialect)

    def pair(
        self, name: str, backward: Any, inputs: Mapping[str, Any] | None
    ) -> ArraySubject | None:
        """A function, and the function or the lines that answer it."""
        source = self.parsed(name)
        loose = loose_from(self.tree, (source.function.end_lineno or 0) + 1)
        answer = backward or counterpart(name, self.functions)
        whole = self.functions[name]
        within = bool(backward_within(whole))
        plain = source.kept is None and answer in (None, "backward", "backprop")
        if plain and not within and self.dialect == TORCH:
            return None  # read where all of torch's are: a `forward`, a `backward`, loose lines
        pasted = loose if answer is None and not within else []
        left = [
            n for n in loose if isinstance(n, ast.For | ast.While)
        ]  # a training, an endless one
        kept = [node for node in self.tree.body if node not in pasted and node not in left]
        names = self.run(ast.Module(kept, []))
        space = in_torch(names, list(self.functions.values()), self.file)
        source, around = with_arrays_around(source, space)
        source = replace(source, spoken=spoken_by(names[name], source.kept))
        given = given_to(inputs, names, source)
        if answer is None:
            written = self.within(name, source.function) if within else self.pasted(pasted)
            if not written.statements:
                return None
            real = names[name]
            given, notes = with_guesses(source, whole, given, names, real, None, [real])
            given = with_tensors(given, around)
            called = (names[name], space[name]) if within else None
            return ArraySubject(
                source,
                source,
                written,
                space,
                given,
                self.file,
                called=called,
                notes=notes,
                within=within,
            )
        node, text, file, around_it = self._answer(answer, space)
        real = {**names, **around_it}.get(node.name)
        back = answering(real, node, source, whole) if callable(real) else None
        source, forward = with_cache(source, whole, node), names[name]
        costed = with_cost(source, node, names, spoken_by(forward, source.kept))
        if costed is not None:
            source, forward = costed.source, costed.run
        both = [names[name], real]
        given, notes = with_guesses(source, whole, given, names, forward, back, both, answer=node)
        given = with_tensors(given, around)
        written = answer_of(source, node, text, file, space)
        called = (real, written.function) if callable(real) and written.function else None
        return ArraySubject(
            source, source, written, space, given, self.file, called=called, notes=notes
        )

    def flat(self) -> ArraySubject | None:
        """A script without a forward of its own: what stands in its loop, or behind it."""
        script = script_of(self.tree)
        if script is None or not script.backward:
            return None
        defined = [n for n in self.tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        before = [n for n in script.before if n not in defined]
        names = run_module(ast.Module([*imports_of(self.tree), *defined, *before], []), self.file)
        space = in_torch(names, list(self.functions.values()), self.file)
        plain = {n: v for n, v in plain_of(names).items() if n in read_in(script.forward)}
        source = Source(
            self.file,
            self.text,
            function_of(
                script,
                lines_in_torch_words(self.dialect, script.forward, self.known, frozenset(plain)),
            ),
            self.functions,
            self.known,
            plain,
            dialect=self.dialect,
            spoken=as_run(script, names),
        )
        source, around = with_arrays_around(source, space)
        picks = hints_of(reached(source.function, self.functions)).indices
        given = {n: v if n in picks else counted(v) for n, v in around.items()}
        given = {
            n: stirred(n, v) if n in script.learned else told_apart(v, script.learned)
            for n, v in given.items()
        }
        written = self.flat_lines(source.function)
        return ArraySubject(source, source, written, space, given, self.file)

    def flat_lines(self, forward: ast.FunctionDef) -> Written:
        script = script_of(self.tree)
        found = [] if script is None else script.backward
        lines = lines_in_torch_words(self.dialect, found, self.known, self.plain)
        lines, called = respelt(lines, names_of(forward))
        return self.lines(lines, forward, called, lambda text: text.flat_lines(forward))

    def within(self, name: str, forward: ast.FunctionDef) -> Written:
        """The lines of a function that go back from its loss; `forward`: those that lead there."""
        function = self.functions[name]
        formals = [a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)]
        lines, called = steep_of(function, formals)
        lines, more = respelt(lines, names_of(forward))
        called |= more
        written = self.lines(lines, forward, called, lambda text: text.within(name, forward))
        return replace(written, gives=given_beside(function, called))

    def pasted(self, lines: list[ast.stmt]) -> Written:
        """The lines that stand behind a forward."""
        found = tuple(lines_in_torch_words(self.dialect, lines, self.known))
        return Written("backward", self.file, self.text, found, {}, False)

    def lines(
        self,
        lines: Sequence[ast.stmt],
        forward: ast.FunctionDef,
        called: Mapping[str, str],
        again: Callable[[_Text], Written],
        also: Collection[str] = (),
    ) -> Written:
        """Lines that have all of a forward's names at hand; `also`: others that they are handed."""
        read = {n.id for line in lines for n in ast.walk(line) if isinstance(n, ast.Name)}
        nodes = [n for n in ast.walk(forward) if isinstance(n, ast.Name | ast.arg)]
        own = {n.arg if isinstance(n, ast.arg) else n.id for n in nodes if not is_loaded(n)}
        known = own | set(also)
        handed = dict.fromkeys(sorted(read & known), EMPTY)
        return Written(
            "backward",
            self.file,
            self.text,
            tuple(lines),
            handed,
            True,
            called=called,
            again=lambda text: again(self.anew(text)),
        )

    def _answer(
        self, backward: Any, space: dict[str, Any]
    ) -> tuple[ast.FunctionDef, str, str, Mapping[str, Any]]:
        """The function that a backward is, its text and file, and the names around it."""
        if isinstance(backward, str) and backward in self.functions:
            return self.functions[backward], self.text, self.file, {}
        if isinstance(backward, str) and backward.isidentifier():
            raise ReadError(
                f"{self.file} has no function named {backward}",
                hint=f"it has: {', '.join(self.functions)}",
            )
        source = load(backward, default="backward", dialect=self.dialect)
        if isinstance(backward, types.FunctionType):
            around: Mapping[str, Any] = backward.__globals__
            others: list[ast.FunctionDef] = []
        else:
            around = run_module(ast.parse(source.text), source.file)
            others = list(source.functions.values())
        space.update(
            {k: v for k, v in in_torch(around, others, source.file).items() if k not in space}
        )
        return source.functions[source.function.name], source.text, source.file, around

    def layer(self, name: str, inputs: Mapping[str, Any] | None) -> ArraySubject:
        """A class, as a function and the lines that answer it."""
        layer = layer_of(self.classes[name])
        if layer is None:
            raise CheckError(
                f"`{name}` has no `forward` and `backward`", hint="write both as its methods"
            )
        names = self.run(self.tree)
        made, own = instance_of(name, names, layer, self.dialect)
        space = in_torch(names, list(self.functions.values()), self.file)
        plain = functional(layer, as_tensors(made), self.file)
        space.update(plain.held)
        source = Source(
            self.file,
            self.text,
            plain.forward,
            self.functions,
            self.known,
            {n: v for n, v in plain.held.items() if not isinstance(v, torch.Tensor)},
            dialect=self.dialect,
            spoken=as_numpy(made, layer, plain.written),
        )
        kept = {a.arg for a in plain.forward.args.kwonlyargs}
        around = {n: v for n, v in plain.held.items() if n in kept}
        forward, backward = of_layer(layer, made, None)
        given, notes = with_guesses(
            source,
            layer.node,
            given_to(inputs, names, source),
            {**names, **vars(made)},
            forward,
            backward,
            [getattr(type(made), method.name) for method in (layer.forward, layer.backward)],
            None if layer.whole is None else forward_of(layer.whole)[1],
        )
        given = with_tensors(given, around)
        node, called, settings = with_cotangent(source, as_function(layer.backward, plain.lines))
        space.update(dict.fromkeys(settings, SOME))
        # What it keeps in `self` it has of the forward: it is handed that, and no more.
        known = names_of(plain.forward) | set(plain.held)
        lines, more = respelt(node.body, known)
        written = self.lines(
            lines,
            plain.forward,
            {**called, **more},
            lambda text: text.layer(name, inputs).backward,
            {*(plain.held.keys() - source.constants), *(a.arg for a in node.args.args)},
        )
        return ArraySubject(
            source,
            source,
            written,
            space,
            given,
            self.file,
            names=plain.written,
            notes=(*own, *notes),
        )
