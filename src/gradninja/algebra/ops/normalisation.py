"""Library normalisations in index notation: what they normalise to, and one over its deviation.

For xhat = (x - mean) / deviation, or x / root mean square, the gradient of x is
`(g - mean(g) - xhat * mean(g * xhat)) / deviation`, without `mean(g)` for the latter: Ioffe and
Szegedy 2015, section 3; Ba, Kiros and Hinton 2016; Zhang and Sennrich 2019.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

import torch

from gradninja.algebra.index.axes import constant
from gradninja.algebra.index.graph import Derivative, Node
from gradninja.algebra.index.terms import ONE, Term
from gradninja.algebra.ops.arithmetic import powers_of, result
from gradninja.algebra.ops.indexing import kept
from gradninja.algebra.ops.lowering import Lowering, NotLowered, row
from gradninja.rules import Site


def _written(text: str, **parts: ast.expr) -> ast.expr:
    """Text as syntax, with syntax put in for its names."""

    class Put(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return parts.get(node.id, node)

    found: ast.expr = Put().visit(ast.parse(text, mode="eval").body)
    return found


def _normalised(
    low: Lowering,
    a: Node,
    dims: Sequence[int],
    hat: tuple[torch.Tensor, ast.expr],
    deviation: ast.expr,
    centred: bool,
) -> Node:
    """The node of xhat, with the gradient of `a`; `deviation` is the text of one over it."""
    graph = low.graph
    if any(dim not in a.places for dim in dims):
        raise NotLowered("statistics over an axis of size 1")
    shape = tuple(1 if d in dims else size for d, size in enumerate(a.shape))
    left = [i for i, place in enumerate(a.places) if place not in dims]
    inverse = Node(0, shape, None, axes=tuple(a.axes[i] for i in left), made=3.0 * a.size)
    inverse.writes = lambda: deviation
    graph.add(inverse)
    value, text = hat
    xhat = Node(0, a.shape, value, axes=a.axes, made=3.0 * a.size, writes=lambda: text)
    xhat.flows, xhat.line = True, low.current
    graph.add(xhat)
    summed = {i: -1 - i for i in a.free if i not in left}
    at = tuple(summed.get(i, i) for i in a.free)
    scale = powers_of(inverse, tuple(left))
    if centred:
        xhat.sums = ((tuple(summed), Term.of(0, [])),)
    count = Term.of(1, [])
    for index in summed:
        count = count.times(graph.itself(graph.extent(a.axes[index]), -ONE))
    mean = scale.times(count).scaled(-1)
    along = graph.itself(xhat).times(powers_of(xhat, at)).times(mean)
    spread = [Derivative(a, [along], at)] + [Derivative(a, [mean], at)] * centred
    xhat.derivatives = (Derivative(a, [scale]), *spread)
    return xhat


def _scaled(low: Lowering, site: Site, xhat: Node, places: Sequence[int]) -> Node:
    """`weight * xhat + bias`, whose axes lie along those of xhat."""
    nodes, product, terms = [xhat], low.graph.itself(xhat), []
    for name in ("weight", "bias"):
        expr = site.bound.get(name)
        if expr is None or expr.value is None:
            continue
        node = low.node(expr)
        indices = tuple(xhat.places.index(places[place]) for place in node.places)
        for index, axis in zip(indices, node.axes, strict=True):
            low.graph.union(xhat.axes[index], axis)
        nodes.append(node)
        if name == "weight":
            product = product.times(powers_of(node, indices))
        else:
            terms.append(powers_of(node, indices))
    return result(low, site, tuple(site.y.shape), nodes, [product, *terms])


def _last(site: Site, a: Node) -> tuple[int, ...]:
    shape = site.value("normalized_shape")
    count = len(shape) if isinstance(shape, tuple | list | torch.Size) else 1
    return tuple(range(len(a.shape) - count, len(a.shape)))


@row("batch_norm")
def _batch_norm(low: Lowering, site: Site) -> Node:
    """With the statistics of the batch, nothing running."""
    running = [site.value(name) for name in ("running_mean", "running_var")]
    if not site.value("training") or running != [None, None]:
        raise NotLowered("running statistics")
    a = low.node(site.bound["a"])
    dims = (0, *range(2, len(a.shape)))
    eps = site.bound["eps"].syntax
    value = torch.nn.functional.batch_norm(
        a.value, None, None, training=True, eps=site.value("eps")
    )
    hat = _called("F.batch_norm(a, None, None, training=True, eps=eps)", a=a.text(), eps=eps)
    xhat = _normalised(low, a, dims, (value, hat), _deviation(a, dims, eps), centred=True)
    return _scaled(low, site, xhat, (1,))


@row("instance_norm")
def _instance_norm(low: Lowering, site: Site) -> Node:
    """Each example's channels by themselves."""
    if not site.value("use_input_stats") or site.value("running_mean") is not None:
        raise NotLowered("running statistics")
    a = low.node(site.bound["a"])
    dims, eps = tuple(range(2, len(a.shape))), site.bound["eps"].syntax
    value = torch.nn.functional.instance_norm(a.value, eps=site.value("eps"))
    hat = _called("F.instance_norm(a, eps=eps)", a=a.text(), eps=eps)
    xhat = _normalised(low, a, dims, (value, hat), _deviation(a, dims, eps), centred=True)
    return _scaled(low, site, xhat, (1,))


@row("layer_norm")
def _layer_norm(low: Lowering, site: Site) -> Node:
    a = low.node(site.bound["a"])
    dims, eps = _last(site, a), site.bound["eps"].syntax
    shape = site.bound["normalized_shape"]
    value = torch.nn.functional.layer_norm(a.value, a.shape[dims[0] :], eps=site.value("eps"))
    hat = _called("F.layer_norm(a, shape, eps=eps)", a=a.text(), shape=shape.syntax, eps=eps)
    xhat = _normalised(low, a, dims, (value, hat), _deviation(a, dims, eps), centred=True)
    return _scaled(low, site, xhat, dims)


@row("rms_norm")
def _rms_norm(low: Lowering, site: Site) -> Node:
    a = low.node(site.bound["a"])
    dims = _last(site, a)
    eps = site.bound["eps"].syntax
    if site.value("eps") is None:
        eps = _written("torch.finfo(a.dtype).eps", a=a.text())
    square = kept(ast.BinOp(a.text(), ast.Pow(), constant(2)), "mean", dims)
    inverse = _written("(square + eps).rsqrt()", square=square, eps=eps)
    value = torch.nn.functional.rms_norm(a.value, a.shape[dims[0] :], eps=site.value("eps"))
    hat = ast.BinOp(a.text(), ast.Mult(), inverse)
    xhat = _normalised(low, a, dims, (value, hat), inverse, centred=False)
    return _scaled(low, site, xhat, dims)


def _called(text: str, **values: ast.expr) -> ast.expr:
    """A call of the library, without the eps that it has by default."""
    eps = values["eps"]
    usual = isinstance(eps, ast.Constant) and eps.value == 1e-5
    return _written(text.replace(", eps=eps", "") if usual else text, **values)


def _deviation(a: Node, dims: Sequence[int], eps: ast.expr) -> ast.expr:
    var = kept(a.text(), "var", tuple(dims))
    assert isinstance(var, ast.Call)
    var.keywords.insert(0, ast.keyword("correction", constant(0)))
    return _written("(var + eps).rsqrt()", var=var, eps=eps)
