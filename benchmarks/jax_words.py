"""PyTorch's words for JAX's arrays, as far as the shipped models speak them.

A model's forward is traced by JAX as it stands: no second text of it can differ from the first.
"""

from __future__ import annotations

import operator
from collections import namedtuple
from collections.abc import Callable
from types import FunctionType, SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp

Largest = namedtuple("Largest", ["values", "indices"])


class Array:
    """An array that has a tensor's methods."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __getattr__(self, name: str) -> Any:
        if name in ("shape", "dtype", "ndim"):
            return getattr(self.value, name)
        method = METHODS[name]
        return lambda *given, **named: wrapped(method(self.value, *plain(given), **plain(named)))

    @property
    def T(self) -> Array:
        return Array(self.value.T)

    def __getitem__(self, index: Any) -> Array:
        return Array(self.value[plain(index)])


def _operator(name: str, swapped: bool) -> Callable[[Array, Any], Array]:
    apply = getattr(operator, name)
    if swapped:
        return lambda self, other: Array(apply(plain(other), self.value))
    return lambda self, other: Array(apply(self.value, plain(other)))


for _name in ("add", "sub", "mul", "truediv", "pow", "matmul"):
    setattr(Array, f"__{_name}__", _operator(_name, swapped=False))
    setattr(Array, f"__r{_name}__", _operator(_name, swapped=True))
for _name in ("ge", "gt", "le", "lt", "eq", "ne"):
    setattr(Array, f"__{_name}__", _operator(_name, swapped=False))
Array.__neg__ = lambda self: Array(-self.value)  # type: ignore[attr-defined]


def plain(value: Any) -> Any:
    """What is in wrappers, without them."""
    if isinstance(value, Array):
        return value.value
    if isinstance(value, range):
        return jnp.asarray(value)
    if isinstance(value, tuple | list):
        return type(value)(map(plain, value))
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return value


def wrapped(value: Any) -> Any:
    """The other way round."""
    if isinstance(value, Largest):
        return Largest(*map(Array, value))
    if isinstance(value, list):
        return tuple(map(Array, value))
    return Array(value)


def _sizes(given: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(given[0]) if len(given) == 1 and not isinstance(given[0], int) else given


def _max(a: Any, dim: int, keepdim: bool = False) -> Largest:
    return Largest(a.max(dim, keepdims=keepdim), jnp.argmax(a, dim, keepdims=keepdim))


def _expand(a: Any, *sizes: Any) -> Any:
    wanted = _sizes(sizes)
    own = (1,) * (len(wanted) - a.ndim) + a.shape
    return jnp.broadcast_to(a, [o if w == -1 else w for o, w in zip(own, wanted, strict=True)])


def _flatten(a: Any, first: int = 0, last: int = -1) -> Any:
    first, last = first % a.ndim, last % a.ndim
    return a.reshape(*a.shape[:first], -1, *a.shape[last + 1 :])


METHODS: dict[str, Callable[..., Any]] = {
    "sum": lambda a, dim=None, keepdim=False: a.sum(dim, keepdims=keepdim),
    "mean": lambda a, dim=None, keepdim=False: a.mean(dim, keepdims=keepdim),
    "max": _max,
    "exp": jnp.exp,
    "log": jnp.log,
    "relu": jax.nn.relu,
    "softmax": lambda a, dim: jax.nn.softmax(a, dim),
    "logsumexp": lambda a, dim, keepdim=False: jax.nn.logsumexp(a, dim, keepdims=keepdim),
    "gather": lambda a, dim, index: jnp.take_along_axis(a, index, dim),
    "masked_fill": lambda a, mask, value: jnp.where(mask, value, a),
    "clamp": lambda a, min=None, max=None: jnp.clip(a, min, max),
    "to": lambda a, dtype: a.astype(dtype),
    "triu": jnp.triu,
    "tril": jnp.tril,
    "view": lambda a, *sizes: a.reshape(_sizes(sizes)),
    "reshape": lambda a, *sizes: a.reshape(_sizes(sizes)),
    "flatten": _flatten,
    "expand": _expand,
    "unsqueeze": jnp.expand_dims,
    "squeeze": jnp.squeeze,
    "permute": lambda a, *dims: a.transpose(_sizes(dims)),
    "transpose": jnp.swapaxes,
    "chunk": lambda a, parts, dim=0: jnp.split(a, parts, dim),
}

TORCH = SimpleNamespace(
    bool=jnp.bool_,
    ones=lambda *sizes, dtype=jnp.float32: Array(jnp.ones(_sizes(sizes), dtype)),
    zeros_like=lambda a: Array(jnp.zeros_like(a.value)),
    tanh=lambda a: Array(jnp.tanh(a.value)),
    sigmoid=lambda a: Array(jax.nn.sigmoid(a.value)),
    cat=lambda parts, dim=0: Array(jnp.concatenate(plain(list(parts)), dim)),
    stack=lambda parts, dim=0: Array(jnp.stack(plain(list(parts)), dim)),
)


def spoken(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function in PyTorch's words as one of JAX's arrays."""
    assert isinstance(function, FunctionType)
    names = {**function.__globals__, "torch": TORCH}
    twin = FunctionType(function.__code__, names, function.__name__, function.__defaults__)

    def called(given: dict[str, Any]) -> Any:
        arrays = {n: Array(v) if isinstance(v, jax.Array) else v for n, v in given.items()}
        return plain(twin(**arrays))

    return called
