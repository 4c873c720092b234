"""Our types are those of `spmd_types`, and torch's own simulated ranks run our text."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

import gradninja as gn
from gradninja.ranks.types import GRADIENT

MLP = """
def forward(x: Float[Tensor, "n d"], w1: Float[Tensor, "d hidden"], w2: Float[Tensor, "hidden k"]):
    a = x @ w1
    mean = a.sum(0, keepdim=True) / x.shape[0]
    h = torch.tanh(a - mean)
    out = h @ w2
    loss = (out**2).sum()
    return loss
"""


@pytest.fixture
def group() -> Iterator[Any]:
    """A process group of two that no other process is in."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield dist.group.WORLD
    dist.destroy_process_group()


def test_the_table_of_gradients_is_theirs() -> None:
    spmd = pytest.importorskip("spmd_types")
    theirs = {kind.value: kind.backward_type().value for kind in (spmd.R, spmd.I, spmd.V, spmd.P)}
    assert theirs == GRADIENT


@pytest.mark.parametrize("split", [{"n": "data"}, {"hidden": "data"}])
def test_types_are_those_that_their_checker_finds(split: dict[str, str], group: Any) -> None:
    spmd = pytest.importorskip("spmd_types")
    import spmd_types.checker
    from torch.distributed.device_mesh import init_device_mesh

    found = gn.shard(MLP, split=split)
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("data",))
    theirs = mesh.get_group("data")

    def all_reduce(tensor: Any, op: str, over: Any) -> Any:
        # A sum over a share is partial by what it means; their checker wants that to be said.
        if spmd.get_axis_local_type(tensor, over) == spmd.V:
            tensor = spmd.reinterpret(tensor, over, src=spmd.V, dst=spmd.P)
        return spmd.all_reduce(tensor, over, src=spmd.P, dst=spmd.R)

    def coalesced(tensors: list[Any], op: str, over: Any) -> list[Any]:
        return [all_reduce(tensor, op, over) for tensor in tensors]

    inputs = {i.name: i.value for i in found.program.inputs}
    given = found.arguments(inputs, found.mesh_of(2))[0]
    names: dict[str, Any] = {
        **given,
        "data": theirs,
        "torch": torch,
        "fc": SimpleNamespace(all_reduce=all_reduce, all_reduce_coalesced=coalesced),
    }
    judged = 0
    with spmd.set_current_mesh(mesh), spmd_types.checker.typecheck():
        for name, value in given.items():
            if isinstance(value, torch.Tensor):
                kind = spmd.V if found.types[name][0].varies else spmd.R
                spmd.assert_type(value, {theirs: kind})
        for item in (*found.forward.items, *found.backward.items):
            exec(str(item), names)
            types = getattr(item, "types", ())
            for name, kinds in zip(getattr(item, "of", ()), types, strict=True):
                if kinds is not None:
                    letter = spmd.get_axis_local_type(names[name], theirs).value
                    # What we know to be partial is for them what varies.
                    assert (letter == "R") == (kinds[0].letter == "R"), f"{item}: {letter}"
                    judged += 1
    assert judged > 10


@pytest.mark.parametrize("split", [{"n": "data"}, {"hidden": "data"}])
def test_torchs_simulated_ranks_run_the_text(split: dict[str, str], group: Any) -> None:
    from torch.distributed._local_tensor import LocalTensor, LocalTensorMode

    text = MLP.replace("/ x.shape[0]", "/ 4")
    found = gn.shard(text, split=split)
    generator = torch.Generator().manual_seed(5)
    shapes = {"x": (4, 3), "w1": (3, 6), "w2": (6, 2)}
    inputs = {
        n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes.items()
    }
    truth = gn.derive(text)(inputs)
    arguments = found.arguments(inputs, found.mesh_of(2))
    scope: dict[str, Any] = {}
    exec(found.step_source, scope)
    wanted = scope["step"].__code__.co_varnames[: scope["step"].__code__.co_argcount]
    with LocalTensorMode(2):
        ranks = {
            name: LocalTensor({r: arguments[r][name].clone() for r in range(2)})
            if isinstance(arguments[0][name], torch.Tensor)
            else arguments[0][name]
            for name in arguments[0]
            if name in wanted
        }
        results = scope["step"](**ranks, data=group)
    for name, result in zip(("loss", "dx", "dw1", "dw2"), results, strict=True):
        if name == "loss":
            continue
        local = getattr(result, "elem", result)
        parts = [local._local_tensors[r] for r in range(2)]
        parts = [getattr(part, "elem", part) for part in parts]
        kind = found.types[name][0]
        whole = torch.cat(parts, kind.dim) if kind.varies else parts[0]
        torch.testing.assert_close(whole, truth[name], rtol=1e-10, atol=1e-12)
