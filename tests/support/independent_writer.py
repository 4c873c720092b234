"""Writes short random programs in the forms that people use, and draws inputs for them.

A line is a template with holes, filled with names that are bound and tried: what does not run on
the inputs, or leaves the range where numbers can be compared, is thrown away. Sizes are small and
coincide often, 0 and 1 among them; names are bound again, aliased and returned as they are.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

LARGEST = 1e3  # a value beyond this, or none at all, is not kept
Sizes = Mapping[str, int]

SHAPES = ("", "n", "d", "1", "n d", "n d", "n d", "d n", "n n", "n 1", "1 d", "k n d", "n d k")
PRELUDE = "import torch\nimport torch.nn.functional as F\n"
HELPERS = {
    "gate(": """
def gate(a, b, scale=2.0):
    a = a * scale
    return a * torch.sigmoid(b)
""",
    "standard(": """
def standard(x, dim=-1, eps=1e-5):
    mu = x.mean(dim, keepdim=True)
    x = x - mu
    return x / torch.sqrt((x**2).mean(dim, keepdim=True) + eps)
""",
    "both(": """
def both(v, *, by):
    w = v * by
    return w, w.sum()
""",
}

MAPS = """
-{f} | {f}.exp() | torch.tanh({f}) | {f}.sigmoid() | {f}.abs() | F.relu({f}) | {f}.clamp(min=0)
torch.clamp({f}, -1, 1) | {f}.sqrt() | {f}.log() | {f} ** 2 | {f} ** 3 | {f} ** -1 | {f} ** 0.5
1 / {f} | 2**{f} | {f}.square() | {f}.reciprocal() | {f}.rsqrt() | F.gelu({f}) | F.softplus({f})
F.silu({f}) | F.hardtanh({f}) | F.relu6({f}) | F.leaky_relu({f}, 0.1) | F.elu({f}) | {f}.sin()
{f}.log1p() | {f}.expm1() | F.logsigmoid({f}) | torch.relu({f}).sqrt() | torch.log(F.relu({f}))
torch.maximum({f}, torch.zeros_like({f})) | {f}.detach() * {f} | {f}.clone() | {f}.contiguous()
{f}.clamp(min=1e-6).log() | (1 - {f}).clamp(min=0) | {f}.erf() | {f}.atan() | {f}.sign() * {f}
({f} - {f}.mean()) / 3 | 0.5 * {f} * (1 + torch.tanh({f})) | {f} / ({f}.abs() + 1) | {f} + 1.5
"""
SUMS = """
{f}.sum() | {f}.mean() | {f}.sum({x}) | {f}.sum({x}, keepdim=True) | {f}.mean({x}, keepdim=True)
{f}.amax({x}) | {f}.max({x})[0] | {f}.min({x}, keepdim=True).values | {f}.max() | {f}.var({x})
{f}.std({x}) | {f}.norm() | {f}.norm(dim={x}, keepdim=True) | {f}.logsumexp({x}) | {f}.cumsum({x})
F.softmax({f}, dim={x}) | {f}.log_softmax({x}) | {f}.cumprod({x}) | {f}.prod({x}) | {f}.prod()
{f}.sum((0, -1)) | {f}.mean(dim=(-2, -1)) | {f}.var({x}, unbiased=False, keepdim=True)
{f}.sort({x}).values | {f}.topk(1, dim={x})[0] | {f}.amin((0, -1), keepdim=True)
F.layer_norm({f}, {f}.shape[-1:]) | F.normalize({f}, dim={x}) | {f}.square().mean({x}).sqrt()
"""
MOVES = """
{f}.mT | {f}.transpose(0, -1) | {f}.reshape(-1) | {f}.flatten() | {f}.unsqueeze({x}) | {f}.squeeze()
{f}[None] | {f}[..., None] | {f}[:, None] | {f}[..., None, :] | {f}.flip({x}) | {f}.roll(1, {x})
{f}.expand(2, *{f}.shape) | {f}.repeat(2, 1) | torch.cat([{f}, {f}], {x}) | torch.stack([{f}, {f}])
torch.cat(({f}, {g}), dim={x}) | torch.stack(({f}, {g}), {x}) | {f}.chunk(2, -1)[0]
{f}.movedim(0, -1) | F.pad({f}, (1, 0)) | torch.tril({f}) | {f}.diagonal() | {f}.view(-1)
{f}.unbind(0)[-1] | {f}.T | {f}.reshape({f}.shape[0], -1) | {f}.expand_as({g}) | {f}.tile(2)
{f}[0] | {f}[-1] | {f}[::2] | {f}[1:] | {f}[:-1] | {f}[..., -1] | {f}[..., 1::2] | {f}[[0, 0]]
{f}[{i}] | {f}[:, {i}] | {f}[{i}, {i}] | {f}[{m}] | {f}.index_select({x}, {i}) | {f}[-2:]
{f}[..., :-1, ::3] | {f}[{i}[:, None], {i}] | {f}.masked_fill({m}, 0.0) | {f}.split(1, {x})[0]
{f}[torch.arange({f}.shape[0]), {i}] | {f}.gather(-1, {i}[..., None]) | F.embedding({i}, {f})
"""
PAIRS = """
{f} + {g} | {f} - {g} | {f} * {g} | {f} / {g} | {f} @ {g} | {f} @ {g}.mT | {f}.T @ {g}
torch.maximum({f}, {g}) | torch.minimum({f}, {g}) | torch.where({m}, {f}, {g}) | {f} * {g} - {f}
torch.where({f} > 0, {f}, {g}) | torch.where({f} > {g}, {f} * 2, 0.0) | {f} ** {g}.abs()
torch.einsum("i,j->ij", {f}, {g}) | torch.einsum("...d,...d->...", {f}, {g}) | F.linear({f}, {g})
F.mse_loss({f}, {g}) | ({f} - {g}).abs().mean() | {f} * {g} + {g} | {f}[..., None] * {g}
({f} * {g}).sum({x}) | ({f} * {g}).mean() | {f} + {g}[None] | torch.lerp({f}, {g}, 0.3)
gate({f}, {g}) | gate({f}, b={g}, scale=-1) | {f} * F.softmax({g}, -1) | {f} / {g}.exp()
torch.exp({f}) / (torch.exp({f}) + torch.exp({g})) | {f} - 0.1 * ({f} - {g}) ** 2
({f} @ {g}) @ {f}
"""
MIXED = """
{f}.float() | {f}.double() | {f}.to({g}.dtype) | {f} * {i} | {f} + {m} | {m}.float() * {f}
{f}.float() @ {g} | torch.ones_like({f}) - {f} | torch.arange({f}.shape[-1]) * {f} | {f}.bfloat16()
torch.eye({f}.shape[-1]) * {f} | {f} * torch.zeros({f}.shape[-1]) | {f} + torch.ones({f}.shape)
torch.where({m}, {f}, 0.0) | {f} * ({f} > 0) | ({f} > {f}.mean()) * {f} | {f} * {f}.shape[0]
{f} / {f}.numel() | {f} / max({f}.shape[-1], 1) | {f} * {f}.size(-1) ** -0.5 | {f} * len({f})
F.one_hot({i}, 5).float() @ {f} | {f} + {f}.double() | {f}.type_as({g}) * {g} | {m} * {f} * {m}
torch.linspace(0, 1, {f}.shape[-1]) * {f} | {f}.new_ones({f}.shape) * {f} | standard({f})
standard({f}, dim={x}) | both({f}, by={g})[0] | {f} * (1 - {i} % 2) | {f}.masked_fill(~{m}, -1.0)
"""
BLOCKS = r"""
for i in range({f}.shape[0]):\n    {t} = {f}[i] * 0.5 + {t}
for i in range(3):\n    {t} = torch.tanh({t} * (i + 1)) + {f}
for i in range(2, 0, -1):\n    {t} = {t} / i - {f}
for i, size in enumerate({f}.shape):\n    {t} = {t} + size * i * {f}.sum()
for p, q in zip(range(2), reversed(range(2))):\n    {t} = p * {t} - {f} * q
for j in reversed(range({f}.shape[0])):\n    {t} = {t} * 0.5 + {f}[j]
for j, row in enumerate({f}):\n    {t} = {t} + row * j
for row, other in zip({f}, {g}):\n    {t} = {t} + row * other
rows = []\nfor i in range({f}.shape[0]):\n    rows.append({f}[i] * (i + 1))\n{t} = torch.stack(rows)
{t} = torch.stack([row.sum() for row in {f}])
{t} = sum({f}[i] for i in range({f}.shape[0]))
{t}, total = both({f}, by=0.5)\n{t} = {t} * total
first, second = {f}, {g}\nfirst, second = second, first\n{t} = first - second * 2
{t} = {f}\n{t} = {t} + {t}
if {f}.ndim > 1:\n    {t} = {f}.sum(-1)\nelse:\n    {t} = {f} * 2
for w in ({f}, {g}):\n    {t} = {t} + w.sum()
{t} = {f}\n{t} += {g}
{t} = 1.0\nfor i in range(2):\n    {t} = {t} * {f}
"""
KINDS = ((MAPS, 24), (SUMS, 20), (MOVES, 20), (PAIRS, 24), (MIXED, 12))
FORMS = {
    kind: tuple(form.strip() for line in kind.strip().splitlines() for form in line.split(" | "))
    for kind, _ in KINDS
}
LOOPS = tuple(block.replace("\\n", "\n") for block in BLOCKS.strip().splitlines())
NAMES = ("a", "b", "c", "h", "u", "v", "p", "q", "out", "loss")
HARD = ("zeros", "one zero", "ties", "whole", "tiny", "huge", "saturated", "negative", "positive")


@dataclass
class Given:
    """An input: its axes and dtype; an index has the axis that it points into."""

    axes: tuple[str, ...]
    dtype: torch.dtype
    into: str = ""

    def draw(self, sizes: Sizes, generator: torch.Generator) -> Tensor:
        shape = [sizes[axis] if axis.isalpha() else int(axis) for axis in self.axes]
        if self.into:
            return torch.randint(0, max(sizes[self.into], 1), shape, generator=generator)
        if self.dtype == torch.bool:
            return torch.rand(shape, generator=generator) < 0.6
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
        return drawn.to(self.dtype)


@dataclass
class Program:
    """The text of a forward, its inputs, and the sizes that it is read at and called with."""

    text: str
    given: dict[str, Given]
    read_at: Sizes
    others: tuple[Sizes, ...]
    drawn_by: int = 0
    hard: tuple[tuple[str, str], ...] = ()  # a kind of values, for one input or ""
    loss: bool = False  # it returns a number whose cotangent is 1

    def inputs(self, seed: int, sizes: Sizes, layout: str = "plain") -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return {
            name: laid_out(given.draw(sizes, generator), layout)
            for name, given in self.given.items()
        }

    def function(self) -> Callable[..., Any]:
        scope: dict[str, Any] = {}
        exec(self.text, scope)
        found: Callable[..., Any] = scope["forward"]
        return found


def laid_out(value: Tensor, layout: str) -> Tensor:
    """The same values (an expanded one repeats its first row) in another layout of memory."""
    if layout == "gapped":
        held = torch.zeros((*value.shape, 3), dtype=value.dtype)[..., 1]
        return held.copy_(value)
    if layout == "transposed" and value.ndim > 1:
        return value.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "expanded" and value.ndim and value.shape[0]:
        return value[:1].expand(value.shape)
    return value


def hardened(value: Tensor, kind: str) -> Tensor:
    """The values where gradients go wrong; `value` itself where it has none such."""
    if not value.is_floating_point():
        return value
    far = {torch.float64: 1e30, torch.float32: 1e12}.get(value.dtype, 1e4)
    if kind == "one zero":
        value = value.clone()
        value[(0,) * value.ndim if 0 not in value.shape else ...] = 0.0
        return value
    made = {
        "zeros": lambda: value * 0,
        "ties": lambda: torch.full_like(value, 0.5),
        "whole": lambda: (value * 1.5).round(),
        "tiny": lambda: value / far,
        "huge": lambda: value * far,
        "saturated": lambda: value * 60,
        "negative": lambda: -value.abs(),
        "positive": lambda: value.abs(),
    }
    return made[kind]()


class Writer:
    """Writes one program; all that is drawn comes from `rng`."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.scope: dict[str, Any] = {}
        exec(PRELUDE + "".join(HELPERS.values()), self.scope)
        self.names: list[str] = []  # what is bound, the latest last
        self.lines: list[str] = []

    def write(self) -> Program:
        """A program that runs, with a float output that leads to some input."""
        for _ in range(40):
            self.names, self.lines = [], []
            found = self._try()
            if found is not None:
                return found
        raise AssertionError("no program is found")

    def _sizes(self) -> dict[str, int]:
        weights = (1, 3, 5, 5, 3)
        return {axis: self.rng.choices(range(5), weights)[0] for axis in "ndk"}

    def _try(self) -> Program | None:
        rng = self.rng
        sizes = self._sizes()
        mixed = rng.random() < 0.25
        one = rng.choices((torch.float64, torch.float32, torch.bfloat16), (12, 6, 1))[0]
        given: dict[str, Given] = {}
        for name in "xyz"[: rng.randint(1, 3)]:
            dtype = rng.choice((torch.float64, torch.float32)) if mixed else one
            given[name] = Given(tuple(rng.choice(SHAPES).split()), dtype)
        if rng.random() < 0.4:
            given["ix"] = Given((rng.choice("nd"),), torch.int64, rng.choice("nd"))
        if rng.random() < 0.3:
            given["mask"] = Given(tuple(rng.choice(SHAPES[:9]).split()), torch.bool)
        seed = rng.randrange(2**31)
        program = Program("", given, sizes, (), seed)
        values = program.inputs(seed, sizes)
        self.scope.update(values)
        self.names = [n for n, g in given.items() if g.dtype.is_floating_point]
        self.scope.update({n: values[n].requires_grad_() for n in self.names})
        wanted = rng.randint(2, 6)
        for _ in range(wanted * 12):
            if len(self.lines) >= wanted:
                break
            self._line(given)
        returned = self._returned()
        if not self.lines or returned is None:
            return None
        body = [line for block in (*self.lines, f"return {returned}") for line in block.split("\n")]
        text = f"def forward({', '.join(given)}):\n" + "".join(f"    {line}\n" for line in body)
        helpers = [helper for call, helper in HELPERS.items() if call in text]
        program.text = PRELUDE + "".join(f"\n{helper}\n" for helper in helpers) + f"\n\n{text}"
        program.others = tuple(self._sizes() for _ in range(2))
        floats = [n for n, g in given.items() if g.dtype.is_floating_point]
        program.hard = tuple((kind, rng.choice(["", *floats])) for kind in rng.sample(HARD, 3))
        return program

    def _line(self, given: Mapping[str, Given]) -> None:
        rng = self.rng
        again = [name for name in self.names if name != "ix"]
        target = rng.choice(again) if rng.random() < 0.25 else rng.choice(NAMES)
        kind = rng.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])[0]
        if rng.random() < 0.08:
            block = self._filled(rng.choice(LOOPS).replace("{t}", target), given, deep=False)
            if target not in self.names and re.search(rf"\b{target} (=|\+=).*\b{target}\b", block):
                block = f"{target} = {rng.choice(self.names)}\n{block}"
        else:
            block = f"{target} = {self._filled(rng.choice(FORMS[kind]), given, deep=True)}"
        trial = dict(self.scope)
        try:
            exec(block, trial)
            value = trial[target]
            keeps = isinstance(value, Tensor) and value.is_floating_point() and value.ndim < 5
            if not keeps or value.numel() > 200 or not value.isfinite().all():
                return
            if value.numel() and float(value.detach().abs().max()) > LARGEST:
                return
        except (RuntimeError, IndexError, ValueError, TypeError, NameError, ArithmeticError):
            return
        self.scope = trial  # a loop binds more names than its target, and those to plain numbers
        floats = [n for n in self.names if isinstance(trial[n], Tensor)]
        self.names = [*(n for n in floats if n != target), target]
        self.lines.append(block)

    def _filled(self, form: str, given: Mapping[str, Given], deep: bool) -> str:
        """The form with its holes filled: the latest names most, a form within a form at times."""
        rng = self.rng

        def a_name() -> str:
            return self.names[-1] if rng.random() < 0.5 else rng.choice(self.names)

        def a_float(nested: bool) -> str:
            if not (deep and nested and rng.random() < 0.25):
                return a_name()
            kind = rng.choice((MAPS, SUMS, MOVES, PAIRS))
            return f"({self._filled(rng.choice(FORMS[kind]), given, deep=False)})"

        masks = [n for n, g in given.items() if g.dtype == torch.bool]
        holes = {
            "f": a_float(True),
            "g": a_float(False),
            "i": "ix" if "ix" in given else "torch.tensor([0, -1, 0])",
            "m": rng.choice(masks) if masks and rng.random() < 0.7 else f"({a_name()} > 0)",
            "x": str(rng.choice((-1, -1, 0, 1, -2))),
        }
        return re.sub(r"\{([fgimx])\}", lambda hole: holes[hole[1]], form)

    def _returned(self) -> str | None:
        rng = self.rng
        last = self.names[-1]
        if not self.scope[last].requires_grad:
            return None
        draw = rng.random()
        if draw < 0.35:
            return f"{last}.{rng.choice(('sum()', 'mean()', 'square().sum()'))}"
        if draw < 0.7:
            return last
        several = [last, *(rng.choice(self.names) for _ in range(rng.randint(1, 2)))]
        rng.shuffle(several)
        return ", ".join(several)


def write(seed: int) -> Program:
    return Writer(random.Random(seed)).write()


def with_loss(program: Program) -> Program:
    """The same with its outputs brought to one number."""
    found = program.function()(**program.inputs(program.drawn_by, program.read_at))
    several = found if isinstance(found, tuple) else (found,)
    floats = [  # an output may be a plain number as well: `return x, n`
        place
        for place, value in enumerate(several)
        if isinstance(value, Tensor) and value.is_floating_point()
    ]
    part = "out[{}]" if isinstance(found, tuple) else "out"
    total = " + ".join(f"({part.format(place)} * {place + 1}).sin().sum()" for place in floats)
    given = ", ".join(program.given)
    inner = program.text.replace("def forward(", "def inner(")
    text = f"{inner}\n\ndef forward({given}):\n    out = inner({given})\n    return {total}\n"
    return replace(program, text=text, loss=True)
