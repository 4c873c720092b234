"""The command line, called in this process."""

from __future__ import annotations

import sys

from gradninja import cli


def call(*args: str) -> int:
    """The exit code of a command, in this process."""
    before = sys.argv
    sys.argv = ["gradninja", *args]
    try:
        cli.main()
    except SystemExit as left:
        return int(left.code or 0)
    finally:
        sys.argv = before
    return 0
