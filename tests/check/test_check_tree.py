"""Where engineers work: a tree, its formats, and pytest."""

from __future__ import annotations

import importlib
import json
import types
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from gradninja.check import BackwardWrong, CheckError, check, plugin
from gradninja.check.tell.for_programs import title, to_github, to_sarif
from gradninja.cli import app

WRONG = """import torch


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad_out):
        (x,) = ctx.saved_tensors
        return grad_out * x
"""


def test_a_tree_is_judged_and_printed_for_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "wrong.py").write_text(WRONG)
    (tmp_path / "src" / "right.py").write_text(WRONG.replace("grad_out * x", "2 * grad_out * x"))
    (tmp_path / "src" / "other.py").write_text("raise SystemExit\n")
    worker = importlib.import_module("gradninja.check.worker")
    paths = [tmp_path / "src" / name for name in ("right.py", "wrong.py")]
    ready = {str(path): check(path) for path in paths}
    # Files are judged in processes of their own, each asked by a thread.
    monkeypatch.setattr(worker.Judges, "check", lambda self, file, *_, **__: ready[file])
    found = CliRunner().invoke(app, ["check", str(tmp_path / "src"), "--format", "json"])
    assert found.exit_code == 1, found.output
    told: dict[str, Any] = json.loads(found.output)
    assert told["schema"] == "gradninja.check/1"
    assert [Path(report["file"]).name for report in told["reports"]] == ["right.py", "wrong.py"]
    (row,) = [line for line in told["reports"][1]["lines"] if line["verdict"] == "wrong"]
    assert (row["line"], row["fix"]) == (13, "return 2 * grad_out * x")
    report = check(tmp_path / "src" / "wrong.py")
    assert f"wrong.py,line=13,title=dx%3A wrong ({row['kind']})::" in to_github([report])
    (result,) = json.loads(to_sarif([report]))["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 13
    told = result["message"]["text"]
    assert told.startswith(f"dx: wrong ({row['kind']}). ") and row["fix"] in told
    assert title(replace(report.wrong[0], kind=None)) == "dx: wrong"


def test_one_process_judges_several_files_and_outlives_what_they_do(tmp_path: Path) -> None:
    """Each file in a fork of it: what one does to its process, the next does not see."""
    from gradninja.check.worker import Judges

    ends = "import os\nos._exit(3)\n"
    kills = "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n"
    for name, first in (("ends", ends), ("wrong", ""), ("kills", kills), ("right", "")):
        text = WRONG if name == "wrong" else WRONG.replace("grad_out * x", "2 * grad_out * x")
        (tmp_path / f"{name}.py").write_text(first + text)
    with Judges() as judges:
        with pytest.raises(CheckError, match="ended with code 3"):
            judges.check(str(tmp_path / "ends.py"), None, 60.0)
        before = judges.process
        assert not judges.check(str(tmp_path / "wrong.py"), None, 60.0).ok
        assert judges.process is before
        with pytest.raises(CheckError, match="before it was judged"):
            judges.check(str(tmp_path / "kills.py"), None, 60.0)
        assert judges.check(str(tmp_path / "right.py"), None, 60.0).ok


def test_pytest_judges_what_tests_import(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text(WRONG)
    scope: dict[str, Any] = {}
    exec(compile(WRONG, str(tmp_path / "kernels.py"), "exec"), scope)
    module = types.ModuleType("test_it")
    module.kernels = types.ModuleType("kernels")  # type: ignore[attr-defined]
    vars(module.kernels).update(scope)
    items: list[Any] = [SimpleNamespace(module=module)]
    config: Any = SimpleNamespace(getoption=lambda name: True)
    plugin.pytest_collection_modifyitems(request.session, config, items)
    (item,) = items[1:]
    assert item.name == "gradninja::Square"
    with pytest.raises(BackwardWrong, match=r"write: return 2 \* grad_out \* x"):
        item.runtest()
