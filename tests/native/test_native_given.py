"""What a compiled step is given: arrays of any layout as they lie, and clear words for the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gradninja.errors import GradninjaError
from gradninja.native import compile
from native_plain import run

FORWARD = """
def forward(x, W):
    loss = (x @ W).tanh().sum()
    return loss
"""
RNG = np.random.default_rng(0)
X, W = RNG.standard_normal((4, 3)), RNG.standard_normal((3, 5))


def _read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def _field(array: np.ndarray) -> np.ndarray:
    """With other numbers between its own, and no whole number of elements apart."""
    table = np.zeros(array.shape, dtype=[("a", "f8"), ("b", "i4")])
    table["a"] = array
    return table["a"]


LAYOUTS: dict[str, Any] = {
    "contiguous": X,
    "columns first": np.asfortranarray(X),
    "turned": np.ascontiguousarray(X.T).T,
    "every other": np.repeat(np.repeat(X, 2, 0), 2, 1)[::2, ::2],
    "backwards": X[::-1, ::-1],
    "read only": _read_only(X),
    "one row, broadcast": np.broadcast_to(X[0], (4, 3)),
    "a field": _field(X),
    "not aligned": np.frombuffer(b"0" + X.tobytes(), np.uint8)[1:].view(float).reshape(4, 3),
    "a tensor": torch.from_numpy(X),
    "a tensor that requires grad": torch.from_numpy(X).requires_grad_(),
    "a row, expanded": torch.from_numpy(X[0]).expand(4, 3),
    "a part of a tensor": torch.from_numpy(np.pad(X, 2))[2:-2, 2:-2],
    "negated": torch._neg_view(torch.from_numpy(X)),
}


def _arrays(**inputs: Any) -> dict[str, np.ndarray]:
    from gradninja.native.calls.given_arrays import arrays_of

    return arrays_of(inputs)


def _hold(found: dict[str, Any], x: Any) -> None:
    """To autograd's gradients."""
    plain = (v.detach().clone() if isinstance(v, torch.Tensor) else np.array(v) for v in (x, W))
    leaves = [torch.as_tensor(value).resolve_neg().requires_grad_() for value in plain]
    true = torch.autograd.grad((leaves[0] @ leaves[1]).tanh().sum(), leaves)
    for name, expected in zip(("dx", "dW"), true, strict=True):
        np.testing.assert_allclose(np.asarray(found[name]), expected.numpy(), rtol=1e-10)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_of_any_layout(layout: str) -> None:
    x = LAYOUTS[layout]
    _hold(run(compile(FORWARD).specialised(x=x, W=W), _arrays(x=x, W=W)), x)


def test_what_was_compiled_for_one_array_serves_any_of_the_same_layout() -> None:
    """A row that may not be written, broadcast, and one that may be: strides of 0 both."""
    locked, free = LAYOUTS["one row, broadcast"], LAYOUTS["a row, expanded"]
    step = compile(FORWARD)
    made = step.specialised(x=locked, W=W)
    assert step.specialised(x=free, W=W) is made
    _hold(run(made, _arrays(x=free, W=W)), free)
    _hold(run(made, _arrays(x=locked, W=W)), locked)


def test_arrays_are_read_where_they_lie() -> None:
    for layout in ("contiguous", "columns first", "every other", "read only", "a tensor"):
        given = LAYOUTS[layout]
        array = _arrays(x=given)["x"]
        leaf = compile(FORWARD).specialised(x=given, W=W)._inputs[0]
        from gradninja.native.calls.given_arrays import flat

        assert np.shares_memory(flat(array, leaf), np.asarray(given)), layout


REFUSED: dict[str, tuple[Any, str]] = {
    "half": (X.astype(np.float16), r"`x` is of float16.*\n.*x.astype\(np.float32\)"),
    "long double": (X.astype(np.longdouble), r"`x` is of .*\n.*x.astype\(np.float64\)"),
    "brain float": (torch.from_numpy(X).bfloat16(), r"bfloat16.*\n.*x.to\(torch.float32\)"),
    "complex": (X.astype(complex), "`x` is of complex128"),
    "int32": (X.astype(np.int32), r"`x` is of int32.*\n.*x.astype\(np.int64\)"),
    "objects": (X.astype(object), "`x` is of object"),
    "other bytes": (X.astype(X.dtype.newbyteorder()), "another machine's order"),
    "70 axes": (torch.from_numpy(X).reshape([4, 3, *[1] * 68]), "more than NumPy's 64 axes"),
    "a list": (X.tolist(), "`x` is of type list"),
    "masked": (np.ma.masked_array(X, X > 0), "`x` is masked"),
    "sparse": (torch.from_numpy(X).to_sparse(), "no plain tensor"),
    "elsewhere": (torch.from_numpy(X).to("meta"), "`x` is on meta"),
    "none": (np.zeros((0, 3)), "`x` is empty"),
    "another shape": (X.T, "does not run"),
    "another type than W": (X.astype(np.float32), "does not run"),
    "no array": (None, "does not run"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_taken_is_told(name: str) -> None:
    given, said = REFUSED[name]
    with pytest.raises(GradninjaError, match=said):
        compile(FORWARD)(x=given, W=W)


@pytest.mark.parametrize(
    ("given", "named", "said"),
    [
        ((X, W, X), {}, "3 inputs are given"),
        ((X,), {"x": X}, "`x` is given twice"),
        ((X,), {}, "no value for `W`"),
        ((X, W), {"z": 1}, "no input `z`"),
    ],
)
def test_what_is_given_amiss_is_told(given: tuple, named: dict, said: str) -> None:
    with pytest.raises(GradninjaError, match=said):
        compile(FORWARD)(*given, **named)


def test_numbers_are_compiled_in_and_arrays_of_none_are_not() -> None:
    step = compile("def forward(x, s=2.0):\n    return (x * s * s).sum()\n")
    for s in (3, 0.5, True):
        found = run(step.specialised(X, s), _arrays(x=X, s=s))
        np.testing.assert_allclose(found["dx"], np.full((4, 3), float(s) ** 2))
    one = step.specialised(X, np.float64(3.0))
    assert one is step.specialised(X, np.float64(4.0))
    np.testing.assert_allclose(run(one, _arrays(x=X, s=np.float64(4.0)))["ds"], 8 * X.sum())


def test_code_is_held_to_the_shapes_that_it_is_for() -> None:
    made = compile(FORWARD).specialised(X, W)
    for wrong in (X[:2], X.astype(np.float32)):
        with pytest.raises(GradninjaError, match="compiled for float64"):
            run(made, _arrays(x=wrong, W=W))


def test_machine_code_of_ints_goes_round_where_it_overflows(tmp_path, monkeypatch) -> None:
    """As PyTorch's: 2**40 squared is 0, though a square that does not overflow is more than 0."""
    monkeypatch.setenv("GRADNINJA_CACHE", str(tmp_path))
    text = """
def forward(a, i, most):
    more, less = i + most, i - most - most
    c = ((i * i > 0) * 4 + (more > i) * 2 + (less < i) * 1 + (i.cumprod(0) > 0) * 8) * a
    loss = (c * c).sum() + i.prod()
    return loss
"""
    a, i = torch.ones(3).double(), torch.tensor([2**40, 2**33, 2**62 + 3])
    scope: dict[str, Any] = {"torch": torch}
    exec(text, scope)
    leaf = a.clone().requires_grad_()
    most = torch.tensor(2**63 - 1)
    loss = scope["forward"](leaf, i, most)
    (true,) = torch.autograd.grad(loss, leaf)
    found = compile(text)(a, i, most)
    assert torch.equal(found["da"], true)
    assert torch.equal(found["loss"], loss.detach())


def test_an_input_may_be_called_as_what_the_text_uses() -> None:
    """Names of Python's, of the text's own, and those that another is given instead."""
    names = (
        "exp",
        "exp_",
        "exp__",
        "len",
        "pow",
        "float",
        "range",
        "IndexError",
        "__import__",
        "np_",
    )
    values = {name: torch.rand(2, 3, dtype=torch.float64) + 0.5 for name in names}
    told = f"def forward({', '.join(names)}):\n    hash = {' * '.join(names)}\n"
    text = f"{told}    loss = (torch.exp(hash) * (hash > 0)).pow(1.3).sum()\n    return loss\n"
    leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
    product = torch.stack(list(leaves.values())).prod(0)
    loss = (torch.exp(product) * (product > 0)).pow(1.3).sum()
    true = torch.autograd.grad(loss, list(leaves.values()))
    found = compile(text)(**values)
    for name, gradient in zip(names, true, strict=True):
        assert torch.allclose(found[f"d{name}"], gradient, rtol=1e-12), name
