"""How long a learner waits for a verdict of `gradninja.cmp`, in a live process.

    python benchmarks/desk.py

The lecture's 26 gradients, right; then a wrong attempt for each, of which the kind is found; then
one that no edit mends, for which all is tried. Each is timed in the process that holds the session,
as in a notebook; the forward is read once before.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))


from gradninja.learn.compare import Desk
from gradninja.learn.session import Session, cells
from lecture import LINES, exercise, run

DOUBLED = "\nd{name} = 2 * d{name}"  # an attempt that runs, whatever the gradient
BEYOND = "d{name} = torch.sin({name}) * 0.3 + torch.cos({name})"


def timed(name: str, texts: list[str], desk: Desk) -> tuple[tuple[float, float], bool]:
    """Seconds until the verdict, on the clock and of the processor, and whether it was `right`."""
    names = run(texts)
    begin, work = time.perf_counter(), time.process_time()
    here = Session(tuple(cells(texts)), names, True)
    found = desk.compare(here, name, names[f"d{name}"], names[name])
    found.text()
    return (time.perf_counter() - begin, time.process_time() - work), found.ok


def main() -> None:
    desk = Desk()
    timed("C", exercise(), desk)
    timed("C", exercise(C=LINES["C"] + DOUBLED.format(name="C")), desk)
    right, wrong, beyond = [], [], []
    for name, line in LINES.items():
        texts = exercise()
        stop = texts.index(line) + 1
        seconds, ok = timed(name, texts[:stop], desk)
        assert ok, name
        right.append(seconds)
        attempt = BEYOND.format(name=name)
        seconds, ok = timed(name, [*texts[: stop - 1], attempt], desk)
        assert not ok, name
        beyond.append(seconds)
        if name in {"logit_maxes", "b1"}:
            continue  # twice zero is zero
        attempt = line + DOUBLED.format(name=name)
        texts = [*texts[: stop - 1], attempt]
        seconds, ok = timed(name, texts, desk)
        assert not ok, name
        wrong.append(seconds)
    for what, found in (("right", right), ("wrong", wrong), ("beyond a mend", beyond)):
        clock, work = zip(*found, strict=True)
        print(
            f"{what}: {len(found)} gradients, median {statistics.median(clock):.3f} s, longest "
            f"{max(clock):.3f} s; of the processor {statistics.median(work):.3f} s, most "
            f"{max(work):.3f} s"
        )


if __name__ == "__main__":
    main()
