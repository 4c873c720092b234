"""What the whole suite shares: one thread, and the count of PyTorch's samples at the end."""

from __future__ import annotations

from typing import Any

import pytest
import torch

# With more, `index_put` adds repeats up in the order in which threads come to them: autograd's own
# gradient of `a[:, i]` is then not the same twice, and nothing can equal it bit for bit.
torch.set_num_threads(1)

COUNTED = "op_db"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Right and refused samples over all op_db tests, gathered from every worker's reports."""
    reports = [
        report
        for status in ("passed", "failed")
        for report in terminalreporter.stats.get(status, [])
        if isinstance(report, pytest.TestReport)
    ]
    counts = [value for r in reports for key, value in r.user_properties if key == COUNTED]
    if counts:
        right, refused = sum(c[1] for c in counts), sum(c[2] for c in counts)
        terminalreporter.write_line(
            f"op_db: {right} of PyTorch's samples right, {refused} refused, "
            f"{len(counts)} ops and variants; none may be wrong"
        )
