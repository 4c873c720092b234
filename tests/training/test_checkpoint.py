"""Checkpoints are written whole, read without pickle, and never half."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from gradninja.errors import RunError
from gradninja.training import checkpoint
from gradninja.training.checkpoint import State
from gradninja.training.folder import open_new


def state(step: int) -> State:
    generator = torch.Generator().manual_seed(step)
    return State(
        step,
        {"W1": torch.randn(3, 4, generator=generator), "b1": torch.randn(4, generator=generator)},
        {"bnmean": torch.randn(1, 4, generator=generator)},
        [torch.tensor(2.5), torch.tensor(2.25)],
    )


def assert_same(a: State, b: State) -> None:
    assert a.step == b.step
    assert [x.item() for x in a.losses] == [x.item() for x in b.losses]
    for left, right in ((a.parameters, b.parameters), (a.statistics, b.statistics)):
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)


def test_what_is_written_is_read_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    checkpoint.write(path, state(7))
    assert_same(checkpoint.read(path), state(7))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_equal_states_are_equal_bytes() -> None:
    assert checkpoint.pack(state(3)) == checkpoint.pack(state(3))


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_failing_disk_leaves_the_last_checkpoint_whole(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.safetensors"
    checkpoint.write(path, state(1))

    def fail(*args: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif failing == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(OSError, match="No space"):
        checkpoint.write(path, state(2))
    monkeypatch.undo()
    assert_same(checkpoint.read(path), state(1))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None], ids=["empty", "text", "cut"])
def test_a_damaged_checkpoint_is_told(damage: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    whole = checkpoint.pack(state(1))
    path.write_bytes(whole[:-20] if damage is None else damage)
    with pytest.raises(RunError, match="damaged or not a checkpoint"):
        checkpoint.read(path)


def test_a_missing_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"has no weights\.safetensors"):
        checkpoint.read(tmp_path / "weights.safetensors")


def test_a_folder_that_cannot_be_written_is_told_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write a run|is a file"):
        open_new(tmp_path / "file" / "run", "mlp", overwrite=False, size=10)


def test_a_full_disk_is_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match="No space left"):
        open_new(tmp_path / "run", "mlp", overwrite=False, size=10)
    assert list((tmp_path / "run").iterdir()) == []
