"""The parts of the algebra: terms, normal form, expressions back to text, sharing, prices."""

from __future__ import annotations

import ast
import itertools
import random
from fractions import Fraction

import pytest
import torch

from gradninja.algebra.find.extract import Extractor
from gradninja.algebra.find.repeats import Sharing
from gradninja.algebra.index.graph import Graph, Node
from gradninja.algebra.index.normal import Normal
from gradninja.algebra.index.terms import ONE, Term, collect, fresh, matches
from gradninja.algebra.measure.cost import cost_of
from gradninja.algebra.measure.precision import keeps_digits
from gradninja.algebra.measure.prices import PREFER
from gradninja.algebra.ops.lowering import Lowering
from gradninja.algebra.write.tree import Tree
from gradninja.algebra.write.writer import Writer
from gradninja.derive import read_program
from gradninja.derive.statement import Statement
from gradninja.rules import BOOK

SPEED = PREFER["speed"]


def term(*factors: tuple[int, tuple[int, ...]], bound: tuple[int, ...] = ()) -> Term:
    return Term.of(1, [(factor, ONE) for factor in factors], bound)


# -- terms ----------------------------------------------------------------------------------


def test_a_key_does_not_depend_on_what_bound_indices_are_called() -> None:
    names = [fresh() for _ in range(3)]
    keys = set()
    for i, j, k in itertools.permutations(names):
        keys.add(term((1, (0, i)), (2, (i, j)), (2, (j, k)), (1, (0, k)), bound=(i, j, k)).key)
    assert len(keys) == 1
    i, j, _ = names
    assert term((1, (i, j)), bound=(i, j)).key != term((1, (i, i)), bound=(i,)).key
    assert term((1, (0, i)), bound=(i,)).key != term((1, (i, 0)), bound=(i,)).key


def test_like_terms_are_added_and_zeros_left_out() -> None:
    i, j = fresh(), fresh()
    a, b = term((1, (0, i)), bound=(i,)), term((1, (0, j)), bound=(j,))
    assert [t.coefficient for t in collect([a, b.scaled(2)])] == [3]
    assert collect([a, b.scaled(-1)]) == []


def test_a_pattern_is_found_with_its_indices() -> None:
    i = fresh()
    pattern = term((1, (0, 1)), (2, (1,)))
    whole = term((1, (3, i)), (2, (i,)), (5, (i,)), bound=(i,))
    (found,) = matches(pattern.powers, frozenset(), whole)
    assert found.names == {0: 3, 1: i}
    # A summed index of the pattern must have no factor outside of it.
    k = fresh()
    summed = term((1, (0, k)), (2, (k,)), bound=(k,))
    assert not list(matches(summed.powers, summed.bound, whole))


# -- normal form ----------------------------------------------------------------------------


def lowered(text: str, **inputs: torch.Tensor) -> tuple[Lowering, Normal]:
    doubled = {n: v.double() if v.is_floating_point() else v for n, v in inputs.items()}
    lowering = Lowering(read_program(text, doubled), BOOK)
    assert not lowering.left
    return lowering, Normal(lowering.graph)


BATCHNORM = """
def forward(x):
    n = x.shape[0]
    mean = 1 / n * x.sum(0, keepdim=True)
    diff = x - mean
    var = 1 / (n - 1) * (diff**2).sum(0, keepdim=True)
    probs = x.exp() / x.exp().sum(1, keepdim=True)
    return diff * var * probs
"""


def summed(normal: Normal, node: Node, index: int) -> list[Term]:
    bound = fresh()
    indices = tuple(bound if i == index else i for i in node.free)
    return normal.normal([Term.of(1, [((node.number, indices), ONE)], [bound])])


def test_sums_that_collapse_are_known() -> None:
    lowering, normal = lowered(BATCHNORM, x=torch.randn(5, 7))
    named = lowering.graph.named
    assert summed(normal, named["diff"], 0) == []
    assert summed(normal, named["diff"], 1) != []
    assert summed(normal, named["probs"], 1) == [Term.of(1, [])]
    assert summed(normal, named["probs"], 0) != [Term.of(1, [])]
    (over_x,) = summed(normal, named["x"], 0)
    assert not over_x.bound  # it is the sum that the mean was made of


def test_a_summed_index_that_cancels_leaves_the_axis_its_size() -> None:
    lowering, normal = lowered(BATCHNORM, x=torch.randn(5, 7))
    x, i = lowering.graph.named["x"], fresh()
    one = normal.build(ONE, [((x.number, (i, 0)), ONE), ((x.number, (i, 0)), -ONE)], [i])
    ((factor, power),) = one.powers
    assert lowering.graph.nodes[factor[0]].name == "n"
    assert power == 1


def test_axes_are_the_same_by_where_they_come_from_and_not_by_size() -> None:
    text = """
def forward(x, y, w):
    z = x @ w + y
    return z
"""
    square = torch.randn(4, 4)
    lowering, _ = lowered(text, x=square, y=square[0], w=square)
    graph = lowering.graph
    axes = {name: [graph.find(a) for a in node.axes] for name, node in graph.named.items()}
    assert axes["z"] == [axes["x"][0], axes["w"][1]]
    assert axes["x"][1] == axes["w"][0]
    assert axes["y"] == [axes["w"][1]]
    assert len({axes["x"][0], axes["x"][1], axes["w"][1]}) == 3


# -- back to text ---------------------------------------------------------------------------


def random_terms(rng: random.Random) -> tuple[Graph, Node, list[Term]]:
    """A few products of tensors of which some axes are summed, and what has their free axes."""
    graph = Graph()
    sizes = [3, 4, 5, 2]
    axes = [graph.axis(size) for size in sizes]
    generator = torch.Generator().manual_seed(rng.randrange(1000))
    nodes = []
    for at in range(5):
        kinds = rng.sample(range(4), rng.randint(1, 3))
        shape = [sizes[k] for k in kinds]
        places = list(kinds)
        if rng.random() < 0.4:  # an axis of size 1 somewhere
            where = rng.randint(0, len(shape))
            shape.insert(where, 1)
        value = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.5
        node = graph.tensor(value, name=f"t{at}", axes=tuple(axes[k] for k in places))
        nodes.append((node, kinds))
    free = rng.sample(range(4), rng.randint(1, 3))
    like = graph.tensor(
        torch.zeros([sizes[k] for k in free], dtype=torch.float64),
        name="like",
        axes=tuple(axes[k] for k in free),
    )
    terms = []
    for _ in range(rng.randint(1, 3)):
        chosen = rng.sample(nodes, rng.randint(1, 3))
        indices = {kind: free.index(kind) for kind in free}
        for _, kinds in chosen:
            for kind in kinds:
                indices.setdefault(kind, fresh())
        powers = [
            ((node.number, tuple(indices[k] for k in kinds)), Fraction(rng.choice([1, 1, 2, -1])))
            for node, kinds in chosen
        ]
        bound = {i for (_, at), _ in powers for i in at} - set(range(len(free)))
        terms.append(Term.of(rng.choice([1, -1, Fraction(1, 2), 3]), powers, bound))
    return graph, like, terms


def value_of(graph: Graph, like: Node, terms: list[Term]) -> torch.Tensor:
    """The same by einsum."""
    total = torch.zeros(like.shape, dtype=torch.float64)
    for one in terms:
        names: dict[int, str] = {}
        operands, words = [], []
        for (atom, at), power in one.powers:
            node = graph.nodes[atom]
            operands.append(node.value.reshape([s for s in node.shape if s != 1]) ** float(power))
            words.append("".join(names.setdefault(i, chr(97 + len(names))) for i in at))
        out = [i for i in like.free if i in names]
        equation = ",".join(words) + "->" + "".join(names[i] for i in out)
        found = torch.einsum(equation, *operands)
        shape = [like.shape[i] if i in names else 1 for i in like.free]
        total = total + float(one.coefficient) * found.reshape(shape)
    return total


@pytest.mark.parametrize("seed", range(60))
def test_what_is_written_is_what_the_terms_are(seed: int) -> None:
    graph, like, terms = random_terms(random.Random(seed))
    extractor = Extractor(Normal(graph), [], SPEED, set())

    def unnamed(node: Node) -> Tree:
        raise AssertionError(node)

    values = {node.name: node.value for node in graph.nodes if node.name}
    for tree in extractor.choices(collect(terms)):
        syntax = Writer(graph, unnamed).statement(tree, like, "like")
        got = eval(ast.unparse(syntax), {"torch": torch, **values})
        assert got.shape == like.shape
        torch.testing.assert_close(got, value_of(graph, like, terms), rtol=1e-10, atol=1e-10)


# -- sharing --------------------------------------------------------------------------------


def statements(*lines: str) -> list[Statement]:
    program = read_program("def forward(x):\n    y = x * 2\n    return y", {"x": torch.ones(3)})
    found = []
    for line in lines:
        node = ast.parse(line).body[0]
        adds = isinstance(node, ast.AugAssign)
        assert isinstance(node, ast.Assign | ast.AugAssign)
        target = node.target if isinstance(node, ast.AugAssign) else node.targets[0]
        assert isinstance(target, ast.Name)
        of = target.id.removeprefix("d")
        found.append(Statement(target.id, of, program.lines[0], (3, 4), node.value, adds=adds))
    return found


def run(lines: list[Statement], **values: torch.Tensor) -> dict[str, torch.Tensor]:
    scope: dict[str, object] = {"torch": torch, **values}
    exec("\n".join(map(str, lines)), scope)
    return {name: v for name, v in scope.items() if isinstance(v, torch.Tensor)}


def test_what_is_written_twice_gets_a_name() -> None:
    values = {"a": torch.rand(30, 40), "b": torch.rand(30, 40)}
    lines = statements("dx = (a * b).exp() + a", "dy = (a * b).exp() * b")
    shared = Sharing(values, {"y_exp"}).run(lines)
    assert [str(s) for s in shared] == [
        "y_exp2 = (a * b).exp()",
        "dx = y_exp2 + a",
        "dy = y_exp2 * b",
    ]


def test_what_is_changed_in_between_is_not_shared() -> None:
    values = {"a": torch.rand(30, 40), "b": torch.rand(30, 40)}
    for lines in (
        statements("dx = a * b", "dy = dx * a", "dx += a", "dz = dx * a"),
        statements("dx = a * b", "dx += a", "dy = (a * b).exp()"),
    ):
        before = run(lines, **values)
        after = run(Sharing(values, set()).run(lines), **values)
        for name, want in before.items():
            assert torch.equal(after[name], want), name


# -- prices and digits ----------------------------------------------------------------------


def test_views_cost_nothing_and_matrix_products_their_work() -> None:
    values = {"torch": torch, "a": torch.rand(6, 5), "b": torch.rand(5, 4), "r": torch.rand(5)}

    def cost(line: str) -> tuple[float, float, int]:
        found = cost_of(ast.parse(line).body, values, 0.0)
        return found.work, found.traffic, found.calls

    assert cost("c = a.T[:, None].expand(5, 7, 6)") == (0, 0, 0)
    assert cost("c = a * r") == (0, 30 + 5 + 30, 1)
    assert cost("c = a @ b") == (6 * 4 * 5, 30 + 20 + 24, 1)
    assert cost("a += r") == (0, 2 * 30 + 5, 1)
    assert cost("a[[0, 1], [2, 3]] = 1.0")[2] == 1


def test_cancellation_is_seen_in_float32() -> None:
    x = torch.randn(1000, dtype=torch.float64) + 100

    def syntax(text: str) -> ast.expr:
        return ast.parse(text, mode="eval").body

    short = syntax("(x * x).mean() - x.mean() ** 2")
    safe = syntax("((x - x.mean()) ** 2).mean()")
    assert not keeps_digits(short, safe, {"x": x})
    assert keeps_digits(safe, syntax("(x - x.mean()).square().mean()"), {"x": x})
