"""Whether code that lies in a folder is ours to run: nobody else can have put it there.

Machine code and the pickles that Numba keeps beside it do what they like once they are loaded.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_ROOT = 0  # who may do anything anyway


def distrust(folder: Path) -> str | None:
    """Why what lies in a folder may be another user's work, in words; None where it is not.

    The folder, all that it lies in, and all that lies in it must belong to who runs this or to
    the system, and no one else may write there. Of what is not there yet the rest is held to that.
    """
    try:
        paths = folder.absolute(), folder.resolve()
    except (OSError, RuntimeError) as error:  # a link to itself, a working folder that is gone
        return f"{folder} cannot be looked at ({error})"
    for path in paths:
        for place in (*reversed(path.parents), path):
            try:
                found = place.lstat()
            except (FileNotFoundError, NotADirectoryError):
                break
            except OSError as error:
                return f"{place} cannot be looked at ({error.strerror})"
            if problem := _problem(place, found):
                return problem
    reached = not _closed(folder)
    for inside, folders, names in os.walk(folder):
        for place in (Path(inside) / name for name in (*folders, *names)):
            try:
                found = place.lstat()
            except FileNotFoundError:  # another process is at work here, too
                continue
            if problem := _problem(place, found, reached):
                return problem
    return None


def _closed(folder: Path) -> bool:
    """Whether nobody else gets to what lies in a folder, whatever that allows."""
    try:
        return not folder.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH)
    except OSError:  # there is no such folder
        return False


def _problem(place: Path, found: os.stat_result, reached: bool = True) -> str | None:
    """Why another user could put something else in a place, or in its stead."""
    if found.st_uid not in (os.getuid(), _ROOT):
        return f"{place} belongs to another user"
    if stat.S_ISLNK(found.st_mode):  # its own mode says nothing; where it leads is looked at, too
        return None
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    # In a sticky folder, such as /tmp, others add names but cannot take ours away.
    if reached and others and not found.st_mode & stat.S_ISVTX:
        who = "everyone" if found.st_mode & stat.S_IWOTH else "its group"
        return f"{place} can be written by {who}"
    return None
