"""The house: imports go one way, and the command line starts without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gradninja

PACKAGE = Path(gradninja.__file__).parent

# Each room may import from rooms of a lower floor, and from itself.
FLOORS = {
    "errors": 0,
    "files": 0,
    "data": 1,
    "models": 1,
    "lines": 1,
    "rules": 2,
    "derive": 3,
    "algebra": 4,
    "check": 5,
    "explain": 5,
    "native": 5,
    "training": 6,
    "cli": 7,
}
ONLY_ERRORS = {"data", "models"}  # and `files`
MODEL_USERS = {"check", "training", "cli"}  # besides themselves, who may use data and models


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "gradninja" and len(parts) > 1 else None


def imported(text: str) -> set[str]:
    """The rooms that a file imports from, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {room_of(name.name) for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are written in full"
            if node.module == "gradninja":
                found |= {name.name for name in node.names}
            found.add(room_of(node.module))
    return {room for room in found if room in FLOORS}


def violations(room: str, text: str) -> set[str]:
    """The rooms that a file of `room` imports from and must not."""
    others = imported(text) - {room}
    wrong = {other for other in others if FLOORS[other] >= FLOORS[room]}
    if room in ONLY_ERRORS:
        wrong |= others - {"errors", "files"}
    if room not in MODEL_USERS:
        wrong |= others & ONLY_ERRORS
    return wrong


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert room in FLOORS, f"{room} is not in the plan of the house"
    assert violations(room, path.read_text()) == set()


@pytest.mark.parametrize(
    ("room", "planted"),
    [
        ("lines", "from gradninja.rules import BOOK"),
        ("derive", "def f():\n    import gradninja.explain.text"),
        ("data", "from gradninja.lines import read"),
        ("derive", "from gradninja import models"),
        ("training", "from gradninja.cli import app"),
    ],
)
def test_a_planted_violation_is_caught(room: str, planted: str) -> None:
    assert violations(room, planted)


def test_no_file_is_past_about_400_lines() -> None:
    long = {str(path): n for path in FILES if (n := len(path.read_text().splitlines())) > 420}
    assert long == {}


def test_help_imports_no_torch() -> None:
    code = (
        "import sys, gradninja.cli\n"
        "sys.argv = ['gradninja', '--help']\n"
        "try:\n    gradninja.cli.main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'safetensors'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout


def test_a_verb_is_the_verb_whatever_was_imported_first() -> None:
    import gradninja.derive  # binds the room's name on the package

    assert gradninja.derive is sys.modules["gradninja.derive"].derive
    with pytest.raises(AttributeError, match="no attribute 'derived'"):
        gradninja.derived  # noqa: B018
