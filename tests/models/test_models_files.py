"""A person's own model file: how it is called, how steps are spliced, what errors say."""

from __future__ import annotations

import ast
import math
import textwrap
from pathlib import Path

import pytest
import torch

from gradninja.errors import ModelError
from gradninja.models import BUILTIN, Model, load

PLAIN = '''
import torch

SCALE = 2.0


def parameters(vocab, generator):
    return {"W": torch.randn(vocab, generator=generator)}


def forward(W, Xb, power: int = 2):
    """A toy."""
    n = Xb.shape[0]  # the batch
    # a comment of its own
    y = SCALE * W**power
    return y.sum() / n


def backward(W, y, n, power):
    dy = torch.ones_like(y) / n
    dW = SCALE * power * W ** (power - 1) * dy
    return dW


def predict(W, Xb):
    return W + Xb
'''


def model(folder: Path, text: str = PLAIN, *changes: tuple[str, str]) -> Model:
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "mine.py"
    path.write_text(text)
    return load(path)


def refused(folder: Path, *changes: tuple[str, str]) -> ModelError:
    with pytest.raises(ModelError) as caught:
        model(folder, PLAIN, *changes).step()
    return caught.value


def values() -> dict[str, object]:
    return {"W": torch.tensor([1.0, 2.0, 3.0]), "Xb": torch.zeros(4, 1)}


def under(error: ModelError) -> str:
    """The text under the caret."""
    return error.spot.text[error.spot.column : error.spot.end_column]


def test_a_file_of_ones_own(tmp_path):
    mine = model(tmp_path)
    assert (mine.name, mine.options) == ("mine", {"power": 2})
    assert mine.path == tmp_path / "mine.py"
    assert mine.has("backward")
    assert not mine.has("backward_fused")
    assert load(str(mine.path)).text == mine.text
    drawn = mine.call("parameters", {"vocab": 3, "generator": torch.Generator(), "hidden": 9})
    assert drawn["W"].shape == (3,)


def test_the_step_is_the_text_that_a_person_reads(tmp_path):
    step = model(tmp_path).step()
    assert step.source == textwrap.dedent("""\
        def step(W, Xb, power):
            n = Xb.shape[0]  # the batch
            # a comment of its own
            y = SCALE * W**power
            loss = y.sum() / n
            dy = torch.ones_like(y) / n
            dW = SCALE * power * W ** (power - 1) * dy
            return locals()
        """)
    assert step.arguments == ("W", "Xb", "power")


def test_options_are_taken_where_given(tmp_path):
    step = model(tmp_path).step()
    assert step(values())["dW"].tolist() == [1.0, 2.0, 3.0]
    assert step({**values(), "power": 3, "more": None})["dW"].tolist() == [1.5, 6.0, 13.5]
    assert step.function(*values().values(), 3)["dW"].tolist() == [1.5, 6.0, 13.5]
    assert model(tmp_path).call("forward", {**values(), "power": 1}) == 3.0


@pytest.mark.parametrize("name", BUILTIN)
def test_a_built_in_step_is_forward_then_backward(name):
    """Statement by statement, so that nothing is lost or moved in the splice."""
    built_in = load(name)
    bodies = {
        node.name: [ast.unparse(line) for line in node.body]
        for node in ast.parse(built_in.text).body
        if isinstance(node, ast.FunctionDef)
    }
    for backward in ("backward", "backward_fused"):
        spliced = ast.parse(built_in.step(backward).source).body[0]
        expected = [*bodies["forward"][1:-1], *bodies[backward][1:-1], "return locals()"]
        assert [ast.unparse(line) for line in spliced.body] == expected
    assert built_in.step().source == built_in.step("backward_fused").source


@pytest.mark.parametrize(
    "changes",
    [
        [("    return y.sum() / n", "    loss = y.sum() / n; return loss")],
        [
            ('    """A toy."""\n    n = Xb.shape[0]', "  n = Xb.shape[0]"),
            ("    # a comment of its own\n    y =", "  y ="),
            ("    return y.sum() / n", "  return y.sum() / n"),
        ],
    ],
)
def test_a_text_laid_out_unusually_is_written_anew(tmp_path, changes):
    step = model(tmp_path, PLAIN, *changes).step()
    assert "    loss = y.sum() / n\n    dy" in step.source
    assert step(values())["dW"].tolist() == [1.0, 2.0, 3.0]


def test_a_backward_from_elsewhere(tmp_path):
    mine = model(tmp_path)
    derived = "from math import pi\n\ndef backward(W, n, half=0.5):\n    dW = W * half / n * pi\n"
    step = mine.step(source=derived)
    assert torch.allclose(step(values())["dW"], torch.tensor([1.0, 2.0, 3.0]) * math.pi / 8)
    own = mine.step()(values())
    assert own["dW"].tolist() == [1.0, 2.0, 3.0]
    assert torch.equal(mine.call("backward", own), own["dW"])
    with pytest.raises(ModelError, match="has no function `other`"):
        mine.step("other", source=derived)
    with pytest.raises(ModelError) as caught:
        mine.step(source="def backward(W):\n    dW = W @ W @ W\n")(values())
    assert (caught.value.spot.file, caught.value.spot.line) == ("<derived backward>", 2)


def test_a_misspelt_name_of_the_forward(tmp_path):
    error = refused(tmp_path, ("def backward(W, y,", "def backward(W, yy,"))
    assert "the forward has no such name" in error.message
    assert (error.spot.line, under(error), error.hint) == (19, "yy", "did you mean `y`?")


def test_a_file_that_is_not_python(tmp_path):
    error = refused(tmp_path, ("y = SCALE * W**power", "y = SCALE * * W"))
    assert "is not Python: invalid syntax" in error.message
    assert (error.spot.line, under(error)) == (15, "*")
    error = refused(tmp_path, ("SCALE = 2.0", "return 2.0"))
    assert "'return' outside function" in error.message
    assert error.spot.line == 4


@pytest.mark.parametrize("name", ["parameters", "forward"])
def test_a_file_without_a_function_that_every_model_has(tmp_path, name):
    error = refused(tmp_path, (f"def {name}(", f"def not_{name}("))
    assert error.message.endswith(f"mine.py has no function `{name}`")


def test_a_file_that_fails_when_executed(tmp_path):
    error = refused(tmp_path, ("SCALE = 2.0", "SCALE = 2.0 / (1 - 1)"))
    assert "ZeroDivisionError" in error.message
    assert (error.spot.line, under(error)) == (4, "2.0 / (1 - 1)")
    assert "ModuleNotFoundError" in refused(tmp_path, ("import torch", "import torchh")).message


def test_a_line_that_fails_in_a_step(tmp_path):
    step = model(tmp_path, PLAIN, ("power: int = 2", "power: int = 2, é: int = 1")).step()
    with pytest.raises(ModelError) as caught:
        step({**values(), "power": torch.ones(7)})
    assert "RuntimeError" in caught.value.message
    assert (caught.value.spot.line, under(caught.value)) == (15, "W**power")
    assert "15 |     y = SCALE * W**power" in str(caught.value)


def test_a_line_that_fails_in_a_call(tmp_path):
    with pytest.raises(ModelError) as caught:
        model(tmp_path).call("predict", {**values(), "Xb": torch.ones(7)})
    assert under(caught.value) == "W + Xb"


def test_a_value_that_is_not_there(tmp_path):
    mine = model(tmp_path)
    with pytest.raises(ModelError, match="the step wants `Xb`"):
        mine.step()({"W": torch.ones(3)})
    with pytest.raises(ModelError) as caught:
        mine.call("predict", {"W": torch.ones(3)})
    assert "`predict` asks for `Xb`" in caught.value.message
    assert under(caught.value) == "Xb"
    with pytest.raises(ModelError, match="has no function `calibrate`"):
        mine.call("calibrate", {})
    with pytest.raises(ModelError, match="has no function `backward_fast`"):
        mine.step("backward_fast")


@pytest.mark.parametrize(
    ("change", "message", "spotted"),
    [
        (("(W, Xb, power: int = 2)", "(W, *Xb)"), "cannot be given `Xb` by name", "Xb"),
        (("(W, Xb, power: int = 2)", "(W, /, Xb)"), "cannot be given `W` by name", "W"),
        (("power: int = 2", "power=torch.ones(2)"), "is not a plain value", "torch.ones(2)"),
        (("    return y.sum() / n\n", "    loss = y\n"), "does not end in a return", "forward"),
        (("    y = SC", "    if n: return n\n    y = SC"), "returns before its end", "return n"),
        (("    dy = torch", "    yield 1\n    dy = torch"), "`backward` yields", "yield 1"),
        (("    dW = SCALE * power", "    SCALE = dW = 2.0 * power"), "means one thing", "SCALE"),
        (("    y = SCALE *", "    torch = y = SCALE *"), "means one thing", "torch"),
        (
            ("    dy = torch", "    global loss\n    dy = torch"),
            "cannot stand in one function",
            "global loss",
        ),
    ],
)
def test_what_cannot_be_one_step(tmp_path, change, message, spotted):
    error = refused(tmp_path, change)
    assert message in error.message
    assert under(error) == spotted


def test_a_check_of_ones_own(tmp_path):
    text = PLAIN + "\n\ndef check(n, power: int = 2):\n    return 'odd' if n % power else None\n"
    mine = model(tmp_path, text)
    mine.check({"n": 4})
    with pytest.raises(ModelError, match="odd"):
        mine.check({"n": 5})
    model(tmp_path).check({})


def test_no_such_model(tmp_path):
    with pytest.raises(ModelError) as caught:
        load("mlp_batchnrom")
    assert caught.value.hint == "did you mean `mlp_batchnorm`?"
    with pytest.raises(ModelError, match="it is a folder, not a file"):
        load(tmp_path)
    (tmp_path / "latin.py").write_bytes(b"x = '\xe9'\n")
    with pytest.raises(ModelError, match="not UTF-8"):
        load(tmp_path / "latin.py")


def test_without_predict_the_logits_of_the_forward_are_taken(tmp_path):
    mine = model(
        tmp_path,
        PLAIN,
        ("def predict(", "def other("),
        ("    y = SCALE", "    logits = W + Xb\n    y = SCALE"),
    )
    assert torch.equal(mine.predict(values()), values()["W"] + values()["Xb"])
    with pytest.raises(ModelError, match="tells no logits"):
        model(tmp_path, PLAIN, ("def predict(", "def other(")).predict(values())


@pytest.mark.parametrize(
    ("annotation", "whole"),
    [
        ('Int[Tensor, "n context"]', True),
        ('Int[Tensor, "n"]', False),
        ("Tensor", False),
        (None, False),
    ],
)
def test_the_annotation_of_the_targets_tells_what_an_example_is(tmp_path, annotation, whole):
    targets = "Yb" if annotation is None else f"Yb: {annotation}"
    head = "from __future__ import annotations\nimport torch\n"
    change = ("def forward(W, Xb,", f"def forward(W, Xb, {targets},")
    assert model(tmp_path, head + PLAIN, change).whole_words is whole


def test_settings_are_what_the_file_gives(tmp_path):
    assert model(tmp_path).settings() == {}
    text = PLAIN + "\n\ndef settings():\n    return {'hidden': 5}\n"
    assert model(tmp_path, text).settings() == {"hidden": 5}
    with pytest.raises(ModelError, match="settings must return a dict"):
        model(tmp_path, text.replace("{'hidden': 5}", "[5]")).settings()
