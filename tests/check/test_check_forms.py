"""Right backwards in forms that people write: not one false alarm, in neither precision."""

from __future__ import annotations

from importlib.resources import files

import pytest

from gradninja.check import Report, Verdict, check
from gradninja.derive import derive

LAYERS = """
import torch, torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
"""

BATCHNORM = (
    LAYERS
    + """
def forward(hprebn: Float[Tensor, "n hidden"], bngain: Float[Tensor, "1 hidden"],
            bnbias: Float[Tensor, "1 hidden"]):
    n = hprebn.shape[0]
    bnmeani = 1/n*hprebn.sum(0, keepdim=True)
    bndiff = hprebn - bnmeani
    bndiff2 = bndiff**2
    bnvar = 1/(n-1)*bndiff2.sum(0, keepdim=True)
    bnvar_inv = (bnvar + 1e-5)**-0.5
    bnraw = bndiff * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    return hpreact
"""
)
CROSS_ENTROPY = (
    LAYERS
    + """
def forward(logits: Float[Tensor, "n vocab"], Yb: Int[Tensor, "n"]):
    n = logits.shape[0]
    logit_maxes = logits.max(1, keepdim=True).values
    norm_logits = logits - logit_maxes
    counts = norm_logits.exp()
    counts_sum = counts.sum(1, keepdim=True)
    probs = counts / counts_sum
    logprobs = probs.log()
    loss = -logprobs[range(n), Yb].mean()
    return loss
"""
)
LINEAR = (
    LAYERS
    + """
def forward(x: Float[Tensor, "b t d"], W: Float[Tensor, "d e"], c: Float[Tensor, "e"]):
    y = x @ W + c
    h = torch.tanh(y)
    return h
"""
)
EMBEDDING = (
    LAYERS
    + """
def forward(C: Float[Tensor, "vocab d"], ix: Int[Tensor, "n t"]):
    emb = C[ix]
    return emb
"""
)
SOFTMAX = (
    LAYERS
    + """
def forward(S: Float[Tensor, "n m"], V: Float[Tensor, "m d"]):
    P = torch.softmax(S, dim=-1)
    O = P @ V
    return O
"""
)
LAYERNORM = (
    LAYERS
    + """
def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d"], b: Float[Tensor, "d"]):
    mean = x.mean(-1, keepdim=True)
    var = ((x - mean)**2).mean(-1, keepdim=True)
    rstd = (var + 1e-5)**-0.5
    norm = (x - mean) * rstd
    out = norm * w + b
    return out
"""
)
BRANCHES = (
    LAYERS
    + """
def forward(x: Float[Tensor, "n d"]):
    a = x * 2
    b = x.exp()
    y = a * b + x
    return y
"""
)
REBOUND = (
    LAYERS
    + """
def forward(x: Float[Tensor, "n d"], w: Float[Tensor, "d"]):
    h = x * w
    h = h.relu()
    h = h * h
    return h.sum()
"""
)

RIGHT = {
    "batchnorm in one line": (
        BATCHNORM,
        """
n = hprebn.shape[0]
dbngain = (dhpreact * bnraw).sum(0, keepdim=True)
dbnbias = dhpreact.sum(0, keepdim=True)
dhprebn = bngain*bnvar_inv/n * (
    n*dhpreact - dhpreact.sum(0) - n/(n-1)*bnraw*(dhpreact*bnraw).sum(0))
""",
    ),
    "batchnorm by means and the other order of sums": (
        BATCHNORM,
        """
g = bngain * dhpreact
dbngain = torch.einsum('nh,nh->h', dhpreact, bnraw).view(1, -1)
dbnbias = dhpreact.flip(0).sum(0, True)
dhprebn = (g - g.mean(0) - bnraw * (g * bnraw).sum(0) / (n - 1)) * bnvar_inv
""",
    ),
    "batchnorm with sums that keep no dim where broadcasting puts it back": (
        BATCHNORM,
        """
dbngain = (dhpreact * bnraw).sum(0)[None]
dbnbias = torch.ones(1, n, dtype=dhpreact.dtype) @ dhpreact
dbnraw = dhpreact * bngain
dbnvar = (dbnraw * bndiff * -0.5 * bnvar_inv**3).sum(0)
dbnmeani = (-dbnraw * bnvar_inv).sum(0)
dbnvar = dbnvar.unsqueeze(0)
dbnmeani = dbnmeani.reshape(1, -1)
dhprebn = dbnraw * bnvar_inv + dbnvar * 2 / (n - 1) * bndiff + dbnmeani / n
""",
    ),
    "cross entropy the lecture's way": (
        CROSS_ENTROPY,
        """
dlogits = F.softmax(logits, 1)
dlogits[range(n), Yb] -= 1
dlogits /= n
""",
    ),
    "cross entropy in one expression": (
        CROSS_ENTROPY,
        """
dlogits = (probs - F.one_hot(Yb, num_classes=logits.shape[1]).float()) * (1.0 / n)
""",
    ),
    "cross entropy by a loop": (
        CROSS_ENTROPY,
        """
dlogits = torch.zeros_like(logits)
for i in range(n):
    dlogits[i] = probs[i] / n
    dlogits[i, Yb[i]] = dlogits[i, Yb[i]] - 1 / n
""",
    ),
    "cross entropy in small steps": (
        CROSS_ENTROPY,
        """
dloss = 1.0
dlogprobs = torch.zeros_like(logprobs)
dlogprobs[range(n), Yb] = -1.0/n
dprobs = (1.0 / probs) * dlogprobs
dcounts_sum = (-counts / counts_sum**2 * dprobs).sum(1, keepdim=True)
dcounts = dprobs / counts_sum + dcounts_sum
dnorm_logits = counts * dcounts
dlogits = dnorm_logits.clone()
dlogit_maxes = (-dnorm_logits).sum(1, keepdim=True)
dlogits += F.one_hot(logits.max(1).indices, num_classes=logits.shape[1]) * dlogit_maxes
""",
    ),
    "cross entropy that leaves the maximum out": (
        CROSS_ENTROPY,
        """
dnorm_logits = (probs - torch.eye(logits.shape[1], dtype=logits.dtype)[Yb]) / n
dlogits = dnorm_logits
""",
    ),
    "linear by einsum": (
        LINEAR,
        """
dy = dh * (1 - h * h)
dx = torch.einsum('bte,de->btd', dy, W)
dW = torch.einsum('btd,bte->de', x, dy)
dc = torch.einsum('bte->e', dy)
""",
    ),
    "linear flattened": (
        LINEAR,
        """
delta = (dh * (1.0 - h.square())).reshape(-1, h.shape[-1])
dW = x.reshape(-1, x.shape[-1]).T @ delta
dc = delta.sum(dim=0)
dx = (delta @ W.t()).reshape(x.shape)
""",
    ),
    "linear, batch by batch": (
        LINEAR,
        """
dy = dh - dh * h**2
dW = sum(x[i].T @ dy[i] for i in range(x.shape[0]))
dc = torch.zeros_like(c)
for row in dy.reshape(-1, dy.shape[-1]):
    dc += row
dx = torch.stack([g @ W.T for g in dy])
""",
    ),
    "embedding by the lecture's loop": (
        EMBEDDING,
        """
dC = torch.zeros_like(C)
for k in range(ix.shape[0]):
    for j in range(ix.shape[1]):
        i = ix[k, j]
        dC[i] += demb[k, j]
""",
    ),
    "embedding by index_add_ through a view": (
        EMBEDDING,
        """
dC = torch.zeros_like(C)
flat = dC.view(C.shape)
flat.index_add_(0, ix.view(-1), demb.reshape(-1, C.shape[1]))
""",
    ),
    "embedding by a matrix": (
        EMBEDDING,
        """
onehot = F.one_hot(ix.flatten(), C.shape[0]).to(demb.dtype)
dC = onehot.T @ demb.flatten(0, 1)
""",
    ),
    "embedding by a helper that writes in place": (
        EMBEDDING,
        """
def scatter(into, rows, what):
    into.index_put_((rows,), what, accumulate=True)
dC = torch.zeros_like(C)
scatter(dC, ix, demb)
""",
    ),
    "softmax, as FlashAttention has it": (
        SOFTMAX,
        """
dV = P.T @ dO
dP = dO @ V.T
D = (dO * O).sum(-1, keepdim=True)
dS = P * (dP - D)
""",
    ),
    "softmax by its Jacobian": (
        SOFTMAX,
        """
dP = dO.matmul(V.transpose(0, 1))
dS = torch.stack([(torch.diag(p) - torch.outer(p, p)) @ g for p, g in zip(P, dP)])
dV = torch.einsum('nm,nd->md', P, dO)
""",
    ),
    "layer norm in one line": (
        LAYERNORM,
        """
dnorm = dout * w
dx = (dnorm - dnorm.mean(-1, keepdim=True)
      - norm * (dnorm * norm).mean(-1, keepdim=True)) * rstd
dw = (dout * norm).sum(0)
db = dout.sum(0)
""",
    ),
    "layer norm by sums over sums": (
        LAYERNORM,
        """
d = x.shape[1]
dw, db = (dout * norm).sum(dim=0), dout.sum(dim=0)
g = dout * w
dx = (rstd / d) * (d * g - g.sum(1, True) - norm * (g * norm).sum(1, True))
""",
    ),
    "several uses, one expression": (
        BRANCHES,
        """
dx = dy * (2 * b + a * b + 1)
""",
    ),
    "several uses, one at a time, the last first": (
        BRANCHES,
        """
dx = dy.clone()
db = dy * a
dx += db * b
da = dy * b
dx += 2 * da
""",
    ),
    "an alias that nothing writes to": (
        BRANCHES,
        """
da = dy * b
db = dy * a
direct = dy
dx = direct
dx = dx + 2 * da + db * b
""",
    ),
    "a partial gradient that is meant": (
        BRANCHES,
        """
dx = dy.clone()
db = dx * a
da = dx * b
dx += da * 2
dx += db * b
""",
    ),
    "a name that is used again for another value": (
        LINEAR,
        """
dh_ = dh * 1
dy = dh_ * (1 - h**2)
dc = dy.sum((0, 1))
dx = dy @ W.T
dW = (x.transpose(1, 2) @ dy).sum(0)
dy = dy * 0
""",
    ),
    "a name bound three times, step by step": (
        REBOUND,
        """
r = (x * w).relu()
dh = 2 * r
dh = dh * (x * w > 0)
dx = dh * w
dw = (dh * x).sum(0)
""",
    ),
    "a name bound three times, fused": (
        REBOUND,
        """
r = (x * w).relu()
dx = 2 * r * w
dw = (2 * r * x).sum(0)
""",
    ),
    "a deleted name, and prints": (
        LINEAR,
        """
dy = dh * (1 - h**2)
print('shape', dy.shape)
dx = dy @ W.T
dW = (x.mT @ dy).sum(0)
dc = dy.sum((0, 1))
del dy
""",
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_forms_are_not_accused(name: str) -> None:
    forward, lines = RIGHT[name]
    report = check(forward, lines)
    assert report.ok, str(report)
    inputs = {line.name for line in report.lines}
    assert inputs, str(report)


@pytest.mark.parametrize("model", ["bigram", "mlp", "mlp_batchnorm"])
@pytest.mark.parametrize("backward", ["backward", "backward_fused"])
def test_the_models_are_right(model: str, backward: str) -> None:
    path = files("gradninja.models") / f"{model}.py"
    if f"def {backward}(" not in path.read_text(encoding="utf-8"):
        assert model == "bigram"
        return
    report = check(str(path), backward)
    assert report.ok, str(report)
    vacuous = {line.name for line in report.lines if line.verdict == Verdict.VACUOUS}
    expected = {"db1"} if model == "mlp_batchnorm" else set()
    if backward == "backward" and expected:
        expected.add("dlogit_maxes")
    assert vacuous == expected


@pytest.mark.parametrize("style", ["readable", "exact"])
@pytest.mark.parametrize("text", [BATCHNORM, CROSS_ENTROPY, LINEAR, SOFTMAX, LAYERNORM, REBOUND])
def test_derived_backwards_are_right(text: str, style: str) -> None:
    report = check(text, derive(text, style=style))
    assert report.ok, str(report)
    assert _verdicts(report) <= {Verdict.EXACT, Verdict.CLOSE, Verdict.VACUOUS}


def _verdicts(report: Report) -> set[Verdict]:
    return {line.verdict for line in report.lines}
