"""Copies of tensors, containers and objects: no gradient goes through them."""

from __future__ import annotations

import ast
import copy
from typing import Any

import torch

from gradninja.lines.program import TUPLE, Expr
from gradninja.lines.reading.calls.arguments import method_on
from gradninja.lines.reading.state import Reading


def copied(reading: Reading, node: ast.AST, of: Expr, path: str) -> Expr:
    """`copy.deepcopy(x)`; of an object that holds tensors, one that holds these without gradients.

    Raises:
        ReadError: it cannot be copied.
    """
    if of.is_tensor:  # a new leaf
        return method_on(reading, node, "clone", method_on(reading, node, "detach", of))
    deep = path == "copy.deepcopy"
    if of.op == TUPLE:
        parts = [copied(reading, node, part, path) if deep else part for part in of.args]
        return reading.rebuilt(node, of, parts)
    memo: dict[int, Any] = {}
    try:
        made = copy.deepcopy(of.value, memo) if deep else copy.copy(of.value)
    except Exception as error:  # whatever the person's own classes raise
        reading.fail(node, f"this cannot be copied: {error}")
    reading.objects.append(made)
    for identity, held in list(reading.tensors.items()):
        if isinstance(memo.get(identity), torch.Tensor):
            reading.tensors[id(memo[identity])] = method_on(reading, node, "detach", held)
    for (identity, name), held in list(reading.state.items()):
        if identity in memo or (not deep and identity == id(of.value)):
            place = id(memo[identity] if deep else made)
            reading.state[place, name] = copied(reading, node, held, path) if deep else held
    return reading.static(node, made, of.syntax)
