"""Fourier transforms: each is answered by its adjoint, the opposite one without its scale."""

from __future__ import annotations

from gradninja.rules.rule import Refusal, Rule, Site, Template

SOURCE = "PyTorch, torch/csrc/autograd/FunctionsManual.cpp, fft_backward"
WHY = (
    "a Fourier transform is a symmetric matrix of turns: its gradient is the opposite transform, "
    "scaled as this one was"
)
HALF = (
    "the half that is left out of a real signal's spectrum is the mirror of the other: what is "
    "in between counts twice"
)
# The norm that scales the opposite transform as this one was scaled.
OPPOSITE = {None: "'forward'", "backward": "'forward'", "forward": "'backward'", "ortho": "'ortho'"}


def _norm(site: Site) -> str:
    return OPPOSITE[site.value("norm")]


def _fitted(site: Site, text: str, length: str = "g.shape[dim]") -> str:
    """A gradient of the transformed length at the operand's: a negative pad cuts."""
    if site.value("n") is None:
        return text
    behind = site.ndim("a") - 1 - site.value("dim") % site.ndim("a")
    return f"F.pad({text}, ({'0, 0, ' * behind}0, a.shape[dim] - {length}))"


def _opposite(name: str) -> str:
    return {"fft": "ifft", "ifft": "fft"}[name]


def _transform(name: str) -> Template:
    def template(site: Site) -> str:
        return _fitted(site, f"torch.fft.{_opposite(name)}(g, dim=dim, norm={_norm(site)})")

    return template


def _rfft(site: Site) -> str:
    """The other half of the spectrum counts as zeros."""
    length = "a.shape[dim]" if site.value("n") is None else "n"
    return _fitted(site, f"torch.fft.ifft(g, n={length}, dim=dim, norm={_norm(site)}).real", length)


def _irfft(site: Site) -> str:
    behind = site.ndim("a") - 1 - site.value("dim") % site.ndim("a")
    shape = f"[:{', None' * behind}]" if behind else ""
    twice = (
        "F.pad(torch.full(((g.shape[dim] - 1) // 2,), 2.0, device=g.device), "
        f"(1, 1 - g.shape[dim] % 2), value=1.0){shape}"
    )
    text = f"torch.fft.rfft(g, dim=dim, norm={_norm(site)}) * {twice}"
    return _fitted(site, text, "(g.shape[dim] // 2 + 1)")


# -- several axes -----------------------------------------------------------------------------


def _axes(site: Site) -> tuple[int, ...]:
    """The axes that are transformed, in their order; the last one is the halved one."""
    ndim, sizes, dim = site.ndim("a"), site.value("s"), site.value("dim")
    if isinstance(sizes, int):
        raise Refusal("a single number for `s` is not covered; write it as a tuple")
    if isinstance(dim, int):
        dim = (dim,)
    if dim is None:
        dim = range(ndim if sizes is None else len(sizes))
        dim = [axis - len(dim) for axis in dim]
    if sizes is not None and -1 in sizes:
        raise Refusal("a size of -1 in `s` is not covered; write the size out")
    return tuple(axis % ndim for axis in dim)


def _said(axes: tuple[int, ...]) -> str:
    """Axes as numbers of a text."""
    return f"({', '.join(map(str, axes))},)"


def _cut(site: Site, text: str, last: str) -> str:
    """A gradient of the transformed sizes at the operand's; `last`: that of the last axis."""
    if site.value("s") is None and last == "g.shape":
        return text
    axes, pads = _axes(site), []
    for axis in reversed(range(site.ndim("a"))):
        ours = f"g.shape[{axis}]"
        if axis == axes[-1] and last != "g.shape":
            ours = last
        at = axis in axes and (site.value("s") is not None or axis == axes[-1])
        pads += ["0", f"a.shape[{axis}] - {ours}" if at else "0"]
    while pads[-1] == "0" and len(pads) > 2 and pads[-2] == "0":
        pads = pads[:-2]
    return f"F.pad({text}, ({', '.join(pads)}))"


def _whole(name: str) -> Template:
    def template(site: Site) -> str:
        if site.value("s") is None:
            return f"torch.fft.{name}(g, dim=dim, norm={_norm(site)})"
        axes = _axes(site)
        text = f"torch.fft.{name[:-1]}n(g, dim={_said(axes)}, norm={_norm(site)})"
        return _cut(site, text, "g.shape")

    return template


def _real(site: Site) -> str:
    """The other half of the last axis of the spectrum counts as zeros."""
    axes = _axes(site)
    if site.value("s") is None:
        sizes = f"({', '.join(f'a.shape[{axis}]' for axis in axes)},)"
        if axes == (site.ndim("a") - 2, site.ndim("a") - 1):
            return f"torch.fft.ifft2(g, s=a.shape[-2:], norm={_norm(site)}).real"
        return f"torch.fft.ifftn(g, s={sizes}, dim={_said(axes)}, norm={_norm(site)}).real"
    text = f"torch.fft.ifftn(g, s=s, dim={_said(axes)}, norm={_norm(site)}).real"
    return _cut(site, text, "s[-1]")


def _half(site: Site) -> str:
    axes = _axes(site)
    last = axes[-1]
    behind = site.ndim("a") - 1 - last
    shape = f"[:{', None' * behind}]" if behind else ""
    twice = (
        f"F.pad(torch.full(((g.shape[{last}] - 1) // 2,), 2.0, device=g.device), "
        f"(1, 1 - g.shape[{last}] % 2), value=1.0){shape}"
    )
    text = f"torch.fft.rfftn(g, dim={_said(axes)}, norm={_norm(site)}) * {twice}"
    return text if site.value("s") is None else _cut(site, text, f"(g.shape[{last}] // 2 + 1)")


def _row(name: str, backward: Template, why: str, *tests: str) -> Rule:
    several = name.endswith(("2", "n"))
    dims = "s=None, dim=(-2, -1)" if name.endswith("2") else "s=None, dim=None"
    given = dims if several else "n=None, dim=-1"
    return Rule(
        name,
        (f"torch.fft.{name}(a, {given}, norm=None)",),
        {"a": backward},
        why=why,
        source=SOURCE,
        tests=tests,
    )


FOURIER = (
    _row(
        "fft",
        _transform("fft"),
        WHY,
        "torch.fft.fft(a).real where a: 3 5",
        "torch.fft.fft(a, n=7).imag where a: 3 5",
        "torch.fft.fft(a, n=3, dim=0, norm='ortho').abs() where a: 5 2",
    ),
    _row(
        "ifft",
        _transform("ifft"),
        WHY,
        "torch.fft.ifft(a).real where a: 3 5",
        "torch.fft.ifft(torch.complex(a, b), norm='forward').imag where a: 4; b: 4",
    ),
    _row(
        "rfft",
        _rfft,
        WHY,
        "torch.fft.rfft(a).real where a: 3 5",
        "torch.fft.rfft(a, n=8).imag where a: 3 6",
        "torch.fft.rfft(a, n=4, dim=0).abs() where a: 6 2",
    ),
    _row(
        "irfft",
        _irfft,
        HALF,
        "torch.fft.irfft(torch.complex(a, b)) where a: 3 5; b: 3 5",
        "torch.fft.irfft(torch.complex(a, b), n=7) where a: 3 5; b: 3 5",
        "torch.fft.irfft(torch.complex(a, b), n=4, dim=0, norm='ortho') where a: 4 2; b: 4 2",
        "torch.fft.irfft(torch.fft.rfft(a, n=10) * torch.fft.rfft(b, n=10), n=10) "
        "where a: 2 5; b: 5",
    ),
    _row(
        "fft2",
        _whole("ifft2"),
        WHY,
        "torch.fft.fft2(a).real where a: 2 3 4",
        "torch.fft.fft2(a, s=(5, 3)).abs() where a: 2 3 4",
    ),
    _row(
        "ifft2",
        _whole("fft2"),
        WHY,
        "torch.fft.ifft2(a).imag where a: 3 4",
        "torch.fft.ifft2(a, s=(2, 6), norm='ortho').abs() where a: 3 4",
    ),
    _row(
        "fftn",
        _whole("ifftn"),
        WHY,
        "torch.fft.fftn(a, dim=(0, 2)).real where a: 2 3 4",
        "torch.fft.fftn(a, s=(3, 2), dim=(0, 1)).imag where a: 2 3 4",
        "torch.fft.fftn(a, (5, 3)).abs() where a: 2 3 4",
    ),
    _row("ifftn", _whole("fftn"), WHY, "torch.fft.ifftn(a, dim=(0, 1)).imag where a: 3 4"),
    _row(
        "rfft2",
        _real,
        WHY,
        "torch.fft.rfft2(a).abs() where a: 2 3 4",
        "torch.fft.rfft2(a, s=(4, 3)).abs() where a: 2 3 5",
        "torch.fft.rfft2(a, dim=(0, 1), norm='ortho').imag where a: 4 3 2",
    ),
    _row(
        "rfftn",
        _real,
        WHY,
        "torch.fft.rfftn(a).abs() where a: 2 3 4",
        "torch.fft.rfftn(a, s=(4, 6), dim=(0, 2)).abs() where a: 3 2 5",
    ),
    _row(
        "irfft2",
        _half,
        HALF,
        "torch.fft.irfft2(torch.complex(a, b)) where a: 2 3 4; b: 2 3 4",
        "torch.fft.irfft2(torch.complex(a, b), s=(4, 5)) where a: 2 3 4; b: 2 3 4",
        "torch.fft.irfft2(torch.complex(a, b), s=(2, 4), dim=(0, 1), norm='ortho') "
        "where a: 3 4 2; b: 3 4 2",
    ),
    _row(
        "irfftn",
        _half,
        HALF,
        "torch.fft.irfftn(torch.complex(a, b)) where a: 2 3 4; b: 2 3 4",
        "torch.fft.irfftn(torch.fft.rfftn(a) * b, s=a.shape) where a: 3 5; b: 3 3",
    ),
    Rule(
        "fftshift",
        ("torch.fft.fftshift(a, dim=None)",),
        {"a": "torch.fft.ifftshift(g, dim=dim)"},
        why="what was moved round is moved back",
        source=SOURCE,
        tests=("torch.fft.fftshift(a, dim=1) where a: 2 5",),
    ),
    Rule(
        "ifftshift",
        ("torch.fft.ifftshift(a, dim=None)",),
        {"a": "torch.fft.fftshift(g, dim=dim)"},
        why="what was moved round is moved back",
        source=SOURCE,
        tests=("torch.fft.ifftshift(a) where a: 2 5",),
    ),
)
