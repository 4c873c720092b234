"""Programs without end, by level: no two are the same, and none has values that run away."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

LEVELS = 5
SAYS = ("element by element", "broadcasts", "values used twice", "a matrix product", "two of them")
# The first lines tell the number, so that no two programs are the same; they keep values small.
MARKS = (
    "torch.tanh({a})",
    "torch.sin({a})",
    "{a} / 2",
    "torch.sigmoid({a})",
    "-{a}",
    "torch.cos({a})",
)
UNARY = ("torch.tanh({a})", "{a}.exp()", "{a}**2", "torch.sigmoid({a})", "-{a}", "torch.sin({a})")
BROADCAST = ("row", "column", "sum")
# What a program of a level has for certain; a level is told from the others by that alone.
CERTAIN = {
    1: (),
    2: ("broadcast",),
    3: ("broadcast", "again"),
    4: ("broadcast", "again", "matmul"),
    5: ("broadcast", "again", "matmul", "matmul"),
}
MORE = {1: ("unary",), 2: ("unary", "broadcast")}  # and besides, from level 3 on:
FREE = ("unary", "broadcast", "again")
LARGE = 4.0  # a typical value: from here on a tanh is flat, and an exp too large to be looked at


@dataclass
class _Program:
    """The lines so far; `now` is the last name, of a shape and a typical size."""

    rng: random.Random
    given: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    shapes: dict[str, tuple[int, int]] = field(default_factory=dict)
    now: str = "x"
    size: float = 1.0

    def parameter(self, letter: str, rows: int, columns: int) -> str:
        name = f"{letter}{len(self.lines) + 1}"
        self.given.append(f"{name} = torch.randn({rows}, {columns}, generator=g).requires_grad_()")
        return name

    def line(self, text: str, shape: tuple[int, int], size: float) -> None:
        self.now, self.size = f"v{len(self.lines) + 1}", size
        self.lines.append(f"{self.now} = {text}")
        self.shapes[self.now] = shape

    def unary(self) -> None:
        sizes = {
            "{a}.exp()": math.exp(min(self.size, 9.0)), "{a}**2": self.size**2, "-{a}": self.size
        }  # fmt: skip
        fit = [text for text in UNARY if sizes.get(text, 1.0) <= LARGE]
        fit = [text for text in fit if "torch." not in text or self.size <= LARGE]
        text = self.rng.choice(fit or ["{a} / 8"])
        size = sizes.get(text, min(self.size, 1.0)) if fit else self.size / 8
        self.line(text.format(a=self.now), self.shapes[self.now], size)

    def broadcast(self) -> None:
        rows, columns = shape = self.shapes[self.now]
        kind = self.rng.choice(BROADCAST)
        if kind == "row":
            sign = self.rng.choice("*+-")
            text = f"{self.now} {sign} {self.parameter('r', 1, columns)}"
        elif kind == "column":
            text = f"{self.parameter('c', rows, 1)} {self.rng.choice('*-')} {self.now}"
        else:
            axis = self.rng.choice((0, 1))
            text = f"{self.now} - {self.now}.sum({axis}, keepdim=True) / {shape[axis]}"
        self.line(text, shape, self.size + 1)

    def again(self) -> None:
        shape = self.shapes[self.now]
        earlier = [v for v, s in self.shapes.items() if s == shape and v != self.now]
        other = self.rng.choice(earlier or [self.now])
        self.line(f"{self.now} * {other}", shape, self.size + 1)

    def matmul(self) -> None:
        rows, columns = self.shapes[self.now]
        wide = self.rng.choice([k for k in range(3, 8) if k != columns])
        weight = self.parameter("W", columns, wide)
        self.line(f"{self.now} @ {weight}", (rows, wide), self.size * columns**0.5)


def program(level: int, number: int) -> tuple[str, str]:
    """What is given and the forward of a level's program `number`, from 1 on."""
    code = (number - 1) * LEVELS + level
    rng = random.Random(code)
    rows, columns = rng.sample(range(3, 8), 2)
    made = _Program(rng, shapes={"x": (rows, columns)})
    made.given.append(f"x = torch.randn({rows}, {columns}, generator=g).requires_grad_()")
    while code:  # the digits of the number, each from 1 to what there are
        code, digit = divmod(code - 1, len(MARKS))
        made.line(MARKS[digit].format(a=made.now), made.shapes[made.now], made.size)
    kinds = [*CERTAIN[level], *(rng.choice(MORE.get(level, FREE)) for _ in range(2))]
    rng.shuffle(kinds)
    for kind in kinds:
        getattr(made, kind)()
    made.lines.append(f"loss = {made.now}.mean()")
    return "\n".join(made.given) + "\n", "\n".join(made.lines) + "\n"
