"""How much memory this process may take: where it is too much, Python raises, and nothing dies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


def limit(more: float) -> None:
    """Let this process take so many bytes more, where the system can hold it to that.

    It counts what is written to: a GPU's library reserves addresses by the hundred GB, and takes
    no memory by it.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):  # no such limit on this system
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = _kilobytes("/proc/self/status", "VmData") * 1024 + int(more)
        within = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (within, hard))


@contextlib.contextmanager
def within_what_is_there() -> Iterator[None]:
    """Take no more than is free now: what wants more gets an error, and not the machine's end."""
    try:
        import resource

        before = resource.getrlimit(resource.RLIMIT_DATA)
        limit(_kilobytes("/proc/meminfo", "MemAvailable") * 1024)
    except (ImportError, OSError, ValueError):
        yield
        return
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _kilobytes(path: str, name: str) -> int:
    """A row of a table of Linux; OSError or ValueError where there is none."""
    for row in Path(path).read_text(encoding="ascii").splitlines():
        if row.startswith(f"{name}:"):
            return int(row.split()[1])
    raise ValueError(f"{path} has no {name}")
