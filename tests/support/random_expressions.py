"""Writes random expressions.

Each expression is evaluated as it is written, so that shapes fit and values stay where a comparison
in float64 means something. Parentheses are put only where Python needs them, which is where a
careless printer loses them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST = 30.0  # a value beyond this is not kept

# How tightly an expression holds together, from loose to tight.
SUM, PRODUCT, UNARY, POWER, ATOM = range(5)

HELPER = """
def mix(first, other, share=0.5):
    product = first * other
    first = torch.tanh(product) * share
    return first + product - other / 3
"""

MAPS = (
    "torch.tanh({})",
    "{}.sigmoid()",
    "torch.exp({}.tanh())",
    "torch.sin({})",
    "{}.cos()",
    "F.relu({})",
    "{}.abs()",
    "torch.square({})",
    "torch.log1p({}.abs())",
    "torch.sqrt({}.square() + 1)",
    "torch.rsqrt({}.abs() + 0.5)",
    "torch.log({}.abs() + 0.5)",
    "({}.abs() + 0.7).reciprocal()",
    "F.gelu({})",
    'F.gelu({}, approximate="tanh")',
    "F.silu({})",
    "F.softplus({})",
    "F.leaky_relu({}, 0.2)",
    "F.elu({})",
    "torch.erf({})",
    "torch.expm1({}.tanh())",
    "{}.clamp(-1.0, 1.5)",
    "torch.clamp({}, min=-0.5)",
    "{}.detach()",
    "torch.neg({})",
)
KEPT = ("sum", "mean", "amax", "amin", "logsumexp")  # over several axes at once
SINGLE = ("prod", "max", "min", "cumsum", "softmax", "log_softmax", "argmax")


@dataclass(frozen=True)
class Node:
    """A written expression, its value, and how tightly it holds together."""

    text: str
    value: Tensor
    grip: int = ATOM

    def at(self, grip: int) -> str:
        """The text where at least this grip is wanted."""
        return self.text if self.grip >= grip else f"({self.text})"


class Misfit(Exception):
    """What was written does not run, or leaves the safe domain: write something else."""


class Expressions:
    """Writes expressions over the names in scope; every choice comes from `rng`."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.scope: dict[str, Any] = {"torch": torch, "F": F, "range": range}
        exec(HELPER, self.scope)
        self.tensors: list[str] = []  # float tensors, the latest last; a name may stand twice
        self.unused: list[str] = []  # those of them that nothing uses yet
        self.indices: list[str] = []
        self.ints: list[str] = []

    # -- values -----------------------------------------------------------------------------

    def value(self, text: str, grip: int = ATOM) -> Node:
        try:
            found = eval(text, self.scope)
        except (RuntimeError, IndexError, ValueError, TypeError):
            raise Misfit from None
        fits = isinstance(found, Tensor) and found.is_floating_point() and 0 < found.numel() <= 256
        if not fits or not torch.isfinite(found).all() or found.abs().max() > LARGEST:
            raise Misfit
        return Node(text, found, grip)

    def retry(self, write: Callable[[], Node], times: int = 12) -> Node:
        for _ in range(times):
            try:
                return write()
            except Misfit:
                continue
        return self.leaf()

    # -- expressions ------------------------------------------------------------------------

    def leaf(self) -> Node:
        """A name: the latest are the likeliest, and those that nothing uses yet."""
        names = self.tensors
        if self.unused and self.rng.random() < 0.5:
            name = self.unused[-1]
        else:
            name = names[-1 - min(self.rng.randrange(len(names)), self.rng.randrange(len(names)))]
        return Node(name, self.scope[name])

    def expression(self, depth: int) -> Node:
        if depth == 0:
            return self.leaf()
        kinds: list[Callable[[int], Node]] = [
            self.binary,
            self.binary,
            self.binary,
            self.with_number,
            self.with_number,
            self.mapped,
            self.mapped,
            self.reduced,
            self.reduced,
            self.along_one_axis,
            self.moved,
            self.indexed,
            self.product,
            self.joined,
            self.chosen,
            self.from_library,
            self.helped,
        ]
        kind = self.rng.choice(kinds)
        return self.retry(lambda: kind(depth - 1))

    def binary(self, depth: int) -> Node:
        a, b = self.expression(depth), self.expression(depth)
        sign = self.rng.choice(["+", "-", "*", "/", "**", "+", "*", "max"])
        if sign == "max":
            name = self.rng.choice(["maximum", "minimum"])
            return self.value(f"torch.{name}({a.text}, {b.text})")
        if sign in "+-":
            return self.value(f"{a.at(SUM)} {sign} {b.at(SUM if sign == '+' else PRODUCT)}", SUM)
        if sign == "*":
            # No parentheses on the right where the grip is the same would regroup the product.
            return self.value(f"{a.at(PRODUCT)} * {b.at(UNARY)}", PRODUCT)
        if sign == "/":
            return self.value(f"{a.at(PRODUCT)} / ({b.at(ATOM)}.abs() + 1)", PRODUCT)
        return self.value(f"({a.at(ATOM)}.abs() + 0.5) ** {b.at(ATOM)}.tanh()", POWER)

    def number(self) -> str:
        if self.ints and self.rng.random() < 0.4:
            name = self.rng.choice(self.ints)
            return self.rng.choice([name, f"({name} + 1)", f"{name} ** 0.5", f"(1 / {name})"])
        return self.rng.choice(["2", "0.5", "3", "1.5", "-1", "0.1", "1", "(1 + 2)"])

    def with_number(self, depth: int) -> Node:
        a, c = self.expression(depth), self.number()
        product, unary, atom = a.at(PRODUCT), a.at(UNARY), a.at(ATOM)
        text, grip = self.rng.choice(
            [
                (f"{c} * {unary}", PRODUCT),
                (f"{product} * {c}", PRODUCT),
                (f"{product} / {c}", PRODUCT),
                (f"{c} - {product}", SUM),
                (f"{c} + {a.at(SUM)}", SUM),
                (f"{a.text} - {c}", SUM),
                (f"{c} / ({atom}.abs() + 1)", PRODUCT),
                (f"{atom} ** 2", POWER),
                (f"{atom} ** 3", POWER),
                (f"-{atom} ** 2", UNARY),
                (f"(-{unary}) ** 2", POWER),
                (f"-{unary}", UNARY),
                (f"2 ** {atom}.tanh()", POWER),
                (f"({atom}.abs() + 0.5) ** -0.5", POWER),
                (f"1 / (1 + {atom} ** 2)", PRODUCT),
            ]
        )
        return self.value(text, grip)

    def mapped(self, depth: int) -> Node:
        a, form = self.expression(depth), self.rng.choice(MAPS)
        bare = form.startswith(("torch", "F")) and "{}." not in form
        return self.value(form.format(a.text if bare else a.at(ATOM)))

    def axes(self, ndim: int) -> list[int]:
        chosen = [axis for axis in range(ndim) if self.rng.random() < 0.5] or [ndim - 1]
        return [axis - ndim if self.rng.random() < 0.5 else axis for axis in chosen]

    def reduced(self, depth: int) -> Node:
        a = self.expression(depth)
        if a.value.ndim == 0 or self.rng.random() < 0.15:
            return self.value(f"{a.at(ATOM)}.{self.rng.choice(['sum', 'mean', 'max', 'norm'])}()")
        axes = self.axes(a.value.ndim)
        dims = str(axes[0]) if len(axes) == 1 else self.rng.choice([str(tuple(axes)), str(axes)])
        keep = self.rng.choice(["", ", keepdim=True", ", keepdim=True"])
        name = self.rng.choice([*KEPT, "sum", "mean", "var", "std", "norm"])
        dim = self.rng.choice(["", "dim="])
        if name in ("var", "std"):
            if math.prod(a.value.shape[axis] for axis in axes) < 2:
                raise Misfit
            correction = self.rng.choice(["", ", correction=0", ", unbiased=False"])
            return self.value(f"{a.at(ATOM)}.{name}(dim={dims}{keep}{correction})")
        if name == "norm":
            return self.value(f"{a.at(ATOM)}.norm(dim={dims}{keep})")
        if self.rng.random() < 0.5:
            return self.value(f"torch.{name}({a.text}, {dim}{dims}{keep})")
        return self.value(f"{a.at(ATOM)}.{name}({dim}{dims}{keep})")

    def along_one_axis(self, depth: int) -> Node:
        a = self.expression(depth)
        if a.value.ndim == 0:
            raise Misfit
        axis = self.axes(a.value.ndim)[0]
        name, keep = self.rng.choice(SINGLE), self.rng.choice(["", ", keepdim=True"])
        atom = a.at(ATOM)
        if name in ("max", "min"):
            return self.value(f"{atom}.{name}({axis}{keep})" + self.rng.choice([".values", "[0]"]))
        if name == "prod":
            return self.value(f"{atom}.prod(dim={axis}{keep})")
        if name == "argmax":
            return self.value(f"{atom}.gather({axis}, {atom}.argmax({axis}, keepdim=True))")
        if name == "cumsum":
            return self.value(f"torch.cumsum({a.text}, {axis})")
        form = self.rng.choice([f"{atom}.{name}({axis})", f"F.{name}({a.text}, dim={axis})"])
        return self.value(form)

    def moved(self, depth: int) -> Node:
        a = self.expression(depth)
        atom, shape = a.at(ATOM), tuple(a.value.shape)
        ndim, pick = len(shape), self.rng.randrange(max(1, len(shape)))
        forms = [f"{atom}.unsqueeze({pick})", f"{atom}[None]", f"{atom}[..., None]"]
        forms += [f"{atom}.reshape(-1)", f"{atom}.flatten()"]
        if ndim >= 1:
            order = self.rng.sample(range(ndim), ndim)
            other = self.rng.randrange(ndim)
            forms += [
                f"{atom}.transpose({pick}, {other - ndim})",
                f"{atom}.permute{tuple(order) if ndim > 1 else '(0)'}",
                f"torch.flip({a.text}, [{pick}])",
                f"{atom}.roll(1, {pick})",
                f"torch.roll({a.text}, -2, {pick - ndim})",
                f"{atom}.repeat({', '.join(['2'] * ndim)})",
                f"{atom}.reshape({shape[0]}, -1)",
                f"{atom}.reshape(-1, {shape[-1]})",
                f"{atom}.expand(2, {', '.join(['-1'] * ndim)})",
                f"F.pad({a.text}, (1, {pick}))",
                f"{atom}.unflatten({pick}, (1, -1))",
            ]
        if ndim >= 2:
            forms += [f"{atom}.mT", f"{atom}.tril()", f"torch.triu({a.text}, 1)"]
            forms += [f"{atom}.flatten(0, 1)", f"torch.stack({atom}.unbind({pick}), -1)"]
        if ndim == 2:
            forms += [f"{atom}.T", f"{atom}.t()"]
        forms += [f"{atom}.squeeze({axis})" for axis, size in enumerate(shape) if size == 1]
        return self.value(self.rng.choice(forms))

    def indexed(self, depth: int) -> Node:
        a = self.expression(depth)
        atom, ndim = a.at(ATOM), a.value.ndim
        if ndim == 0:
            raise Misfit
        size = a.value.shape[0]
        pick = self.rng.randrange(size)
        forms = [f"[{pick}]", f"[-{pick + 1}]", "[1:]", "[::2]", "[..., -1]", f"[..., :{pick + 1}]"]
        forms += [f"[[0, {pick}, 0]]", f"[range({size})]", "[:, None]", "[..., 0, None]"]
        forms += [f"[{name}]" for name in self.indices]
        if ndim >= 2:
            second = a.value.shape[1]
            pairs = [self.rng.randrange(second) for _ in range(size)]
            forms += [f"[range({size}), {pairs}]", "[:, 0]", f"[{pick}, 1:]", "[:, [0, -1, 0]]"]
            forms += [f"[:, {name}]" for name in self.indices]
            forms += [f"[range({size}), {name}]" for name in self.indices]
        return self.value(atom + self.rng.choice(forms))

    def product(self, depth: int) -> Node:
        a, b = self.expression(depth), self.expression(depth)
        left, right, tight = a.at(PRODUCT), b.at(UNARY), b.at(ATOM)
        forms = [(f"{left} @ {right}", PRODUCT), (f"torch.matmul({a.text}, {b.text})", ATOM)]
        if b.value.ndim >= 2:
            forms.append((f"{left} @ {tight}.mT", PRODUCT))
        if a.value.ndim >= 2:
            forms.append((f"{a.at(ATOM)}.mT @ {right}", PRODUCT))
        if a.value.ndim == b.value.ndim == 2:
            forms.append((f"{left} @ {tight}.T", PRODUCT))
            forms.append((f"F.linear({a.text}, {b.text})", ATOM))
            forms.append((f"torch.einsum('ij,kj->ik', {a.text}, {b.text})", ATOM))
        if a.value.ndim == b.value.ndim == 1:
            forms.append((f"torch.outer({a.text}, {b.text})", ATOM))
            forms.append((f"{a.at(ATOM)}.dot({b.text})", ATOM))
        self.rng.shuffle(forms)
        for text, grip in forms:
            try:
                return self.value(text, grip)
            except Misfit:
                continue
        raise Misfit

    def joined(self, depth: int) -> Node:
        a, b = self.expression(depth), self.expression(depth)
        axis = self.rng.randrange(-1, max(1, a.value.ndim))
        shape = tuple(a.value.shape)
        alike = self.rng.choice([b.text, f"{a.at(ATOM)} * 2", a.text])
        forms = [
            f"torch.stack([{a.text}, {alike}], dim={axis})",
            f"torch.cat([{a.text}, {alike}, {a.text}], dim={axis})",
            f"torch.cat(({b.text}, {a.text}), {axis})",
            f"torch.stack(({alike}, {a.text}))",
            f"torch.cat([{b.at(ATOM)}.expand({shape}), {a.text}])",
        ]
        return self.value(self.rng.choice(forms))

    def chosen(self, depth: int) -> Node:
        a, b = self.expression(depth), self.expression(depth)
        left = a.at(SUM)
        test = self.rng.choice([f"{left} > {b.at(SUM)}", f"{left} > 0", f"{left} <= 0.1"])
        text, grip = self.rng.choice(
            [
                (f"torch.where({test}, {a.text}, {b.text})", ATOM),
                (f"torch.where({test}, {b.text}, 0.5)", ATOM),
                (f"torch.where({test}, {a.at(ATOM)}.tanh(), {b.at(PRODUCT)} * 2)", ATOM),
                (f"{a.at(ATOM)}.masked_fill({test}, 0.3)", ATOM),
                (f"({test}).double() * {a.at(UNARY)}", PRODUCT),
            ]
        )
        return self.value(text, grip)

    def from_library(self, depth: int) -> Node:
        a, b = self.expression(depth), self.expression(depth)
        atom, other = a.at(ATOM), b.at(ATOM)
        forms = [
            f"F.mse_loss({a.text}, {other}.expand_as({atom}))",
            f"F.binary_cross_entropy_with_logits({a.text}, {other}.sigmoid().expand_as({atom}))",
            f"torch.lerp({a.text}, {b.text}, 0.3)",
            f"torch.lerp({a.text}, {b.text}, {other}.sigmoid())",
            f"torch.addcmul({a.text}, {b.text}, {b.text}, value=0.5)",
            f"sum([{a.text}, {b.text}, {a.text}])",
            f"torch.einsum('...i,...i->...', {a.text}, {b.text})",
        ]
        if a.value.ndim:
            last = a.value.shape[-1]
            forms.append(f"F.layer_norm({a.text}, ({last},))")
            forms.append(f"F.rms_norm({a.text}, ({last},), {other}, 1e-3)")
            forms.append(f"F.normalize({a.text}, dim=-1)")
            forms.append(f"{atom}[{a.at(SUM)} > 0].sum()")
            forms.append(f"{atom}[{atom}.abs() < 1].square().sum()")
        if a.value.ndim == 2:
            forms.append(f"torch.einsum('ij->ji', {a.text})")
            forms.append(f"torch.einsum('ij,ij->j', {a.text}, {b.text})")
            forms += [f"F.cross_entropy({a.text}, {name})" for name in self.indices]
            forms += [f"torch.zeros_like({atom}).index_add(0, {n}, {b.text})" for n in self.indices]
        return self.value(self.rng.choice(forms))

    def helped(self, depth: int) -> Node:
        """A call of a plain function beside the forward, which reading puts in line."""
        a, b = self.expression(depth), self.expression(depth)
        forms = [f"mix({a.text}, {b.text})", f"mix({a.text}, other={b.text}, share=0.2)"]
        return self.value(self.rng.choice(forms))
