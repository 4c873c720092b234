"""Machine code, kept on disk under a key of all that it depends on.

The text is written to a file of its own, in a folder named after the key, and Numba keeps the
machine code beside it. Numba alone would notice an edited text, but no edit of what it imports.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core.errors import NumbaError
from numba.misc.appdirs import AppDirs

import gradninja
from gradninja.files import read
from gradninja.lines.scope import run
from gradninja.native.trust import distrust

Say = Callable[[str], None]

_SOURCES = Path(__file__).parent
_FILE = "kernel.py"
_CODE = "code"  # what is made of a text, behind a sum of both: damage, and another's code, is seen
_SUM = hashlib.sha256().digest_size
_MARK = ".gradninja"  # lies in each folder that is made here, and may be removed again
_KEPT = 500  # texts, each of some 100 kB with its machine code
_UNUSED = 30 * 24 * 3600.0  # seconds after which a text is forgotten
_BUSY = 3600.0  # seconds in which another process may still be at work on one


def folder() -> Path:
    """Where compiled code is kept: $GRADNINJA_CACHE, else gradninja in the user's cache folder."""
    told = os.environ.get("GRADNINJA_CACHE")
    if told:
        return Path(told)
    try:
        kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home, as in a container
        return Path(tempfile.gettempdir()) / f"gradninja-{os.getuid()}"
    return kept / "gradninja"


@cache
def surroundings() -> str:
    """All that machine code depends on beside the text: our code, the compilers, the processor."""
    parts = [f"gradninja {gradninja.__version__}", f"numba {numba.__version__}"]
    parts += [f"llvmlite {llvmlite.__version__} {llvm.llvm_version_info}"]
    parts += [f"numpy {np.__version__}", f"python {sys.version}", platform.platform()]
    parts += [llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()]
    parts += [f"{key}={value}" for key, value in sorted(os.environ.items()) if _counts(key)]
    for path in sorted(_SOURCES.rglob("*.py")):
        parts.append(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}")
    return "\n".join(parts)


@cache
def ours() -> str:
    """A sum of all our code: what a text is read, derived, fused and planned by."""
    found = hashlib.sha256()
    whole = Path(gradninja.__file__).parent
    for path in sorted(whole.rglob("*.py")):
        found.update(f"{path.relative_to(whole)}\n".encode() + path.read_bytes())
    return found.hexdigest()


def _counts(variable: str) -> bool:
    """Whether an environment variable may change what Numba makes."""
    return variable.startswith("NUMBA_") and variable != "NUMBA_CACHE_DIR"


def key_of(text: str) -> str:
    """The key of a text, here and now."""
    return hashlib.sha256(f"{surroundings()}\n\n{text}".encode()).hexdigest()[:32]


def compiled(
    text: str,
    name: str,
    arguments: Sequence[Any],
    say: Say | None = None,
    what: str = "the loops for these sizes",
) -> Any:
    """The function `name` of a text, compiled for arguments of these types.

    Args:
        text: a module; its function is decorated with `cache=True`.
        arguments: values, or none for a C function, whose types stand in the text.
        say: told what takes its time, before it does: `what` is compiled.
    """
    place = folder() / "native" / key_of(text)
    for kept in (place, *_elsewhere(place)):
        if problem := distrust(kept):
            _warn(f"machine code is not kept and not taken from {kept}: {problem}", say)
            return _made(_alone(text), name, arguments)
    if not any(place.glob("__pycache__/*.nbc")):
        if say is not None:
            say(f"compiling {what}; the machine code is kept for the next time")
        tidy(place.parent)
    for _ in range(2):
        try:
            module = _written(place, text)
        except OSError:  # no folder to write to: compiled for this process alone
            break
        try:
            assert module.__spec__ is not None and module.__spec__.loader is not None
            module.__spec__.loader.exec_module(module)  # where types stand, this compiles
            return _made(module, name, arguments)
        except NumbaError:
            raise
        except Exception:  # whatever a damaged file makes of unpickling and linking
            _remove(place)  # what is kept there is damaged
    return _made(_alone(text), name, arguments)


def kept(
    text: str, make: Callable[[], bytes], say: Say | None = None, told: str | None = None
) -> bytes:
    """What is made of a text, from the disk where it was made before.

    Args:
        text: all that it is made of, beside the `surroundings`.
        say: told, before anything is made, what is: `told`.
    """
    found = recalled(text, say)
    if found is not None:
        return found
    if say is not None and told is not None:
        say(f"{told}; the machine code is kept for the next time")
    made = make()
    put(text, made)
    return made


def recalled(text: str, say: Say | None = None) -> bytes | None:
    """What was `put` under a text, undamaged; else None."""
    place = folder() / "native" / key_of(text)
    if problem := distrust(place):
        _warn(f"machine code is not kept and not taken from {place}: {problem}", say)
        return None
    with contextlib.suppress(OSError):
        found = read(place / _CODE)
        if _sum(place, found[_SUM:]) == found[:_SUM]:
            _used(place)
            return found[_SUM:]
    return None


def put(text: str, made: bytes) -> None:
    """Keep what was made of a text, and the `surroundings`; nothing where nothing can be kept."""
    place = folder() / "native" / key_of(text)
    if distrust(place):
        return
    tidy(place.parent)
    with contextlib.suppress(OSError):  # no folder to write to
        _own(place)
        _put(place / _CODE, _sum(place, made) + made)
        _used(place)


def _sum(place: Path, made: bytes) -> bytes:
    """Of what is made of a text, and of the key that the folder is named after."""
    return hashlib.sha256(place.name.encode() + made).digest()


def may_keep(file: str) -> bool:
    """Whether Numba may keep the machine code of one of our own files where it would.

    Beside the file it is trusted as the file is; elsewhere nobody else may have put it there.
    """
    return not any(distrust(kept) for kept in _elsewhere(Path(file).parent))


def tidy(kept: Path) -> None:
    """Forget what was not used for long, and what was unused longest where there is too much.

    Only folders that were made here are looked at: whatever else lies there is not ours. Others
    may do the same at once: what is gone is gone. Who has loaded machine code holds it.
    """
    now, ages = time.time(), {}
    for place in kept.glob("*"):
        with contextlib.suppress(OSError):
            if not _ours(place):
                continue
            ages[place] = now - place.stat().st_mtime
    oldest = sorted(ages, key=lambda place: ages[place], reverse=True)
    for number, place in enumerate(oldest):
        if ages[place] > (_BUSY if len(oldest) - number > _KEPT else _UNUSED):
            _remove(place)


def _ours(place: Path) -> bool:
    """Whether a folder is one that `_written` made."""
    return (place / _MARK).is_file() and not place.is_symlink()


def _remove(place: Path) -> None:
    if _ours(place):
        shutil.rmtree(place, ignore_errors=True)


def _elsewhere(place: Path) -> list[Path]:
    """Where Numba keeps machine code in place of the folder of the text."""
    told: str = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    if told:
        return [Path(told)]
    if not place.exists() or os.access(place, os.W_OK):
        return []
    numbas = AppDirs(appname="numba", appauthor=False)  # type: ignore[no-untyped-call]
    return [Path(numbas.user_cache_dir)]


def _warn(what: str, say: Say | None) -> None:
    hint = "name a folder of your own by GRADNINJA_CACHE, or take the right away (chmod go-w)"
    if say is not None:
        say(f"{what}; {hint}")
    else:
        warnings.warn(f"{what}; {hint}", RuntimeWarning, stacklevel=2)


def _made(module: ModuleType, name: str, arguments: Sequence[Any]) -> Any:
    function = getattr(module, name)
    if arguments:
        types = tuple(numba.typeof(a) for a in arguments)  # type: ignore[no-untyped-call]
        function.compile(types)
    return function


def _written(place: Path, text: str) -> ModuleType:
    """The text's module, from its file in the cache."""
    _own(place)
    file = place / _FILE
    if not file.exists() or read(file) != text.encode():
        _put(file, text.encode())
    _used(place)
    name = f"gradninja_native_{place.name}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    return module


def _own(place: Path) -> None:
    """Make a folder, each above it closed to others whatever the umask."""
    for made in (*reversed(place.parents), place):
        if not made.exists():
            made.mkdir(exist_ok=True, mode=0o700)
    (place / _MARK).touch(mode=0o600)


def _put(file: Path, content: bytes) -> None:
    """Write a file at once: another process sees all of it or nothing."""
    fresh = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        fresh.write_bytes(content)
        fresh.replace(file)
    except OSError:  # a full disk: no half of it stays
        fresh.unlink(missing_ok=True)
        raise


def _used(place: Path) -> None:
    """A folder is used now, and so kept."""
    with contextlib.suppress(OSError):  # a cache to be read alone
        os.utime(place)


def _alone(text: str) -> ModuleType:
    """The text's module with nothing kept."""
    module = ModuleType("gradninja_native_alone")
    run([text.replace("cache=True, ", "")], module.__dict__, "<native>")
    return module
