"""What the site's pages are completed with when it is built; mkdocs calls the functions `on_...`.

A page in `docs/` says with a comment what belongs in its place, so that each page is read on GitHub
as well:

    <!-- rules -->                  the rule book, a row an operation
    <!-- verbs -->                  the command line, a section a verb
    <!-- notebook: PATH -->         the cells of a notebook, with what they print

Links that lead out of `docs/` become links to the repository, and must lead to a file.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LEADING_OUT = r"\]\((?:\.\./){%d}([^)#\s]+)(#[^)\s]*)?\)"  # as many steps up as lead out of docs/


def on_startup(**_: Any) -> None:
    """The examples of the rule book are the rows' own tests."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))


def on_page_markdown(markdown: str, *, config: Any, page: Any = None, **_: Any) -> str:
    """The text of a page, completed."""
    depth = 1 if page is None else 1 + page.file.src_uri.count("/")
    made = {"rules": rule_table, "verbs": verbs}
    for name, make in made.items():
        mark = f"<!-- {name} -->"
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    markdown = re.sub(r"<!-- notebook: (\S+) -->", lambda m: notebook(ROOT / m[1]), markdown)
    return re.sub(
        LEADING_OUT % depth,
        lambda m: f"]({_outside(config['repo_url'], m[1], m[2])})",
        markdown,
    )


def _outside(repository: str, path: str, anchor: str | None) -> str:
    if not (ROOT / path).exists():
        raise ValueError(f"a page links to {path}, and there is no such file")
    return f"{repository.rstrip('/')}/blob/main/{path}{anchor or ''}"


def rule_table() -> str:
    """The rule book as a table: what is written, its gradients, why, and the source."""
    from rule_inputs import book_rows

    rows = "".join(
        f'<tr id="rule-{escape(_slug(row.name))}"><td>{_spelled(row)}</td>'
        f"<td>{_gradients(row)}<p>{_sentence(row.why)}</p><small>{_sentence(row.source)}</small>"
        "</td></tr>\n"
        for row in book_rows()
    )
    return (
        f'<p>{len(book_rows())} rows. <label for="rule-search">Search: </label>'
        '<input id="rule-search" type="search" placeholder="softmax" autocomplete="off"> '
        '<output id="rule-count" for="rule-search"></output></p>\n'
        '<table id="rules"><thead><tr><th>operation</th><th>gradients</th></tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table>\n"
    )


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)


def _sentence(text: str) -> str:
    begins = re.match(r"a |\w\w", text)  # and not with a formula
    return escape((text[:1].upper() if begins else text[:1]) + text[1:] + ".")


def _spelled(row: Any) -> str:
    spellings = "<br>".join(f"<code>{escape(text)}</code>" for text in row.spellings)
    return f"<strong>{escape(row.name)}</strong><br>{spellings}"


def _gradients(row: Any) -> str:
    """The row's own text where it is one text; else what it comes to in its first example."""
    from gradninja.derive import derive
    from rule_inputs import trials_of

    if not any(callable(text) for text in row.backward.values()):
        return "<br>".join(
            f"<code>d{escape(name)} = {escape(text)}</code>"
            if not text.startswith(("d[", "d."))
            else f"<code>d{escape(name + text[1:])}</code>"
            for name, text in row.backward.items()
        )
    trial = trials_of(row)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's on its own samples
        back = derive(trial.source, trial.draw(0))
    lines = "<br>".join(f"<code>{escape(line.source)}</code>" for line in back.lines)
    return f"of <code>{escape(trial.expression)}</code>, by case:<br>{lines}"


def verbs() -> str:
    """Every verb of the command line: how it is called, what it does, its options."""
    import typer.main

    from gradninja.cli import app

    group: Any = typer.main.get_command(app)
    return "\n".join(_verb(name, command) for name, command in group.commands.items())


def _verb(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    called = " ".join([f"gradninja {name}", *(p.metavar or p.name.upper() for p in arguments)])
    lines = [f"## {name}", "", f"`{called} [OPTIONS]`", "", re.sub(r" *\n *", "\n", command.help)]
    rows = [
        *((p.metavar or p.name.upper(), p.help or "", "") for p in arguments),
        *((", ".join([*p.opts, *p.secondary_opts]), p.help or "", _default(p)) for p in options),
    ]
    lines += ["", "| option | what it does | default |", "|---|---|---|"]
    cells = ([f"`{flag}`", said.replace("|", "\\|"), default] for flag, said, default in rows)
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in cells), ""])


def _default(option: Any) -> str:
    value = getattr(option.default, "value", option.default)
    return "" if value in (None, False, "") or value == [] else f"`{value}`"


def notebook(path: Path) -> str:
    """The cells of a notebook, with what they print."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(part for cell in cells for part in _cell(cell))


def _cell(cell: dict[str, Any]) -> Iterator[str]:
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        if not text.startswith("# "):  # the page has its title
            yield text
        return
    yield f"```python\n{text}\n```"
    said = "".join(
        "".join(out.get("text", ())) + "".join(out.get("data", {}).get("text/plain", ()))
        for out in cell.get("outputs", ())
    )
    if said:
        yield f"```text\n{said.rstrip()}\n```"
