"""The house: imports go one way, and the command line starts without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import gradninja

PACKAGE = Path(gradninja.__file__).parent

# Each room may import from rooms of a lower floor, and from itself.
FLOORS = {
    "errors": 0,
    "files": 1,
    "memory": 1,
    "choices": 1,
    "data": 2,
    "models": 2,
    "lines": 2,
    "rules": 3,
    "derive": 4,
    "algebra": 5,
    "check": 7,
    "explain": 7,
    "native": 7,
    "ranks": 6,
    "learn": 8,
    "training": 8,
    "cli": 9,
    "__main__": 10,
}
# Inside a room: what stands in a later group may import from earlier ones, and not the other way.
# A folder is one name; files of one group may import from each other.
DOORS = {
    "lines": [
        {"operators", "plain", "scope", "vocabulary"},
        {"ndarray", "guess"},
        {"given", "fence", "modules"},
        {"program"},
        {"reading", "original"},
        {"reader"},
        {"missing"},
        {"read", "meaning"},
    ],
    "lines/reading": [
        {"numbers", "bounds"},
        {"building"},
        {"state"},
        {"naming"},
        {"values"},
        {"expressions", "looping"},
        {"calls/arguments"},
        {"containers", "inlining"},
        {"in_place", "members"},
        {"attributes"},
        {"calls"},
        {"statements"},
    ],
    "lines/reading/calls": [
        {"arguments"},
        {"copying", "numpy_constants"},
        {"library"},
        {"python"},
        {"making"},
        {"objects"},
        {"any_call"},
    ],
    "lines/reading/in_place": [
        {"overlaps", "parts"},
        {"through"},
        {"writing"},
    ],
    "rules": [
        {"rule"},
        {"elementwise", "layers", "products", "shaping", "constants"},
        {"reducing", "criteria", "own_functions"},
        {"book"},
    ],
    "algebra": [
        {"index", "measure", "dtypes", "sizes", "widened"},
        {"ops", "write"},
        {"find"},
        {"tell"},
        {"fused"},
        {"engine"},
        {"fuse"},
    ],
    "native": [
        {"cache", "trust", "reading"},
        {"maps", "kernels"},
        {"ops", "plan", "machine"},
        {"calls"},
    ],
    "ranks": [
        {"types"},
        {"mesh", "rank_lines"},
        {"rank_values", "simulate"},
        {"split"},
        {"operations", "type_changes"},
        {"rank_text"},
        {"rank_walk"},
        {"sharded"},
        {"sharding", "reasons"},
    ],
    "check": [
        {"tell"},
        {"given"},
        {"reference"},
        {"walks"},
        {"verdicts"},
        {"wholes", "diagnosis"},
        {"by_lines"},
        {"functions", "ranks"},
        {"judge"},
        {"worker", "plugin"},
    ],
}
ONLY_ERRORS = {"data", "models"}  # and `files`
MODEL_USERS = {
    "check",
    "learn",
    "training",
    "cli",
}  # besides themselves, who may use data and models


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


def floor_of(folder: str, part: str) -> int:
    """The group of DOORS that a file or folder stands in, or the file of a folder that is named."""
    groups = DOORS[folder]
    first = part.partition("/")[0]
    named = [n for n, group in enumerate(groups) if part in group]
    (floor,) = named or [n for n, group in enumerate(groups) if first in group]
    return floor


def upwards(folder: str, part: str, text: str) -> set[str]:
    """What a file at `part` of a folder imports from the same folder's later groups."""
    inside = folder.split("/")
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            path = node.module.split(".")[1:]
            if path[: len(inside)] != inside:
                continue
            below = path[len(inside) :]
            names = ["/".join(below)] if below else [name.name for name in node.names]
            found |= {n for n in names if _is_file_or_folder(PACKAGE / folder, n)}
    return {name for name in found if floor_of(folder, name) > floor_of(folder, part)}


def _is_file_or_folder(folder: Path, name: str) -> bool:
    return (folder / name).is_dir() or (folder / f"{name}.py").is_file()


WITHIN = [
    (folder, part)
    for folder in DOORS
    for path in FILES
    if path.is_relative_to(PACKAGE / folder)
    and (part := path.relative_to(PACKAGE / folder).with_suffix("").as_posix()) != "__init__"
]


@pytest.mark.parametrize(("folder", "part"), WITHIN, ids=str)
def test_imports_go_one_way_inside_a_folder(folder: str, part: str) -> None:
    text = (PACKAGE / folder / f"{part}.py").read_text()
    assert upwards(folder, part, text) == set()


@pytest.mark.parametrize(
    ("folder", "part", "planted"),
    [
        ("lines/reading", "values", "from gradninja.lines.reading.calls.any_call import read_call"),
        ("lines/reading", "containers", "from gradninja.lines.reading import statements"),
        ("algebra", "index", "from gradninja.algebra.write.writer import Writer"),
        ("native", "maps", "def f():\n    from gradninja.native.calls import training"),
        ("check", "walks", "from gradninja.check import judge"),
    ],
)
def test_a_planted_way_up_inside_a_folder_is_caught(folder: str, part: str, planted: str) -> None:
    assert upwards(folder, part, planted)


MOST_FILES = 13  # side by side in a folder


def test_no_folder_is_past_about_a_dozen_files() -> None:
    folders = {path.parent for path in FILES}
    counts = {str(f): n for f in folders if (n := len(list(f.glob("*.py"))) - 1) > MOST_FILES}
    assert counts == {}


@pytest.mark.parametrize(
    ("room", "planted"),
    [
        ("lines", "from gradninja.rules import BOOK"),
        ("derive", "def f():\n    import gradninja.explain.terminal"),
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


RUNNERS = {"lines/scope.py", "models/model.py", "models/splicing.py"}  # models know no lines


def test_python_is_run_in_one_place() -> None:
    """`lines/scope.py` runs text and trees for all: nobody compiles and runs by himself."""
    runs = {
        path.relative_to(PACKAGE).as_posix()
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"exec", "eval"}
    }
    assert runs == RUNNERS


# Families of operations, in each room that has some of them, and the same work done in two rooms.
FAMILIES = frozenset(
    "activations arithmetic brackets classes einsum extremes functions images indexing lengths "
    "losses meanings moves normalisation products reductions spreads table views".split()
)
SAME_WORK = frozenset("dtypes fuse graph judge lowering read sizes".split())


def test_no_file_name_has_two_meanings() -> None:
    names = Counter(path.stem for path in FILES if path.stem != "__init__")
    twice = {name for name, count in names.items() if count > 1}
    assert twice <= FAMILIES | SAME_WORK, twice - FAMILIES - SAME_WORK
