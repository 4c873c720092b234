"""What a person named as a file: which one, and opening it, a plain one, or an error at once.

A pipe that nobody writes to would be waited for, and a device may have no end. What is wrong is
an OSError whose `strerror` says it in words, as for a file that is missing or may not be read.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from gradninja.errors import ReadError

MOST_TEXT = 4 * 2**20  # bytes of a program's text, a recipe, a message
MOST = 64 * 2**30

_KINDS = (
    (stat.S_ISFIFO, "it is a pipe, not a file"),
    (stat.S_ISCHR, "it is a device, not a file"),
    (stat.S_ISBLK, "it is a device, not a file"),
    (stat.S_ISSOCK, "it is a socket, not a file"),
)


def opened(path: Path) -> BinaryIO:
    """A plain file, open to be read. Raises OSError, for what is no plain file too."""
    # A pipe is opened only without waiting for its writer; a plain file never makes one wait.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(number).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(path))
        for is_kind, words in _KINDS:
            if is_kind(mode):
                raise OSError(errno.EINVAL, words, str(path))
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def read(path: Path, most: int = MOST) -> bytes:
    """All bytes of a plain file. Raises OSError, for more than `most` bytes too."""
    with opened(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(path))
        return file.read()


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """The text of a plain file in UTF-8, its lines ended by LF, without a byte order mark.

    Raises OSError as `read` does, and UnicodeDecodeError.
    """
    text = read(path, most).decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


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
    path, colon, name = str(given).partition(".py:")
    return (Path(path + ".py"), name) if colon else (Path(given), "")


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
