"""Texts that nobody should send: mangled programs, and single lines that ask for too much."""

from __future__ import annotations

import inspect
import io
import random
import tokenize

from catalogue import collect

HEAD = (
    "import math\nimport torch\nimport torch.nn.functional as F\n"
    "from jaxtyping import Bool, Float, Int\nfrom torch import Tensor\n\n"
)

NUMBERS = (
    "10**9", "1000000000", "999999999999999999999999", "-1", "0", "1e308", "1e400", "-0.0", "1j",
    "0x7fffffffffffffff", "10**18", "None", "True", "...", "'abc'", "[]", "()", "float('nan')",
    "2**2**2**2**2", "1.5", "7", "3", "[0]*10**8", "range(10**9)", "x.shape", "x",
)  # fmt: skip
OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "@", "==", "<", ">=", "&", "|", "<<", ">>", ",")
WEIRD = (
    "{}", "{1}", "[[]]", "lambda:0", "*x", "**x", "x:=1", "__import__('os')", "exec('1')", "x.data",
    "open('f')", "print(x)", "x.__class__", "torch", "torch.nn", "math", "nope", "torch.float16",
    "torch.int8", "x.item()", "'a'*10**8", "not", "~x", "-x", "x@x", "x.T", "x[None]", "x[...]",
    "x[10**9]", "yield", "await", "if", "else", "for", "in", "is", "del", "return", "pass", ":",
    ";", "=", "!=", "+=", "->", ".", "\\", "#", '"', "\'\'\'", "\t", " ", "\x00", "\ud83d", "é",
    "名", "(", ")", "[", "]",
)  # fmt: skip

# Each line goes into a forward of its own, which must be refused: it is outside the fence, wrong,
# or too large.
REFUSED_LINES = (
    "y = x[10**9]",
    "y = torch.zeros(10**9, 10**9) + x.sum()",
    "y = x.expand(10**12, 5, 7).sum()",
    "y = x.repeat(10**5, 10**5)",
    "y = torch.ones(10**6, 10**6).sum() * x",
    "y = torch.arange(1e12).sum() * x.sum()",
    "y = torch.arange(10**12) * x.sum()",
    "y = torch.linspace(0, 1, 10**10) * x.sum()",
    "y = torch.eye(10**6) * x.sum()",
    "y = torch.full((10**5, 10**5), 1.0) * x.sum()",
    "y = F.one_hot(ix, 10**10) * x.sum()",
    "y = F.pad(x, (10**9, 10**9))",
    "y = torch.cat([x] * 10**8)",
    "y = x * 10**10**10",
    "y = x * 2**2**100",
    "y = x * (1 << 10**12)",
    "y = x * math.factorial(10**8)",
    "y = x * math.comb(10**9, 10**8)",
    "y = x * sum(range(10**12))",
    "y = x * len('a' * 10**11)",
    "y = x * len([0] * 10**11)",
    "y = x * len(list(range(10**10)))",
    "y = x * sorted(range(10**10))[0]",
    "y = x\n    for i in range(10**9):\n        y = y + 1",
    "y = x\n    for i in range(10**5):\n        for j in range(10**5):\n            k = i * j",
    "y = torch.stack([x for i in range(10**9)])",
    "y = x * sum(i for i in range(10**9))",
    "y = x * int('9' * 10**7)",
    "y = x * np.ones((10**6, 10**6)).sum()",
    "y = x\n    for row in x.sum():\n        y = y + row",
    "y = x + np.save('gradninja_hostile.npy', 3)",
    "y = x + torch.from_file('gradninja_hostile.bin', shared=True, size=8, dtype=torch.float64)",
    "y = x + torch.load('f')",
    "torch.save(x, 'gradninja_hostile.pt')\n    y = x",
    "y = x * float(open('f').read())",
    "y = eval('x')",
    "exec('y = x')",
    "y = __import__('os').getcwd()",
    "y = x.__class__(3)",
    "y = x.__dict__",
    "y = getattr(x, 'sum')()",
    "y = x.item() * x",
    "y = x.data * 2",
    "y = x.tolist()",
    "y = x.numpy() + 1",
    "y = x.backward()",
    "y = x.requires_grad_(False)",
    "y = x.add_(1)",
    "y = F.relu_(x)",
    "y = F.relu(x, inplace=True)",
    "y = torch.exp(x, out=x)",
    "x += 1\n    y = x",
    "x[0] = 1\n    y = x",
    "x[ix] += 1\n    y = x",
    "x.data = x\n    y = x",
    "y = x.nope()",
    "y = torch.nope(x)",
    "y = nope(x)",
    "y = nope * x",
    "y = x.sum(nope=1)",
    "y = x.sum(0, 1, 2, 3)",
    "y = torch.sum()",
    "y = x @ x",
    "y = x.view(13)",
    "y = x.sum(5)",
    "y = x.sum(1.5)",
    "y = x.shape[7] * x",
    "y, z = x, x, x",
    "y, z = x.chunk(7, 3)",
    "a, *b, *c = x",
    "y = {x: 1}",
    "y = {x}",
    "y = f'{x}'",
    "y = 'text'",
    "y = None",
    "y = x if x.sum() > 0 else -x",
    "y = x\n    if x.sum() > 0:\n        y = -x",
    "y = x\n    while y.sum() > 0:\n        y = y - 1",
    "y = x\n    assert False, 'so'\n    raise ValueError",
    "y = [x, x]\n    y[2] = x\n    y = y[0]",
    "class A:\n        y = x\n    y = A.y",
    "global y\n    y = x",
    "yield x\n    y = x",
    "y = await x",
    "with open('f') as f:\n        y = x",
    "import os\n    y = os.getcwd() and x",
    "y = x.to('meta')",
    "y = x.cuda()",
    "y = torch.autograd.grad(x.sum(), x)[0]",
    "y = torch.nn.Linear(3, 3)(x)",
    "y = torch.compile(x)",
    "y = torch.set_default_dtype(torch.float32)",
    "y = torch.manual_seed(0)",
    "y = x.complex()",
    "def f(a):\n        return f(a)\n    y = f(x)",
    "def f(a, b):\n        return a\n    y = f(x)",
    "def f(a):\n        b = a\n    y = f(x)",
    "def f(a):\n        return a\n    y = f(x, x)",
    "y = x" + ".exp()" * 3000,
    "y = " + "(" * 300 + "x" + ")" * 300,
    "y = " + "-" * 20000 + "x",
    "y = " + "+".join(["x"] * 20000),
    "y = [x]\n    for i in range(40):\n        y = y + y",
    "y = [x]\n    for i in range(40):\n        y.extend(y)",
    "s = [1, 2]\n    for i in range(40):\n        s = s + s\n    y = x * len(s)",
    "s = 'ab'\n    for i in range(40):\n        s = s * 2\n    y = x * len(s)",
    "s = 2\n    for i in range(40):\n        s = s * s\n    y = x * s",
    "y = x" + "[None]" * 200,
    "y = x" + "[0]" * 200,
)

REFUSED_SIGNATURES = (
    'x: Float[Tensor, "1000000000 1000000000"]',
    'x: Float[Tensor, "n*10**9"]',
    'x: Float[Tensor, "n**n**n**n"]',
    'x: Float[Tensor, "9999999999999999999999"]',
    'x: Float[Tensor, "n//0"]',
    'x: Float[Tensor, "-n"]',
    'x: Float[Tensor, "..."]',
    'x: Float[Tensor, "*batch n"]',
    'x: Float[Tensor, "n("]',
    "x: Float[Tensor, \"__import__('os')\"]",
    'x: Float[Tensor, "' + "n*" * 3000 + 'n"]',
    "x: Float[Tensor]",
    "x: Float[3]",
    "x: Nope[Tensor, 'n']",
    "x: 3",
    "x: Tensor",
    "x",
    "",
    "*x",
    "**x",
    "x=[1, 2]",
    "x=nope",
    'x: Int[Tensor, "n"]',
    'x: Float[Tensor, "n"] = print(3)',
)

REFUSED_TEXTS = (
    "\n",
    "\n\n# only a remark\n",
    "x = 1\n",
    "def forward(:\n",
    "def forward(x):\nreturn x\n",
    "def forward(x):\n\treturn x\n        return x\n",
    "def forward(x):\n    pass\n",
    "def f(x):\n    return x\n\n\ndef g(x):\n    return x\n",
    "async def forward(x):\n    return x\n",
    "class forward:\n    pass\n",
    "forward = lambda x: x\n",
    "\x00\n",
    "\ufeff\n\ud83d\n",
    "(" * 5000 + "\n",
    "x" * 100_000 + "\n",
    "if 1:\n" * 200 + "\n",
)


def refused_texts() -> dict[str, str]:
    """Every text that must be refused, by what is wrong in it."""
    head = f'{HEAD}def forward(x: Float[Tensor, "n d"], ix: Int[Tensor, "n"]):\n'
    found = {line: f"{head}    {line}\n    return y\n" for line in REFUSED_LINES}
    found |= {f"({s})": f"{HEAD}def forward({s}):\n    return x * 2\n" for s in REFUSED_SIGNATURES}
    found |= {text: text for text in REFUSED_TEXTS}
    return {repr(what)[1:60]: text for what, text in found.items()}


def programs() -> list[str]:
    """The catalogue's programs, each as a text of its own."""
    return [HEAD + inspect.getsource(program.function) for program in collect()]


def mangled(rng: random.Random, texts: list[str]) -> str:
    """A program with one to three things wrong in its function, or only noise."""
    if rng.random() < 0.03:
        return "".join(rng.choice(WEIRD) for _ in range(rng.randrange(1, 60))) + "\n"
    text = rng.choice(texts)[len(HEAD) :]
    for _ in range(rng.choice([1, 1, 2, 3])):
        text = rng.choice([_token, _token, _token, _token, _line, _character])(rng, text, texts)
    return HEAD + text


def _tokens(text: str) -> list[tuple[int, int]]:
    """Where the tokens of a text stand; what cannot be told apart is left out."""
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.string.strip():
                begin = starts[token.start[0] - 1] + token.start[1]
                found.append((begin, begin + len(token.string)))
    except (tokenize.TokenError, SyntaxError, IndexError):
        pass
    return found or [(0, len(text))]


def _token(rng: random.Random, text: str, texts: list[str]) -> str:
    """A token replaced by one of its kind, mostly; or deleted, doubled, swapped, or made weird."""
    places = _tokens(text)
    begin, end = rng.choice(places)
    old = text[begin:end]
    kind = rng.randrange(14)
    if kind == 0:
        return text[:begin] + text[end:]
    if kind == 1:
        return text[:end] + " " + old + text[end:]
    if kind == 2:
        return text[:begin] + rng.choice(WEIRD) + text[end:]
    if kind in (3, 4):
        first, second = sorted([(begin, end), rng.choice(places)])
        if first[1] <= second[0]:
            a, b = text[slice(*first)], text[slice(*second)]
            return text[: first[0]] + b + text[first[1] : second[0]] + a + text[second[1] :]
        return text
    return text[:begin] + _alike(rng, old, text, texts) + text[end:]


def _alike(rng: random.Random, old: str, near: str, texts: list[str]) -> str:
    """A token of the same kind: a name for a name, a number for a number, a sign for a sign."""
    if old.isidentifier():
        source = near if rng.random() < 0.6 else rng.choice(texts)
        names = [source[slice(*place)] for place in _tokens(source)]
        return rng.choice([name for name in names if name.isidentifier()] or [old])
    if old[0].isdigit():
        return rng.choice(NUMBERS)
    if old in OPERATORS:
        return rng.choice(OPERATORS)
    if old[0] in "\"'":
        return rng.choice(['""', "'n'", '"n n n"', '"1 2"', '"10**9 n"', '"i,j->ij"', '"d"', "0"])
    return old


def _line(rng: random.Random, text: str, texts: list[str]) -> str:
    """A line lost, doubled, moved, cut short, indented otherwise, or taken from elsewhere."""
    lines = text.splitlines()
    at = rng.randrange(len(lines)) if lines else 0
    if not lines:
        return text
    kind = rng.randrange(6)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, lines[at])
    elif kind == 2:
        lines.append(lines.pop(at))
    elif kind == 3:
        lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
    elif kind == 4:
        lines[at] = rng.choice(["", " ", "\t", "      "]) + lines[at].lstrip()
    else:
        lines.insert(at, rng.choice(rng.choice(texts).splitlines() or [""]))
    return "\n".join(lines) + "\n"


def _character(rng: random.Random, text: str, texts: list[str]) -> str:
    """A character put in or taken away, or the text cut off."""
    at = rng.randrange(len(text) + 1)
    kind = rng.randrange(3)
    if kind == 0:
        return text[:at] + chr(rng.choice([rng.randrange(128), rng.randrange(0x10000)])) + text[at:]
    if kind == 1:
        return text[:at] + text[at + 1 :]
    return text[:at] + "\n"
