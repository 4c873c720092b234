"""NumPy forwards in the forms in which people write them: name -> (arguments, text).

The arguments: `x:5,4` is a float array of that shape, `y:5<3` ints below 3, `p:5,4+` positive
floats, `k=2` a plain number.
"""

from __future__ import annotations

PROGRAMS: dict[str, tuple[str, str]] = {}


def program(name: str, arguments: str, text: str) -> None:
    assert name not in PROGRAMS, name
    PROGRAMS[name] = (arguments, text)


# -- one line ------------------------------------------------------------------------------------

ONE_LINE = {
    "affine": ("x:5,4 w:4,3 b:3", "x.dot(w) + b"),
    "affine_np_dot": ("x:5,4 w:4,3 b:3", "np.dot(x, w) + b"),
    "affine_matmul": ("x:5,4 w:4,3 b:1,3", "np.add(np.matmul(x, w), b)"),
    "affine_columns": ("X:4,5 W:3,4 b:3,1", "np.dot(W, X) + b"),
    "affine_images": ("x:2,3,2,2 w:12,5", "x.reshape(x.shape[0], -1).dot(w)"),
    "affine_images_prod": (
        "x:2,3,2,2 w:12,5",
        "np.reshape(x, (x.shape[0], np.prod(x.shape[1:]))) @ w",
    ),
    "columns_taken": ("x:5,4 i:3<4", "np.take(x, i, axis=1)"),
    "relu": ("x:5,4", "np.maximum(0, x)"),
    "relu_other_way": ("x:5,4", "np.maximum(x, 0.0)"),
    "relu_by_mask": ("x:5,4", "x * (x > 0)"),
    "relu_where": ("x:5,4", "np.where(x > 0, x, 0)"),
    "leaky_relu": ("x:5,4", "np.where(x > 0, x, 0.01 * x)"),
    "leaky_relu_maximum": ("x:5,4", "np.maximum(0.1 * x, x)"),
    "sigmoid": ("x:5,4", "1 / (1 + np.exp(-x))"),
    "sigmoid_power": ("x:5,4", "np.power(1.0 + np.exp(-x), -1)"),
    "tanh": ("x:5,4", "np.tanh(x)"),
    "tanh_by_exp": ("x:5,4", "(np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x))"),
    "softplus": ("x:5,4", "np.log1p(np.exp(x))"),
    "softplus_stable": ("x:5,4", "np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))"),
    "swish": ("x:5,4", "x / (1 + np.exp(-x))"),
    "gelu": ("x:5,4", "0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))"),
    "elu": ("x:5,4", "np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)"),
    "softmax": ("x:5,4", "np.exp(x) / np.sum(np.exp(x), axis=1, keepdims=True)"),
    "softmax_column": ("x:5", "np.exp(x) / np.sum(np.exp(x))"),
    "logsumexp": ("x:5,4", "np.log(np.exp(x).sum(axis=-1))"),
    "mean_square": ("p:5,3 t:5,3", "np.mean((p - t) ** 2)"),
    "half_sum_square": ("p:5,3 t:5,3", "0.5 * np.sum(np.square(p - t))"),
    "mean_absolute": ("p:5,3 t:5,3", "np.abs(p - t).mean()"),
    "rmse": ("p:5 t:5", "np.sqrt(((p - t) ** 2).mean())"),
    "log_loss": ("a:1,6+ Y:1,6", "-np.sum(Y * np.log(a) + (1 - Y) * np.log(1 - a)) / Y.shape[1]"),
    "kl": ("p:5,3+ q:5,3+", "(p * (np.log(p) - np.log(q))).sum(axis=1).mean()"),
    "hinge": ("s:6 t:6", "np.maximum(0, 1 - t * s).sum()"),
    "cosine": (
        "a:5,3 b:5,3",
        "(a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))",
    ),
    "l2_regularised": ("x:5,4 w:4 t:5 lam=0.1", "((x @ w - t) ** 2).mean() + lam * (w**2).sum()"),
    "norm": ("x:5,4", "np.linalg.norm(x)"),
    "normalised_rows": ("x:5,4", "x / np.linalg.norm(x, axis=1, keepdims=True)"),
    "outer": ("a:3 b:4", "np.outer(a, b)"),
    "einsum": ("q:2,3,4 k:2,5,4", "np.einsum('bid,bjd->bij', q, k)"),
    "bilinear": ("x:5,3 W:3,4 y:5,4", "np.einsum('ni,ij,nj->n', x, W, y)"),
    "transpose_axes": ("x:2,3,4", "x.transpose(1, 0, 2) * 2"),
    "transpose_tuple": ("x:2,3,4", "np.transpose(x, (2, 0, 1)) ** 2"),
    "transpose_T": ("x:3,4", "x.T @ x"),
    "swapaxes": ("x:2,3,4", "x @ x.swapaxes(1, 2)"),
    "concatenate": ("a:2,3 b:4,3", "np.concatenate([a, b], axis=0) ** 2"),
    "concatenate_columns": ("a:5,2 b:5,3 w:5,4", "np.concatenate((a, b), axis=1).T @ w"),
    "hstack": ("a:5,2 b:5,3", "np.tanh(np.hstack((a, b)))"),
    "vstack": ("a:2,3 b:1,3", "np.vstack([a, b]) * 3"),
    "stack": ("a:4 b:4", "np.stack([a, b], axis=1) ** 3"),
    "expand_dims": ("x:3 y:4", "np.expand_dims(x, 1) * np.expand_dims(y, 0)"),
    "newaxis": ("x:5,3 y:4,3", "((x[:, np.newaxis, :] - y[None]) ** 2).sum(-1)"),
    "squeeze": ("x:5,1 y:5", "np.squeeze(x, axis=1) * y"),
    "ravel": ("x:3,4", "np.exp(x.ravel())"),
    "flatten": ("x:3,4 w:12", "x.flatten() @ w"),
    "row_max": ("x:5,4", "np.max(x, axis=1)"),
    "method_min": ("x:5,4", "x.min(axis=0, keepdims=True)"),
    "variance": ("x:5,4", "np.var(x, axis=0)"),
    "deviation": ("x:5,4", "x.std(axis=1)"),
    "sample_variance": ("x:5,4", "x.var(axis=0, ddof=1)"),
    "standardised": ("x:5,4", "(x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)"),
    "mean_of_axes": ("x:2,3,4", "np.mean(x, axis=(0, 2))"),
    "product": ("x:5,3+", "np.prod(x, axis=1)"),
    "cumsum": ("x:5,3", "np.cumsum(x, axis=0) ** 2"),
    "cumprod": ("x:4+", "np.cumprod(x)"),
    "clip": ("x:5,4", "np.clip(x, -0.5, 0.5) * x"),
    "minimum": ("x:5,4 y:5,4", "np.minimum(x, y)"),
    "maximum_of_two": ("x:5,4 y:5,4", "np.maximum(x, y) ** 2"),
    "picked": ("p:5,3+ y:5<3", "-np.log(p[np.arange(len(y)), y]).mean()"),
    "picked_range": ("p:5,3+ y:5<3", "-np.log(p[range(5), y])"),
    "embedding": ("W:7,3 ix:2,4<7", "np.tanh(W[ix])"),
    "one_hot": ("W:7,3 ix:5<7", "np.eye(7)[ix] @ W"),
    "sliced": ("x:6,4", "x[1:, :2] * x[:-1, 2:]"),
    "strided": ("x:6,4", "x[::2] - x[1::2]"),
    "turned": ("x:6,4", "x[::-1] * x"),
    "turned_last": ("x:6,4", "x[:, ::-1] * x"),
    "repeat": ("x:3,2", "np.repeat(x, 2, axis=0) ** 2"),
    "repeat_method": ("x:3,2", "x.repeat(3, axis=1) ** 2"),
    "tile": ("x:3,2", "np.tile(x, (2, 3)) ** 2"),
    "pad": ("x:1,2,3,3", "np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode='constant') ** 2"),
    "flip": ("x:3,4", "np.flip(x, axis=1) * x"),
    "roll": ("x:3,4", "np.roll(x, 1, axis=1) * x"),
    "triangle": ("x:4,4", "np.tril(x) @ x"),
    "masked_attention": ("s:4,4", "np.where(np.tril(np.ones((4, 4))) == 0, -1e9, s).max(axis=1)"),
    "trace": ("x:4,4", "np.trace(x @ x)"),
    "diagonal": ("x:4,4", "np.diag(x) ** 2"),
    "inverse": ("x:3,3", "np.linalg.inv(x @ x.T + np.eye(3))"),
    "solve": ("x:3,3 b:3,2", "np.linalg.solve(x @ x.T + np.eye(3), b)"),
    "determinant": ("x:3,3", "np.linalg.det(x)"),
    "trigonometry": ("x:5", "np.sin(x) * np.cos(2 * x) + np.arctan(x)"),
    "powers": ("x:5+", "x**0.5 + x**-1.5 + 2**x"),
    "reciprocal": ("x:5+", "np.reciprocal(x) + np.divide(1, x + 1)"),
    "sorted": ("x:5,4", "np.sort(x, axis=1)[:, 0]"),
    "argmax_picks": ("x:5,4", "x[np.arange(5), np.argmax(x, axis=1)] ** 2"),
    "take_along": ("x:5,4 i:5,2<4", "np.take_along_axis(x, i, axis=1) ** 2"),
    "atan2": ("y:4+ x:4+", "np.arctan2(y, x)"),
    "log_base": ("x:4+", "np.log2(x) + np.log10(x)"),
    "astype": ("x:5,4", "(x > 0).astype(np.float64) * x"),
    "tensordot": ("a:2,3,4 b:4,5", "np.tensordot(a, b, axes=1)"),
    "sum_of_list": ("x:3,4", "np.sum([x[i] * i for i in range(3)], axis=0)"),
    "broadcast": ("b:4", "np.broadcast_to(b, (3, 4)) ** 2"),
    "split": ("x:2,6", "np.split(x, 3, axis=1)[0] * np.split(x, 3, axis=1)[2]"),
}
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
