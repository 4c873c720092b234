"""Fusing as a whole: its steps, its choices, its bounds."""

from __future__ import annotations

import pytest
import torch

import gradninja as gn
from gradninja.algebra.find.extract import Extractor
from gradninja.errors import DeriveError

LECTURE = """
def forward(
    x: Float[Tensor, "n k"], W: Float[Tensor, "k d"], b: Float[Tensor, "d"],
    bngain: Float[Tensor, "1 d"], bnbias: Float[Tensor, "1 d"], Yb: Int[Tensor, "n"],
):
    n = x.shape[0]
    hprebn = x @ W + b
    bnmeani = 1 / n * hprebn.sum(0, keepdim=True)
    bndiff = hprebn - bnmeani
    bndiff2 = bndiff**2
    bnvar = 1 / (n - 1) * bndiff2.sum(0, keepdim=True)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
    bnraw = bndiff * bnvar_inv
    logits = bngain * bnraw + bnbias
    logit_maxes = logits.max(1, keepdim=True).values
    norm_logits = logits - logit_maxes
    counts = norm_logits.exp()
    counts_sum = counts.sum(1, keepdim=True)
    counts_sum_inv = counts_sum**-1
    probs = counts * counts_sum_inv
    logprobs = probs.log()
    loss = -logprobs[range(n), Yb].mean()
    return loss
"""


def inputs_of(n: int, k: int, d: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return {
        "x": draw(n, k),
        "W": draw(k, d),
        "b": draw(d),
        "bngain": draw(1, d),
        "bnbias": draw(1, d),
        "Yb": torch.randint(0, d, (n,), generator=generator),
    }


def close(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    assert got.keys() == want.keys()
    largest = max(float(t.abs().max()) for t in want.values())
    for name, tensor in want.items():
        torch.testing.assert_close(got[name], tensor, rtol=1e-11, atol=1e-12 * largest)


def test_the_lecture_all_in_one_go() -> None:
    back = gn.fuse(LECTURE)
    lines = [str(statement) for statement in back.statements]
    assert "dlogits = (probs - F.one_hot(Yb, W.shape[1])) / n" in lines
    assert "dbnbias = dlogits.sum(0, keepdim=True)" in lines
    assert "dbngain = (bnraw * dlogits).sum(0, keepdim=True)" in lines
    (line,) = (one for one in lines if one.startswith("dhprebn"))
    assert line == (
        "dhprebn = bnvar_inv * bngain * (dlogits - dbngain / (n - 1) * bnraw - dbnbias / n)"
    )
    assert "db = torch.zeros_like(b)" in lines  # the mean takes b away
    assert back.kept == ("n", "bnvar_inv", "bnraw", "probs")
    assert "loss" not in back.arguments
    assert not back.dropped


def test_the_steps_are_told_with_the_persons_names() -> None:
    back = gn.fuse(LECTURE)
    told = {(step.of, step.text) for step in back.steps}
    for of, text in (
        ("dlogit_maxes", "the output does not change with logit_maxes: its gradient is 0"),
        ("dlogit_maxes", "the sum of one_hot(Yb) over d is 1"),
        ("dlogits", "counts[i, j] / counts_sum[i] folds back into probs"),
        ("dhprebn", "the sum of bndiff over n is 0, so this term vanishes"),
        ("db", "the output does not change with b: its gradient is 0"),
    ):
        assert (of, text) in told, (of, text)
    latex = {step.latex for step in back.steps}
    assert r"\sum_{i} \mathrm{bndiff}_{ij} = 0" in latex
    for of in {step.of for step in back.steps}:
        assert [s for s in back.steps if s.of == of], of


@pytest.mark.parametrize("seeded", [False, True])
def test_what_was_fused_on_equal_sizes_holds_on_others(seeded: bool) -> None:
    back = gn.fuse(LECTURE, inputs_of(6, 6, 6))
    plain = gn.derive(LECTURE, inputs_of(6, 6, 6))
    for sizes in ((6, 6, 6), (5, 3, 7), (9, 2, 4)):
        inputs = inputs_of(*sizes, seed=1)
        if seeded:
            seed = torch.tensor(-1.7, dtype=torch.float64)
            close(back(inputs, seed), plain(inputs, seed))
            continue
        values = back.forward_values(inputs)
        scope: dict[str, object] = {}
        exec(back.source, scope)
        found = scope["backward"](**{name: values[name] for name in back.arguments})
        names = [f"d{name}" for name in back.program.differentiable]
        close(dict(zip(names, found, strict=True)), plain(inputs))


def test_cross_entropy_in_place() -> None:
    back = gn.fuse(LECTURE, style="in place")
    lines = [str(statement) for statement in back.statements]
    at = lines.index("dlogits = probs.clone()")
    assert lines[at + 1 : at + 3] == [
        "dlogits[range(dlogits.shape[0]), Yb] -= 1",
        "dlogits /= n",
    ]
    inputs = inputs_of(5, 3, 7)
    close(back(inputs), gn.derive(LECTURE)(inputs))


def test_preferences_and_styles_that_there_are_not() -> None:
    with pytest.raises(DeriveError, match="preference"):
        gn.fuse(LECTURE, prefer="beauty")
    with pytest.raises(DeriveError, match="style"):
        gn.fuse(LECTURE, style="baroque")


@pytest.mark.parametrize("prefer", ["speed", "memory", "short"])
def test_no_preference_is_served_worse_than_by_deriving(prefer: str) -> None:
    back, plain = gn.fuse(LECTURE, prefer=prefer), gn.derive(LECTURE)
    assert back.cost.calls < len(plain.statements)
    inputs = inputs_of(5, 3, 7)
    close(back(inputs), plain(inputs))
    kept = gn.fuse(LECTURE, prefer="memory").cost.kept
    assert kept <= back.cost.kept


def layers(count: int) -> str:
    """A residual network with BatchNorm whose weights are all the same."""
    lines = ["def forward(x, W, g):"]
    for _ in range(count):
        lines += [
            "    h = torch.tanh(x @ W)",
            "    d = h - h.mean(0)",
            "    v = (d**2).mean(0)",
            "    x = x + g * d * (v + 1e-5) ** -0.5",
        ]
    lines += ["    loss = (x**2).mean()", "    return loss"]
    return "import torch\n" + "\n".join(lines)


def test_long_programs_take_work_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = {"x": (5, 4), "W": (4, 4), "g": (4,)}
    inputs = {n: torch.randn(s, generator=generator).double() for n, s in shapes.items()}
    counts = []
    extract = Extractor.extract
    calls = [0]

    def counted(self: Extractor, terms: object) -> object:
        calls[0] += 1
        return extract(self, terms)  # type: ignore[arg-type]

    monkeypatch.setattr(Extractor, "extract", counted)
    for count in (3, 6, 12):
        calls[0] = 0
        back = gn.fuse(layers(count), inputs)
        counts.append(calls[0])
        assert not back.dropped
        close(back(inputs), gn.derive(layers(count), inputs)(inputs))
    assert counts[2] - counts[1] < 3 * (counts[1] - counts[0]), counts
    # An input that is used many times gets its gradient in parts.
    assert sum(s.of == "W" and s.adds for s in back.statements) >= 1


def test_what_has_no_short_form_keeps_its_derived_lines() -> None:
    text = "import torch\ndef forward(x):\n    y = torch.cumprod(x, 0)\n    return y"
    x = torch.rand(4, 3, dtype=torch.float64) + 0.5
    back, plain = gn.fuse(text, {"x": x}), gn.derive(text, {"x": x})
    assert back.cost.traffic <= gn.fuse(text, {"x": x}, prefer="short").cost.traffic + 1e-9
    seed = torch.randn(4, 3, dtype=torch.float64)
    close(back({"x": x}, seed), plain({"x": x}, seed))
