"""What a learner has written: a JSON file that one can read, written whole each time."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from gradninja.errors import GradninjaError


class Progress:
    """The texts and verdicts of a learner, by chapter and step.

    Raises:
        GradninjaError: the file is there and is no progress file; it is left as it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, dict[str, Any]]] = {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise GradninjaError(
                f"{path} cannot be read as a progress file: {error}",
                hint="move it away, or give another one with --progress",
            ) from None
        if not isinstance(found, dict) or not isinstance(found.get("chapters"), dict):
            raise GradninjaError(
                f"{path} is no progress file", hint="give another one with --progress"
            )
        self.rows = found["chapters"]

    def of(self, chapter: str) -> dict[str, dict[str, Any]]:
        return self.rows.get(chapter, {})

    def note(self, chapter: str, step: str, **what: Any) -> None:
        """Keep what is known of a step, and write the file."""
        row = self.rows.setdefault(chapter, {}).setdefault(step, {})
        if any(row.get(key) != value for key, value in what.items()):
            row.update(what)
            self.write()

    def write(self) -> None:
        part = self.path.with_name(f"{self.path.name}.part")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("w", encoding="utf-8") as file:
                file.write(self.text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                part.unlink()

    @property
    def text(self) -> str:
        return json.dumps({"chapters": self.rows}, ensure_ascii=False, indent=1) + "\n"
