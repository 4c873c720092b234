"""NumPy forwards in the forms in which people write them: name -> (arguments, text).

The arguments: `x:5,4` is a float array of that shape, `y:5<3` ints below 3, `p:5,4+` positive
floats, `k=2` a plain number.
"""

from __future__ import annotations

from numpy_expressions import ONE_LINE

PROGRAMS: dict[str, tuple[str, str]] = {}


def program(name: str, arguments: str, text: str) -> None:
    assert name not in PROGRAMS, name
    PROGRAMS[name] = (arguments, text)


# -- one line ------------------------------------------------------------------------------------

for _name, (_arguments, _text) in ONE_LINE.items():
    program(_name, _arguments, f"    return {_text}\n")

# -- layers and losses, line by line ---------------------------------------------------------------

program(
    "two_layer_net",
    "x:6,4 W1:4,5 b1:5 W2:5,3 b2:3 y:6<3",
    """\
    N = x.shape[0]
    h = np.maximum(0, x.dot(W1) + b1)
    scores = h.dot(W2) + b2
    scores -= np.max(scores, axis=1, keepdims=True)
    exp_scores = np.exp(scores)
    probs = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
    correct_logprobs = -np.log(probs[np.arange(N), y])
    data_loss = np.sum(correct_logprobs) / N
    reg_loss = 0.5 * 1e-3 * np.sum(W1 * W1) + 0.5 * 1e-3 * np.sum(W2 * W2)
    loss = data_loss + reg_loss
    return loss
""",
)
program(
    "svm_vectorised",
    "W:4,3 X:6,4 y:6<3",
    """\
    num_train = X.shape[0]
    scores = X.dot(W)
    correct = scores[np.arange(num_train), y].reshape(-1, 1)
    margins = np.maximum(0, scores - correct + 1)
    margins[np.arange(num_train), y] = 0
    loss = np.sum(margins) / num_train
    loss += 0.1 * np.sum(W * W)
    return loss
""",
)
program(
    "batchnorm_lecture",
    "x:6,4 gamma:4 beta:4 eps=1e-5",
    """\
    N, D = x.shape
    mu = 1. / N * np.sum(x, axis=0)
    xmu = x - mu
    sq = xmu ** 2
    var = 1. / N * np.sum(sq, axis=0)
    sqrtvar = np.sqrt(var + eps)
    ivar = 1. / sqrtvar
    xhat = xmu * ivar
    gammax = gamma * xhat
    out = gammax + beta
    return out
""",
)
program(
    "layernorm",
    "x:6,4 gamma:4 beta:4",
    """\
    mu = x.mean(axis=-1, keepdims=True)
    var = x.var(axis=-1, keepdims=True)
    x_norm = (x - mu) / np.sqrt(var + 1e-5)
    return gamma * x_norm + beta
""",
)
program(
    "groupnorm",
    "x:2,4,3,3 gamma:1,4,1,1 beta:1,4,1,1 G=2",
    """\
    N, C, H, W = x.shape
    xg = x.reshape(N * G, -1).T
    mean = xg.mean(axis=0)
    std = np.sqrt(xg.var(axis=0) + 1e-5)
    xn = ((xg - mean) / std).T.reshape(N, C, H, W)
    return gamma * xn + beta
""",
)
program(
    "spatial_batchnorm",
    "x:2,3,2,2 gamma:3 beta:3",
    """\
    N, C, H, W = x.shape
    flat = np.transpose(x, (0, 2, 3, 1)).reshape((N * H * W, C))
    flat = (flat - flat.mean(axis=0)) / np.sqrt(flat.var(axis=0) + 1e-5) * gamma + beta
    return flat.reshape(N, H, W, C).transpose(0, 3, 1, 2)
""",
)
program(
    "rnn_step",
    "x:3,4 prev_h:3,5 Wx:4,5 Wh:5,5 b:5",
    """\
    next_h = np.tanh(x.dot(Wx) + prev_h.dot(Wh) + b)
    return next_h
""",
)
program(
    "lstm_step",
    "x:3,4 prev_h:3,2 prev_c:3,2 Wx:4,8 Wh:2,8 b:8",
    """\
    H = prev_h.shape[1]
    a = np.dot(x, Wx) + np.dot(prev_h, Wh) + b
    i = sigmoid(a[:, :H])
    f = sigmoid(a[:, H:2 * H])
    o = sigmoid(a[:, 2 * H:3 * H])
    g = np.tanh(a[:, 3 * H:])
    next_c = f * prev_c + i * g
    next_h = o * np.tanh(next_c)
    return next_h, next_c


def sigmoid(z):
    return 1. / (1. + np.exp(-z))
""",
)
program(
    "rnn_forward_filled",
    "x:2,3,4 h0:2,5 Wx:4,5 Wh:5,5 b:5",
    """\
    N, T, D = x.shape
    H = h0.shape[1]
    h = np.zeros((N, T, H))
    prev_h = h0
    for t in range(T):
        prev_h = np.tanh(x[:, t, :].dot(Wx) + prev_h.dot(Wh) + b)
        h[:, t, :] = prev_h
    return h
""",
)
program(
    "rnn_lists",
    "x:3,4 Wx:5,4 Wh:5,5 Wy:2,5",
    """\
    h = np.zeros(5)
    ys = []
    for t in range(len(x)):
        h = np.tanh(Wx @ x[t] + Wh @ h)
        ys.append(Wy @ h)
    return np.array(ys)
""",
)
program(
    "min_char_rnn",
    "hprev:4,1 Wxh:4,3 Whh:4,4 Why:3,4 bh:4,1 by:3,1",
    """\
    inputs, targets = [0, 2, 1], [2, 1, 1]
    xs, hs, ys, ps = {}, {}, {}, {}
    hs[-1] = np.copy(hprev)
    loss = 0
    for t in range(len(inputs)):
        xs[t] = np.zeros((3, 1))
        xs[t][inputs[t]] = 1
        hs[t] = np.tanh(np.dot(Wxh, xs[t]) + np.dot(Whh, hs[t - 1]) + bh)
        ys[t] = np.dot(Why, hs[t]) + by
        ps[t] = np.exp(ys[t]) / np.sum(np.exp(ys[t]))
        loss += -np.log(ps[t][targets[t], 0])
    return loss
""",
)
program(
    "self_attention",
    "x:2,3,4 Wq:4,4 Wk:4,4 Wv:4,4",
    """\
    q, k, v = x @ Wq, x @ Wk, x @ Wv
    d = q.shape[-1]
    scores = np.matmul(q, k.transpose(0, 2, 1)) / np.sqrt(d)
    mask = np.triu(np.ones((3, 3)), k=1) == 1
    scores = np.where(mask, -1e9, scores)
    scores = scores - scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores)
    weights = weights / weights.sum(axis=-1, keepdims=True)
    return weights @ v
""",
)
program(
    "heads",
    "x:2,3,4 W:4,12 n_head=2",
    """\
    B, T, C = x.shape
    q, k, v = np.split(x @ W, 3, axis=-1)
    q = q.reshape(B, T, n_head, C // n_head).transpose(0, 2, 1, 3)
    k = k.reshape(B, T, n_head, C // n_head).transpose(0, 2, 1, 3)
    v = v.reshape(B, T, n_head, C // n_head).transpose(0, 2, 1, 3)
    att = q @ k.swapaxes(-2, -1) * (1.0 / np.sqrt(C // n_head))
    att = np.exp(att - att.max(axis=-1, keepdims=True))
    att /= att.sum(axis=-1, keepdims=True)
    return (att @ v).transpose(0, 2, 1, 3).reshape(B, T, C)
""",
)
program(
    "conv_naive",
    "x:1,2,3,3 w:2,2,3,3 b:2 stride=1",
    """\
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    x_pad = np.pad(x, ((0,), (0,), (1,), (1,)), 'constant')
    out = np.zeros((N, F, H, W))
    for i in range(H):
        for j in range(W):
            patch = x_pad[:, :, i * stride:i * stride + HH, j * stride:j * stride + WW]
            for f in range(F):
                out[:, f, i, j] = np.sum(patch * w[f], axis=(1, 2, 3)) + b[f]
    return out
""",
)
program(
    "max_pool_reshape",
    "x:2,2,4,4",
    """\
    N, C, H, W = x.shape
    x_reshaped = x.reshape(N, C, H // 2, 2, W // 2, 2)
    out = x_reshaped.max(axis=3).max(axis=4)
    return out
""",
)
program(
    "average_pool",
    "x:1,2,4,4",
    """\
    out = np.empty((1, 2, 2, 2))
    for i in range(2):
        for j in range(2):
            out[:, :, i, j] = x[:, :, 2 * i:2 * i + 2, 2 * j:2 * j + 2].mean(axis=(2, 3))
    return out
""",
)
program(
    "deep_net_of_parameters",
    "X:4,5 Y:1,5 W1:3,4 b1:3,1 W2:1,3 b2:1,1",
    """\
    parameters = {"W1": W1, "b1": b1, "W2": W2, "b2": b2}
    A = X
    for l in range(1, 3):
        Z = np.dot(parameters["W" + str(l)], A) + parameters["b" + str(l)]
        A = np.tanh(Z) if l == 1 else 1 / (1 + np.exp(-Z))
    m = Y.shape[1]
    cost = -np.sum(np.multiply(np.log(A), Y) + np.multiply(np.log(1 - A), 1 - Y)) / m
    return np.squeeze(cost)
""",
)
program(
    "word2vec_negative",
    "v:4 U:6,4",
    """\
    z = U.dot(v)
    positive = -np.log(1 / (1 + np.exp(-z[0])))
    negative = -np.sum(np.log(1 / (1 + np.exp(z[1:]))))
    return positive + negative
""",
)
program(
    "matrix_factorisation",
    "P:4,2 Q:5,2 R:4,5",
    """\
    mask = (R > 0)
    error = mask * (R - P.dot(Q.T))
    return np.sum(error ** 2) + 0.02 * (np.sum(P ** 2) + np.sum(Q ** 2))
""",
)
program(
    "gaussian_log_likelihood",
    "x:6,2 mu:2 log_sigma:2",
    """\
    sigma = np.exp(log_sigma)
    z = (x - mu) / sigma
    return np.sum(-0.5 * z ** 2 - log_sigma - 0.5 * np.log(2 * np.pi))
""",
)
program(
    "vae_loss",
    "x:4,3+ mu:4,2 logvar:4,2 eps:4,2 W:2,3",
    """\
    std = np.exp(0.5 * logvar)
    z = mu + eps * std
    recon = 1 / (1 + np.exp(-(z @ W)))
    bce = -np.sum(x * np.log(recon) + (1 - x) * np.log(1 - recon))
    kld = -0.5 * np.sum(1 + logvar - mu ** 2 - np.exp(logvar))
    return bce + kld
""",
)
program(
    "k_means_soft",
    "x:6,2 c:3,2",
    """\
    d = ((x[:, None, :] - c[None, :, :]) ** 2).sum(axis=2)
    w = np.exp(-d)
    w /= w.sum(axis=1, keepdims=True)
    return (w * d).sum()
""",
)
program(
    "policy_gradient",
    "W1:5,4 W2:5 x:3,4 y:3+ r:3",
    """\
    h = np.dot(x, W1.T)
    h[h < 0] = 0
    logp = np.dot(h, W2)
    p = 1.0 / (1.0 + np.exp(-logp))
    return np.sum(r * (y * np.log(p) + (1 - y) * np.log(1 - p)))
""",
)
program(
    "kernel_regression",
    "X:5,2 Z:3,2 alpha:5",
    """\
    sq = np.sum(X**2, 1).reshape(-1, 1) + np.sum(Z**2, 1) - 2 * np.dot(X, Z.T)
    K = np.exp(-0.5 * sq)
    return K.T @ alpha
""",
)
program(
    "graph_convolution",
    "A:4,4+ X:4,3 W:3,2",
    """\
    A_hat = A + np.eye(A.shape[0])
    d = np.sum(A_hat, axis=1)
    D_inv_sqrt = np.diag(d ** -0.5)
    return np.maximum(0, D_inv_sqrt @ A_hat @ D_inv_sqrt @ X @ W)
""",
)
program(
    "highway",
    "x:4,3 Wh:3,3 Wt:3,3",
    """\
    t = 1 / (1 + np.exp(-x.dot(Wt)))
    h = np.tanh(x.dot(Wh))
    return t * h + (1 - t) * x
""",
)
program(
    "residual_in_place",
    "x:4,3 W:3,3",
    """\
    out = x.copy()
    out += np.tanh(x @ W)
    out *= 2.0
    out[0] = 0
    return out
""",
)
program(
    "physics_steps",
    "p:3,2 v:3,2 k=0.5",
    """\
    for step in range(4):
        force = -k * p
        v = v + 0.1 * force
        p = p + 0.1 * v
    return 0.5 * np.sum(v ** 2) + 0.5 * k * np.sum(p ** 2)
""",
)
program(
    "focal_loss",
    "logits:6 y:6+",
    """\
    p = 1 / (1 + np.exp(-logits))
    pt = np.where(y > 0.5, p, 1 - p)
    return np.mean(-((1 - pt) ** 2) * np.log(pt))
""",
)
program(
    "polynomial",
    "c:4 x:6",
    """\
    y = np.zeros_like(x)
    for i in range(len(c)):
        y = y + c[i] * x ** i
    return y
""",
)


def source_of(name: str, function: str = "forward") -> str:
    """The text of a whole file."""
    arguments, body = PROGRAMS[name]
    names = [part.partition(":")[0] for part in arguments.split()]
    return f"import numpy as np\n\n\ndef {function}({', '.join(names)}):\n{body}"
