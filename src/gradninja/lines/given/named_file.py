"""What a person hands in for a function's text: `FILE.py`, `FILE.py:name`, or the text itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeGuard

from gradninja.errors import ReadError
from gradninja.files import read_text


def is_text(given: Any) -> TypeGuard[str]:
    """Whether it is a text of lines: no file's name has a line break or begins a definition."""
    return isinstance(given, str) and ("\n" in given or given.lstrip().startswith("def "))


def is_named(given: Any) -> TypeGuard[str | Path]:
    """Whether it names a file."""
    return isinstance(given, str | Path) and not is_text(given)


def file_and_name(given: str | Path) -> tuple[Path, str]:
    """The file, and what stands behind its colon; an empty name where nothing does.

    Raises:
        ReadError: what is given is no name at all.
    """
    if not isinstance(given, str | Path):
        raise ReadError(
            f"a forward or a backward is expected, and not `{type(given).__name__}`",
            hint="give a function, a module, FILE.py, FILE.py:name or a text of lines; "
            "values are given by name: inputs={...}",
        )
    path, _, name = str(given).partition(".py:")
    return (Path(path + ".py"), name) if name else (Path(given), "")


def read_python(file: Path, wanted: str) -> str:
    """A file's text.

    Args:
        wanted: what should be in it, for the person.

    Raises:
        ReadError: it cannot be read.
    """
    try:
        return read_text(file)
    except OSError as error:
        raise ReadError(
            f"cannot read {file}: {error.strerror or error}",
            hint=f"give the path of a Python file with {wanted}",
        ) from None
    except UnicodeDecodeError:
        raise ReadError(f"{file} is not a text file in UTF-8") from None
