"""The workbook's page on this machine: the standard library's server, one page, JSON below it.

It runs what is typed into the page, so it listens on this machine only, and answers only who has
the key of the address that was printed: another page in the same browser has not.
"""

from __future__ import annotations

import hmac
import json
import secrets
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gradninja.errors import GradninjaError
from gradninja.learn.workbook.chapters import CHAPTERS, ENDLESS
from gradninja.learn.workbook.endless import LEVELS, SAYS
from gradninja.learn.workbook.judge_process import Worker
from gradninja.learn.workbook.progress import Progress

HOST = "127.0.0.1"
LONGEST = 1 << 16  # bytes of a request


class Workbook:
    """The state behind the page."""

    def __init__(self, progress: Path, timeout: float = 10.0) -> None:
        self.progress = Progress(progress)
        self.worker = Worker(timeout)
        self.key = self._key(progress.with_name(f".{progress.name}.key"))

    @staticmethod
    def _key(path: Path) -> str:
        """The key of the address, the same after a restart, so that an open page goes on."""
        try:
            kept = path.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            kept = ""
        if len(kept) >= 32:
            return kept
        key = secrets.token_urlsafe(24)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(key, encoding="ascii")
        return key

    def contents(self) -> dict[str, Any]:
        """The chapters, with how many steps are right in each."""
        told = []
        for chapter in CHAPTERS:
            done = self._done(chapter.name)
            told.append({"name": chapter.name, "title": chapter.title, "right": done})
        endless = []
        for level in range(1, LEVELS + 1):
            names = [n for n in self.progress.rows if n.startswith(f"{ENDLESS}-{level}-")]
            begun = [int(n.rpartition("-")[2]) for n in names]
            endless.append({"level": level, "says": SAYS[level - 1], "next": max(begun, default=1)})
        return {"chapters": told, "endless": endless}

    def _done(self, chapter: str) -> int:
        return sum(bool(row.get("right")) for row in self.progress.of(chapter).values())

    def chapter(self, name: str) -> dict[str, Any]:
        found = self.worker.ask("told", name)
        for step in found.get("answer", {}).get("steps", ()):
            row = self.progress.of(name).get(step["name"], {})
            kept = {key: row[key] for key in ("text", "right", "stage") if key in row}
            step.update({"text": "", "right": False, "stage": 0, **kept})
        return found

    def judge(self, name: str, step: str, text: str) -> dict[str, Any]:
        found = self.worker.ask("judge", name, step, text)
        right = found.get("answer", {}).get("verdict") == "right"
        self.progress.note(name, step, text=text, right=right)
        return found

    def hint(self, name: str, step: str, stage: int) -> dict[str, Any]:
        found = self.worker.ask("hint", name, step, stage)
        if "answer" in found:
            most = max(stage, int(self.progress.of(name).get(step, {}).get("stage", 0)))
            self.progress.note(name, step, stage=most)
        return found

    def train(self, name: str, begin: bool) -> dict[str, Any]:
        """A part of the training with what the learner has written in a chapter."""
        rows = self.progress.of(name)
        told = self.worker.ask("told", name).get("answer", {})
        texts = [str(rows.get(step["name"], {}).get("text", "")) for step in told.get("steps", ())]
        return self.worker.ask("train", name, "\n".join(texts), begin)

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to what the page asks.

        Raises:
            KeyError, TypeError, ValueError: it asks for nothing that there is.
        """
        match asked["action"]:
            case "contents":
                return {"answer": self.contents()}
            case "chapter":
                return self.chapter(str(asked["chapter"]))
            case "judge":
                return self.judge(str(asked["chapter"]), str(asked["step"]), str(asked["text"]))
            case "hint":
                return self.hint(str(asked["chapter"]), str(asked["step"]), int(asked["stage"]))
            case "train":
                return self.train(str(asked["chapter"]), bool(asked["begin"]))
        raise KeyError(asked["action"])


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if not self._allowed(parse_qs(url.query).get("key", [""])[0]):
            return
        if url.path == "/":
            page = files("gradninja.learn.workbook").joinpath("page.html").read_bytes()
            self._send(200, page, "text/html; charset=utf-8")
        elif url.path == "/progress.json":
            text = self.server.book.progress.text.encode()
            self._send(200, text, "application/json; charset=utf-8")
        else:
            self._send(404, b"there is no such page", "text/plain")

    def do_POST(self) -> None:
        if not self._allowed(self.headers.get("X-Gradninja-Key", "")):
            return
        try:
            length = int(self.headers.get("Content-Length", "0"))
            if not 0 <= length <= LONGEST:
                raise ValueError("too long")
            found = self.server.book.answer(json.loads(self.rfile.read(length)))
        except (KeyError, TypeError, ValueError) as error:
            self._send(400, f"not understood: {error}".encode(), "text/plain; charset=utf-8")
            return
        except OSError as error:
            found = {"failed": f"progress cannot be written: {error.strerror}"}
        self._send(200, json.dumps(found).encode(), "application/json")

    def _allowed(self, key: str) -> bool:
        """Whether it is asked of this machine by its own name, and with the key."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host in {HOST, "localhost"} and hmac.compare_digest(
            key.encode(), self.server.book.key.encode()
        ):
            return True
        self._send(403, b"open the address that `gradninja learn` printed", "text/plain")
        return False

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed for a request."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that went away before its answer came is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def __init__(self, book: Workbook, port: int) -> None:
        self.book = book
        try:
            super().__init__((HOST, port), Handler)
        except OSError as error:
            raise GradninjaError(
                f"port {port} cannot be used: {error.strerror}",
                hint="another workbook may be open; give another one with --port",
            ) from None

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}/?key={self.book.key}"
