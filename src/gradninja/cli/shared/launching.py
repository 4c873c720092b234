"""Starting ranks, by torchrun's own launcher, and one message where one of them fails."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradninja.errors import RunError

INTERRUPTED = 130
ERRORS = "TORCHELASTIC_ERROR_FILE"  # where a rank tells its launcher what was wrong
LOST = "waits for ranks that do not answer"  # what the other ranks say


def is_rank() -> bool:
    """Whether torchrun, or we, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def told(error: Exception) -> bool:
    """Tell an error to what started the ranks; whether there is such a one."""
    path = os.environ.get(ERRORS)
    if not path or not is_rank():
        return False
    more = {"py_callstack": "", "timestamp": str(int(time.time()))}
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123 - as torch reads it
        json.dump({"message": {"message": str(error), "extraInfo": more}}, file)
    return True


def refuse_on_ranks(verify: bool, fit: bool) -> None:
    """Raise RunError for what one process alone can do."""
    for asked, name in ((verify, "--verify"), (fit, "--fit")):
        if asked:
            raise RunError(
                f"several ranks cannot {name}: that is one process's work",
                hint=f"Leave {name} out, or --ranks.",
            )


def launch(arguments: list[str], ranks: int, model: str, named: Path | None) -> int:
    """Run `gradninja` with arguments on ranks; the exit code.

    Args:
        named: the run folder that the arguments name; without it one is made, for all ranks.

    Raises:
        RunError: a rank failed: which, and why.
    """
    os.environ.setdefault("LOGLEVEL", "CRITICAL")  # of the launcher: we tell what is wrong
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from gradninja.training.folder import numbered

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=f"gradninja-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    if named is None:
        named = numbered(Path(model).stem)
        arguments = [*arguments, "--out", str(named)]
    try:
        elastic_launch(config, sys.executable)("-m", "gradninja", *arguments)
    except ChildFailedError as error:
        if all(failure.exitcode == INTERRUPTED for failure in error.failures.values()):
            return INTERRUPTED
        raise _first(error.failures) from None
    except SignalException:
        return INTERRUPTED
    finally:
        with contextlib.suppress(OSError):
            named.rmdir()  # where nothing came of it
    return 0


def _first(failures: Mapping[int, Any]) -> RunError:
    """What went wrong, of the rank where it began: the others only lost it, and were ended."""

    def later(rank: int) -> tuple[bool, bool, float]:
        failure = failures[rank]
        ended = failure.exitcode == -signal.SIGTERM
        return (ended, LOST in _said(failure), failure.timestamp)

    rank = min(failures, key=later)
    first = failures[rank]
    if first.exitcode < 0:
        return RunError(
            f"rank {rank} was ended by {signal.Signals(-first.exitcode).name}",
            hint="The last checkpoint is whole; go on with --resume RUN.",
        )
    message, _, hint = _said(first).partition("\n")
    return RunError(f"rank {rank}: {message}", hint=hint.strip() or None)


def _said(failure: Any) -> str:
    """What a rank told, or what its launcher saw."""
    message = failure.message
    return str(message["message"] if isinstance(message, dict) else message)
