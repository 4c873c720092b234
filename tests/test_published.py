"""Forwards in the forms in which people publish them, derived as they stand.

Each file of `published/` has a module (`module()`, or a class that is made with its defaults) and
`inputs()`. Truth is autograd on the person's own object, its parameters in float64.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import gradninja as gn

FILES = sorted((Path(__file__).parent / "published").glob("*.py"))
# Random numbers within: the lines draw their own, as the object would.
DRAWS = {"gcn", "vae"}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(2147483647)
    yield
    torch.set_default_dtype(before)


def published(path: Path) -> tuple[Any, dict[str, Any]]:
    """The object of a file and its inputs by name."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    file = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(file)
    made = file.module() if hasattr(file, "module") else _only_module(file)()
    given = file.inputs()
    if not isinstance(given, dict):
        several = given if isinstance(given, tuple) else (given,)
        forward = made.forward if isinstance(made, nn.Module) else made.__call__
        given = dict(zip(inspect.signature(forward).parameters, several, strict=False))
    return made, given


def _only_module(file: ModuleType) -> type:
    (found,) = [
        v for v in vars(file).values() if isinstance(v, type) and v.__module__ == file.__name__
    ]
    return found


def parameters_of(made: Any) -> dict[str, torch.Tensor]:
    """Parameters by the object's own names; of plain classes by their place in `parameters()`."""
    if isinstance(made, nn.Module):
        return dict(made.named_parameters())
    return {str(id(p)): p for p in made.parameters()}


def flat(returned: Any) -> list[torch.Tensor]:
    if isinstance(returned, torch.Tensor):
        return [returned] if returned.is_floating_point() else []
    return [t for part in returned or () for t in flat(part)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_derived_as_it_stands(path: Path) -> None:
    made, given = published(path)
    back = gn.derive(made, given)
    if path.stem in DRAWS:  # held to the object's own draws by derive itself
        return
    leaves = {
        name: value.clone().requires_grad_() if value.is_floating_point() else value
        for name, value in given.items()
    }
    outputs = flat(made(**leaves))
    cotangents = tuple(torch.randn_like(output) for output in outputs)
    wanted = {n: v for n, v in leaves.items() if v.is_floating_point()}
    owned = parameters_of(made)
    flowing = [(o, g) for o, g in zip(outputs, cotangents, strict=True) if o.requires_grad]
    true = torch.autograd.grad(
        [o for o, _ in flowing],
        [*wanted.values(), *owned.values()],
        [g for _, g in flowing],
        allow_unused=True,
    )
    found = back(given, cotangents if len(cotangents) > 1 else cotangents[0])
    live = back.program.live
    assert live is not None
    names = {id(tensor): name for name, tensor in live.tensors.items()}
    for (name, leaf), gradient in zip([*wanted.items(), *owned.items()], true, strict=True):
        mine = found.get(f"d{names.get(id(leaf), name)}")
        if gradient is None or mine is None:
            assert mine is None or not mine.any()
            assert gradient is None
            continue
        scale = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(mine, gradient, rtol=1e-12, atol=1e-12 * scale)
        if isinstance(made, nn.Module) and name in owned:
            assert found[name] is mine


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_command_line_takes_the_file(path: Path) -> None:
    made, _ = published(path)
    where = str(path) if "def module" in path.read_text() else f"{path}:{type(made).__name__}"
    back = gn.derive(where)
    compile(back.annotated, "<backward>", "exec")
    compile(back.whole_forward, "<forward>", "exec")
