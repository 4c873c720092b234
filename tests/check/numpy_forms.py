"""NumPy backwards as courses and repositories publish them, without values.

FORMS: name -> the file. MISTAKES: name -> (what is written, what is written instead), on one line.
"""

from __future__ import annotations

FORMS: dict[str, str] = {}
MISTAKES: dict[str, list[tuple[str, str]]] = {}

FORMS["a script in a loop"] = """\
import numpy as np

N, D_in, H, D_out = 16, 8, 6, 3
x = np.random.randn(N, D_in)
y = np.random.randn(N, D_out)
w1 = np.random.randn(D_in, H)
w2 = np.random.randn(H, D_out)

for t in range(500):
    h = x.dot(w1)
    h_relu = np.maximum(h, 0)
    y_pred = h_relu.dot(w2)
    loss = np.square(y_pred - y).sum()
    if t % 100 == 99:
        print(t, loss)

    grad_y_pred = 2.0 * (y_pred - y)
    grad_w2 = h_relu.T.dot(grad_y_pred)
    grad_h_relu = grad_y_pred.dot(w2.T)
    grad_h = grad_h_relu.copy()
    grad_h[h < 0] = 0
    grad_w1 = x.T.dot(grad_h)

    w1 -= 1e-6 * grad_w1
    w2 -= 1e-6 * grad_w2
"""
MISTAKES["a script in a loop"] = [
    ("grad_y_pred = 2.0 * (y_pred - y)", "grad_y_pred = y_pred - y"),
    ("grad_w2 = h_relu.T.dot(grad_y_pred)", "grad_w2 = h.T.dot(grad_y_pred)"),
]

FORMS["a script with its data made above it"] = """\
import numpy as np

K = 3
X = np.zeros((30, 2))
y = np.zeros(30, dtype="uint8")
for j in range(K):
    ix = range(10 * j, 10 * (j + 1))
    X[ix] = np.random.randn(10, 2) + j
    y[ix] = j
W = np.zeros((2, K))
b = np.zeros((1, K))
reg = 1e-3
num_examples = X.shape[0]
for i in range(200):
    scores = np.dot(X, W) + b
    exp_scores = np.exp(scores)
    probs = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
    data_loss = np.sum(-np.log(probs[range(num_examples), y])) / num_examples
    loss = data_loss + 0.5 * reg * np.sum(W * W)
    dscores = probs
    dscores[range(num_examples), y] -= 1
    dscores /= num_examples
    dW = np.dot(X.T, dscores)
    db = np.sum(dscores, axis=0, keepdims=True)
    dW += reg * W
    W += -1.0 * dW
    b += -1.0 * db
"""
MISTAKES["a script with its data made above it"] = [
    ("dW += reg * W", "dW += 2 * reg * W"),
    ("db = np.sum(dscores, axis=0, keepdims=True)", "db = np.sum(dscores, axis=0)"),
]

FORMS["a network with its loss and gradients in one method"] = """\
import numpy as np


class TwoLayerNet(object):
    def __init__(self, input_size=4, hidden_size=10, output_size=3, std=1e-1):
        self.params = {}
        self.params['W1'] = std * np.random.randn(input_size, hidden_size)
        self.params['b1'] = np.zeros(hidden_size)
        self.params['W2'] = std * np.random.randn(hidden_size, output_size)
        self.params['b2'] = np.zeros(output_size)

    def loss(self, X, y=None, reg=0.0):
        W1, b1 = self.params['W1'], self.params['b1']
        W2, b2 = self.params['W2'], self.params['b2']
        N, D = X.shape
        hidden = np.maximum(0, X.dot(W1) + b1)
        scores = hidden.dot(W2) + b2
        if y is None:
            return scores
        scores -= np.max(scores, axis=1, keepdims=True)
        probs = np.exp(scores) / np.sum(np.exp(scores), axis=1, keepdims=True)
        loss = np.sum(-np.log(probs[np.arange(N), y])) / N
        loss += reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
        grads = {}
        dscores = probs
        dscores[range(N), y] -= 1
        dscores /= N
        grads['W2'] = hidden.T.dot(dscores) + 2 * reg * W2
        grads['b2'] = np.sum(dscores, axis=0)
        dhidden = dscores.dot(W2.T)
        dhidden[hidden <= 0] = 0
        grads['W1'] = X.T.dot(dhidden) + 2 * reg * W1
        grads['b1'] = np.sum(dhidden, axis=0)
        return loss, grads
"""
MISTAKES["a network with its loss and gradients in one method"] = [
    ("hidden.T.dot(dscores) + 2 * reg * W2", "hidden.T.dot(dscores) + reg * W2"),
    ("grads['b1'] = np.sum(dhidden, axis=0)", "grads['b1'] = np.sum(dscores, axis=0)"),
]

FORMS["layers that take a step"] = """\
import numpy as np


class Layer:
    def forward(self, input):
        pass

    def backward(self, output_gradient, learning_rate):
        pass


class Dense(Layer):
    def __init__(self, input_size, output_size):
        self.weights = np.random.randn(output_size, input_size)
        self.bias = np.random.randn(output_size, 1)

    def forward(self, input):
        self.input = input
        return np.dot(self.weights, self.input) + self.bias

    def backward(self, output_gradient, learning_rate):
        weights_gradient = np.dot(output_gradient, self.input.T)
        input_gradient = np.dot(self.weights.T, output_gradient)
        self.weights -= learning_rate * weights_gradient
        self.bias -= learning_rate * output_gradient
        return input_gradient


class Softmax(Layer):
    def forward(self, input):
        tmp = np.exp(input)
        self.output = tmp / np.sum(tmp)
        return self.output

    def backward(self, output_gradient, learning_rate):
        n = np.size(self.output)
        return np.dot((np.identity(n) - self.output.T) * self.output, output_gradient)
"""
MISTAKES["layers that take a step"] = [
    ("np.dot(output_gradient, self.input.T)", "np.dot(self.input, output_gradient.T)"),
    ("np.dot(self.weights.T, output_gradient)", "np.dot(self.weights, output_gradient)"),
]

FORMS["layers that keep their output"] = """\
import numpy as np


class Layer_Dense:
    def __init__(self, n_inputs, n_neurons):
        self.weights = 0.01 * np.random.randn(n_inputs, n_neurons)
        self.biases = np.zeros((1, n_neurons))

    def forward(self, inputs):
        self.inputs = inputs
        self.output = np.dot(inputs, self.weights) + self.biases

    def backward(self, dvalues):
        self.dweights = np.dot(self.inputs.T, dvalues)
        self.dbiases = np.sum(dvalues, axis=0, keepdims=True)
        self.dinputs = np.dot(dvalues, self.weights.T)


class Activation_ReLU:
    def forward(self, inputs):
        self.inputs = inputs
        self.output = np.maximum(0, inputs)

    def backward(self, dvalues):
        self.dinputs = dvalues.copy()
        self.dinputs[self.inputs <= 0] = 0
"""
MISTAKES["layers that keep their output"] = [
    ("np.sum(dvalues, axis=0, keepdims=True)", "np.sum(dvalues, axis=1, keepdims=True)"),
    ("self.dinputs[self.inputs <= 0] = 0", "self.dinputs[self.inputs > 0] = 0"),
]

FORMS["a cost beside the forward"] = """\
import numpy as np


def forward_propagation(X, parameters):
    W1 = parameters["W1"]
    b1 = parameters["b1"]
    W2 = parameters["W2"]
    b2 = parameters["b2"]
    Z1 = np.dot(W1, X) + b1
    A1 = np.tanh(Z1)
    Z2 = np.dot(W2, A1) + b2
    A2 = 1 / (1 + np.exp(-Z2))
    assert(A2.shape == (1, X.shape[1]))
    cache = {"Z1": Z1, "A1": A1, "Z2": Z2, "A2": A2}
    return A2, cache


def compute_cost(A2, Y):
    m = Y.shape[1]
    logprobs = np.multiply(np.log(A2), Y) + np.multiply(np.log(1 - A2), 1 - Y)
    cost = -np.sum(logprobs) / m
    cost = float(np.squeeze(cost))
    return cost


def backward_propagation(parameters, cache, X, Y):
    m = X.shape[1]
    W2 = parameters["W2"]
    A1 = cache["A1"]
    A2 = cache["A2"]
    dZ2 = A2 - Y
    dW2 = (1 / m) * np.dot(dZ2, A1.T)
    db2 = (1 / m) * np.sum(dZ2, axis=1, keepdims=True)
    dZ1 = np.dot(W2.T, dZ2) * (1 - np.power(A1, 2))
    dW1 = (1 / m) * np.dot(dZ1, X.T)
    db1 = (1 / m) * np.sum(dZ1, axis=1, keepdims=True)
    grads = {"dW1": dW1, "db1": db1, "dW2": dW2, "db2": db2}
    return grads
"""
MISTAKES["a cost beside the forward"] = [
    ("np.dot(W2.T, dZ2) * (1 - np.power(A1, 2))", "np.dot(W2.T, dZ2) * (1 - A1)"),
    ("np.sum(dZ1, axis=1, keepdims=True)", "np.sum(dZ1, axis=0, keepdims=True)"),
]

FORMS["gradients before the cost"] = """\
import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def propagate(w, b, X, Y):
    m = X.shape[1]
    A = sigmoid(np.dot(w.T, X) + b)
    cost = (-1 / m) * np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A))
    dw = (1 / m) * np.dot(X, (A - Y).T)
    db = (1 / m) * np.sum(A - Y)
    cost = np.squeeze(np.array(cost))
    grads = {"dw": dw, "db": db}
    return grads, cost
"""
MISTAKES["gradients before the cost"] = [
    ("np.dot(X, (A - Y).T)", "np.dot(X, (Y - A).T)"),
    ("db = (1 / m) * np.sum(A - Y)", "db = np.sum(A - Y)"),
]

FORMS["loss and gradient in the same loops"] = """\
import numpy as np


def softmax_loss_naive(W, X, y, reg):
    loss = 0.0
    dW = np.zeros_like(W)
    num_train = X.shape[0]
    for i in range(num_train):
        scores = X[i].dot(W)
        scores -= np.max(scores)
        p = np.exp(scores) / np.sum(np.exp(scores))
        loss += -np.log(p[y[i]])
        for j in range(W.shape[1]):
            dW[:, j] += p[j] * X[i]
        dW[:, y[i]] -= X[i]
    loss /= num_train
    loss += reg * np.sum(W * W)
    dW /= num_train
    dW += 2 * reg * W
    return loss, dW
"""
MISTAKES["loss and gradient in the same loops"] = [("dW += 2 * reg * W", "dW += reg * W")]

FORMS["one gradient without a name of its own"] = """\
import numpy as np


def cost_and_gradient(theta, X, y, lam=0.1):
    m = len(y)
    h = 1 / (1 + np.exp(-(X @ theta)))
    J = -np.sum(y * np.log(h) + (1 - y) * np.log(1 - h)) / m
    J += lam / (2 * m) * np.sum(theta[1:] ** 2)
    grad = X.T @ (h - y) / m
    grad[1:] += (lam / m) * theta[1:]
    return J, grad
"""
MISTAKES["one gradient without a name of its own"] = [
    ("grad = X.T @ (h - y) / m", "grad = X.T @ (y - h) / m"),
]

FORMS["probabilities that are clipped"] = """\
import numpy as np


class BinaryCrossEntropy:
    def forward(self, y_pred, y_true):
        self.y_pred = np.clip(y_pred, 1e-7, 1 - 1e-7)
        self.y_true = y_true
        loss = -np.mean(y_true * np.log(self.y_pred) + (1 - y_true) * np.log(1 - self.y_pred))
        return loss

    def backward(self):
        n = self.y_true.size
        dy_pred = -(self.y_true / self.y_pred - (1 - self.y_true) / (1 - self.y_pred)) / n
        return dy_pred
"""

FORMS["a convolution by einsum"] = """\
import numpy as np


class Conv1x1:
    def __init__(self, c_in=3, c_out=4):
        self.W = np.random.randn(c_out, c_in)
        self.b = np.zeros(c_out)

    def forward(self, x):
        out = np.einsum('oc,nchw->nohw', self.W, x) + self.b[None, :, None, None]
        self.cache = x
        return out

    def backward(self, dout):
        x = self.cache
        self.dW = np.einsum('nohw,nchw->oc', dout, x)
        self.db = dout.sum(axis=(0, 2, 3))
        dx = np.einsum('oc,nohw->nchw', self.W, dout)
        return dx
"""
MISTAKES["a convolution by einsum"] = [
    ("self.db = dout.sum(axis=(0, 2, 3))", "self.db = dout.sum(axis=(0, 1, 2))"),
]

# The lecture's character-level network, of its five arrays and `vocab_size` around it.
LOSS_FUN = """\
def lossFun(inputs, targets, hprev):
    xs, hs, ys, ps = {}, {}, {}, {}
    hs[-1] = np.copy(hprev)
    loss = 0
    for t in range(len(inputs)):
        xs[t] = np.zeros((vocab_size, 1))
        xs[t][inputs[t]] = 1
        hs[t] = np.tanh(np.dot(Wxh, xs[t]) + np.dot(Whh, hs[t - 1]) + bh)
        ys[t] = np.dot(Why, hs[t]) + by
        ps[t] = np.exp(ys[t]) / np.sum(np.exp(ys[t]))
        loss += -np.log(ps[t][targets[t], 0])
    dWxh, dWhh, dWhy = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(Why)
    dbh, dby = np.zeros_like(bh), np.zeros_like(by)
    dhnext = np.zeros_like(hs[0])
    for t in reversed(range(len(inputs))):
        dy = np.copy(ps[t])
        dy[targets[t]] -= 1
        dWhy += np.dot(dy, hs[t].T)
        dby += dy
        dh = np.dot(Why.T, dy) + dhnext
        dhraw = (1 - hs[t] * hs[t]) * dh
        dbh += dhraw
        dWxh += np.dot(dhraw, xs[t].T)
        dWhh += np.dot(dhraw, hs[t - 1].T)
        dhnext = np.dot(Whh.T, dhraw)
    for dparam in [dWxh, dWhh, dWhy, dbh, dby]:
        np.clip(dparam, -5, 5, out=dparam)
    return loss, dWxh, dWhh, dWhy, dbh, dby, hs[len(inputs) - 1]
"""
FORMS["a recurrent network whose sizes are counted"] = """\
import numpy as np

data = 'hello world'
chars = sorted(set(data))
data_size, vocab_size = len(data), len(chars)
char_to_ix = {ch: i for i, ch in enumerate(chars)}

hidden_size = 5
Wxh = np.random.randn(hidden_size, vocab_size) * 0.1
Whh = np.random.randn(hidden_size, hidden_size) * 0.1
Why = np.random.randn(vocab_size, hidden_size) * 0.1
bh = np.zeros((hidden_size, 1))
by = np.zeros((vocab_size, 1))


"""
FORMS["a recurrent network whose sizes are counted"] += LOSS_FUN
MISTAKES["a recurrent network whose sizes are counted"] = [
    ("dhraw = (1 - hs[t] * hs[t]) * dh", "dhraw = (1 - hs[t]) * dh"),
]
