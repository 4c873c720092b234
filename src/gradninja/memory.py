"""How much memory this process may take: where it is too much, Python raises, and nothing dies."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from gradninja.errors import GradninjaError


def limit(more: float) -> None:
    """Let this process take so many bytes more, where the system can hold it to that.

    It counts what is written to: a GPU's library reserves addresses by the hundred GB, and takes
    no memory by it.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):  # no such limit on this system
        import resource

        before = resource.getrlimit(resource.RLIMIT_DATA)
        most = _kilobytes("/proc/self/status", "VmData") * 1024 + int(more)
        within = min([most, *(one for one in before if one != resource.RLIM_INFINITY)])
        resource.setrlimit(resource.RLIMIT_DATA, (within, before[1]))


class _Held:
    """The limit while work goes on within what is there, in however many threads at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.before: tuple[int, int] | None = None

    def begin(self) -> None:
        with self.lock:
            self.count += 1
            if self.count == 1:
                with contextlib.suppress(ImportError, OSError, ValueError):
                    import resource

                    self.before = resource.getrlimit(resource.RLIMIT_DATA)
                    limit(_kilobytes("/proc/meminfo", "MemAvailable") * 1024)

    def end(self) -> None:
        with self.lock:
            self.count -= 1
            if self.count == 0 and self.before is not None:
                import resource

                resource.setrlimit(resource.RLIMIT_DATA, self.before)
                self.before = None


_held = _Held()


@contextlib.contextmanager
def within_what_is_there() -> Iterator[None]:
    """Take no more than is free now: what wants more gets an error, and not the machine's end.

    Raises:
        GradninjaError: there is not enough memory for what is within.
    """
    _held.begin()
    try:
        yield
    except Exception as error:
        if not is_lack_of_memory(error):
            raise
        raise GradninjaError(
            "there is not enough memory for this", hint="use smaller sizes"
        ) from None
    finally:
        _held.end()


def is_lack_of_memory(error: BaseException) -> bool:
    """Python's own error, and PyTorch's, which on the CPU is a RuntimeError like others."""
    of_torch = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or of_torch or type(error).__name__ == "OutOfMemoryError"


def _kilobytes(path: str, name: str) -> int:
    """A row of a table of Linux; OSError or ValueError where there is none."""
    for row in Path(path).read_text(encoding="ascii").splitlines():
        if row.startswith(f"{name}:"):
            return int(row.split()[1])
    raise ValueError(f"{path} has no {name}")
