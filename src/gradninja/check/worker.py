"""Judging in a process of its own, so that a file may hang, print, exit or crash as it likes.

The command line starts `python -m gradninja.check.worker`, waits, and reads the report from a file;
what the person's lines print goes nowhere. Where time runs out, the watchdog of `faulthandler`
writes down which line was running and ends the process, whatever that line is doing.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import linecache
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gradninja.check.given.module import spot_of
from gradninja.check.tell.types import CheckError, Report
from gradninja.errors import GradninjaError, Spot

START = 60.0  # seconds that importing torch may take on top
FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


def check_apart(
    file: str,
    backward: str | None,
    timeout: float,
    memory: float = 4.0,
    split: dict[str, str] | None = None,
    **asked: bool | list[str] | None,
) -> Report:
    """The report on a file, judged in a process of its own.

    Args:
        file: `FILE.py`, `FILE.py:name`, or the name of a model that comes with gradninja.
        timeout: seconds, after which it is given up.
        memory: GB that it may take, beside what is there before the file runs.
        split: the axes over ranks, as `gradninja.check` has them.
        asked: `complete`, `only`, `lenient`, as `gradninja.check` has them.

    Raises:
        GradninjaError: it could not be judged.
    """
    with tempfile.TemporaryDirectory(prefix="gradninja-") as folder:
        answer, trace = Path(folder) / "answer.json", Path(folder) / "trace.txt"
        token = secrets.token_hex(16)
        request = json.dumps(
            [token, file, backward, timeout, memory, str(answer), str(trace), split, asked]
        )
        command = [sys.executable, "-m", "gradninja.check.worker"]
        try:
            code, said = _run(command, request, timeout + START)
        except subprocess.TimeoutExpired:
            raise _out_of_time(timeout, None) from None
        if answer.exists():
            found = json.loads(answer.read_text(encoding="utf-8"))
            if found.get("token") != token:
                raise CheckError(
                    "the file writes its own report", hint="let the judge tell what is right"
                )
            if "error" in found:
                raise CheckError(found["error"])
            return Report.from_dict(found["report"])
        if trace.exists() and trace.stat().st_size:
            raise _out_of_time(timeout, _running(trace.read_text(encoding="utf-8"), file))
    if "gradninja" in said and "Traceback" in said:
        raise RuntimeError(said)  # our own mistake: it is shown in full
    raise CheckError(
        f"the process that ran the file ended with code {code} before it was judged",
        hint="a line of it ends the program (os._exit, a crash in compiled code), or wants more "
        f"memory than the {memory:g} GB of --memory",
    )


def _run(command: list[str], request: str, timeout: float) -> tuple[int, str]:
    """A command's exit code and what it wrote to stderr. Nothing that it started is left.

    The request goes through a pipe that it reads to the end: no argument or file tells of it.

    It is in a session of its own: Ctrl-C is for this process, which ends it.
    """
    quiet: Any = subprocess.DEVNULL
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=quiet, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            _, said = process.communicate(request.encode(), timeout=timeout)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said.decode(errors="replace").strip()


def _out_of_time(timeout: float, spot: Spot | None) -> CheckError:
    return CheckError(
        f"the file did not come to an end within {timeout:g} s",
        spot=spot,
        hint="look for a loop that never ends, or give more time with --timeout",
    )


def _running(trace: str, file: str) -> Spot | None:
    """The line of the person's file that was running: the deepest that the watchdog saw."""
    mine = Path(file.partition(".py:")[0] + ".py" if ".py:" in file else file)
    for match in FRAME.finditer(trace):
        if Path(match["file"]).name == mine.name:
            number = int(match["line"])
            text = linecache.getline(str(mine), number).rstrip("\n")
            return Spot(str(mine), number, text, len(text) - len(text.lstrip()))
    return None


def _bundled(file: str) -> str:
    """The path of a model that comes with gradninja, where that is what is meant."""
    from gradninja.models import BUILTIN, load

    name, _, function = file.partition(":")
    if name in BUILTIN and not Path(name).exists():
        path = str(load(name).path)
        return f"{path}:{function}" if function else path
    return file


def _limit(memory: float) -> None:
    """Let this process take so many GB more, where the system can hold it to that."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + int(memory * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (ImportError, OSError, ValueError):
        return  # no such limit on this system


def main(request: str) -> None:
    """Answer one request."""
    token, file, backward, timeout, memory, answer, trace, split, asked = json.loads(request)
    from gradninja.check.judge import judge
    from gradninja.check.ranks.judge import judge as judge_ranks
    from gradninja.check.verdicts.asked import Asked

    _limit(memory)
    with Path(trace).open("w", encoding="utf-8") as watched:
        faulthandler.dump_traceback_later(timeout, exit=True, file=watched)
        found: dict[str, Any]
        try:
            if split is None:
                report = judge(_bundled(file), backward, None, Asked.of(**asked))
            else:
                report = judge_ranks(_bundled(file), backward, None, split)
            found = {"report": report.to_dict()}
        except GradninjaError as error:
            found = {"error": str(error)}
        except KeyboardInterrupt as error:  # Ctrl-C does not come here: the file raises it
            spot = spot_of(error, file.partition(".py:")[0] + ".py" if ".py:" in file else file)
            found = {"error": str(CheckError("the file raises KeyboardInterrupt", spot=spot))}
        except MemoryError:
            text = f"the file wants more memory than the {memory:g} GB that a check may take"
            found = {"error": str(CheckError(text, hint="use smaller sizes, or --memory"))}
        faulthandler.cancel_dump_traceback_later()
    part = Path(answer + ".part")
    found["token"] = token  # the file that was run has not seen it
    part.write_text(json.dumps(found, allow_nan=False), encoding="utf-8")
    part.replace(answer)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        told = sys.stdin.read()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        main(told)
