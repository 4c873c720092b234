"""From a wrong gradient to what was mistaken, in words, and the smallest mend."""

from __future__ import annotations

import ast
import builtins
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch

from gradninja.check.diagnosis.candidates import trees
from gradninja.check.diagnosis.candidates.statement_edits import Change, Edit
from gradninja.check.diagnosis.candidates.tree_edits import Style
from gradninja.check.diagnosis.case import Case
from gradninja.check.diagnosis.contributions import Contribution, contributions
from gradninja.check.diagnosis.derived import derived_lines, fused_lines
from gradninja.check.diagnosis.facts import Facts
from gradninja.check.diagnosis.kinds import Kind
from gradninja.check.diagnosis.mend import Patch, narrowed, patches, signature_patch, stands
from gradninja.check.diagnosis.search import double, single
from gradninja.check.diagnosis.telling.clues import clues
from gradninja.check.diagnosis.telling.words import Words
from gradninja.check.diagnosis.work import EACH, Allowance
from gradninja.check.given.execution import tensors_of
from gradninja.check.given.plan import unread
from gradninja.derive import Backward, _walk
from gradninja.errors import GradninjaError
from gradninja.lines import Program
from gradninja.lines.scope import LIBRARY, run_tree
from gradninja.memory import is_lack_of_memory
from gradninja.rules import Book


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with one gradient.

    `kind` is one of `Kind`; `text` says it in words; `fix` is the mended line or lines, each as it
    should stand, and `place` says where that is; `line` is the number of the wrong line, None where
    a line is missing. `patches`
    put the fix into the person's text (`gradninja.check.diagnosis.apply`); they are empty where
    that cannot be done line by line. `rule` says how the gradient is derived. With kind unknown,
    `fix` is derive's own line, or where not `edited` the last resort: all of its lines.
    """

    kind: Kind
    text: str
    fix: str | None
    line: int | None = None
    patches: tuple[Patch, ...] = ()
    rule: str = ""
    edited: bool = True
    place: str = ""


def diagnose(case: Case, allowed: Allowance | None = None) -> Diagnosis:
    """The mistake in one wrong gradient, and its mend.

    Args:
        allowed: of what the search may do for a whole report, this takes no more than its share.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return _Diagnosis(case).run((allowed or Allowance()).part(EACH))


@lru_cache(maxsize=4)
def _backward(program: Program, book: Book) -> Backward | None:
    try:
        return _walk(program, book, "readable")
    except GradninjaError:  # an edit of the person's line may mend it all the same
        return None


class _Trial:
    """Tries edits on a case's draws, the one that is cheapest to run first."""

    def __init__(self, case: Case, order: Sequence[int], names: Mapping[str, str]) -> None:
        self.case = case
        self.order = order
        self.names = names

    @property
    def draws(self) -> int:
        return len(self.order)

    def runs(self, draw: int) -> float:
        """What trying an edit on a draw is worth."""
        return self.case.runs(self.order[draw])

    def fits(self, edit: Edit, draw: int) -> bool:
        if not all(self.case.legible(c.new, c.old, c.after) for c in edit.changes):
            return False
        return self._mends(edit, self.order[draw]) and all(
            self._keeps(other, edit, self.order[draw]) for other in self.case.beside
        )

    def _keeps(self, other: Case, edit: Edit, at: int) -> bool:
        """Whether another gradient that the edited line leads to is right with the edit."""
        new = {id(c.old): c.new for c in edit.changes if c.old is not None}
        changed = [new.get(id(s), s) for s in other.statements]
        same = all(one is two for one, two in zip(changed, other.statements, strict=True))
        if same and not edit.before:
            return not other.wrong
        return other.fits([*edit.before, *(s for s in changed if s is not None)], at)

    def _mends(self, edit: Edit, at: int) -> bool:
        if edit.added and edit.contribution is not None:
            part = self.part(edit.contribution, at)
            got = self.case.situations[at].got
            if not (isinstance(part, torch.Tensor | int | float) and isinstance(got, torch.Tensor)):
                return False
            try:
                return self.case.matches(got + part, at)
            except RuntimeError:  # shapes that do not fit
                return False
        return self.case.fits(edit.statements, at)

    def part(self, contribution: Contribution, draw: int) -> object:
        """A contribution's value, also where it is computed from gradients that come later."""
        situation = self.case.situations[draw]
        scope = {**LIBRARY, **self.case.namespace, **situation.values}
        scope.update((self.names[v], g) for v, g in situation.gradients.items() if v in self.names)
        try:
            run_tree(contribution.statements, scope, "<derived>")
        except Exception:  # derived for other sizes
            return None
        return scope[contribution.gradient]


class _Diagnosis:
    """One run: the facts, the search, the words."""

    def __init__(self, case: Case) -> None:
        self.case = case
        # Draws on which the person's value is wrong tell most; small ones are fast.
        ranks = [
            (
                s.error is None and case.matches(s.got, draw),
                s.error is not None,
                sum(v.numel() for _, v in tensors_of(s.values)),
                draw,
            )
            for draw, s in enumerate(case.situations)
        ]
        self.order = [rank[-1] for rank in sorted(ranks)]
        self.situation = case.situations[self.order[0]]
        self.names = {variable: name for name, variable in case.gradients.items()}
        for variable in self.situation.gradients:
            self.names.setdefault(variable, f"d{variable}")
        self.trial = _Trial(case, self.order, self.names)
        self.style = Style(case.text, list(case.body), case.plain)
        self.function = _function(case)

    def run(self, allowed: Allowance) -> Diagnosis:
        trial = self.trial
        facts = self.facts(self.asked)
        statements = self.case.statements
        edit = single(trial, facts, statements, allowed)
        if edit is None and not set(self.situation.values) <= self.asked:
            # Perhaps it takes a value of the forward that the signature does not ask for.
            more = self.facts(set(self.situation.values))
            edit = single(trial, more, statements, allowed)
            facts = more if edit is not None else facts
        if edit is None:
            # What asks for too much memory is slow to be refused, so pairs are not tried on it.
            lacks = self.situation.error is not None and is_lack_of_memory(self.situation.error)
            edit = double(trial, facts, statements, allowed, pairs=not lacks)
        return self.last_resort(facts) if edit is None else self.mended(facts, edit)

    @cached_property
    def asked(self) -> set[str]:
        """The forward's values that the person's lines can read."""
        if self.case.held is not None:
            early = any(hasattr(statement, "early") for statement in self.case.statements)
            return set(self.situation.values) if early else set(self.case.held)
        if self.function is None:
            return set(self.situation.values)
        arguments = self.function.args
        return {
            argument.arg
            for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        }

    def facts(self, asked: set[str]) -> Facts:
        case, values = self.case, self.situation.values
        scope = {**self.situation.bound, **self.situation.scope}
        gradients = {name: variable for variable, name in self.names.items()}
        mine = {n for n in scope if n not in values and (n not in gradients or n in case.written)}
        reach = {n for n in scope if n in asked or n in mine or n in self.handed_in}
        return Facts(
            program=self.situation.program,
            book=case.book,
            variable=case.variable,
            gradient=case.name,
            scope=scope,
            gradients=gradients,
            expected=self.situation.expected,
            contributions=self.derived[0],
            reach=frozenset(reach - {case.name}),
            later=frozenset(reach | (set(case.written) - {case.name})),
            got=self.situation.got,
            amounts=[
                (c, self.trial.part(c, self.order[0]))
                for c in self.derived[0]
                if c.of == case.variable
            ],
            parts=self.derived[1],
            unbound=self.unbound,
            astray=case.astray,
            right=case.right,
            truths=tuple(self.situation.gradients.values()),
            unread=self.unread & reach - (set(gradients) - self.handed_in),
        )

    @cached_property
    def handed_in(self) -> set[str]:
        """The names of the outputs' gradients that are there.

        They are handed in, in a function those that it asks for. Of a 0-dim output there is none,
        it is 1, but where a line writes it.
        """
        values, every = self.case.program.values, self.case.held is not None
        return {
            self.names[name]
            for name in self.case.program.outputs
            if name in self.names
            and (
                every
                or self.names[name] in self.bound
                or (self.function is None and values[name].ndim)
            )
        }

    @cached_property
    def bound(self) -> set[str]:
        """The names that the person's lines bind."""
        nodes = (node for statement in self.case.body for node in ast.walk(statement))
        names = (node for node in nodes if isinstance(node, ast.Name))
        return {node.id for node in names if isinstance(node.ctx, ast.Store)}

    @cached_property
    def unbound(self) -> str | None:
        """The one name that is no gradient's, that lines read and none binds."""
        nodes = [node for s in self.case.statements for node in ast.walk(s)]
        reads = {node.id for node in nodes if isinstance(node, ast.Name)}
        arguments = {node.arg for node in nodes if isinstance(node, ast.arg)}
        known = {*self.bound, *arguments, *self.case.namespace, *dir(builtins)}
        left = reads - known - {*self.case.gradients, *self.situation.scope}
        return left.pop() if len(left) == 1 else None

    @cached_property
    def unread(self) -> frozenset[str]:
        """What the person's lines make, or `ctx` holds, and none reads."""
        held = self.case.held
        given = () if held is None else sorted(held | self.handed_in)
        return frozenset(unread(self.case.body, given))

    @cached_property
    def derived(self) -> tuple[tuple[Contribution, ...], tuple[ast.expr, ...]]:
        """Derive's contributions in the person's names, and the parts that they share."""
        backward = _backward(self.case.program, self.case.book)
        if backward is None:
            return (), ()
        known = self.asked | self.case.written | self.handed_in
        ones = {
            name
            for name in self.case.program.outputs
            if self.names.get(name) not in known and backward.scalar
        }
        return contributions(backward, self.names, ones)

    # -- what is told -----------------------------------------------------------------------

    def mended(self, facts: Facts, edit: Edit) -> Diagnosis:
        words = Words(facts, self.style)
        text = words.explain(edit)
        if edit.kind is Kind.UNKNOWN:
            text = " ".join([text, *self.clues(facts)])
        changes = [narrowed(change) for change in edit.changes]
        fix, found = self.written(changes)
        wanted = self.unasked([c.new for c in edit.changes if c.new is not None])
        if wanted:
            how = "ask for it" if self.case.held is None else "keep it there for the backward"
            text += f" `{self.case.name}` needs {_listed(wanted)} of the forward: {how}."
        place = self.stands(changes)
        line, rule = self.line(edit), words.rule(edit)
        return Diagnosis(edit.kind, text, fix, line, found, rule, place=place)

    def last_resort(self, facts: Facts) -> Diagnosis:
        said = self.clues(facts)
        lines = derived_lines(facts, self.case.variable)
        early = any(hasattr(statement, "early") for statement in self.case.statements)
        if early or not self.fits(lines):
            lines = ()  # they cannot run in the forward, or need not hold on other draws
        if len(lines) != 1 and not early:
            shorter = fused_lines(facts)
            if shorter and (not lines or len(shorter) < len(lines)) and self.fits(shorter):
                lines = shorter
        where = self.case.writers[-1].lineno if self.case.writers else None
        if not lines:
            text = " ".join(["No single edit of this line mends it.", *said])
            return Diagnosis(Kind.UNKNOWN, text, None, where, edited=False)
        told = "No single edit of this line mends it; derived, it reads as below."
        if not self.case.writers:
            told = f"Nothing writes `{self.case.name}`; derived, it reads as below."
        first, *rest = self.case.writers or (None,)
        changes = [
            Change(first, lines[0]),
            *(Change(None, line, after=first) for line in lines[1:]),
            *(Change(other, None) for other in rest),
        ]
        if hasattr(first, "within"):  # it is a part of what is returned, below which is no place
            same = trees.assign(self.case.name, trees.name(self.case.name))
            changes = [*(Change(None, line) for line in lines), Change(first, same)]
        fix, found = self.written([c for c in changes if c.new is not None])
        if found:
            found = self.written(changes)[1]
        kind = Kind.UNKNOWN if self.case.writers else Kind.MISSING_LINE
        rule = Words(facts, self.style).rule(None)
        text, place = " ".join([told, *said]), self.stands(changes)
        return Diagnosis(kind, text, fix, where, found, rule, edited=False, place=place)

    def fits(self, lines: Sequence[ast.stmt]) -> bool:
        """Whether lines in the place of the person's give the gradient on every draw."""
        return all(self.case.fits(lines, draw) for draw in range(self.case.draws))

    def clues(self, facts: Facts) -> list[str]:
        """What is known of the wrong value."""
        got = self.situation.error if self.situation.got is None else self.situation.got
        return clues(facts, got) if self.case.statements else []

    def written(self, changes: Sequence[Change]) -> tuple[str | None, tuple[Patch, ...]]:
        """The mended lines as text, and the patches that put them into the person's."""
        lines = [self.style.statement(c.new, c.old) for c in changes if c.new is not None]
        found = patches(changes, self.style, self.case.writers, self.case.body) or ()
        news = [c.new for c in changes if c.new is not None]
        wanted = self.unasked(news)
        if found and wanted and self.case.held is not None:
            found = ()
        elif found and wanted and self.function is not None:
            asking = signature_patch(self.function, wanted, self.case.text)
            found = (*found, asking) if asking is not None else ()
        return "\n".join(lines) or None, found

    def stands(self, changes: Sequence[Change]) -> str:
        """Where the mended lines stand."""
        case = self.case
        return stands(changes, self.style, case.writers, case.body)

    def unasked(self, statements: Sequence[ast.stmt]) -> list[str]:
        """The forward's values that new lines read and the signature does not ask for."""
        if self.function is None:
            return []
        reads = {n.id for s in statements for n in ast.walk(s) if isinstance(n, ast.Name)}
        values = self.situation.values
        return [n for n in values if n in reads - self.asked - self.bound]

    def line(self, edit: Edit) -> int | None:
        """The number of the line that is wrong."""
        spots = [edit.was, *(c.old for c in edit.changes), *(c.after for c in edit.changes)]
        numbers = [getattr(node, "lineno", None) for node in spots if node is not None]
        found = [number for number in numbers if number is not None]
        return found[0] if found else None


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def _function(case: Case) -> ast.FunctionDef | None:
    """The `def` that the statements stand in; None for lines of their own, which see the forward's.

    So do those of a method, and those that go on where a forward ends.
    """
    if not case.body:
        return None
    first = case.body[0].lineno
    try:
        tree = ast.parse(case.text)
    except SyntaxError:
        return None
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.lineno <= first <= (node.end_lineno or 0)
    ]
    found = max(around, key=lambda node: node.lineno, default=None)
    if found is None or [a.arg for a in found.args.args[:1]] == ["self"]:
        return None
    told = [node for node in found.body if not isinstance(node, ast.Expr)]
    return None if told and told[0].lineno < first else found
