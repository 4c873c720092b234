"""Reports for programs: GitHub's annotations, SARIF, and JSON of several files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from gradninja.check.tell.findings import SCHEMA, LineReport, Report

SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


class Format(StrEnum):
    """How reports are printed."""

    TEXT = "text"
    GITHUB = "github"
    JSON = "json"
    SARIF = "sarif"


def to_github(reports: Sequence[Report]) -> str:
    """One workflow command a wrong line, which GitHub shows on the line of a pull request.

    Source: GitHub, "Workflow commands for GitHub Actions", setting an error message.
    """
    return "\n".join(
        f"::error file={_property(_file(report))}{_line(row)},"
        f"title={_property(title(row))}::{_data(message(row))}"
        for report in reports
        for row in report.wrong
    )


def to_sarif(reports: Sequence[Report]) -> str:
    """A log in SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format", 2020)."""
    results = [
        {
            "ruleId": row.kind or str(row.verdict),
            "level": "error",
            "message": {"text": f"{title(row)}. {message(row)}"},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": Path(_file(report)).as_posix()},
                        "region": {"startLine": row.line or 1},
                    }
                }
            ],
        }
        for report in reports
        for row in report.wrong
    ]
    rules = [{"id": name} for name in sorted({str(result["ruleId"]) for result in results})]
    run = {"tool": {"driver": {"name": "gradninja", "rules": rules}}, "results": results}
    return json.dumps({"$schema": SARIF, "version": "2.1.0", "runs": [run]}, ensure_ascii=False)


def to_json(reports: Sequence[Report], refused: Sequence[dict[str, str]]) -> str:
    """One object for a tree; `refused`: the files that could not be judged, with why."""
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "ok": not refused and all(report.ok for report in reports),
        "reports": [report.to_dict() for report in reports],
        "refused": list(refused),
    }
    return json.dumps(found, ensure_ascii=False, allow_nan=False)


def title(row: LineReport) -> str:
    return f"{row.name}: {row.verdict}" + (f" ({row.kind})" if row.kind else "")


def message(row: LineReport) -> str:
    """What is wrong and what to write, in plain text."""
    parts = [row.diagnosis or "", f"{row.place}, write: {row.fix}" if row.fix and row.place else ""]
    parts.append(row.reproducer or "")
    return "\n".join(part for part in parts if part)


def _file(report: Report) -> str:
    """The path alone: a report may name the Function after it."""
    path, mark, _ = report.file.partition(".py:")
    return path + ".py" if mark else report.file


def _line(row: LineReport) -> str:
    return "" if row.line is None else f",line={row.line}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
