"""How well mistakes in Functions are found: those that the files of tests/functions list.

    python benchmarks/functions.py [NAME ...]

Every Function is judged as it stands, then with each of its mistakes: is it called wrong, is the
changed line the one that is named, and is all right with the mend put in?
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import torch

from functions_trial import judged, mended, planted, texts


def main(names: list[str]) -> None:
    """Judge them, print what is missed, and the figures."""
    torch.set_num_threads(1)
    begun, right = time.process_time(), 0
    planted_, flagged, lines, mends = 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for name in names or sorted(texts()):
            mistakes = list(planted(name))
            right += judged(mistakes[0].right, Path(folder)).ok
            for mistake in mistakes:
                report = judged(mistake.text, Path(folder))
                line = mistake.line in [row.line for row in report.wrong]
                mend = not report.ok and judged(mended(mistake.text, report), Path(folder)).ok
                planted_, flagged = planted_ + 1, flagged + (not report.ok)
                lines, mends = lines + line, mends + mend
                if not (line and mend):
                    print(
                        f"{name}, line {mistake.line}: {'' if line else 'another line, '}", end=""
                    )
                    print("mended" if mend else "no mend" if not report.ok else "not flagged")
    print(f"{planted_} mistakes: {flagged} flagged, {lines} at the line, {mends} mended")
    print(f"{right} right as they are; {time.process_time() - begun:.0f} s of CPU")


if __name__ == "__main__":
    main(sys.argv[1:])
