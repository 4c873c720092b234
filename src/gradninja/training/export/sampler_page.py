"""A network as plain JSON, and as one page that samples from it without a server."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from torch import Tensor

from gradninja.errors import RunError
from gradninja.training.export.prediction import INPUT, Graph, traced
from gradninja.training.network import Network
from gradninja.training.sampling import longest

_PAGE = Path(__file__).with_name("page.html")
_MOST = 3.4028234663852886e38  # float32's; JSON has no infinity
# What the page's own code knows; a test holds it to that code.
KNOWN = frozenset(
    """index embedding mm bmm addmm add sub rsub mul div neg pow tanh sigmoid relu exp log sqrt
    rsqrt mean sum _softmax _log_softmax cat stack select slice split unbind getitem view
    _unsafe_view reshape expand permute transpose t unsqueeze squeeze clone masked_fill""".split()
)


def to_json(network: Network) -> str:
    """Vocabulary, sizes, constants and the lines that give logits of one row of letters."""
    return json.dumps(_told(network, traced(network, 1)), ensure_ascii=False)


def to_html(network: Network) -> str:
    """One file that samples words in a browser. Raises RunError for what its code cannot do."""
    graph = traced(network, 1)
    if unknown := sorted(graph.operations - KNOWN):
        raise RunError(
            f"the page cannot do `{unknown[0]}`, which the prediction of {network.model.name} does",
            hint="Write it in plainer operations, or export to ONNX or JSON.",
        )
    text = json.dumps(_told(network, graph), ensure_ascii=True)
    return _PAGE.read_text(encoding="utf-8").replace("{{network}}", text.replace("</", "<\\/"))


def _told(network: Network, graph: Graph) -> dict[str, Any]:
    return {
        "format": 1,
        "model": network.model.name,
        "vocabulary": list(network.config.vocabulary),
        "context": network.config.context,
        "whole_words": network.model.whole_words,
        "longest": longest(network),
        "input": INPUT,
        "constants": {
            name: {"shape": list(value.shape), "values": _numbers(value)}
            for name, value in graph.constants.items()
        },
        "lines": [[line.name, line.op, _finite(list(line.args))] for line in graph.lines],
        "output": graph.output,
    }


def _numbers(value: Tensor) -> list[float]:
    """In as few digits as give the same float32 back."""
    found = _finite(value.flatten().double().tolist())
    return [int(x) if x == int(x) else float(f"{x:.9g}") for x in found] if value.numel() else []


def _finite(value: Any) -> Any:
    """Infinities as the largest numbers there are. Raises RunError for NaN."""
    if isinstance(value, list):
        return [_finite(part) for part in value]
    if value != value:
        raise RunError("the network holds a NaN, which JSON has no number for")
    return math.copysign(_MOST, value) if value in (math.inf, -math.inf) else value
