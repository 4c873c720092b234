"""Write the forward, own the backward: backward passes as plain PyTorch or NumPy lines.

    write   derive(forward)               the backward, one line at a time
            fuse(forward)                 all in one go: the short formula
            shard(forward, split=...)     the lines of one rank of several
            explain(forward)              either of them, to be read
            compile(forward)              forward and backward as one loop of machine code
            rule(function, x=..., why=)   teach it a function of your own
    judge   check(forward, backward)      which line is wrong, and the line to write instead
            assert_backward(...)          the same in a test
    run     train("words.txt", "gru")     a network on a list of words, without autograd
            sample(run, 20)               new words from it
    learn   cmp("x", dx, x)               the lecture's call, with the kind of the mistake
            hint("x")                     what leads on to a gradient, a stage at a time

A forward is a function, `FILE.py`, `FILE.py:name`, the text of a function, or a module. What goes
wrong is a `GradninjaError` of `gradninja.errors`. The verbs are imported when they are first used,
so that `import gradninja` and `gradninja --help` do not wait for torch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from gradninja.errors import GradninjaError

if TYPE_CHECKING:
    from gradninja.algebra import Fused
    from gradninja.algebra.fuse import fuse
    from gradninja.check import Report, assert_backward, check
    from gradninja.derive import Backward, derive
    from gradninja.explain import explain
    from gradninja.learn import cmp, hint
    from gradninja.native import Compiled, compile
    from gradninja.ranks import Sharded, shard
    from gradninja.rules import rule
    from gradninja.training.verbs import sample, train

__version__ = "0.2.0"
__all__ = [
    "Backward",
    "Compiled",
    "Fused",
    "GradninjaError",
    "Report",
    "Sharded",
    "assert_backward",
    "check",
    "cmp",
    "compile",
    "derive",
    "explain",
    "fuse",
    "hint",
    "rule",
    "sample",
    "shard",
    "train",
]

_HOME = {
    "Backward": "gradninja.derive",
    "Compiled": "gradninja.native",
    "Fused": "gradninja.algebra",
    "Report": "gradninja.check",
    "Sharded": "gradninja.ranks",
    "assert_backward": "gradninja.check",
    "check": "gradninja.check",
    "cmp": "gradninja.learn",
    "compile": "gradninja.native",
    "derive": "gradninja.derive",
    "explain": "gradninja.explain",
    "fuse": "gradninja.algebra",
    "hint": "gradninja.learn",
    "rule": "gradninja.rules",
    "sample": "gradninja.training.verbs",
    "shard": "gradninja.ranks",
    "train": "gradninja.training.verbs",
}


class _Package(ModuleType):
    """A verb shares its name with the room it lives in; the package has the verb so named."""

    def __setattr__(self, name: str, value: object) -> None:
        # Importing `gradninja.derive` binds the submodule on the package, whenever it happens.
        if not (isinstance(value, ModuleType) and _HOME.get(name) == value.__name__):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'gradninja' has no attribute {name!r}")
        if name in {"Backward", "Fused", "derive", "fuse"}:
            import_module("gradninja.explain")  # which lets a Backward show itself in a notebook
        value: object = getattr(import_module(_HOME[name]), name)
        super().__setattr__(name, value)
        return value

    def __dir__(self) -> list[str]:
        return [*__all__, "__version__"]


def load_ipython_extension(shell: object) -> None:
    """`%load_ext gradninja`: see `gradninja.learn.magics`."""
    from gradninja.learn.magics import load

    load(shell)


sys.modules[__name__].__class__ = _Package
