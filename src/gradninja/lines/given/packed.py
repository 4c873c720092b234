"""Inputs that are dictionaries or lists of tensors: `parameters = {"W1": ..., "b1": ...}`.

Each tensor within is an input of its own, by the name of its key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

Structure = Any  # a name, or a dictionary, list or tuple of such


def holds_tensors(value: Any) -> bool:
    """Whether a value is a dictionary, list or tuple with tensors in it."""
    if isinstance(value, dict):
        return any(map(_tensor_in, value.values()))
    return isinstance(value, list | tuple) and any(map(_tensor_in, value))


def _tensor_in(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or holds_tensors(value)


def taken_apart(name: str, value: Any, taken: set[str]) -> tuple[Structure, dict[str, Any]]:
    """The names of what is within, in the value's own structure, and the parts by these names."""
    parts: dict[str, Any] = {}

    def visit(path: tuple[str, ...], part: Any) -> Structure:
        if isinstance(part, dict):
            return {key: visit((*path, str(key)), inner) for key, inner in part.items()}
        if isinstance(part, list | tuple) and (holds_tensors(part) or not parts):
            inside = [visit((*path, str(at)), inner) for at, inner in enumerate(part)]
            return inside if isinstance(part, list) else tuple(inside)
        own = path[-1] if len(path) == 2 and path[-1].isidentifier() else "_".join(path)
        base = re.sub(r"\W", "_", own)
        found, count = base, 0
        while found in taken:
            count += 1
            found = f"{name}_{base}" if count == 1 else f"{name}_{base}_{count}"
        taken.add(found)
        parts[found] = part
        return found

    return visit((name,), value), parts


def put_together(structure: Structure, parts: Mapping[str, Any]) -> Any:
    """The parts in a value's structure."""
    if isinstance(structure, dict):
        return {key: put_together(inner, parts) for key, inner in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)(put_together(inner, parts) for inner in structure)
    return parts[structure]


def leaves(structure: Structure, value: Any) -> Iterator[tuple[str, Any]]:
    """Another value of the same structure, part by part with its name.

    Raises:
        LookupError, TypeError: it is of another structure.
    """
    if isinstance(structure, dict):
        for key, inner in structure.items():
            yield from leaves(inner, value[key])
    elif isinstance(structure, list | tuple):
        for at, inner in enumerate(structure):
            yield from leaves(inner, value[at])
    else:
        yield structure, value


def spread(packed: Mapping[str, Structure], inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Inputs in which dictionaries and lists are given part by part."""
    for name, structure in packed.items():
        if name in inputs:
            rest = {other: value for other, value in inputs.items() if other != name}
            inputs = {**rest, **dict(leaves(structure, inputs[name]))}
    return inputs


def gathered(packed: Mapping[str, Structure], parts: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs by the signature's names: what stands in a dictionary or list is put back there."""
    whole = {name: put_together(structure, parts) for name, structure in packed.items()}
    apart = {part for structure in packed.values() for part in _names(structure)}
    return {**{n: v for n, v in parts.items() if n not in apart}, **whole}


def _names(structure: Structure) -> Iterator[str]:
    if isinstance(structure, dict):
        structure = list(structure.values())
    if isinstance(structure, list | tuple):
        for inner in structure:
            yield from _names(inner)
    else:
        yield structure


def instead_of(value: Any) -> str:
    """What to give in place of a value that is no input."""
    if hasattr(value, "data") and hasattr(value, "grad"):  # micrograd's `Value`
        return (
            f"a {type(value).__name__} keeps its own gradient: give the number that it holds as a "
            "tensor, `torch.tensor(2.0)`, and the same lines are read with that"
        )
    return "inputs are tensors, plain numbers, and dictionaries or lists that hold tensors"
