"""The walk as text for a terminal, with or without colour."""

from __future__ import annotations

import io

from gradninja.explain.walkthrough import (
    BROADCAST_TO_SUM,
    SUM_TO_BROADCAST,
    Answer,
    Visit,
    Walkthrough,
)

WIDTH = 100


def text(walk: Walkthrough, *, colour: bool = False, width: int = WIDTH) -> str:
    """The walk as text of lines up to `width` characters; code is never broken."""
    from rich.console import Console
    from rich.text import Text

    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        legacy_windows=False,
    )

    def code(line: str, indent: int, style: str = "") -> None:
        console.print(Text(" " * indent + line, style=style), soft_wrap=True)

    def words(sentence: str, indent: int, style: str = "dim") -> None:
        told = Text(sentence, style=style)
        told.highlight_words([SUM_TO_BROADCAST, BROADCAST_TO_SUM], style="not dim bold magenta")
        for wrapped in told.wrap(console, width - indent):
            wrapped.rstrip()
            console.print(Text(" " * indent) + wrapped, soft_wrap=True)

    def answer(given: Answer) -> None:
        rule = f"    [{given.line.rule}]" if given.line.rules else ""
        code(f"{given.line.source}{rule}", 6, "bold green")
        if given.shape:
            words(given.shape, 8, "cyan")
        for sentence in given.broadcasts:
            words(sentence, 8, "cyan")
        for sentence in given.why:
            words(f"- {sentence}", 8)
        if given.steps:
            words("the algebra that led there:", 8)
        for number, step in enumerate(given.steps, 1):
            words(f"{number}. {step.text}", 10)

    def visit(visited: Visit) -> None:
        console.print()
        if visited.step is None:
            words("the output does not depend on this input", 0)
        else:
            code(f"{visited.step.line.number:>4}  {visited.step.code}", 0, "bold")
            words(visited.step.shape, 6, "cyan")
            for sentence in visited.step.broadcasts:
                words(sentence, 6, "cyan")
        for given in visited.answers:
            answer(given)

    code(f"{walk.title} ({walk.counts})", 0, "bold")
    words(walk.first, 0)
    words("The forward's lines from the last to the first; under each the lines that answer it.", 0)
    console.print()
    console.print(Text("inputs", style="bold"))
    for given in walk.inputs:
        mark = "" if given.differentiable else "    no gradient"
        code(f"{given.name} {given.shape}{mark}", 6)
    for seed in walk.seeds:
        code(seed, 6, "bold green")
    for visited in walk.visits:
        visit(visited)
    if walk.rest:
        console.print()
        words("No gradient flows through these lines:", 0)
        for step in walk.rest:
            code(f"{step.line.number:>4}  {step.code}", 0)
    return out.getvalue()
