"""Complex tensors, by PyTorch's convention: the gradient of z is dL/d(re z) + i dL/d(im z).

A row of real operations holds for complex operands as well once those are conjugated (see
`derive/walk.py`), and what comes back to a real operand is the real part. Here is what is peculiar
to complex numbers; a formal `z` is a complex one, and the text holds as it stands. What a real
number is asked as well (it is its own real part, its own mirror) takes an `a`.
"""

from __future__ import annotations

from gradninja.rules.rule import Rule, Template

SOURCE = "PyTorch, notes/autograd, section on complex numbers"
PART = "a complex number is two real ones: what reads one of them answers that one alone"
POLAR = "a length and an angle move a number along its ray, and across it"


def _row(
    name: str,
    spellings: tuple[str, ...],
    backward: dict[str, Template],
    why: str,
    *tests: str,
    elementwise: bool = True,
    view: bool = False,
) -> Rule:
    return Rule(
        name,
        spellings,
        backward,
        why=why,
        source=SOURCE,
        tests=tests,
        elementwise=elementwise,
        view=view,
    )


COMPLEXES = (
    _row(
        "real",
        ("torch.real(a)", "a.real"),
        {"a": "g"},
        PART,
        "torch.polar(a, b).real where a: 3 4 positive; b: 3 4",
        "torch.real(a) where a: 3 4",
        view=True,
    ),
    _row(
        "imag",
        ("torch.imag(z)", "z.imag"),
        {"z": "torch.complex(torch.zeros_like(g), g)"},
        PART,
        "torch.complex(a, b).imag where a: 3 4; b: 3 4",
        view=True,
    ),
    _row(
        "conj",
        ("torch.conj(a)", "a.conj()", "torch.conj_physical(a)", "a.conj_physical()"),
        {"a": "g.conj()"},
        "a mirrored number answers mirrored",
        "torch.polar(a, b).conj().imag where a: 3 4 positive; b: 3 4",
        "a.conj() where a: 3 4",
        view=True,
    ),
    _row(
        "abs of complex",
        ("torch.abs(z)", "z.abs()", "torch.absolute(z)", "z.absolute()"),
        {"z": "g * z.sgn()"},
        "a length grows along the number's own direction",
        "torch.complex(a, b).abs() where a: 3 4; b: 3 4",
    ),
    _row(
        "angle",
        ("torch.angle(z)", "z.angle()"),
        {"z": "(g * 1j * z / z.abs() ** 2).masked_fill(z == 0, 0)"},
        "an angle grows across the number's direction, the less the longer it is (0 has none)",
        "torch.complex(a, b).angle() where a: 3 4; b: 3 4",
        "torch.complex(a.relu(), b.relu()).angle() where a: 3 4; b: 3 4",
    ),
    _row(
        "complex",
        ("torch.complex(re, im)",),
        {"re": "g.real", "im": "g.imag"},
        PART,
        "torch.complex(a, b).abs() where a: 3 4; b: 3 4",
    ),
    _row(
        "polar",
        ("torch.polar(r, t)",),
        {
            "r": "(g * y.sgn()).real",
            "t": "(g * y * -1j).real",
        },
        POLAR,
        "torch.polar(a, b).real where a: 3 4 positive; b: 3 4",
        "torch.polar(a, b).imag where a: 3 4 positive; b: 4",
    ),
    _row(
        "view_as_real",
        ("torch.view_as_real(z)",),
        {"z": "torch.view_as_complex(g.contiguous())"},
        PART,
        "torch.view_as_real(torch.polar(a, b)) where a: 3 4 positive; b: 3 4",
        elementwise=False,
        view=True,
    ),
    _row(
        "view_as_complex",
        ("torch.view_as_complex(a)",),
        {"a": "torch.view_as_real(g)"},
        PART,
        "torch.view_as_complex(a).abs() where a: 3 4 2",
        elementwise=False,
        view=True,
    ),
    _row(
        "adjoint",
        ("z.mH", "z.adjoint()", "torch.adjoint(z)", "z.H"),
        {"z": "g.mH"},
        "what was mirrored and turned is mirrored and turned back",
        "torch.polar(a, b).mH.imag where a: 3 4 positive; b: 3 4",
        elementwise=False,
        view=True,
    ),
)
