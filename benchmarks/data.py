"""Time and memory to load words: ours, and the lecture's lists and tensors.

    python benchmarks/data.py                        # 3,000,000 and 300,000 made-up words
    python benchmarks/data.py --words 1000000 --lecture 100000

Each is run in a process of its own, on one core where the system can pin one, and its peak memory
is the whole process's. The lecture's way is run on fewer words (`--lecture`), and so are we for
the ratios, which are printed per word. Its time does not count importing torch; ours and its
memory count everything.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONTEXT = 3


def make_words(path: Path, count: int) -> None:
    """Made-up words with the letters and lengths of the embedded list."""
    from gradninja.data import EMBEDDED

    known = EMBEDDED.read_text().split()
    letters = "".join(known)
    generator = random.Random(0)
    with path.open("w") as file:
        for _ in range(count):
            length = len(known[int(generator.random() * len(known))])
            file.write("".join(generator.choices(letters, k=length)) + "\n")


def ours(path: Path) -> float:
    from gradninja.data import load_words

    start = time.perf_counter()
    load_words(path)
    return time.perf_counter() - start


def lecture(path: Path) -> float:
    import torch

    start = time.perf_counter()
    words = path.read_text().splitlines()
    tokens = {letter: place for place, letter in enumerate(sorted(set("".join(words))), start=1)}
    tokens["."] = 0

    def build(part: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        X, Y = [], []
        for word in part:
            context = [0] * CONTEXT
            for letter in word + ".":
                X.append(context)
                Y.append(tokens[letter])
                context = [*context[1:], tokens[letter]]
        return torch.tensor(X), torch.tensor(Y)

    random.Random(42).shuffle(words)
    n1, n2 = int(0.8 * len(words)), int(0.9 * len(words))
    splits = [build(part) for part in (words[:n1], words[n1:n2], words[n2:])]
    assert len(splits) == 3
    return time.perf_counter() - start


def run(who: str, path: Path) -> tuple[float, float]:
    """Seconds and MB of one way in a process of its own."""
    command = [sys.executable, __file__, "--run", who, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    return result["seconds"], result["megabytes"]


def run_here(who: str, path: Path) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    seconds = {"ours": ours, "lecture": lecture}[who](path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1e6 if sys.platform == "darwin" else 1e6 / 1024
    print(json.dumps({"seconds": seconds, "megabytes": peak / unit}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=3_000_000, help="how many words we load")
    parser.add_argument("--lecture", type=int, default=300_000, help="how many the lecture's way")
    parser.add_argument("--repeat", type=int, default=3, help="runs of ours; the best counts")
    parser.add_argument("--run", nargs=2, metavar=("WHO", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run_here(options.run[0], Path(options.run[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        many, few = Path(folder) / "many.txt", Path(folder) / "few.txt"
        make_words(many, options.words)
        make_words(few, options.lecture)
        rows = [
            ("gradninja", options.words, *min(run("ours", many) for _ in range(options.repeat))),
            ("gradninja", options.lecture, *min(run("ours", few) for _ in range(options.repeat))),
            ("the lecture's", options.lecture, *run("lecture", few)),
        ]
    print(f"{'who':15}{'words':>12}{'seconds':>10}{'peak MB':>10}")
    for who, count, seconds, megabytes in rows:
        print(f"{who:15}{count:12,}{seconds:10.3f}{megabytes:10.0f}")
    (_, _, our_time, our_memory), (_, _, time_, memory) = rows[1:]
    print(
        f"on {options.lecture:,} words the lecture's way takes {time_ / our_time:.0f}x our time",
        end="",
    )
    print(f" and {memory / our_memory:.1f}x our memory")


if __name__ == "__main__":
    main()
