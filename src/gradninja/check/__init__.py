"""Check: a person's backward pass, judged line by line against autograd."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradninja.check.tell.findings import BackwardWrong, CheckError, LineReport, Report, Verdict

if TYPE_CHECKING:  # it imports torch, and `gradninja --help` must come at once
    from gradninja.choices import Under
    from gradninja.rules import Book

__all__ = [
    "BackwardWrong",
    "CheckError",
    "LineReport",
    "Report",
    "Verdict",
    "assert_backward",
    "check",
]


def check(
    forward: Any,
    backward: Any = None,
    inputs: Mapping[str, Any] | None = None,
    *,
    complete: bool = False,
    only: Iterable[str] | None = None,
    lenient: bool = False,
    book: Book | None = None,
    split: Mapping[str, str] | None = None,
    under: Sequence[Under] = (),
) -> Report:
    """Judge a backward pass, line by line.

    Args:
        forward: a plain function, `FILE.py`, `FILE.py:name`, or text, ending in
            `return <expression>`.
        backward: a function, `FILE.py[:name]` or text (a `def`, or only the lines) whose locals
            `d<name>` are judged; without it the function `backward` beside the forward, or the
            lines that stand after it. A `torch.autograd.Function` class, a pair `(fwd, bwd)` of
            functions on arrays as for JAX, or any other callable is judged as a whole.
        inputs: `{name: tensor}`. They are always among what is judged; further draws are made from
            jaxtyping annotations. Without them, those of a function `inputs()` beside the forward.
        complete: an input's gradient that no line writes is missing; else it is to do.
        only: the gradients to judge, as `dh` or `h`; all by default.
        lenient: numbers that are right are right, also where an axis of size 1 is lost or too many.
        book: the rules that a mend is drawn from, with the functions of one's own; those of
            `gradninja.rule` by default.
        under: what an autograd Function or custom op is called under besides: "compile" (traced
            whole), "vmap" (three calls as one), "autocast" (to bfloat16, on the CPU).
        split: the backward is that of one rank of many, with its collectives, where named axes are
            split as for `gradninja.shard`: `{"n": "data"}`. It takes the forward's values as the
            rank has them, `n_all` for the length on all ranks, and the group by its mesh axis.

    Raises:
        ReadError: the forward is outside of what is read.
        CheckError: there is nothing that can be judged.
    """
    from gradninja.check.judge import judge
    from gradninja.check.verdicts.asked import Asked
    from gradninja.rules import BOOK

    if split is not None:
        from gradninja.check.ranks.judge import judge as judge_ranks

        return judge_ranks(forward, backward, inputs, split)
    asked = Asked.of(complete, only, lenient, under)
    return judge(forward, backward, inputs, asked, BOOK if book is None else book)


def assert_backward(
    forward: Any,
    backward: Any = None,
    inputs: Mapping[str, Any] | None = None,
    *,
    complete: bool = True,
    only: Iterable[str] | None = None,
    lenient: bool = False,
    book: Book | None = None,
    under: Sequence[Under] = (),
) -> None:
    """For tests: raises BackwardWrong, whose message is the report, unless all lines are right.

    The arguments are those of `check`; a gradient that is not written is a mistake here.
    """
    report = check(
        forward,
        backward,
        inputs,
        complete=complete,
        only=only,
        lenient=lenient,
        book=book,
        under=under,
    )
    if not report.ok:
        raise BackwardWrong(report)
