"""Forwards in the forms in which people publish them, derived as they stand.

Each file of `published/` has a module (`module()`, or a class that is made with its defaults), or a
function `forward` with what stands around it, and `inputs()`. Truth is autograd on the person's own
object, its parameters in float64.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import gradninja as gn
from paths import PUBLISHED

FILES = sorted((PUBLISHED).glob("*.py"))
# Random numbers within: the lines draw their own, as the object would.
DRAWS = {"gcn", "vae", "sac"}


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
    if "forward" in vars(file):
        made = file.forward
    else:
        made = file.module() if hasattr(file, "module") else _only_module(file)()
    given = file.inputs()
    if not isinstance(given, dict):
        several = given if isinstance(given, tuple) else (given,)
        forward = made.forward if isinstance(made, nn.Module) else made
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
        return {name: p for name, p in made.named_parameters() if p.requires_grad}
    if isinstance(made, FunctionType):  # what stands around it
        around = [m for m in made.__globals__.values() if isinstance(m, nn.Module)]
        return {str(id(p)): p for m in around for p in m.parameters()}
    listed = getattr(made, "parameters", list)
    return {str(id(p)): p for p in listed()}


def flat(returned: Any) -> list[torch.Tensor]:
    if isinstance(returned, torch.Tensor):
        return [returned] if returned.is_floating_point() else []
    if dataclasses.is_dataclass(returned):
        returned = vars(returned)
    if not isinstance(returned, dict | list | tuple):  # a number that is logged, or None
        return []
    parts = returned.values() if isinstance(returned, dict) else returned
    return [t for part in parts for t in flat(part)]


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
    true = [g.to_dense() if g is not None and g.is_sparse else g for g in true]
    found = back(given, cotangents if len(cotangents) > 1 else cotangents[0])
    live = back.program.live
    held = {} if live is None else live.tensors
    names = {id(tensor): name for name, tensor in held.items()}
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
    said = "def module" in path.read_text() or isinstance(made, FunctionType)
    where = str(path) if said else f"{path}:{type(made).__name__}"
    back = gn.derive(where)
    compile(back.annotated, "<backward>", "exec")
    compile(back.whole_forward, "<forward>", "exec")


# Some of each kind: fusing and compiling take seconds. Of norms that are given as one operation the
# fused text may have more lines: it writes them out.
FUSED = ("gcn", "lenet", "vae", "makemore_mlp", "wavenet_lecture")


@pytest.mark.parametrize("name", FUSED)
def test_fused_is_no_longer_than_derived(name: str) -> None:
    made, given = published(PUBLISHED / f"{name}.py")
    back, fused = gn.derive(made, given), gn.fuse(made, given)
    assert len(fused.lines) <= len(back.lines)
    text = gn.explain(fused)
    assert all(f"d{name}" in text for name in back.program.differentiable)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.gain = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        a = torch.tanh(self.fc(x))
        h = a * self.gain
        h += 1
        return F.mse_loss(h, y)


def test_compiled_reads_the_parameters_as_they_are() -> None:
    made, given = Small(), {"x": torch.randn(5, 4), "y": torch.randn(5, 3)}
    step = gn.compile(made)
    for _ in range(2):
        found = step(**given)
        made.zero_grad()
        made(**given).backward()
        for name, parameter in made.named_parameters():
            assert parameter.grad is not None
            mine = found[f"d{name.replace('.', '_')}"]
            torch.testing.assert_close(mine, parameter.grad, rtol=1e-11, atol=1e-12)
            parameter.data.mul_(1.5)


def test_check_judges_a_backward_of_a_module() -> None:
    made, given = Small(), {"x": torch.randn(5, 4), "y": torch.randn(5, 3)}
    back = gn.derive(made, given)
    assert gn.check(made, back.source, given).ok
    wrong = back.source.replace("dgain = ", "dgain = 2 * ")
    report = gn.check(made, wrong, given)
    assert [line.name for line in report.lines if line.verdict == "wrong"] == ["dgain"]


class Scheduled(nn.Module):
    """What is static: hooks of Python's, not of data."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 3) for _ in range(3)])
        self.gates = nn.ParameterDict({"a": nn.Parameter(torch.ones(3))})
        self.act = {"gelu": F.gelu, "tanh": torch.tanh}
        self.calls = 0

    @property
    def depth(self) -> int:
        return len(self.layers)

    @torch.no_grad()
    def target(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers[0](x)

    def forward(self, x, *args, mode="gelu", **kwargs):  # type: ignore[no-untyped-def]
        assert self.depth > 1, f"{self.depth}"
        print(f"in {x.shape}")
        self.calls += 1

        def block(z, k=2):  # type: ignore[no-untyped-def]
            return self.act[mode](z) * k

        for i, layer in enumerate(self.layers[:-1]):
            x = layer(x) if i % 2 else block(layer(x))
        if hasattr(self, "missing") or not self.training:
            raise ValueError("not here")
        x = x * self.gates["a"] + getattr(self, "also_missing", 1.0)
        for f in (lambda z: z + 1, nn.ReLU(), block):
            x = f(x)
        return (x - self.target(x)).pow(2).mean()


def test_what_does_not_depend_on_data_is_read_off_the_module() -> None:
    made, x = Scheduled(), torch.randn(4, 3)
    found = gn.derive(made, x)({"x": x})
    assert made.calls == 0
    made(x).backward()
    for name, parameter in made.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-11, atol=1e-12)


def test_dropout_is_a_line_with_its_mask() -> None:
    back = gn.derive(nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)), torch.randn(4, 3))
    assert "mask" in back.arguments


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("class A(nn.Module):\n    def forward(self, x):\n        return x\n", "A.py:A"),
        (
            "class A(nn.Module):\n    def __init__(self, n):\n        super().__init__()\n"
            "    def forward(self, x):\n        return x\n\n# :A",
            "add a function `module()`",
        ),
    ],
)
def test_a_file_that_does_not_say_its_module_is_told_what_to_say(
    text: str, told: str, tmp_path: Path
) -> None:
    file = tmp_path / "A.py"
    file.write_text(f"from torch import nn\n{text}")
    with pytest.raises(gn.GradninjaError) as caught:
        gn.derive(f"{file}:A" if text.endswith(":A") else file)
    assert told in str(caught.value)


def _hooked() -> nn.Module:
    made = nn.Linear(3, 3)
    made.register_forward_hook(lambda *given: None)
    return nn.Sequential(made)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Small, "is a class"),
        (_hooked, "has hooks"),
        (lambda: nn.Sequential(nn.FractionalMaxPool2d(2, output_size=1)), "no rule for"),
    ],
)
def test_what_is_not_understood_is_refused_in_words(make: Any, told: str) -> None:
    with pytest.raises(gn.GradninjaError) as caught:
        gn.derive(make(), torch.randn(4, 3))
    assert told in str(caught.value)
    assert len(str(caught.value)) < 700  # no picture of a whole module


def test_a_long_signature_has_a_name_a_line() -> None:
    made, given = published(PUBLISHED / "makemore_gru.py")
    back = gn.derive(made, given)
    for text in (back.source, back.whole_forward):
        head = text[text.index("def ") : text.index("):")].splitlines()
        assert len(head) > 9 and all(len(line) <= 100 for line in head)
    values = {i.name: i.value for i in back.program.inputs}
    if back.scalar:
        assert gn.check(back.whole_forward, back.source, values).ok


class Checkpointed(Small):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(checkpoint(self.fc, x, use_reentrant=False) * self.gain, y)


def test_a_checkpoint_is_a_call() -> None:
    back = gn.derive(Checkpointed(), {"x": torch.randn(5, 4), "y": torch.randn(5, 3)})
    assert {"fc_weight", "gain"} <= set(back.program.differentiable)


BESIDE = """
import torch
from torch import nn
{imported}

def module():
    return {made}

def inputs():
    return torch.randn(2, 4)

def backward({x}, {fc}_weight, {fc}_bias, d{y}):
    d{x} = d{y} @ {fc}_weight
    d{fc}_weight = d{y}.T @ {x}
    d{fc}_bias = d{y}.sum(0)
    return d{x}, d{fc}_weight, d{fc}_bias
"""
IMPORTED = """
from torch import nn

class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        y = self.fc(x)
        return y
"""


@pytest.mark.parametrize(
    "words",
    [
        {"imported": "from mine_elsewhere import Mine", "made": "Mine()", "x": "x", "y": "y"},
        {"imported": "", "made": "nn.Sequential(nn.Linear(4, 3))", "x": "input", "y": "x"},
    ],
    ids=["of another file", "of torch's own"],
)
def test_inputs_stand_where_the_module_is_made(words: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "mine_elsewhere.py").write_text(IMPORTED)
    file = tmp_path / "trial.py"
    file.write_text(BESIDE.format(fc="fc" if words["imported"] else "_0", **words))
    assert len(gn.derive(file).lines) == 3
    report = gn.check(f"{file}:module")
    assert report.ok and len(report.lines) == 3
    file.write_text(file.read_text().replace(".sum(0)", ".mean(0)"))
    (wrong,) = gn.check(f"{file}:module").wrong
    assert wrong.fix is not None and ".sum(0)" in wrong.fix
