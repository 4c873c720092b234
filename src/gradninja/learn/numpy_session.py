"""A session that speaks NumPy, in torch's words: its lines as nodes, its arrays as tensors.

The dialect is read statement by statement, as a file's is; what is shown stays the person's text.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gradninja.errors import ReadError
from gradninja.learn.session import Session
from gradninja.lines.given.source import USUAL_ALIASES, load, modules_of, plain_of
from gradninja.lines.ndarray import NUMPY, as_tensor, as_tensors, is_array, lines_translated
from gradninja.lines.scope import function_of


class Tensors(Mapping[str, Any]):
    """The names of a session, `raw`, with arrays as tensors that share their memory.

    Each is made when it is asked for: a data set that no line of the forward reads stays as it is.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._of(self.raw[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.raw)

    def __len__(self) -> int:
        return len(self.raw)

    def _of(self, value: Any) -> Any:
        if isinstance(value, types.FunctionType):
            return self._helper(value)
        return tensor_of(value)

    def _helper(self, function: types.FunctionType) -> Any:
        """A person's own function in torch's words, where its text is there."""
        try:
            source = load(function, dialect=NUMPY)
        except ReadError:
            return function
        if source.dialect != NUMPY:
            return function
        node = source.functions[source.function.name]
        names = set(function.__code__.co_names) & set(self.raw)
        scope: dict[str, Any] = {"torch": torch, "F": torch.nn.functional}
        found = self._made[function.__name__] = function_of(node, scope, source.file)
        scope.update({name: self[name] for name in names if self.raw[name] is not function})
        return found


def tensor_of(value: Any) -> Any:
    """An array or a NumPy float as a tensor that shares its memory where it can; lists of such."""
    if isinstance(value, np.floating):
        return torch.tensor(float(value), dtype=torch.float64)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.flags.writeable:
        if all(step > 0 for step in value.strides):
            return torch.from_numpy(value)
        return as_tensor(value)
    if is_array(value) or isinstance(value, list | tuple | dict):
        return as_tensors(value)
    return value


def speaks_numpy(here: Session, value: Any = None) -> bool:
    """Whether a session's forward is of arrays: `value` is, or what was bound last."""
    if isinstance(value, torch.Tensor) or is_array(value):
        return is_array(value)
    for statement in reversed(here.statements):
        for name in statement.binds:
            found = here.namespace.get(name)
            if isinstance(found, torch.Tensor) or is_array(found):
                return is_array(found)
    return False


def in_torch(here: Session) -> Session:
    """The session with its lines in torch's words and its arrays as tensors."""
    if isinstance(here.namespace, Tensors):
        return here
    words = _words(here.namespace)
    spoken = tuple(replace(statement, words=words) for statement in here.statements)
    return replace(here, statements=spoken, namespace=Tensors(here.namespace))


def spoken(here: Session, value: Any = None) -> Session:
    """The session as torch says it; itself where it does so already."""
    return in_torch(here) if speaks_numpy(here, value) else here


def _words(names: Mapping[str, Any]) -> Callable[[ast.stmt], ast.stmt]:
    known = {**USUAL_ALIASES, **modules_of(names)}
    plain = frozenset(plain_of(names))

    def words(node: ast.stmt) -> ast.stmt:
        (found,) = lines_translated([node], known, plain)
        return found

    return words
