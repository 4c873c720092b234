"""Values for a Function that come with none: guessed, from names and from what its lines take."""

from __future__ import annotations

import ast
import itertools
import os
import re
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch

from gradninja.check.functions.function_text import Text
from gradninja.check.functions.held import Held
from gradninja.check.functions.return_places import given_none
from gradninja.check.given.draws import draws
from gradninja.check.given.execution import counted, quiet
from gradninja.check.given.subject import Subject
from gradninja.check.wholes.as_called import can_fork
from gradninja.lines.given.source import Source
from gradninja.lines.guess.unknown import Needed, Unknown
from gradninja.lines.scope import vjp

MOST = 600  # guesses that are tried
FEW = 16  # of those that the forward runs on, given to the backward
SHAPES = ((4, 6), (6,), (5, 6), (6, 5), (2, 4, 6), (1,), ())
NEW = (5, 3, 7, 8)  # sizes that no axis has yet
VECTORS = frozenset("bias b beta shift weight gamma scale".split())
MATRIX = re.compile(r"(w|weights?|kernel)(_\w+)?|\w+_(w|weight|kernel)|w[a-z]?")
IDS = frozenset("target targets label labels index indices idx ids token tokens".split())
MASKS = frozenset("mask masks keep".split())
POSITIVE = frozenset("var variance running_var std sigma rstd invstd scale alpha tau".split())
FLAGS = frozenset("training inplace affine causal is_causal".split())
AXES = frozenset("dim axis".split())
COUNTS = frozenset("chunks block block_size num_chunks groups bits".split())
SMALL = frozenset("eps epsilon".split())
BOUNDS = dict.fromkeys("qn qmin quant_min thd_neg min_val lower".split(), -4)
BOUNDS |= dict.fromkeys("qp qmax quant_max thd_pos max_val upper".split(), 3)
SETTING = 0.7  # no number that texts have often: a mend must not write it for the name
KNOWN = IDS | MASKS | FLAGS | AXES | COUNTS | SMALL | set(BOUNDS)


@dataclass(frozen=True)
class Guesses:
    """What values of a Function are guessed by.

    `plain`: its forward as a plain function, `node`: its `def`; `call`: its `apply`.
    """

    plain: Callable[..., Any]
    node: ast.FunctionDef
    call: Callable[..., Any]
    constant: frozenset[str] = frozenset()  # those that the backward gives None for

    def guessed(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """Values that the forward runs on, the backward too if any does; None where no guess does.

        Args:
            given: those that are known; the parameters without a default are guessed.
        """
        arguments = [*self.node.args.posonlyargs, *self.node.args.args]
        free = [a.arg for a in arguments[: len(arguments) - len(self.node.args.defaults)]]
        free = [name for name in free if name not in given]
        return self._first(_likeliest(self._completed(dict(given), free, count(1))))

    def _completed(
        self, known: dict[str, Any], free: Sequence[str], runs: Iterator[int], far: float = 0.0
    ) -> Iterator[tuple[float, dict[str, Any]]]:
        """Values that the forward runs on, each chosen when a line first needs it.

        With how far from the first choices they are.
        """
        left = [name for name in free if name not in known]
        waiting = {name: _Waiting(name, []) for name in left}
        taken = {n: v.clone() if isinstance(v, torch.Tensor) else v for n, v in known.items()}
        try:
            with torch.no_grad(), quiet():
                self.plain(**taken, **waiting)
        except Needed as needed:
            name = needed.need.path
        except Exception as error:  # it does not fit, or a line takes no such thing
            asked = [need.path for one in waiting.values() for need in one._needs]
            if not left or not (asked or _Waiting.__name__ in str(error)):
                return
            name = asked[0] if asked else left[0]
        else:
            found = {**known, **{name: next(self._choices(name, known)) for name in left}}
            ordered = [*(name for name in found if name not in free), *free]
            yield far, {name: found[name] for name in ordered}
            return
        for at, choice in enumerate(self._choices(name, known)):
            if next(runs) > MOST:
                return
            yield from self._completed({**known, name: choice}, free, runs, far + at**0.5)

    def _choices(self, name: str, known: Mapping[str, Any]) -> Iterator[Any]:
        bare = name.rstrip("0123456789_").lower()
        if name in self.constant and bare not in KNOWN:
            yield SETTING
            yield 2
        alone = bare == "b" and "a" in known  # `a, b`: two of a kind, and `b` no bias
        yield from _choices("x" if alone else name, _shapes(bare, known, alone), name)

    def filled(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Tensors for the parameters that are None unless they are given, where one matters.

        Args:
            values: those that are known, which the forward runs on.
        """
        found = dict(values)
        for name in optional(self.node):
            if found.get(name) is None:
                shapes = _shapes_beside(self.plain, found)
                tensors = [c for c in _choices(name, shapes) if isinstance(c, torch.Tensor)]
                tried = ({**found, name: one} for one in tensors)
                found = self._first(v for v in tried if self._matters(v, name)) or found
        return {name: value for name, value in found.items() if name not in values}

    def _first(self, guesses: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
        """The first that the backward runs on as well; else the first that the forward runs on."""
        running = (values for values in guesses if _runs(self.plain, values))
        first = next(running, None)
        if first is None or self._whole([first]) == 0:
            return first
        others = list(itertools.islice(running, FEW))
        at = self._whole(others)
        return first if at is None else others[at]

    def _whole(self, guesses: Sequence[Mapping[str, Any]]) -> int | None:
        """Which of several goes through to the gradients, tried in a fork: nothing is run yet."""

        def goes(values: Mapping[str, Any]) -> bool:
            return _runs(lambda **v: self.call(*v.values()), values, back=True)

        if not can_fork(engine=True):
            return next((at for at, values in enumerate(guesses) if goes(values)), None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other threads: torch's own, which stay idle
            pid = os.fork()
        if pid == 0:
            found = 255
            try:
                torch.set_num_threads(1)
                for stream in (0, 1, 2):
                    os.dup2(os.open(os.devnull, os.O_RDWR), stream)
                found = next((at for at, values in enumerate(guesses) if goes(values)), 255)
            finally:
                os._exit(found)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return code if 0 <= code < len(guesses) else None

    def _matters(self, values: Mapping[str, Any], name: str) -> bool:
        """Whether what is returned is another one without it."""
        with torch.no_grad(), quiet(), counted():
            try:
                found = self.plain(**values)
            except Exception:  # it does not fit
                return False
            try:
                without = self.plain(**{**values, name: None})
            except Exception:  # it cannot be left out beside these
                return True
        one, other = (list(p) if isinstance(p, tuple) else [p] for p in (found, without))
        return not (len(one) == len(other) and all(map(_same, one, other)))


def values_of(
    subject: Subject, source: Source, held: Held, text: Text
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The inputs by the names of the forward: given, those of a plain forward, or guessed.

    And what is said of them.
    """
    given = subject.inputs
    if given is None and subject.source is not None:
        given = draws(subject.source, subject.forward, None)[0].inputs
    if given is not None:
        if not set(given) & set(held.inputs):  # other names: in the order of the forward
            given = dict(zip(held.inputs, given.values(), strict=False))
        known = {name: value for name, value in given.items() if name in held.inputs}
    else:
        known = {}
    assert source.live is not None
    constant = given_none(text) & set(held.inputs)
    guesses = Guesses(source.live, source.function, subject.backward.apply, frozenset(constant))
    arguments = source.function.args
    free = arguments.args[: len(arguments.args) - len(arguments.defaults)]
    bare = [a.arg for a in free if a.annotation is None or "[" not in ast.unparse(a.annotation)]
    made: dict[str, Any] = {}
    if not set(bare) <= set(known):
        found = guesses.guessed(known)
        if found is None:
            return known or None, ()
        made = {name: value for name, value in found.items() if name not in known}
    if set(optional(source.function)) - set(known):  # nobody says that they are None
        values = {**known, **made}
        values = values or draws(source, source, None)[0].inputs
        made |= guesses.filled(values)
        known = {**values, **known} if made else known
    return {**known, **made} or None, (told(made),) if made else ()


def optional(node: ast.FunctionDef) -> list[str]:
    """The parameters whose default is None."""
    arguments = node.args
    plain = [*arguments.posonlyargs, *arguments.args]
    pairs = [
        *zip(plain[len(plain) - len(arguments.defaults) :], arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return [a.arg for a, d in pairs if isinstance(d, ast.Constant) and d.value is None]


def told(values: Mapping[str, Any]) -> str:
    """What was guessed, in words."""
    shown = (
        f"{name} {tuple(value.shape)}" if isinstance(value, torch.Tensor) else f"{name} {value!r}"
        for name, value in values.items()
    )
    return f"no values are given, these are guessed: {', '.join(shown)}; a function inputs() says"


def _shapes_beside(plain: Callable[..., Any], values: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """The shapes that a parameter beside known ones may have: a row of what is returned, first."""
    with torch.no_grad(), quiet(), counted():
        try:
            found = plain(**values)
        except Exception:  # it cannot be left out
            found = ()
    outputs = list(found) if isinstance(found, tuple) else [found]
    shapes = [tuple(v.shape) for v in (*outputs, *values.values()) if isinstance(v, torch.Tensor)]
    sizes = dict.fromkeys(size for shape in shapes for size in reversed(shape))
    return [*((size,) for size in sizes), *dict.fromkeys(shapes)]


def _shapes(name: str, known: Mapping[str, Any], alone: bool = False) -> Sequence[tuple[int, ...]]:
    """The shapes that a parameter may have beside those that are known, the likeliest first."""
    shapes = [tuple(v.shape) for v in known.values() if isinstance(v, torch.Tensor) and v.ndim]
    first = [(6,)] if name in VECTORS else [(6, 5), (5, 6)] if MATRIX.fullmatch(name) else []
    if not shapes:
        return [*first, *SHAPES]
    sizes = list(dict.fromkeys(size for shape in reversed(shapes) for size in reversed(shape)))
    new = next(size for size in NEW if size not in sizes)
    vectors = [(size,) for size in sizes]
    matrices = [pair for size in sizes for pair in ((size, new), (new, size))]
    known_pairs = list(itertools.permutations(sizes, 2))
    if name in VECTORS and not alone:
        return [*first, *vectors, *matrices, *known_pairs, *shapes, *SHAPES]
    if MATRIX.fullmatch(name):
        return [*first, *matrices, *vectors, *known_pairs, *shapes, *SHAPES]
    if all(MATRIX.fullmatch(n) for n, v in known.items() if isinstance(v, torch.Tensor)):
        return [*matrices[1::2], *shapes, *SHAPES]  # rows of data beside weights
    return [*shapes, *SHAPES[:4], *matrices, *known_pairs, *vectors, *SHAPES]


def _choices(
    name: str, shapes: Sequence[tuple[int, ...]] = SHAPES, seed: str | None = None
) -> Iterator[Any]:
    generator = torch.Generator().manual_seed(zlib.crc32((seed or name).encode()))
    bare = name.rstrip("0123456789_").lower()
    if bare in MASKS or bare.endswith("_mask"):
        for shape in shapes:
            yield torch.rand(shape, generator=generator) > 0.4
    if bare in IDS:
        yield torch.tensor([0, 2, 2, 1])
        yield torch.tensor([[0, 2], [2, 1]])
    elif bare in FLAGS:
        yield True
    elif bare in AXES:
        yield -1
    elif bare in COUNTS:
        yield 2
    elif bare in SMALL:
        yield 1e-5
    elif bare in BOUNDS:
        yield BOUNDS[bare]
    for shape in dict.fromkeys(shapes):
        drawn = torch.randn(shape, generator=generator)
        if bare in IDS:  # one of two, where no id is taken
            drawn = (drawn > 0).to(drawn.dtype)
        yield drawn.abs() + 0.1 if bare in POSITIVE else drawn
    yield SETTING
    yield 2


def _likeliest(found: Iterator[tuple[float, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The first, then the others, the nearest to the first choices first."""
    for _, values in itertools.islice(found, 1):
        yield values
    for _, values in sorted(found, key=lambda pair: pair[0]):
        yield values


class _Waiting(Unknown):
    """Stands for a value that torch may be handed as well."""

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        parts = [*args, *(kwargs or {}).values()]
        parts += [one for part in parts if isinstance(part, tuple | list) for one in part]
        next(part for part in parts if isinstance(part, Unknown))._need("array")


def _runs(call: Callable[..., Any], values: Mapping[str, Any], *, back: bool = False) -> bool:
    """Whether something finite comes out; `back`: gradients of the floats as well."""
    taken = {
        n: v.clone().requires_grad_(v.is_floating_point()) if isinstance(v, torch.Tensor) else v
        for n, v in values.items()
    }
    try:
        with torch.enable_grad(), quiet(), counted():
            found = call(**taken)
            several = found if isinstance(found, tuple) else (found,)
            floats = [o for o in several if isinstance(o, torch.Tensor) and o.is_floating_point()]
            wanted = [v for v in taken.values() if isinstance(v, torch.Tensor) and v.requires_grad]
            flowing = [o for o in floats if o.requires_grad]
            if back and flowing:
                ones = [torch.ones_like(o) for o in flowing]
                vjp(flowing, wanted, ones)
    except Exception:  # a guess that does not fit
        return False
    return bool(floats) and all(bool(torch.isfinite(o).all()) for o in floats)


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return type(one) is type(other)
    return one.shape == other.shape and torch.equal(one, other)
