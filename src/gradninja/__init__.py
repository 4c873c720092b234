"""gradninja: write the forward, own the backward.

The public verbs. They are imported when they are first used, so that `import gradninja` and
`gradninja --help` do not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradninja.derive import Backward, derive
    from gradninja.errors import GradninjaError
    from gradninja.rules import rule

__version__ = "0.1.0"
__all__ = ["Backward", "GradninjaError", "derive", "rule"]

_HOME = {
    "Backward": "gradninja.derive",
    "GradninjaError": "gradninja.errors",
    "derive": "gradninja.derive",
    "rule": "gradninja.rules",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'gradninja' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
