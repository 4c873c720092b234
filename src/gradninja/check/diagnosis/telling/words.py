"""A mend in words that teach: what was mixed up, and which line of the forward says so."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from gradninja.check.diagnosis.candidates import trees
from gradninja.check.diagnosis.candidates.statement_edits import Edit
from gradninja.check.diagnosis.candidates.tree_edits import Style
from gradninja.check.diagnosis.contributions import Contribution
from gradninja.check.diagnosis.facts import Facts
from gradninja.lines import Line


class Words:
    """Says what an edit means for one gradient of one forward."""

    def __init__(self, facts: Facts, style: Style) -> None:
        self.facts = facts
        self.style = style
        self.variable, self.gradient = facts.variable, facts.gradient
        self.uses: list[Line] = [
            line
            for line in facts.program.lines
            if line.expr.differentiable and facts.variable in _names(line.expr.syntax)
        ]

    def explain(self, edit: Edit) -> str:
        """One to three sentences."""
        say: Callable[[Edit], str] = getattr(self, f"say_{edit.kind.name.lower()}", self.say_put)
        if edit.also is not None:
            return f"There are two mistakes: {edit.kind}, and {edit.also}. {say(edit)}"
        return say(edit)

    # -- pieces -----------------------------------------------------------------------------

    def text(self, node: ast.AST | None) -> str:
        if isinstance(node, ast.stmt):
            return f"`{self.style.statement(node)}`"
        return f"`{self.style.expression(node)}`" if isinstance(node, ast.expr) else ""

    def line(self, line: Line) -> str:
        return f"`{line.source}` (line {line.number})"

    def the_uses(self) -> str:
        """`counts` is used twice: in `probs` and in `counts_sum`."""
        names = list(dict.fromkeys(f"`{line.name}`" for line in self.uses))
        if len(names) == 1:
            found = [c for c in self.facts.contributions if c.of == self.variable]
            often = f" {_times(len(found))}" if len(found) > 1 else ""
            return f"`{self.variable}` is used{often} in {self.line(self.uses[0])}"
        often = _times(len(names))
        return f"`{self.variable}` is used {often}, in {', '.join(names[:-1])} and in {names[-1]}"

    def shape(self, name: str) -> str:
        value = self.facts.program.values.get(name)
        shape = tuple(getattr(value, "shape", ()))
        return f"({', '.join(self.facts.program.axes_of(shape))})"

    def axes(self, node: ast.AST | None, dims: Sequence[int]) -> str:
        """`axis 0 (n)`, named by what the expression's own axes are called."""
        tensor = self.facts.tensor(node) if node is not None else None
        sizes = () if tensor is None else tuple(tensor.shape)
        names = self.facts.program.axes_of(sizes)
        told = []
        for dim in dims:
            named = -len(sizes) <= dim < len(sizes) and not names[dim].isdigit()
            told.append(f"axis {dim} ({names[dim]})" if named else f"axis {dim}")
        return " and ".join(told)

    def answered(self, edit: Edit) -> Contribution | None:
        """The contribution that the mended statement computes."""
        mine = [c for c in self.facts.contributions if c.of == self.variable]
        if edit.contribution is not None or len(mine) < 2:
            return edit.contribution or (mine[0] if mine else None)
        new = edit.changes[0].new
        names = _names(new) if new is not None else set()
        return max(mine, key=lambda c: len(c.reads & names) - len(c.reads - names))

    def rule(self, edit: Edit | None) -> str:
        """How the gradient is derived, one sentence for each rule."""
        mine = [c for c in self.facts.contributions if c.of == self.variable]
        found = [self.answered(edit)] if edit is not None else mine
        return "; ".join(dict.fromkeys(why for c in found if c is not None for why in c.why))

    def forward_says(self, edit: Edit) -> str:
        found = self.answered(edit)
        return f" The forward's line is {self.line(found.line)}." if found is not None else ""

    # -- one sentence for each kind -----------------------------------------------------------

    def say_no_sum(self, edit: Edit) -> str:
        dims = _dims(edit.now)
        tensor = self.facts.tensor(edit.was) if edit.was is not None else None
        if dims is None:
            dims = tuple(range(tensor.ndim if tensor is not None else 0))
        over = self.axes(edit.was, dims)
        times = [str(tensor.shape[d]) for d in dims] if tensor is not None else []
        where = f" in {self.line(self.uses[0])}" if len(self.uses) == 1 else " in the forward"
        shape = f"`{self.variable}` has shape {self.shape(self.variable)} and"
        if len(times) == 1:
            shape += f" each of its values is used {times[0]} times along {over}{where}"
        else:
            shape += f" is used many times along {over}{where}"
        return (
            f"{shape}, so its gradient is summed over {over}: "
            "a broadcast in the forward is a sum in the backward."
        )

    def say_no_broadcast(self, edit: Edit) -> str:
        return (
            f"`{self.gradient}` needs the shape {self.shape(self.variable)} of `{self.variable}`: "
            "what was summed in the forward gets the same gradient at every place, so a sum in "
            f"the forward is a broadcast in the backward.{self.forward_says(edit)}"
        )

    def say_wrong_axis(self, edit: Edit) -> str:
        return (
            f"The axis is another: {self.text(edit.now)} for {self.text(edit.was)}. "
            f"`{self.variable}` has shape {self.shape(self.variable)}."
            f"{self.forward_says(edit)}"
        )

    def say_lost_keepdim(self, edit: Edit) -> str:
        return (
            f"`{self.gradient}` has the shape of `{self.variable}`, "
            f"{self.shape(self.variable)}: the axis that is summed "
            "stays, with size 1 (keepdim=True), exactly where it has one in the forward."
        )

    def say_extra_sum(self, edit: Edit) -> str:
        return (
            f"Here nothing is to be summed: {self.text(edit.was)} is {self.text(edit.now)}. "
            f"A gradient is summed only along an axis along which `{self.variable}`, "
            f"{self.shape(self.variable)}, was broadcast.{self.forward_says(edit)}"
        )

    def say_second_use(self, edit: Edit) -> str:
        found = self.answered(edit)
        if found is None:
            path = "a path"
        elif (
            sum(c.of == self.variable and c.line is found.line for c in self.facts.contributions)
            > 1
        ):
            path = f"one path through `{found.line.name}`"
        else:
            path = f"the path through `{found.line.name}`"
        return f"{self.the_uses()}; {path} is missing. Every use adds to the gradient."

    def say_missing_line(self, edit: Edit) -> str:
        if edit.contribution is not None and edit.contribution.of != self.variable:
            return (
                f"`{edit.contribution.gradient}` is used here and nothing gives it: the line that "
                f"answers {self.line(edit.contribution.line)} is missing."
            )
        if edit.before:
            return f"The line that gives it is missing.{self.forward_says(edit)}"
        if edit.contribution is None:
            return f"Nothing gives `{self.gradient}` a first value before something is added to it."
        return f"The line that answers {self.line(edit.contribution.line)} is missing."

    def say_extra_contribution(self, edit: Edit) -> str:
        return f"{self.text(edit.was)} is too much: {self.the_uses()}, and each use adds once."

    def say_assign_for_add(self, edit: Edit) -> str:
        return (
            f"`=` throws away what was there before. {self.the_uses()}; "
            "every use adds to the gradient, so from the second on it is `+=`."
        )

    def say_missing_clone(self, edit: Edit) -> str:
        return (
            f"{self.text(edit.was)} gives one tensor two names: what is added to "
            f"`{self.gradient}` in place is added to the other as well. `.clone()` gives it "
            "memory of its own."
        )

    def say_lost_repeats(self, edit: Edit) -> str:
        return (
            "Where an index occurs several times this keeps one of its gradients and loses the "
            f"others. A row of `{self.variable}` that is used several times gets the sum over "
            f"its uses.{self.forward_says(edit)}"
        )

    def say_bessel(self, edit: Edit) -> str:
        return (
            f"The count is another: {self.text(edit.now)} for {self.text(edit.was)}, "
            f"as in the forward.{self.forward_says(edit)}"
        )

    def say_missing_count(self, edit: Edit) -> str:
        return (
            "The gradient is too large by a number of elements: a mean hands each of its n "
            f"elements 1/n of the gradient.{self.forward_says(edit)}"
        )

    def say_sign(self, edit: Edit) -> str:
        return f"The sign is wrong in {self.text(edit.was)}.{self.forward_says(edit)}"

    def say_missing_factor(self, edit: Edit) -> str:
        return (
            f"A factor is missing: {self.text(edit.now)} for {self.text(edit.was)}."
            f"{self.forward_says(edit)}"
        )

    def say_extra_factor(self, edit: Edit) -> str:
        return (
            f"A factor is too much: {self.text(edit.now)} for {self.text(edit.was)}."
            f"{self.forward_says(edit)}"
        )

    def say_parentheses(self, edit: Edit) -> str:
        return f"The parentheses belong elsewhere: {self.text(edit.now)}.{self.forward_says(edit)}"

    def say_transposed(self, edit: Edit) -> str:
        shapes = []
        product = _product(edit.now) or _product(edit.changes[0].new)
        for operand in (product.left, product.right) if product is not None else ():
            tensor = self.facts.tensor(operand)
            if tensor is not None:
                axes = self.facts.program.axes_of(tuple(tensor.shape))
                shapes.append(f"{self.text(operand)} ({', '.join(axes)})")
        fit = f": {' @ '.join(shapes)} gives {self.shape(self.variable)}" if shapes else ""
        return (
            "The matrices are not turned as they must be. In the gradient of a matrix product the "
            f"axis that is not in `{self.variable}` is summed away{fit}."
        )

    def say_reciprocal(self, edit: Edit) -> str:
        return (
            f"{self.text(edit.was)} stands where its reciprocal {self.text(edit.now)} belongs."
            f"{self.forward_says(edit)}"
        )

    def say_gradient_for_value(self, edit: Edit) -> str:
        was, now = _id(edit.was), _id(edit.now)
        return (
            f"`{was}` is a gradient; here belongs the value `{now}`: a gradient is what comes "
            f"from above times the forward's own values.{self.forward_says(edit)}"
        )

    def say_value_for_gradient(self, edit: Edit) -> str:
        was, now = _id(edit.was), _id(edit.now)
        return (
            f"`{was}` is a value of the forward; here belongs the gradient `{now}`: by the chain "
            f"rule the gradient of the result comes in as a factor.{self.forward_says(edit)}"
        )

    def say_skipped_link(self, edit: Edit) -> str:
        was, now = _id(edit.was), _id(edit.now)
        if was is not None and now is not None:
            links = self._between(self.facts.gradients.get(now), self.facts.gradients.get(was))
            return (
                f"`{was}` is one step too far down: `{self.variable}` leads to "
                f"`{self.facts.gradients.get(now, now)}` first, so `{now}` comes in."
                + (f" The link {links} was skipped." if links else "")
            )
        found = self.answered(edit)
        link = f" {self.line(found.line)}" if found is not None else ""
        return f"{self.text(edit.was)} is handed on as it is: the link{link} is skipped."

    def _between(self, early: str | None, late: str | None) -> str:
        for line in self.facts.program.lines:
            if late in line.targets and early in self.facts.ancestors.get(line.name, ()):
                return self.line(line)
        return ""

    def say_ties(self, edit: Edit) -> str:
        found = self.answered(edit)
        rule = found.why[0] if found is not None and found.why else ""
        return (
            "Equal largest (or smallest) values are treated otherwise than in the forward"
            f"{': ' + rule if rule else ''}.{self.forward_says(edit)}"
        )

    def say_unknown(self, edit: Edit) -> str:
        return (
            "No single edit of this line mends it; derived, it reads as below."
            f"{self.forward_says(edit)}"
        )

    def say_swapped(self, edit: Edit) -> str:
        was, now = edit.was, edit.now
        if not (isinstance(was, ast.stmt) and isinstance(now, ast.stmt)):
            return self.say_put(edit)
        turned = [
            one
            for one, two in zip(_leaves(was), _leaves(now), strict=False)
            if ast.dump(one) != ast.dump(two)
        ]
        told = " and ".join(dict.fromkeys(self.text(part) for part in turned))
        return f"{told} stand in each other's place.{self.forward_says(edit)}"

    def say_conjugate(self, edit: Edit) -> str:
        return (
            f"{self.text(edit.now)} belongs in the place of {self.text(edit.was)}. PyTorch's "
            "gradient of a complex input z = a + ib is dL/da + i dL/db, so through y = f(z) the "
            "gradient of y is multiplied by the conjugate of f'(z)."
        )

    def say_put(self, edit: Edit) -> str:
        """The kinds of which there is no more to say than what belongs there."""
        if edit.now is None or edit.was is None:
            return f"The line is another.{self.forward_says(edit)}"
        return (
            f"{self.text(edit.now)} belongs in the place of {self.text(edit.was)}."
            f"{self.forward_says(edit)}"
        )


def _leaves(node: ast.stmt) -> list[ast.expr]:
    """What a statement lists, or else its names."""
    listed = node.value if isinstance(node, ast.Return) else None
    if isinstance(node, ast.Assign):
        listed = node.targets[0]
    names: list[ast.expr] = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
    return listed.elts if isinstance(listed, ast.Tuple) else names


def _times(count: int) -> str:
    return {2: "twice", 3: "three times"}.get(count, f"{count} times")


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _id(node: ast.AST | None) -> str | None:
    return node.id if isinstance(node, ast.Name) else None


def _dims(node: ast.AST | None) -> tuple[int, ...] | None:
    """The axes that a `.sum(...)` names."""
    if not isinstance(node, ast.Call) or not node.args:
        return None
    axes = node.args[0].elts if isinstance(node.args[0], ast.Tuple) else [node.args[0]]
    found = [trees.number_of(axis) for axis in axes]
    return tuple(int(axis) for axis in found if axis is not None)


def _product(node: ast.AST | None) -> ast.BinOp | None:
    for part in ast.walk(node) if node is not None else ():
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.MatMult):
            return part
    return None
