"""Lines that give one tensor two names, where one is written to later and the other suffers."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable
from copy import deepcopy
from dataclasses import dataclass

from gradninja.check.given.backward_text import Written
from gradninja.check.given.plan import Plan, adds
from gradninja.check.walks.written import AsWritten, Spoil


@dataclass(frozen=True)
class Alias:
    """`maker`: the step that made the alias; `name`: what it binds; `fix`: the line mended.

    `victims`: the names whose values are changed by it.
    """

    name: str
    maker: int
    text: str
    fix: str | None
    largest: float | None
    victims: frozenset[str] = frozenset()


SHARED = "refers to a single memory location"  # torch's words


def aliases(
    plan: Plan, written: Written, run: AsWritten, kept: Collection[str], all_right: bool
) -> Iterable[Alias]:
    """The aliases that do harm, one for each line that made one.

    `kept`: what no line may change unseen: the forward's inputs, and the gradients that somebody
    looks at. A gradient that is added to holds what belongs to another; one that is multiplied or
    masked went on along the chain under its new name. What else is changed does harm where it is
    read later and not all comes out right.
    """
    groups: dict[int, list[Spoil]] = {}
    for spoil in run.spoils:
        added = spoil.victim in plan.gradients and adds(plan.steps[spoil.by].node)
        always = added or spoil.victim in kept
        if always or (not all_right and _read_later(spoil, plan)):
            groups.setdefault(spoil.maker, []).append(spoil)
    for maker, spoils in groups.items():
        step = plan.steps[maker]
        first = min(spoils, key=lambda s: s.by)
        name = first.through if first.through in step.binds else min(step.binds, default="")
        victims = list(dict.fromkeys(s.victim for s in spoils if s.victim != name))
        said = " and ".join(f"`{v}`" for v in victims or [first.victim])
        by = plan.steps[first.by].node.lineno
        whose = f"`{name}` and {said}" if victims else said
        text = (
            f"this line makes {whose} share memory; line {by} writes into `{first.through}`, "
            f"and {said} changes with it"
        )
        fix, largest = _cloned(written, step.node), max(s.largest for s in spoils)
        yield Alias(name, maker, text, fix, largest, frozenset(s.victim for s in spoils))


def overlap(plan: Plan, written: Written, run: AsWritten) -> Alias | None:
    """What an expanded view is made by, where a later line cannot write into it."""
    if run.error_at is None or SHARED not in str(run.error):
        return None
    for at in range(run.error_at - 1, -1, -1):
        step = plan.steps[at]
        for name in step.binds & plan.steps[run.error_at].writes:
            by = plan.steps[run.error_at].node.lineno
            text = (
                f"`{name}` is a view here whose elements lie in one place of memory, so that line "
                f"{by} cannot write into it"
            )
            return Alias(name, at, text, _cloned(written, step.node), None)
    return None


def _read_later(spoil: Spoil, plan: Plan) -> bool:
    for step in plan.steps[spoil.by + 1 :]:
        if spoil.victim in step.mentions - step.binds:
            return True
        if spoil.victim in step.binds:
            return False
    return False


def _cloned(written: Written, node: ast.stmt) -> str | None:
    """`dx = dy` -> `dx = dy.clone()`."""
    if not isinstance(node, ast.Assign) or len(node.targets) != 1:
        return None
    if isinstance(node.value, ast.Name | ast.Attribute | ast.Subscript | ast.Call):
        return f"{written.source_of(node)}.clone()"
    changed = deepcopy(node)
    changed.value = ast.Call(ast.Attribute(node.value, "clone", ast.Load()), [], [])
    return ast.unparse(ast.fix_missing_locations(changed))
