"""Machine code on disk: found again, never when it is stale, and not missed when it is damaged."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from pathlib import Path

import numba
import numpy as np
import pytest
import torch

from gradninja.native import Kernel, cache, compile
from gradninja.native.cache import compiled, key_of

TEXT = """\
import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy")
def double(x):
    return x * 2
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADNINJA_CACHE", str(tmp_path))
    return tmp_path


def test_the_second_time_it_is_found(folder) -> None:
    told: list[str] = []
    assert compiled(TEXT, "double", [1.5], told.append)(1.5) == 3
    assert len(told) == 1
    again = compiled(TEXT, "double", [1.5], told.append)
    assert again(2.5) == 5
    assert len(told) == 1
    assert sum(again.stats.cache_hits.values()) == 1
    (place,) = (folder / "native").iterdir()
    assert place.name == key_of(TEXT)


def test_what_is_not_used_is_forgotten(folder, monkeypatch) -> None:
    monkeypatch.setattr(cache, "_KEPT", 4)
    hours = {"a": 3, "b": 2, "c": 5, "d": 0.1, "e": 0.2, "f": 0.3, "old": 31 * 24}

    def left(**ages: float) -> set[str]:
        """Of texts last used so many hours ago, which are left when another one is compiled."""
        kept = folder / "native"
        shutil.rmtree(kept, ignore_errors=True)
        for name, age in ages.items():
            (kept / name).mkdir(parents=True)
            (kept / name / ".gradninja").touch()
            then = time.time() - age * 3600
            os.utime(kept / name, (then, then))
        assert compiled(TEXT, "double", [1.5])(1.5) == 3
        return {place.name for place in kept.iterdir()} - {key_of(TEXT)}

    assert left(**hours) == {"b", "d", "e", "f"}  # the longest unused are gone
    assert left(d=0.1, e=0.2, f=0.3, g=0.4, h=0.5) == set("defgh")  # maybe at work on them
    assert left(a=3, old=31 * 24) == {"a"}


def test_what_gradninja_did_not_make_is_never_removed(folder, tmp_path_factory) -> None:
    """Old folders beside ours, of any name, a link to one of ours, and one where ours should be."""
    kept, elsewhere = folder / "native", tmp_path_factory.mktemp("elsewhere")
    (elsewhere / ".gradninja").touch()
    for place in (kept / "thesis", kept / ("a" * 32), kept / key_of(TEXT) / "__pycache__"):
        place.mkdir(parents=True)
        (place / "chapter.txt").write_text("years of work")
    (kept / "link").symlink_to(elsewhere)
    (kept / "note.txt").write_text("a file")
    for place in (*kept.iterdir(), elsewhere):
        os.utime(place, (0, 0), follow_symlinks=False)
    before = set(kept.rglob("*"))
    assert compiled(TEXT, "double", [1.5])(1.5) == 3
    assert before <= set(kept.rglob("*"))
    assert (elsewhere / ".gradninja").exists()


def opened_to_others(place: Path, how: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    if how == "owner":
        os.chown(place, 12345, -1)
    else:
        place.chmod(0o777 if how == "everyone" else 0o770)


@pytest.mark.parametrize("how", ["everyone", "group", "owner"])
@pytest.mark.parametrize("where", ["", "native", "native/KEY", "native/KEY/__pycache__", "numba"])
def test_code_that_others_may_have_put_there_is_not_loaded(
    folder, monkeypatch, where: str, how: str
) -> None:
    if how == "owner" and os.getuid() != 0:
        pytest.skip("only root may give a folder away")
    if where == "numba":
        monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder / "numba"))
    compiled(TEXT, "double", [1.5])
    if where.endswith("__pycache__"):
        (folder / "native" / key_of(TEXT)).chmod(0o755)  # closed, nobody gets to what it holds
    opened_to_others(folder / where.replace("KEY", key_of(TEXT)), how)
    for file in folder.rglob("*.nbc"):  # loaded, it would do as it likes: here, fail
        file.write_bytes(b"another's")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    told: list[str] = []
    assert compiled(TEXT, "double", [1.5], told.append)(1.5) == 3
    assert len(told) == 1 and "GRADNINJA_CACHE" in told[0]
    assert ("another user" if how == "owner" else "can be written by") in told[0]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with pytest.warns(RuntimeWarning, match="GRADNINJA_CACHE"):
        compiled(TEXT, "double", [1.5])


def test_a_link_that_others_may_turn_is_not_followed(folder, monkeypatch) -> None:
    (folder / "open").mkdir()
    (folder / "open" / "cache").symlink_to(folder)
    (folder / "open").chmod(0o777)
    monkeypatch.setenv("GRADNINJA_CACHE", str(folder / "open" / "cache"))
    told: list[str] = []
    compiled(TEXT, "double", [1.5], told.append)
    assert "can be written by everyone" in told[0]
    (folder / "open").chmod(0o1777)  # as /tmp: others add, and cannot take away
    told.clear()
    compiled(TEXT, "double", [1.5], told.append)
    assert "can be written" not in told[0]


def test_folders_are_made_for_their_owner_alone(folder, monkeypatch) -> None:
    before = os.umask(0o002)
    try:
        monkeypatch.setenv("GRADNINJA_CACHE", str(folder / "a" / "b"))
        compiled(TEXT, "double", [1.5])
        assert (folder / "a").stat().st_mode & 0o777 == 0o700
        told: list[str] = []
        assert compiled(TEXT, "double", [1.5], told.append)(1.5) == 3
        assert told == []
    finally:
        os.umask(before)


def test_what_is_used_again_is_kept(folder) -> None:
    compiled(TEXT, "double", [1.5])
    (place,) = (folder / "native").iterdir()
    os.utime(place, (0, 0))
    compiled(TEXT, "double", [1.5])
    compiled(TEXT + "\n", "double", [1.5])
    assert place.exists()


def test_the_key_tells_apart_what_the_code_depends_on(monkeypatch, tmp_path) -> None:
    keys = {key_of(TEXT), key_of(TEXT + "\n")}

    def changed() -> str:
        cache.surroundings.cache_clear()
        return key_of(TEXT)

    with monkeypatch.context() as patch:
        patch.setattr("gradninja.__version__", "0.0.0")
        keys.add(changed())
    for module in ("numba", "llvmlite", "numpy"):
        with monkeypatch.context() as patch:
            patch.setattr(f"{module}.__version__", "0.0.0")
            keys.add(changed())
    with monkeypatch.context() as patch:
        patch.setattr(cache.llvm, "get_host_cpu_name", lambda: "another")
        keys.add(changed())
    with monkeypatch.context() as patch:
        features = dict(cache.llvm.get_host_cpu_features())
        features["avx2"] = not features.get("avx2")
        patch.setattr(cache.llvm, "get_host_cpu_features", lambda: cache.llvm.FeatureMap(features))
        keys.add(changed())
    with monkeypatch.context() as patch:
        patch.setenv("NUMBA_OPT", "1")
        keys.add(changed())
    with monkeypatch.context() as patch:  # an edit of one of our own files
        shutil.copytree(cache._SOURCES, tmp_path, dirs_exist_ok=True)
        patch.setattr(cache, "_SOURCES", tmp_path)
        assert changed() in keys
        (tmp_path / "kernels" / "tile.py").write_text("edited")
        keys.add(changed())
    assert changed() in keys
    assert len(keys) == 10


def test_a_text_that_was_tampered_with_is_not_run(folder) -> None:
    compiled(TEXT, "double", [1.5])
    (file,) = folder.glob("native/*/kernel.py")
    file.write_text(TEXT.replace("* 2", "* 3"))
    assert compiled(TEXT, "double", [1.5])(1.5) == 3


@pytest.mark.parametrize("ending", ["nbc", "nbi"])
def test_damaged_code_is_made_anew(folder, ending: str) -> None:
    compiled(TEXT, "double", [1.5])
    for file in folder.glob(f"native/*/__pycache__/*.{ending}"):
        file.write_bytes(file.read_bytes()[:20])
    assert compiled(TEXT, "double", [1.5])(1.5) == 3


def test_without_a_folder_to_write_to_it_is_compiled_all_the_same(folder, monkeypatch) -> None:
    (folder / "file").write_text("")
    monkeypatch.setenv("GRADNINJA_CACHE", str(folder / "file" / "below"))
    assert compiled(TEXT, "double", [1.5])(1.5) == 3


def forward(x, W):
    """A layer."""
    h = torch.tanh(x @ W)
    return (h * h).mean()


def test_a_compiled_step_takes_arrays_and_tensors_of_any_strides() -> None:
    told: list[str] = []
    step = compile(forward, say=told.append)
    generator = torch.Generator().manual_seed(4)
    x = torch.randn((3, 8), generator=generator).T  # (8, 3), not contiguous
    W = torch.randn((3, 10), generator=generator)[:, ::2].requires_grad_()
    loss = forward(x, W)
    (truth,) = torch.autograd.grad(loss, [W])
    found = step(x=x, W=W)
    assert list(found) == ["loss", "dx", "dW"]
    torch.testing.assert_close(found["loss"], loss.detach())
    torch.testing.assert_close(found["dW"], truth)
    arrays = step(x=x.numpy(), W=W.detach().numpy())
    assert isinstance(arrays["dW"], np.ndarray)
    assert np.array_equal(arrays["dW"], found["dW"].numpy())
    assert sum("loops" in line for line in told) == 1  # the product may be known already
    wide = step(x=x.double(), W=W.double())
    torch.testing.assert_close(wide["dW"], truth.double(), rtol=1e-5, atol=1e-6)
    assert wide["dW"].dtype == torch.float64


def test_a_kernel_refuses_what_it_was_not_compiled_for() -> None:
    kernel = Kernel.__new__(Kernel)
    kernel.shapes, kernel.dtype = {"W": (2, 3)}, np.dtype("float32")
    for wrong in (np.zeros((3, 2), "f"), np.zeros((2, 3)), np.zeros((3, 2), "f").T):
        with pytest.raises(Exception, match="the kernel was compiled for"):
            kernel._flat("W", wrong)


def test_what_is_made_is_kept_and_damage_to_it_is_seen(folder) -> None:
    made: list[str] = []

    def make() -> bytes:
        made.append("once")
        return b"machine code"

    told: list[str] = []
    for _ in range(2):
        assert cache.kept("text", make, told.append, "compiling") == b"machine code"
    assert len(made) == len(told) == 1
    (file,) = folder.glob("native/*/code")
    for damaged in (file.read_bytes()[:-1], b"", file.read_bytes() + b"more"):
        file.write_bytes(damaged)
        made.clear()
        assert cache.kept("text", make) == b"machine code"
        assert len(made) == 1
    opened_to_others(file.parent, "everyone")
    with pytest.warns(RuntimeWarning, match="GRADNINJA_CACHE"):
        cache.kept("text", make)
    assert len(made) == 2


def test_what_was_made_of_another_text_is_not_taken(folder) -> None:
    """Folders that a backup or a person's script put back under each other's names."""
    for name in ("one", "two"):
        cache.put(name, name.encode())
    one, two = (folder / "native" / key_of(name) / "code" for name in ("one", "two"))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert cache.recalled("one") is None and cache.recalled("two") is None
    two.write_bytes(second)
    assert cache.recalled("two") == b"two"


def in_the_way(file: Path, what: str) -> None:
    file.unlink()
    if what == "a folder":
        file.mkdir()
    elif what == "a pipe":
        os.mkfifo(file)
    elif what == "a link to itself":
        file.symlink_to(file)
    else:
        file.write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize("what", ["a folder", "a pipe", "a link to itself", "no text"])
def test_what_is_no_file_of_ours_is_in_nobodys_way(folder, what: str) -> None:
    compiled(TEXT, "double", [1.5])
    cache.put("text", b"code")
    for file in folder.glob("native/*/*"):
        if file.name in {"kernel.py", "code"}:
            in_the_way(file, what)
    assert cache.recalled("text") is None
    assert cache.kept("text", lambda: b"code") == b"code"
    assert compiled(TEXT, "double", [1.5])(1.5) == 3


def test_of_a_full_disk_nothing_is_left(folder, monkeypatch) -> None:
    write = Path.write_bytes

    def full(file: Path, content: bytes) -> int:
        write(file, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    cache.put("text", b"code")
    assert cache.recalled("text") is None
    assert {file.name for file in folder.glob("native/*/*")} == {".gradninja"}
    assert compiled(TEXT, "double", [1.5])(1.5) == 3


def test_without_a_home_it_is_kept_where_temporary_files_are(monkeypatch) -> None:
    for name in ("GRADNINJA_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert cache.folder() == Path(tempfile.gettempdir()) / f"gradninja-{os.getuid()}"


def test_a_link_to_itself_is_told(folder, monkeypatch) -> None:
    (folder / "loop").symlink_to(folder / "loop")
    monkeypatch.setenv("GRADNINJA_CACHE", str(folder / "loop" / "below"))
    told: list[str] = []
    assert compiled(TEXT, "double", [1.5], told.append)(1.5) == 3
    assert "cannot be looked at" in told[0]
