"""Judging in a process of its own, so that a file may hang, print, exit or crash as it likes.

The command line starts `python -m gradninja.check.worker`, which imports torch once and judges each
file in a fork of its own; it never runs a line of a person's. The report comes through a file; what
the person's lines print goes nowhere. Where time runs out, the watchdog of `faulthandler` writes
down which line was running and ends the process, whatever that line is doing.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import linecache
import os
import re
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from gradninja.check.given.module import spot_of
from gradninja.check.tell.findings import CheckError, Report
from gradninja.errors import GradninjaError, Spot
from gradninja.files import file_and_name
from gradninja.memory import is_lack_of_memory, limit

START = 60.0  # seconds that importing torch may take on top
# What every file wants; `autograd.grad` imports the first when it is first called.
ONCE = (
    "torch.fx.experimental.symbolic_shapes",
    "gradninja.check.judge",
    "gradninja.check.ranks.judge",
)
FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


def check_apart(
    file: str,
    backward: str | None,
    timeout: float,
    memory: float = 4.0,
    split: dict[str, str] | None = None,
    **asked: bool | list[str] | None,
) -> Report:
    """The report on one file, judged in a process of its own. See `Judges.check`."""
    with Judges() as judges:
        return judges.check(file, backward, timeout, memory, split, **asked)


class Judges:
    """A process that judges files, one after the other, each in a fork of its own.

    It is started by the first file. Where a system has no fork, by each file anew.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Judges:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def check(
        self,
        file: str,
        backward: str | None,
        timeout: float,
        memory: float = 4.0,
        split: dict[str, str] | None = None,
        **asked: bool | list[str] | None,
    ) -> Report:
        """The report on a file.

        Args:
            file: `FILE.py`, `FILE.py:name`, or the name of a model that comes with gradninja.
            timeout: seconds, after which it is given up.
            memory: GB that it may take, beside what is there before the file runs.
            split: the axes over ranks, as `gradninja.check` has them.
            asked: `complete`, `only`, `lenient`, `under`, as `gradninja.check` has them.

        Raises:
            GradninjaError: it could not be judged.
        """
        with tempfile.TemporaryDirectory(prefix="gradninja-") as folder:
            answer, trace = Path(folder) / "answer.json", Path(folder) / "trace.txt"
            token = secrets.token_hex(16)
            request = json.dumps(
                [token, file, backward, timeout, memory, str(answer), str(trace), split, asked]
            )
            told = self._ask(request, timeout + START)
            if told is None:
                raise _out_of_time(timeout, None)
            code, said = told
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
            hint="a line of it ends the program (os._exit, a crash in compiled code), or wants "
            f"more memory than the {memory:g} GB of --memory",
        )

    def _ask(self, request: str, timeout: float) -> tuple[int, str] | None:
        """The fork's exit code and what it wrote to stderr; None where it takes too long.

        The request goes through a pipe that is read to its end: no argument or file tells of it.
        """
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(request.encode() + b"\n")
            process.stdin.flush()
        until, found = time.monotonic() + timeout, b""
        while not found.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], until - time.monotonic())
            part = os.read(process.stdout.fileno(), 1 << 16) if ready else b""
            if not part:  # too long, or the file ended the process that judges
                self.end()
                return (process.returncode, "") if ready else None
            found += part
        code, said = json.loads(found)
        return int(code), str(said)

    def _started(self) -> subprocess.Popen[bytes]:
        """It is in a session of its own: Ctrl-C is for this process, which ends it."""
        if self.process is None or self.process.poll() is not None:
            command, pipe = [sys.executable, "-m", "gradninja.check.worker"], subprocess.PIPE
            self.process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True
            )
        return self.process

    def end(self) -> None:
        """Nothing that was started is left."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            for pipe in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]
            self.process.wait()
            self.process = None


def _out_of_time(timeout: float, spot: Spot | None) -> CheckError:
    return CheckError(
        f"the file did not come to an end within {timeout:g} s",
        spot=spot,
        hint="look for a loop that never ends, or give more time with --timeout",
    )


def _running(trace: str, file: str) -> Spot | None:
    """The line of the person's file that was running: the deepest that the watchdog saw."""
    mine = file_and_name(file)[0]
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


def main(request: str) -> None:
    """Answer one request."""
    token, file, backward, timeout, memory, answer, trace, split, asked = json.loads(request)
    from gradninja.check.judge import judge
    from gradninja.check.ranks.judge import judge as judge_ranks
    from gradninja.check.verdicts.asked import Asked

    limit(memory * 2**30)
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
            spot = spot_of(error, str(file_and_name(file)[0]))
            found = {"error": str(CheckError("the file raises KeyboardInterrupt", spot=spot))}
        except Exception as error:
            if not is_lack_of_memory(error):
                raise
            text = f"the file wants more memory than the {memory:g} GB that a check may take"
            found = {"error": str(CheckError(text, hint="use smaller sizes, or --memory"))}
        faulthandler.cancel_dump_traceback_later()
    part = Path(answer + ".part")
    found["token"] = token  # the file that was run has not seen it
    part.write_text(json.dumps(found, allow_nan=False), encoding="utf-8")
    part.replace(answer)


def serve() -> None:
    """Answer requests, a line each, in forks; where there are none, the first one only."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    for stream in (0, 1):
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    for name in ONCE:
        importlib.import_module(name)

    for request in requests:
        with tempfile.TemporaryFile() as said:
            code = _forked(request.decode(), said.fileno(), (requests, answers))
            said.seek(0)
            told = said.read().decode(errors="replace").strip()
        answers.write(json.dumps([code, told]).encode() + b"\n")
        answers.flush()
        if sys.platform != "linux":
            break


def _forked(request: str, said: int, pipes: Sequence[IO[bytes]]) -> int:
    """Answer a request in a fork, and leave nothing of it running; its exit code."""
    if sys.platform != "linux":  # a fork there may lack what libraries started
        os.dup2(said, 2)
        main(request)
        return 0
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(status)
    code = 1
    try:
        os.setsid()
        os.dup2(said, 2)
        for pipe in pipes:
            os.close(pipe.fileno())
        main(request)
        code = 0
    except BaseException:  # our own mistake: it is shown in full
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        serve()
