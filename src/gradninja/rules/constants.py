"""Rows that no gradient goes through: what is made, drawn, counted, compared, or a step.

Autograd's gradient through each is zero wherever it exists, or there is none to ask for. `(...)` in
a spelling takes whatever arguments stand there: no other room reads them.
"""

from __future__ import annotations

from gradninja.rules.rule import CHEAP, Rule

_KIND = "dtype=None, device=None"


def _constant(
    name: str,
    spellings: tuple[str, ...],
    why: str,
    *tests: str,
    loop: str = "",
    random: bool = False,
    notation: str = "",
    view: bool = False,
) -> Rule:
    return Rule(
        name,
        spellings,
        {},
        why=why,
        source="zero wherever it exists",
        tests=tests,
        shape_only=("a",) if name in _OF_A_SHAPE else (),
        loop=loop,
        cost=CHEAP,
        constant=True,
        random=random,
        notation=notation,
        view=view,
    )


def _both(name: str, *formals: str) -> tuple[str, ...]:
    rest = "".join(f", {formal}" for formal in formals)
    return f"torch.{name}(a{rest})", f"a.{name}({rest.removeprefix(', ')})"


def _filled(name: str, formals: str) -> tuple[str, ...]:
    return f"torch.{name}({formals}, {_KIND})", f"a.new_{name}({formals}, {_KIND})"


# What takes the shape or the type of a tensor alone.
_OF_A_SHAPE = {"zeros", "ones", "full", "zeros_like", "ones_like", "full_like"}
_MADE = "It is made of plain numbers and shapes: no tensor's values stand in it"
_DRAWN = "It is drawn at random: no gradient goes back through a draw"
_POURED = ("bernoulli", "uniform", "normal", "exponential")  # drawn into memory that is there
_STEP = "It moves only in steps: between them the slope is 0"
_TRUTH = "It is true or false: a truth value has no slope"
_PLACE = "It says where a value stands, or how many there are: whole numbers, which have no slope"
_FACT = "It is a fact about a tensor's shape or type, not its values"

MADE = (
    _constant(
        "zeros",
        _filled("zeros", "*size"),
        _MADE,
        "torch.zeros(3, 4)",
        "a.new_zeros(2) where a: 3 4",
    ),
    _constant(
        "ones", _filled("ones", "*size"), _MADE, "torch.ones(3, 4)", "a.new_ones(2) where a: 3 4"
    ),
    _constant("full", _filled("full", "size, value"), _MADE, "torch.full((3,), 2.0)"),
    _constant(
        "zeros_like",
        (f"torch.zeros_like(a, {_KIND})",),
        _MADE,
        "torch.zeros_like(a) where a: 3 4",
        notation="zero",
    ),
    _constant(
        "ones_like",
        (f"torch.ones_like(a, {_KIND})",),
        _MADE,
        "torch.ones_like(a) where a: 3 4",
        notation="one",
    ),
    _constant(
        "full_like",
        (f"torch.full_like(a, value, {_KIND})",),
        _MADE,
        "torch.full_like(a, 2.0) where a: 3 4",
    ),
    _constant("arange", (f"torch.arange(*ends, {_KIND})",), _MADE, "torch.arange(2, 7)"),
    _constant("tensor", (f"torch.tensor(data, {_KIND})",), _MADE, "torch.tensor([1.0, 2.0])"),
    _constant("eye", (f"torch.eye(n, m=None, {_KIND})",), _MADE, "torch.eye(3)"),
    _constant(
        "empty",
        ("torch.empty(...)", "torch.empty_like(...)", "a.new_empty(...)"),
        _MADE,
        "torch.empty(3)",
    ),
    _constant(
        "grid",
        (
            "torch.linspace(...)",
            "torch.logspace(...)",
            "torch.fft.fftfreq(...)",
            "torch.fft.rfftfreq(...)",
        ),
        _MADE,
        "torch.linspace(0, 1, 5)",
        "torch.fft.fftfreq(4)",
    ),
    _constant(
        "triangle",
        ("torch.tril_indices(...)", "torch.triu_indices(...)"),
        _MADE,
        "torch.tril_indices(3, 3)",
    ),
    _constant(
        "new",
        ("a.new_tensor(...)", "torch.scalar_tensor(...)"),
        _MADE,
        "a.new_tensor(2.0) where a: 3",
    ),
    _constant(
        "window",
        ("torch.hann_window(...)", "torch.hamming_window(...)", "torch.blackman_window(...)"),
        _MADE,
        "torch.hann_window(6)",
    ),
    _constant(
        "detach",
        ("a.detach()",),
        "`detach` says that no gradient goes back here",
        "a.detach() where a: 3 4",
        view=True,
    ),
)

DRAWN = (
    _constant(
        "draw",
        (
            "torch.rand(...)",
            "torch.randn(...)",
            "torch.randint(...)",
            "torch.randperm(...)",
            "torch.rand_like(...)",
            "torch.randn_like(...)",
            "torch.randint_like(...)",
            "torch.normal(...)",
        ),
        _DRAWN,
        "torch.randn_like(a) where a: 3 4",
        "torch.rand(3)",
        random=True,
    ),
    _constant(
        "pick",
        (
            "torch.bernoulli(...)",
            "a.bernoulli(...)",
            "torch.multinomial(...)",
            "a.multinomial(...)",
            *(f"a.{name}_(...)" for name in _POURED),
        ),
        _DRAWN,
        "torch.bernoulli(torch.sigmoid(a)) where a: 3 4",
        *(f"torch.empty_like(a).{name}_(0.3) where a: 3 4" for name in _POURED),
        "a.exp().multinomial(2) where a: 3 4",
        random=True,
    ),
)

STEPS = (
    _constant(
        "floor",
        _both("floor"),
        _STEP,
        "torch.floor(a) where a: 3 4",
        "a.floor() where a: 3",
        loop="np.floor({0})",
    ),
    _constant(
        "ceil",
        _both("ceil"),
        _STEP,
        "torch.ceil(a) where a: 3 4",
        "a.ceil() where a: 3",
        loop="np.ceil({0})",
    ),
    _constant(
        "round",
        (*_both("round"), "torch.special.round(a)"),
        _STEP,
        "torch.round(a) where a: 3 4",
        "a.round() where a: 3",
        loop="np.rint({0})",
    ),
    _constant(
        "round to",
        ("torch.round(...)", "a.round(...)", "torch.special.round(...)"),
        _STEP,
        "torch.round(a, decimals=1) where a: 3 4",
    ),
    _constant(
        "trunc",
        _both("trunc"),
        _STEP,
        "torch.trunc(a) where a: 3 4",
        "a.trunc() where a: 3",
        loop="np.trunc({0})",
    ),
    _constant(
        "sign",
        (*_both("sign"), *_both("sgn")),
        _STEP,
        "torch.sign(a) where a: 3 4",
        "a.sgn() where a: 3 4",
        loop="np.sign({0})",
    ),
    _constant(
        "heaviside",
        ("torch.heaviside(a, b)",),
        _STEP,
        "torch.heaviside(a, b) where a: 3 4; b: 4",
    ),
    _constant(
        "floor_divide", ("a // b", *_both("floor_divide", "b")), _STEP, "a // 2 where a: 3 4"
    ),
    _constant(
        "long", ("a.long()", "a.bool()"), _STEP, "a.long() where a: 3 4", "a.bool() where a: 3 4"
    ),
    _constant(
        "int",
        ("a.int()", "a.byte()", "a.short()", "a.char()"),
        _STEP,
        "a.int() where a: 3 4",
        "a.byte() where a: 3 4",
    ),
)

TRUTHS = (
    *(
        _constant(
            name,
            (f"a {sign} b", *_both(name, "b")),
            _TRUTH,
            f"a {sign} b where a: 3 4; b: 4",
            f"a.{name}(0.5) where a: 3",
        )
        for name, sign in {
            "eq": "==",
            "ne": "!=",
            "lt": "<",
            "le": "<=",
            "gt": ">",
            "ge": ">=",
        }.items()
    ),
    *(
        _constant(
            f"logical_{name}",
            (f"a {sign} b", *_both(f"logical_{name}", "b")),
            _TRUTH,
            f"(a > 0) {sign} (b > 0) where a: 3 4; b: 4",
        )
        for name, sign in {"and": "&", "or": "|", "xor": "^"}.items()
    ),
    _constant("logical_not", ("~a", *_both("logical_not")), _TRUTH, "~(a > 0) where a: 3 4"),
    *(
        _constant(name, _both(name), _TRUTH, f"torch.{name}(a) where a: 3 4")
        for name in ("isnan", "isinf", "isfinite")
    ),
    *(
        _constant(
            name,
            _both(name, "dim=None", "keepdim=False"),
            _TRUTH,
            f"(a > 0).{name}(1) where a: 3 4",
        )
        for name in ("any", "all")
    ),
    _constant("signbit", _both("signbit"), _TRUTH, "torch.signbit(a) where a: 3 4"),
    _constant("isin", ("torch.isin(...)",), _TRUTH, "torch.isin(a, b) where a: 3 4; b: 4"),
    _constant("isclose", ("torch.isclose(...)",), _TRUTH, "torch.isclose(a, b) where a: 3 4; b: 4"),
    _constant(
        "same",
        ("torch.allclose(...)", "torch.equal(...)", "a.equal(...)"),
        _TRUTH,
        "torch.equal(a, b) where a: 3; b: 3",
    ),
)

PLACES = (
    _constant(
        "argmax",
        _both("argmax", "dim=None", "keepdim=False"),
        _PLACE,
        "torch.argmax(a, dim=1) where a: 3 4",
        "a.argmax() where a: 3 4",
        notation="place of the maximum",
    ),
    _constant(
        "argmin",
        _both("argmin", "dim=None", "keepdim=False"),
        _PLACE,
        "torch.argmin(a, dim=1) where a: 3 4",
        "a.argmin() where a: 3 4",
        notation="place of the minimum",
    ),
    _constant(
        "argsort",
        _both("argsort", "dim=-1", "descending=False", "stable=False"),
        _PLACE,
        "a.argsort(dim=0) where a: 3 4",
    ),
    _constant(
        "one_hot", ("F.one_hot(a, num_classes=-1)",), _PLACE, "F.one_hot(i, 4) where i: 5 < 4"
    ),
    _constant(
        "search",
        ("torch.searchsorted(...)", "torch.bucketize(...)"),
        _PLACE,
        "torch.bucketize(a, torch.arange(3)) where a: 3 4",
    ),
    _constant(
        "nonzero", ("torch.nonzero(...)", "a.nonzero(...)"), _PLACE, "torch.nonzero(a) where a: 3 4"
    ),
    _constant(
        "unique",
        (
            "torch.unique(...)",
            "a.unique(...)",
            "torch.unique_consecutive(...)",
            "a.unique_consecutive(...)",
        ),
        _PLACE,
        "torch.unique(i) where i: 5 < 4",
        "i.unique_consecutive() where i: 5 < 4",
    ),
    _constant(
        "counts",
        (
            "torch.count_nonzero(...)",
            "a.count_nonzero(...)",
            "torch.bincount(...)",
            "a.bincount(...)",
            "torch.histc(...)",
            "a.histc(...)",
        ),
        _PLACE,
        "a.count_nonzero() where a: 3 4",
        "torch.histc(a, 4, -1, 1) where a: 3 4",
        "torch.bincount(i) where i: 5 < 4",
    ),
)

FACTS = (
    _constant(
        "extent",
        (
            "a.size(...)",
            "a.numel()",
            "torch.numel(...)",
            "a.nelement()",
            "a.dim()",
            "a.ndimension()",
            "a.stride(...)",
            "a.element_size()",
            "a.is_contiguous(...)",
            "torch.broadcast_shapes(...)",
            "torch.Size(...)",
        ),
        _FACT,
        "a.numel() where a: 3 4",
        "a.size(0) where a: 3 4",
    ),
    _constant(
        "kind",
        (
            "torch.is_floating_point(...)",
            "a.is_floating_point()",
            "torch.is_complex(...)",
            "a.is_complex()",
            "torch.is_tensor(...)",
            "torch.finfo(...)",
            "torch.iinfo(...)",
            "torch.result_type(...)",
        ),
        _FACT,
        "a.is_floating_point() where a: 3",
        "torch.finfo(a.dtype).eps where a: 3",
    ),
)

CONSTANTS = (*MADE, *DRAWN, *STEPS, *TRUTHS, *PLACES, *FACTS)
