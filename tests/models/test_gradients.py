"""Every gradient of the built-in models against autograd's.

Two judgements. *Each line alone*: the backward is walked statement by statement, and once a
gradient has its last write it is compared and then replaced by autograd's, so that a line is judged
on true upstream gradients. *The whole chain*: the step as training runs it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

from gradninja.models import Model, load

EPS = {dtype: torch.finfo(dtype).eps for dtype in (torch.float32, torch.float64)}
VOCAB, CONTEXT, EMBEDDING = 27, 3, 10

# The lecture's list, in its order.
LECTURE = """
    logprobs probs counts_sum_inv counts_sum counts norm_logits logit_maxes logits h W2 b2 hpreact
    bngain bnbias bnraw bnvar_inv bnvar bndiff2 bndiff bnmeani hprebn embcat W1 b1 emb C
""".split()


@dataclass
class Case:
    """A model, a batch for it, and what autograd says."""

    model: Model
    values: dict[str, object]  # parameters, batch, options
    forward: dict[str, object]  # the locals of the forward
    truth: dict[str, torch.Tensor]  # the gradient of every float tensor of the forward


def make(
    name: str,
    n: int,
    hidden: int = 64,
    dtype: torch.dtype = torch.float32,
    seed: int = 1,
    correction: int = 1,
) -> Case:
    model = load(name)
    generator = torch.Generator().manual_seed(seed)
    sizes = {"vocab": VOCAB, "context": CONTEXT, "embedding": EMBEDDING, "hidden": hidden}
    drawn = model.call("parameters", {**sizes, "generator": generator})
    weights = {key: value.to(dtype).requires_grad_() for key, value in drawn.items()}
    values = {
        **weights,
        "Xb": torch.randint(0, VOCAB, (n, CONTEXT), generator=generator),
        "Yb": torch.randint(0, VOCAB, (n,), generator=generator),
        **({"correction": correction} if "correction" in model.options else {}),
    }
    return judge(model, values)


def judge(model: Model, values: dict[str, object]) -> Case:
    """Run the forward alone, with autograd watching every line of it."""
    body = [node for node in function(model, "forward").body if not isinstance(node, ast.Return)]
    scope = run(body, {"torch": torch, **values})
    tensors = {
        key: value
        for key, value in scope.items()
        if isinstance(value, torch.Tensor) and value.requires_grad
    }
    for tensor in tensors.values():
        tensor.retain_grad()
    scope["loss"].backward()
    truth = {key: tensor.grad for key, tensor in tensors.items()}
    forward = {key: detached(value) for key, value in scope.items()}
    return Case(model, {key: forward[key] for key in values}, forward, truth)


def detached(value: object) -> object:
    return value.detach() if isinstance(value, torch.Tensor) else value


def function(model: Model, name: str) -> ast.FunctionDef:
    found = [
        node
        for node in ast.parse(model.text).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    return found[-1]


def run(body: list[ast.stmt], scope: dict[str, object]) -> dict[str, object]:
    exec(compile(ast.Module(body, type_ignores=[]), "<body>", "exec"), scope)
    del scope["__builtins__"]
    return scope


def written(statement: ast.stmt) -> str:
    """The name that a statement binds, or whose tensor it changes."""
    node = statement.targets[0] if isinstance(statement, ast.Assign) else statement
    while not isinstance(node, ast.Name):
        node = next(ast.iter_child_nodes(node))
    return node.id


def lines_alone(case: Case, backward: str) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Each gradient of a backward, computed from true upstream gradients, and the truth."""
    body = [
        node
        for node in function(case.model, backward).body
        if not isinstance(node, ast.Return | ast.Expr) or isinstance(node.value, ast.Call)
    ]
    names = [written(statement) for statement in body]
    helpers = {"torch": torch, "F": torch.nn.functional}
    scope = {**helpers, **{key: clone(value) for key, value in case.forward.items()}}
    for place, (statement, name) in enumerate(zip(body, names, strict=True)):
        run([statement], scope)
        if name not in names[place + 1 :]:
            true = case.truth[name.removeprefix("d")]
            yield name, scope[name], true
            scope[name] = true.clone()


def clone(value: object) -> object:
    return value.clone() if isinstance(value, torch.Tensor) else value


def distance(ours: torch.Tensor, true: torch.Tensor) -> float:
    """The difference relative to the truth, by norms."""
    assert ours.shape == true.shape
    return float((ours - true).norm() / true.norm())


def assert_lines_exact(case: Case, expected: set[str]) -> None:
    """Bit for bit, save for tanh.

    PyTorch's tanh kernel fuses the multiplication into the subtraction of `1 - h*h`; plain lines
    round `h*h` first, by at most half an ulp of 1, and the result once more.
    """
    seen = set()
    for name, ours, true in lines_alone(case, "backward"):
        seen.add(name)
        if name == "dhpreact":
            eps = EPS[true.dtype]
            bound = eps / 2 * case.truth["h"].abs() + eps * true.abs()
            assert ours.shape == true.shape
            assert ((ours - true).abs() <= bound).all()
        else:
            assert torch.equal(ours, true), name
    assert seen == expected


BATCHNORM = [(1, 2), (1, 32), (1, 33), (0, 1), (0, 2), (0, 32), (0, 33)]  # correction, n


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("hidden", [64, 200])
@pytest.mark.parametrize(("correction", "n"), BATCHNORM)
def test_each_of_the_26_lines_is_autograds(correction, n, hidden, dtype):
    case = make("mlp_batchnorm", n, hidden, dtype, correction=correction)
    assert len(LECTURE) == 26
    assert_lines_exact(case, {f"d{name}" for name in LECTURE})


@pytest.mark.parametrize("n", [1, 2, 32, 33])
@pytest.mark.parametrize("name", ["mlp", "bigram"])
def test_each_line_of_the_other_models_is_autograds(name, n):
    for dtype in (torch.float32, torch.float64):
        case = make(name, n, dtype=dtype)
        assert_lines_exact(case, {f"d{key}" for key in case.truth} - {"dloss"})


@pytest.mark.parametrize("backward", ["backward", "backward_fused"])
@pytest.mark.parametrize("name", ["mlp_batchnorm", "mlp", "bigram"])
def test_the_whole_chain_stays_within_ulps(name, backward):
    """By norms within 4 ulps; 1e-15 in float64. `b1` is apart: its true gradient is 0."""
    for dtype, bound in ((torch.float32, 4 * EPS[torch.float32]), (torch.float64, 1e-15)):
        for hidden, n, correction in ((64, 32, 1), (64, 33, 0), (200, 32, 0), (200, 33, 1)):
            case = make(name, n, hidden, dtype, correction=correction)
            step = case.model.step(backward)(case.values)
            gradients = {key: step[f"d{key}"] for key in case.truth if f"d{key}" in step}
            assert set(gradients) >= set(case.values) - {"Xb", "Yb", "correction"}
            for key, ours in gradients.items():
                true = case.truth[key]
                if name == "mlp_batchnorm" and key in ("b1", "logit_maxes"):
                    parts, axis = ("hprebn", 0) if key == "b1" else ("norm_logits", 1)
                    scale = case.truth[parts].abs().sum(axis).norm()
                    assert ours.shape == true.shape
                    assert (ours - true).norm() <= bound * scale, key
                else:
                    assert distance(ours, true) <= bound, key


@pytest.mark.parametrize("n", [2, 32, 33])
def test_the_whole_chain_is_exact_down_to_tanh(n):
    case = make("mlp_batchnorm", n)
    step = case.model.step("backward")(case.values)
    for key in LECTURE[: LECTURE.index("hpreact")]:
        assert torch.equal(step[f"d{key}"], case.truth[key]), key


@pytest.mark.parametrize("name", ["mlp_batchnorm", "mlp", "bigram"])
def test_what_the_step_returns_is_what_the_forward_and_backward_say(name):
    case = make(name, 32)
    step = case.model.step("backward")(case.values)
    assert torch.equal(step["loss"], case.forward["loss"])
    for key in case.forward:
        if key != "torch" and isinstance(case.forward[key], torch.Tensor):
            assert torch.equal(step[key], case.forward[key]), key
    gradients = case.model.call("backward", step)
    order = [key for key in case.values if key not in ("Xb", "Yb", "correction")]
    for key, ours in zip(order, [gradients] if name == "bigram" else gradients, strict=True):
        assert torch.equal(ours, step[f"d{key}"]), key


def fused(case: Case) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    return {name: (ours, true) for name, ours, true in lines_alone(case, "backward_fused")}


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("hidden", [64, 200])
@pytest.mark.parametrize("n", [32, 33])
def test_each_fused_form_is_autograds(n, hidden, correction):
    """Cross-entropy all in one go, BatchNorm all in one go, each on true upstream gradients."""
    for seed in range(5):
        forms = fused(make("mlp_batchnorm", n, hidden, torch.float32, seed, correction))
        for name in ("dlogits", "dhprebn"):
            ours, true = forms[name]
            assert ours.shape == true.shape
            assert (ours - true).abs().max() <= 1e-8, name
        forms = fused(make("mlp_batchnorm", n, hidden, torch.float64, seed, correction))
        for name in ("dlogits", "dhprebn"):
            assert distance(*forms[name]) <= 1e-15, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("hidden", [64, 200])
@pytest.mark.parametrize("correction", [0, 1])
def test_each_fused_form_is_autograds_for_a_batch_of_two(correction, hidden, dtype):
    """Where the numbers themselves are ill-conditioned, so that ulps are counted of what is lost.

    Cross-entropy's entries are about 1/2, and autograd's longer chain is off by 2 ulps of that.
    BatchNorm's output for two rows is constant but for the 1e-5: its gradient is a difference that
    all but cancels, of values that lost |hprebn| / deviation ulps when the mean was taken off.
    """
    for seed in range(5):
        case = make("mlp_batchnorm", 2, hidden, dtype, seed, correction)
        forms, forward = fused(case), case.forward
        ours, true = forms["dlogits"]
        assert (ours - true).abs().max() <= 2 * EPS[dtype]
        ours, true = forms["dhprebn"]
        assert ours.shape == true.shape
        lost = 1 + forward["hprebn"].abs().amax(0) * forward["bnvar_inv"]
        scale = (case.truth["bnraw"] * forward["bnvar_inv"]).abs().amax(0)
        assert ((ours - true).abs() <= 4 * EPS[dtype] * lost * scale).all()


@pytest.mark.parametrize("name", ["mlp", "bigram"])
@pytest.mark.parametrize("n", [1, 2, 32, 33])
def test_the_fused_cross_entropy_of_the_other_models_is_autograds(name, n):
    for dtype in (torch.float32, torch.float64):
        case = make(name, n, dtype=dtype)
        ours, true = fused(case)["dlogits"]
        if dtype == torch.float32:
            bound = max(1e-8, EPS[dtype] * float(true.abs().max()))
            assert (ours - true).abs().max() <= bound
        else:
            assert distance(ours, true) <= 1e-15


def test_a_tie_in_the_max_sends_the_gradient_where_autograd_sends_it():
    case = make("mlp_batchnorm", 8)
    values = {**case.values}
    values["W2"] = values["W2"].clone()
    values["b2"] = values["b2"].clone()
    values["b2"][5] = values["b2"][17] = 50.0  # two letters with the same, largest logit
    values["W2"][:, 17] = values["W2"][:, 5]
    tied = judge(case.model, {key: watched(value) for key, value in values.items()})
    logits = tied.forward["logits"]
    assert (logits == tied.forward["logit_maxes"]).sum(1).eq(2).all()
    assert_lines_exact(tied, {f"d{name}" for name in LECTURE})


def watched(value: object) -> object:
    floating = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.clone().requires_grad_() if floating else value


@pytest.mark.parametrize("name", ["mlp_batchnorm", "mlp", "bigram"])
def test_repeated_letters_add_up(name):
    case = make(name, 33)
    values = {key: watched(value) for key, value in case.values.items()}
    values["Xb"] = torch.full_like(values["Xb"], 3)
    values["Xb"][:16] = torch.arange(16)[:, None]
    repeated = judge(case.model, values)
    assert_lines_exact(repeated, {f"d{key}" for key in repeated.truth} - {"dloss"})
    table = "W" if name == "bigram" else "C"
    assert repeated.truth[table][16:].eq(0).all()


@pytest.mark.parametrize("name", ["mlp_batchnorm", "mlp", "bigram"])
def test_autograd_itself_agrees_with_finite_differences(name):
    """The other truth: central differences in float64, so that the forward is judged too."""
    case = make(name, 5, hidden=7, dtype=torch.float64)
    step = case.model.step()
    weights = [key for key in case.values if key not in ("Xb", "Yb", "correction")]
    generator = torch.Generator().manual_seed(3)
    for key in weights:
        weight, gradient = case.values[key], step(case.values)[f"d{key}"]
        direction = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        losses = [step({**case.values, key: weight + h * direction})["loss"] for h in (1e-6, -1e-6)]
        slope = (losses[0] - losses[1]) / 2e-6
        assert torch.allclose(slope, (gradient * direction).sum(), rtol=1e-6, atol=1e-8), key
