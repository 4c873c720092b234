"""The catalogue's harness: its programs, inputs drawn to fit them, and autograd as the truth.

Nothing of gradninja is used here, so that what is compared with it owes it nothing.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import programs

# Sizes are dealt out to a program's axes in order of appearance. The first two deals give every
# axis a size of its own; in the third all sizes coincide.
DISTINCT = (5, 7, 4, 6, 3, 8, 9, 11, 10, 12, 13, 14)
OTHERS = (6, 4, 7, 3, 5, 9, 8, 10, 11, 13, 12, 15)
EQUAL = (6,) * 12


@dataclass(frozen=True)
class Cataloged:
    """One program of the catalogue and what its annotations cannot say about its inputs."""

    theme: str
    function: Callable[..., Any]
    bounds: Mapping[str, str | int]
    domains: Mapping[str, tuple[float, float]]

    @property
    def name(self) -> str:
        return f"{self.theme}.{self.function.__name__}"

    @property
    def annotations(self) -> dict[str, Any]:
        """Input -> its jaxtyping annotation, for every input that is a tensor."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.annotation for p in parameters if hasattr(p.annotation, "dim_str")}

    @property
    def float_inputs(self) -> list[str]:
        return [name for name, kind in self.annotations.items() if "float64" in kind.dtypes]

    def axes(self, sizes: Sequence[int]) -> dict[str, int]:
        """The named axes, in order of appearance, each with the next of `sizes`."""
        names: dict[str, None] = {}
        for annotation in self.annotations.values():
            for dim in annotation.dim_str.split():
                for node in ast.walk(ast.parse(dim)):
                    if isinstance(node, ast.Name):
                        names.setdefault(node.id)
        return dict(zip(names, sizes, strict=False))

    def draw(self, sizes: Sequence[int], seed: int) -> dict[str, Tensor]:
        """Float64 (or int64, or bool) tensors of the annotated shapes."""
        axes = self.axes(sizes)
        generator = torch.Generator().manual_seed(seed)
        drawn = {}
        for name, annotation in self.annotations.items():
            shape = [eval(dim, {}, dict(axes)) for dim in annotation.dim_str.split()]
            if "bool" in annotation.dtypes:
                value = torch.rand(shape, generator=generator) < 0.6
            elif "float64" in annotation.dtypes:
                value = torch.randn(shape, generator=generator, dtype=torch.float64)
                if name in self.domains:
                    low, high = self.domains[name]
                    value = torch.rand(shape, generator=generator, dtype=torch.float64)
                    value = low + (high - low) * value
            else:
                bound = self.bounds[name]
                high = axes[bound] if isinstance(bound, str) else bound
                value = torch.randint(0, high, shape, generator=generator)
            drawn[name] = value
        return drawn


def collect() -> list[Cataloged]:
    """Every public function of every module of the catalogue."""
    found = []
    for module_info in pkgutil.iter_modules(programs.__path__):
        module = importlib.import_module(f"programs.{module_info.name}")
        bounds, domains = getattr(module, "BOUNDS", {}), getattr(module, "DOMAINS", {})
        for name, function in vars(module).items():
            own = inspect.isfunction(function) and function.__module__ == module.__name__
            if own and not name.startswith("_"):
                found.append(
                    Cataloged(
                        module_info.name, function, bounds.get(name, {}), domains.get(name, {})
                    )
                )
    return found


def outputs_of(value: Any) -> tuple[Tensor, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def non_contiguous(tensor: Tensor) -> Tensor:
    """The same values, laid out with the axes the other way round and a gap between elements."""
    gapped = torch.empty((*reversed(tensor.shape), 2), dtype=tensor.dtype)[..., 0]
    return gapped.permute(tuple(range(tensor.ndim))[::-1]).copy_(tensor)


def cotangents(outputs: Sequence[Tensor], seed: int, layout: str) -> tuple[Tensor, ...]:
    """A random gradient for every output.

    `layout`: "plain"; "gapped", which is not contiguous; "expanded", one number with strides of 0,
    as autograd itself hands to a sum.
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for output in outputs:
        grad = torch.randn(output.shape, generator=generator, dtype=output.dtype)
        if layout == "gapped":
            grad = non_contiguous(grad)
        elif layout == "expanded":
            number = torch.randn((), generator=generator, dtype=output.dtype)
            grad = number.expand(output.shape)
        found.append(grad)
    return tuple(found)


def autograd(
    function: Callable[..., Any],
    inputs: Mapping[str, Any],
    grads: Callable[[Sequence[Tensor]], Sequence[Tensor]],
    wrt: Sequence[str] | None = None,
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """Autograd's gradients ({"dx": ...}; zeros where there is no path) and the cotangents."""
    given = {}
    for name, value in inputs.items():
        leaf = isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())
        leaf = leaf and (wrt is None or name in wrt)
        given[name] = value.detach().requires_grad_() if leaf else value
    outputs = outputs_of(function(**given))
    cotangent = tuple(grads(outputs))
    leaves = {n: v for n, v in given.items() if isinstance(v, Tensor) and v.requires_grad}
    pairs = [(o, g) for o, g in zip(outputs, cotangent, strict=True) if o.requires_grad]
    if not pairs:
        return {f"d{name}": torch.zeros_like(v) for name, v in leaves.items()}, cotangent
    found = torch.autograd.grad(
        [o for o, _ in pairs], list(leaves.values()), [g for _, g in pairs], allow_unused=True
    )
    truth = {
        f"d{name}": torch.zeros_like(leaf) if grad is None else grad
        for (name, leaf), grad in zip(leaves.items(), found, strict=True)
    }
    return truth, cotangent


def call(
    back: Callable[..., dict[str, Tensor]], inputs: Mapping[str, Tensor], grads: Sequence[Tensor]
) -> dict[str, Tensor]:
    """`back(inputs, grads)`, held to leaving what it is given as it was."""
    given = [*inputs.values(), *grads]
    before = [tensor.clone() for tensor in given]
    found = back(inputs, tuple(grads) if len(grads) > 1 else grads[0])
    same = [torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(before, given, strict=True)]
    assert all(same), f"an input or a cotangent was changed in place: {same}"
    return found


def largest(tensors: Mapping[str, Tensor]) -> float:
    return max((float(t.abs().max()) for t in tensors.values() if t.numel()), default=0.0)


def differences(
    got: Mapping[str, Any],
    truth: Mapping[str, Tensor],
    tolerance: float = 1e-11,
    share: float = 1e-3,
) -> list[str]:
    """What is wrong with `got`, in words; empty when all is right.

    Relative to each gradient's own largest element; rounding of a gradient that is zero in truth is
    measured against a `share` of the largest of them all.
    """
    wrong = []
    if set(got) != set(truth):
        wrong.append(f"names {sorted(got)} instead of {sorted(truth)}")
    floor = max(1.0, largest(truth)) * share
    for name in sorted(set(got) & set(truth)):
        mine, want = got[name], truth[name]
        if not isinstance(mine, Tensor) or mine.shape != want.shape:
            wrong.append(f"{name}: {getattr(mine, 'shape', mine)} instead of {want.shape}")
        elif mine.dtype != want.dtype:
            wrong.append(f"{name}: {mine.dtype} instead of {want.dtype}")
        elif want.numel() and not torch.equal(torch.isfinite(mine), torch.isfinite(want)):
            wrong.append(f"{name}: not finite where autograd is, or the reverse")
        elif want.numel():
            scale = max(largest({name: want.nan_to_num()}), floor)
            off = float((mine - want).nan_to_num().abs().max()) / scale
            if off > tolerance:
                wrong.append(f"{name}: off by {off:.2e}, relative")
    return wrong
