"""Opening a file that a person named: a plain one, or an error at once.

A pipe that nobody writes to would be waited for, and a device may have no end. What is wrong is
an OSError whose `strerror` says it in words, as for a file that is missing or may not be read.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

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
