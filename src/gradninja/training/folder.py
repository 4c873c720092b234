"""The run folder: its files, and how they are written so that nothing is ever lost."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gradninja.errors import RunError

PICTURES = ("loss.png", "activations.png", "ratios.png", "dlogits.png")
_PROBE = ".probe"


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps its recipe, the model's text, metrics, weights and pictures."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def model(self) -> Path:
        return self.path / "model.py"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def weights(self) -> Path:
        return self.path / "weights.safetensors"

    def clear(self) -> None:
        """Remove an earlier run's files, and no others."""
        pictures = [self.path / name for name in PICTURES]
        written = (self.weights, self.metrics, *pictures, self.model, self.config)
        for path in (*written, *map(_partial, written)):
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second process; the system lets go when a process dies."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(
                    f"another process is training in {self.path}",
                    hint="Wait until it ends, or give this run a folder of its own with --out.",
                ) from None
            yield
        finally:
            os.close(folder)


def open_new(out: Path | None, model: str, *, overwrite: bool, size: int) -> RunFolder:
    """A folder for a new run; without `out`, the first free `runs/<model>-<number>`.

    `size` bytes are written there and taken away again, so that a folder that cannot be written
    or a full disk is told before the first step. Raises RunError then, and when `out` holds
    something already (a run is replaced when `overwrite`, anything else never).
    """
    try:
        if out is None:
            folder = RunFolder(numbered(model))
        else:
            folder = RunFolder(out)
            _refuse_used(folder, overwrite)
            out.mkdir(parents=True, exist_ok=True)
        probe = folder.path / _PROBE
        try:
            _write_synced(probe, bytes(size))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        where = out if out is not None else Path("runs")
        raise RunError(
            f"cannot write a run to {where}: {error.strerror}",
            hint="Name a folder that can be written, with room on its disk: --out FOLDER.",
        ) from None
    return folder


def open_old(path: Path) -> RunFolder:
    """The folder of an earlier run. Raises RunError when there is none."""
    if not path.is_dir():
        raise RunError(
            f"there is no run folder {path}",
            hint="`gradninja train` prints the folder that it writes.",
        )
    return RunFolder(path)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, sees the old or the new one.

    The bytes go to a temporary file in the same folder, onto the disk (fsync), and then to their
    name (rename); the folder is synced so that the name outlives a power cut. Raises OSError, and
    then the old file is whole.
    """
    partial = _partial(path)
    try:
        _write_synced(partial, data)
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def numbered(model: str) -> Path:
    """A new folder, the first free `runs/<model>-<number>`."""
    number = 1
    while True:
        path = Path("runs") / f"{model}-{number}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if not path.parent.is_dir():
                raise
            number += 1
        else:
            return path


def _left_by_a_kill(folder: RunFolder) -> set[str]:
    """What a run leaves that was killed before its recipe was written."""
    return {_PROBE, _partial(folder.config).name}


def _refuse_used(folder: RunFolder, overwrite: bool) -> None:
    if not folder.path.exists():
        return
    if not folder.path.is_dir():
        raise RunError(f"{folder.path} is a file, not a folder")
    if folder.config.exists():
        if not overwrite:
            raise RunError(
                f"{folder.path} holds a run already",
                hint=f"Go on with it: --resume {folder.path}. Replace it: --overwrite.",
            )
    elif {path.name for path in folder.path.iterdir()} - _left_by_a_kill(folder):
        raise RunError(
            f"{folder.path} is not empty and holds no run",
            hint="A new run takes a new or an empty folder.",
        )
