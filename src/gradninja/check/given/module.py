"""Running what stands around a backward: the person's file as a module, their `inputs()`."""

from __future__ import annotations

import ast
import linecache
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from gradninja.check.given.execution import quiet
from gradninja.check.tell.findings import CheckError
from gradninja.errors import NOT_PYTHON, ReadError, Spot
from gradninja.lines.given.source import Source
from gradninja.lines.read import by_name
from gradninja.lines.scope import OF_FILE, OF_INPUTS, run_code, seeded
from gradninja.memory import is_lack_of_memory

STATISTICS = frozenset({"running_mean", "running_var", "moving_mean", "moving_var"})


def run_module(tree: ast.Module, file: str) -> dict[str, Any]:
    """The names of a person's file, run as a module.

    Raises:
        ReadError, CheckError: it is no Python, or raises.
    """
    module = types.ModuleType("checked")
    module.__file__ = file
    try:
        code = compile(tree, file, "exec")
    except NOT_PYTHON as error:
        text = "".join(linecache.getlines(file))
        raise ReadError.of_syntax(error, text, file) from None
    try:
        with _importable(module, file), quiet(), seeded(OF_FILE):
            run_code(code, module.__dict__)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the person's own code raises, SystemExit included
        raise CheckError(
            f"the file does not run: {told(error)}", spot=spot_of(error, file)
        ) from None
    return module.__dict__


@contextmanager
def _importable(module: types.ModuleType, file: str) -> Iterator[None]:
    """Its neighbours can be imported, and it is found under its own name (dataclasses look)."""
    folder = str(Path(file).resolve().parent) if file != "<text>" else None
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    if folder is not None:
        sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder is not None and folder in sys.path:
            sys.path.remove(folder)
        if before is None:
            sys.modules.pop(module.__name__, None)
        else:
            sys.modules[module.__name__] = before


def call_inputs(function: Callable[[], Any], source: Source | None) -> Mapping[str, Any]:
    node = source.functions.get("inputs") if source is not None else None
    spot = source.spot(node) if source is not None and node is not None else None
    try:
        with quiet(), Explicit(), seeded(OF_INPUTS):
            found = function()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the person's own code: their error, told as such
        raise ReadError(f"`inputs()` does not run: {told(error)}", spot=spot) from None
    placed = isinstance(found, torch.Tensor | np.ndarray | tuple | list)
    if placed and source is not None:  # one tensor, or several by place, as `derive` takes them
        formals = [one.arg for one in ast.walk(source.function.args) if isinstance(one, ast.arg)]
        found = by_name(found, [name for name in formals if name != "self"])
    if not isinstance(found, Mapping):
        raise ReadError(
            "`inputs()` does not return a dictionary",
            spot=spot,
            hint='return {"x": torch.randn(4, 3), ...}',
        )
    return found


class Explicit(TorchFunctionMode):
    """Marks the tensors of which it is said that no gradient of them is wanted."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        found = func(*args, **given)
        if func is torch.Tensor.requires_grad_:
            wanted = [*args[1:], given.get("requires_grad", True)][0]
        else:
            wanted = given.get("requires_grad", True)
        if wanted is False and isinstance(found, torch.Tensor):
            found._no_gradient = True  # type: ignore[attr-defined]
        return found


def without_gradient(inputs: Mapping[str, Any]) -> frozenset[str]:
    """The inputs that no gradient is wanted for: said of them, or said of others that it is.

    The statistics that a layer keeps while it runs are known by their usual names.
    """
    tensors = {n: v for n, v in inputs.items() if isinstance(v, torch.Tensor)}
    some = any(value.requires_grad for value in tensors.values())
    return frozenset(
        name
        for name, value in tensors.items()
        if getattr(value, "_no_gradient", False)
        or (some and not value.requires_grad)
        or name in STATISTICS
    )


def as_tensors(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs with arrays (NumPy's, JAX's) as tensors, and NumPy's numbers as Python's."""

    def converted(name: str, value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.layout != torch.strided:
            raise CheckError(
                f"`{name}` is a sparse tensor; only dense ones are judged",
                hint="give it as `.to_dense()`",
            )
        if isinstance(value, np.generic):
            return value.item()
        if hasattr(value, "__array__") and not isinstance(value, torch.Tensor):
            return torch.from_numpy(np.array(value))
        return value

    return {name: converted(name, value) for name, value in inputs.items()}


def told(error: BaseException) -> str:
    """An error of the person's code in a line."""
    first = str(error).strip().partition("\n")[0]
    kind = type(error).__name__
    if is_lack_of_memory(error):
        return "it wants more memory than there is, or than --memory allows"
    if isinstance(error, NameError | RuntimeError) and first:
        return first
    return f"{kind}: {first}" if first else kind


def spot_of(error: BaseException, file: str) -> Spot | None:
    """The deepest line of the person's file that an error came through."""
    found = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            found = trace.tb_lineno
        trace = trace.tb_next
    if found is None:
        return None
    text = linecache.getline(file, found).rstrip("\n")
    return Spot(file, found, text, len(text) - len(text.lstrip()))
