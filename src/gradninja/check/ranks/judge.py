"""Judging a rank's backward: what the ranks end with, and the smallest edit that mends it."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gradninja.check.given.plan import bound, written
from gradninja.check.ranks.collective_edits import Edit, edits, is_collective
from gradninja.check.ranks.stand_ins import around, names_of, prepared
from gradninja.check.tell.findings import CheckError, LineReport, Report, Verdict
from gradninja.derive import derive
from gradninja.derive.holding.against_autograd import cotangents_of
from gradninja.derive.holding.dtypes import default_dtype
from gradninja.errors import DeriveError
from gradninja.files import is_named
from gradninja.lines.given.source import Source, load
from gradninja.ranks import Sharded, shard
from gradninja.ranks.mesh import Mesh, cut, largest, same
from gradninja.ranks.simulate import simulate

COUNTS = (3, 2)  # ranks along each axis on which a backward is tried: shares are uneven on one
SEED = 11
AGREE = 1e-9  # of the largest gradient
PATIENCE = 5.0  # seconds that one rank waits for the others
GROUPS = ("group", "pg", "process_group")
COUNT = ("world_size", "ranks", "num_ranks")


def judge(
    forward: Any,
    backward: Any,
    inputs: Mapping[str, Any] | None,
    split: Mapping[str, str],
) -> Report:
    """See `gradninja.check.check`.

    Raises:
        CheckError: the backward asks for what a rank has not, or ranks wait for each other.
    """
    back = derive(forward, inputs)
    found = shard(back, split=split)
    if backward is None:
        if not is_named(forward):
            raise CheckError("no backward is given", hint="give it beside the forward")
        backward = f"{str(forward).partition('.py:')[0].removesuffix('.py')}.py:backward"
    source = load(backward)
    with torch.no_grad(), default_dtype(back.program.default):
        return Trial(found, source).report()


@dataclass(frozen=True)
class Ended:
    """What a backward ends with on a mesh, and what it should: by gradient, for each rank."""

    held: dict[str, list[Any]]
    true: dict[str, list[Tensor]]
    scale: float

    @property
    def wrong(self) -> tuple[str, ...]:
        return tuple(name for name in self.held if not self.right(name))

    def right(self, name: str) -> bool:
        return all(
            isinstance(mine, Tensor) and same(mine, truth, scale=self.scale, share=AGREE)
            for mine, truth in zip(self.held[name], self.true[name], strict=True)
        )


class Trial:
    """A backward's text on simulated ranks."""

    def __init__(self, sharded: Sharded, source: Source) -> None:
        self.sharded, self.source = sharded, source
        self.function = source.function
        self.program = sharded.program
        assert sharded.back is not None
        self.back = sharded.back
        self.body = list(self.function.body)
        self.wanted = self.program.differentiable
        if not self.body or not isinstance(self.body[-1], ast.Return):
            raise CheckError(f"`{self.function.name}` does not end in a return of the gradients")

    # -- running ----------------------------------------------------------------------------

    def ended(self, body: list[ast.stmt], count: int) -> Ended:
        """What a body ends with on so many ranks along each axis.

        Raises:
            DeriveError: it does not run, or ranks do not meet.
        """
        mesh = self.sharded.mesh_of([min(count, axis.size) for axis in self.sharded.split.axes])
        arguments = self._arguments(mesh)
        function = ast.FunctionDef(
            name="backward", args=self.function.args, body=body, decorator_list=[], lineno=1
        )
        text = ast.unparse(ast.fix_missing_locations(prepared(function)))
        known = self.sharded.groups
        given = names_of(self.source)
        results, _ = simulate(
            text,
            "backward",
            arguments,
            mesh,
            known if len(known) > 1 else [self._group_name],
            given,
            patience=PATIENCE,
            surroundings=lambda rank, groups: {
                **arguments[rank],  # an edit may name what the function does not take
                **around(given, groups),
                **groups,
            },
        )
        held: dict[str, list[Any]] = {}
        for at, name in enumerate(self.wanted):
            several = [r if isinstance(r, tuple) else (r,) for r in results]
            if any(len(each) != len(self.wanted) for each in several):
                raise CheckError(
                    f"`{self.function.name}` does not return one gradient for each of: "
                    f"{', '.join(self.wanted)}"
                )
            held[f"d{name}"] = [each[at] for each in several]
        true = {
            f"d{name}": cut(self.truth[name], self.sharded.types[name], mesh)
            for name in self.wanted
        }
        return Ended(held, true, self._scale)

    @cached_property
    def truth(self) -> dict[str, Tensor]:
        """The gradients on the whole."""
        return self.back.run(self.program.values, self.cotangents)

    @cached_property
    def _scale(self) -> float:
        return max(map(largest, self.truth.values()))

    @cached_property
    def cotangents(self) -> dict[str, Tensor]:
        return cotangents_of(self.program, self.program.values, SEED)

    @cached_property
    def _group_name(self) -> str:
        """How the backward calls the ranks of the one axis."""
        asked = {a.arg for a in (*self.function.args.args, *self.function.args.kwonlyargs)}
        own = self.sharded.split.axes[0].group
        return next((name for name in (own, *GROUPS) if name in asked), own)

    def _arguments(self, mesh: Mesh) -> list[dict[str, Any]]:
        """What each rank has: the forward's values there, and sizes."""
        sharded = self.sharded
        own = {i.name: i.value for i in self.program.inputs}
        given = sharded.arguments(own, mesh)
        text = sharded.forward_locals
        results, _ = simulate(text, "forward", given, mesh, sharded.groups, self.program.namespace)
        found = []
        for rank, values in enumerate(results):
            names = {**given[rank], **values}
            for of, name in zip(self.back.outputs, self.back.cotangents, strict=True):
                names[name] = cut(self.cotangents[of], sharded.types[of], mesh)[rank]
            names.update(dict.fromkeys(COUNT, len(mesh.ranks)))
            names["rank"] = rank
            found.append({n: v for n, v in names.items() if n not in sharded.groups})
        return found

    # -- judging ----------------------------------------------------------------------------

    def report(self) -> Report:
        """The verdict on each gradient."""
        stopped: DeriveError | None = None
        try:
            ends = [self.ended(self.body, count) for count in COUNTS]
        except DeriveError as error:
            stopped, ends = error, []
        wrong = {name for end in ends for name in end.wrong}
        if stopped is not None:
            wrong = {f"d{name}" for name in self.wanted}
            if isinstance(stopped.__cause__, NameError | AttributeError | TypeError):
                raise CheckError(stopped.message, hint=stopped.hint)  # of one rank, too
        mends = self._mends(wrong) if wrong else {}
        if stopped is not None:
            if not any(mends.values()):
                raise CheckError(stopped.message, hint=stopped.hint)
            # Ranks that did not meet gave nothing: to blame is what is made of the mended lines.
            wrong -= {name for name, edit in mends.items() if edit and not self._made(name, edit)}
        lines = tuple(self._line(f"d{name}", ends, wrong, mends) for name in self.wanted)
        split = ", ".join(
            f"{axis.name} over {of}"
            for axis, of in zip(self.sharded.split.axes, self.sharded.split.mesh.axes, strict=True)
        )
        draws = tuple(f"{split}: {count} ranks" for count in COUNTS)
        return Report(self.source.file, lines, draws, "float64, held to the whole's gradients")

    def _mends(self, wrong: set[str]) -> dict[str, Edit | None]:
        """For each wrong gradient the edit that mends it: those that mend the most go first."""
        body, left = self.body, set(wrong)
        found: dict[str, Edit | None] = dict.fromkeys(wrong)
        while left:
            best: tuple[int, Edit, set[str]] | None = None
            for edit in edits(body, self._lengths, self._group_name, self._in_place):
                try:
                    now = set(self.ended(edit.applied(body), COUNTS[0]).wrong)
                except (DeriveError, CheckError):
                    continue
                mended = left - now
                if now <= left and mended and (best is None or len(mended) > best[0]):
                    best = (len(mended), edit, mended)
                if mended == left:
                    break
            if best is None:
                return found
            _, edit, mended = best
            body = edit.applied(body)
            left -= mended
            found.update(dict.fromkeys(mended, edit))
        return found

    @cached_property
    def _lengths(self) -> dict[str, str]:
        """Texts that are the length of a rank's share, and the whole's."""
        found: dict[str, str] = {}
        mesh = self.sharded.mesh_of([min(COUNTS[0], a.size) for a in self.sharded.split.axes])
        values = self._arguments(mesh)
        for axis in self.sharded.split.axes:
            lengths = [values[r][next(iter(axis.inputs))].shape for r in range(len(mesh.ranks))]
            dim = next(iter(axis.inputs.values()))
            own = [shape[dim] for shape in lengths]
            for name in values[0]:
                held = [rank[name] for rank in values]
                if isinstance(held[0], int) and held == own and min(own) < axis.size:
                    found.setdefault(name, axis.whole)
                for place in range(held[0].ndim if isinstance(held[0], Tensor) else 0):
                    if [h.shape[place] for h in held] == own:
                        for text in (f"{name}.shape[{place}]", f"{name}.size({place})"):
                            found.setdefault(text, axis.whole)
                        if place == 0:
                            found.setdefault(f"len({name})", axis.whole)
                        others = [p for p in range(held[0].ndim) if p != place]
                        whole = " * ".join([axis.whole, *(f"{name}.shape[{p}]" for p in others)])
                        for text in (f"{name}.numel()", f"{name}.nelement()"):
                            found.setdefault(text, whole)
        return found

    @cached_property
    def _in_place(self) -> str:
        """The module by which the text calls all_reduce in place."""
        for node in self.body:
            if isinstance(node, ast.Expr) and is_collective(node.value):
                return ast.unparse(node.value.func).rpartition(".")[0]  # type: ignore[attr-defined]
        return ""

    def _line(
        self,
        name: str,
        ends: Sequence[Ended],
        wrong: set[str],
        mends: Mapping[str, Edit | None],
    ) -> LineReport:
        last = self._last(name)
        number = None if last is None else self._number(last)
        source = "" if last is None else ast.unparse(last)
        if name not in wrong:
            zero = largest(self.truth[name[1:]]) <= AGREE * self._scale
            verdict = Verdict.VACUOUS if zero else Verdict.CLOSE
            return LineReport(name, number, source, verdict)
        end = next((end for end in ends if not end.right(name)), Ended({}, {}, 0.0))
        off, verdict = 0.0, Verdict.WRONG if ends else Verdict.ERROR
        for mine, true in zip(end.held.get(name, []), end.true.get(name, []), strict=True):
            if not isinstance(mine, Tensor) or mine.shape != true.shape:
                verdict = Verdict.WRONG_SHAPE
            else:
                off = max(off, float((mine - true).abs().max()) if true.numel() else 0.0)
        edit = mends.get(name)
        if edit is None:
            if not ends:
                return LineReport(name, number, source, verdict)
            return LineReport(
                name, number, source, verdict, max_abs=off, **self._unknown(name, end)
            )
        at = self._number(edit.at)
        place = f"after line {at}" if edit.after else f"in place of line {at}"
        fix = None if edit.new is None else ast.unparse(edit.new)
        if fix is None:
            place = f"take out line {at}"
        return LineReport(
            name,
            at,
            ast.unparse(edit.at),
            verdict,
            max_abs=off,
            kind=edit.kind,
            diagnosis=edit.words,
            fix=fix,
            place=place,
        )

    def _unknown(self, name: str, end: Ended) -> dict[str, Any]:
        """What can be said where no edit mends it."""
        try:
            alone = self.ended(self.body, 1)
        except (DeriveError, CheckError):
            alone = None
        if alone is not None and not alone.right(name):
            return {
                "kind": "wrong on one rank, too",
                "diagnosis": "judge it without ranks first: `gradninja check` without --split",
            }
        held = end.held[name]
        whole = not any(kind.varies for kind in self.sharded.types[name[1:]])
        if whole and any(not isinstance(h, Tensor) or not same(h, held[0]) for h in held[1:]):
            return {
                "kind": "a gradient that differs between ranks",
                "diagnosis": "the ranks would take different steps, and their weights drift apart",
            }
        return {}

    def _last(self, name: str) -> ast.stmt | None:
        """The last line that writes what is returned for a gradient."""
        part = self._returned(name)
        if not isinstance(part, ast.Name):
            return None
        return next((node for node in reversed(self.body[:-1]) if part.id in _written(node)), None)

    def _made(self, name: str, edit: Edit) -> bool:
        """Whether a gradient is made of what an edited line writes."""
        found: set[str] = set()
        for node in self.body[self.body.index(edit.at) : -1]:
            if node is edit.at or found & _read(node):
                found |= _written(node)
            elif isinstance(node, ast.Assign):
                found -= _written(node)
        return bool(found & _read(self._returned(name)))

    def _returned(self, name: str) -> ast.expr:
        """What is returned for a gradient; all that is, where it is not one expression each."""
        value: ast.expr = self.body[-1].value  # type: ignore[attr-defined]
        parts = value.elts if isinstance(value, ast.Tuple) else [value]
        at = [f"d{n}" for n in self.wanted].index(name)
        return parts[at] if len(parts) == len(self.wanted) else value

    def _number(self, node: ast.stmt) -> int | None:
        return self.source.spot(node).line if getattr(node, "lineno", 0) else None


def _written(node: ast.stmt) -> set[str]:
    """The names that a statement may write: a call alone may write to all that it names."""
    own = {*bound(node), *written(node)}
    return own | _read(node) if isinstance(node, ast.Expr) else own


def _read(node: ast.AST) -> set[str]:
    """The names that it reads."""
    alone = isinstance(node, ast.AugAssign)
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
    return {n.id for n in names if alone or isinstance(n.ctx, ast.Load)}
