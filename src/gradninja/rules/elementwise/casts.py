"""What hands values on in another dtype, to another device, or as they are."""

from __future__ import annotations

from gradninja.rules.rule import Refusal, Rule, Site, Template

SOURCE = "PyTorch, tools/autograd/derivatives.yaml"
SAME = "the same values in another precision: the gradient comes back in the operand's own"
MASK = (
    "dropout draws inside; write the mask as a line: `mask = (torch.rand_like(x) > p) / (1 - p)`, "
    "then `x * mask`; outside of training say so"
)


def _off(training: str) -> Template:
    """Outside of training, and with p = 0, nothing is dropped."""

    def template(site: Site) -> str:
        if site.value(training) and site.value("p"):
            raise Refusal(MASK)
        return "g"

    return template


def _dropout(name: str) -> Rule:
    training = name.startswith("dropout")  # PyTorch's defaults differ
    spellings = (f"F.{name}(a, p=0.5, training={training}, inplace=False)",)
    return Rule(
        name,
        spellings,
        {"a": _off("training")},
        why="outside of training nothing is dropped",
        source="Srivastava et al. 2014, Dropout, section 4",
        tests=(
            f"F.{name}(a, 0.5, training=False) where a: 3 4 2",
            f"F.{name}(a, p=0.0) where a: 3 4 2",
        ),
        view=True,
    )


CASTS = (
    Rule(
        "to_like",
        ("a.to(tensor=tensor)",),
        {"a": "g.to(a.dtype)"},
        why=SAME,
        source=SOURCE,
        tests=("a.to(b) * b where a: 3 4; b: 3 4",),
        shape_only=("tensor",),
        view=True,
    ),
    Rule(
        "to_device",
        (
            "a.to(device, dtype=None, non_blocking=False, copy=False)",
            "a.to(dtype, non_blocking=False, copy=False)",
        ),
        {"a": "g.to(a.dtype)"},
        why=SAME,
        source=SOURCE,
        tests=(
            "a.to('cpu', torch.float64) * 2 where a: 3 4",
            "a.to(device=a.device, dtype=a.dtype) where a: 3 4",
            "a.to(dtype=torch.float64, copy=True) where a: 3 4",
        ),
        view=True,
    ),
    Rule(
        "as_tensor",
        ("torch.as_tensor(a, dtype=None, device=None)",),
        {"a": "g.to(a.dtype)"},
        why="a tensor is handed on as it is",
        source=SOURCE,
        tests=("torch.as_tensor(a) * 2 where a: 3 4",),
        view=True,
    ),
    Rule(
        "torch_dropout",
        ("torch.dropout(a, p, train)",),
        {"a": _off("train")},
        why="outside of training nothing is dropped",
        source="Srivastava et al. 2014, Dropout, section 4",
        tests=("torch.dropout(a, 0.5, False) where a: 3 4",),
        view=True,
    ),
    *(
        _dropout(name)
        for name in (
            "dropout1d",
            "dropout2d",
            "dropout3d",
            "alpha_dropout",
            "feature_alpha_dropout",
        )
    ),
)
