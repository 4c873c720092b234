"""The workbook: chapters, verdicts, progress, who is answered, and a learner in a browser."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from gradninja.errors import GradninjaError
from gradninja.learn.workbook import trained_by_hand
from gradninja.learn.workbook.chapters import CHAPTERS, generated
from gradninja.learn.workbook.exercise import Exercise, exercise
from gradninja.learn.workbook.judge_process import Worker
from gradninja.learn.workbook.progress import Progress
from gradninja.learn.workbook.server import Server, Workbook
from lecture import LINES

WITHOUT = [f"d{name} = d{name} * 0" for name in ("W1", "W2", "b2", "bngain", "bnbias")]


def solution(found: Exercise, step: str) -> str:
    return "\n".join(line.source for line in found.back.lines if line.of == step)


@pytest.mark.parametrize("name", [chapter.name for chapter in CHAPTERS])
def test_every_step_can_be_solved_by_what_is_shown(name: str) -> None:
    found = exercise(name)
    for step in found.steps:
        verdict = found.judge(step, found.hint(step, 5)[-1].replace("\n   ", "\n"))
        assert verdict["verdict"] == "right", (step, verdict)
        assert verdict["learnt"]


def test_the_lecture_s_own_lines_are_right() -> None:
    found = exercise("exercise-1")
    assert len(found.steps) == 26
    assert all(found.judge(name, text)["verdict"] == "right" for name, text in LINES.items())


def test_wrong_lines_have_their_kind_and_no_solution() -> None:
    found = exercise("exercise-1")
    told = found.judge("counts_sum_inv", "dcounts_sum_inv = counts * dprobs")
    assert (told["verdict"], told["kind"]) == ("wrong shape", "no sum over the broadcast axis")
    assert ".sum(" not in json.dumps(told)
    assert found.judge("h", "dh = dlogits @ W2")["kind"] == "transposed matmul"
    assert found.judge("h", "dh = dlogits @")["verdict"] == "unfinished"
    assert found.judge("h", "")["verdict"] == "to do"
    assert found.judge("h", "dx = 1")["said"] == ["no line writes dh"]


def test_programs_without_end_have_one_right_answer_each() -> None:
    programs = [Exercise(generated(level, number)) for level, number in ((1, 1), (3, 1), (5, 2))]
    for found in programs:
        for step in found.steps:
            assert found.judge(step, solution(found, step))["verdict"] == "right"
        wrong = solution(found, step) + f"\nd{step} = d{step} * 1.01 + 0.01"
        assert found.judge(step, wrong)["verdict"] == "wrong"
    programs = [generated(level, number) for level in range(1, 6) for number in range(1, 301)]
    assert len({program.forward for program in programs}) == 1500  # no two are the same
    assert generated(3, 7) == generated(3, 7)
    by_level = [programs[at * 300 : (at + 1) * 300] for at in range(5)]
    assert not any("@" in p.forward for p in (*by_level[0], *by_level[1], *by_level[2]))
    assert all(p.forward.count("@") == 1 for p in by_level[3])


def test_a_step_tells_what_flows_where() -> None:
    steps = {step["name"]: step for step in exercise("neuron").told()["steps"]}
    (way,) = steps["w"]["ways"]
    assert (way["gradient"], way["size"], steps["w"]["size"]) == ("dz", (4, 3), (1, 3))
    # Each column of dz flows into one element of dw, and each row into all of a sum's.
    assert sorted(way["links"]) == [(j, 3 * i + j) for j in range(3) for i in range(4)]
    (way,) = steps["z"]["ways"]
    assert sorted(way["links"]) == [(3 * i + j, i) for i in range(4) for j in range(3)]
    assert steps["s"]["have"] == ["dh", "da", "db"]
    assert exercise("exercise-1").told()["steps"][0]["ways"][0]["links"] == []  # too large


def test_training_goes_by_the_learner_s_own_lines() -> None:
    found = exercise("training")
    lines = [found.hint(step, 5)[-1].replace("\n   ", "\n") for step in found.steps]
    told = found.judge("W2", "dW2 = h.T @ dlogits"), found.judge("hprebn", "dhprebn = dbnraw")
    assert told[0]["verdict"] == "right"
    assert "dbnraw" in told[1]["said"][0]  # only what is written above is at hand
    first = found.train("\n".join(lines), begin=True)
    again = found.train("\n".join(lines), begin=False)
    assert first["step"] == 100 and again["step"] == 200 and len(again["losses"]) == 10
    assert first["losses"][0] > 3.0 > again["losses"][-1]
    still = found.train("\n".join([*lines, "dC = dC * 0", *WITHOUT]), begin=True)
    assert still["losses"][-1] > 3.2  # lines that give nothing teach nothing
    away = found.train("\n".join([*lines, "dW2 = dW2 * 1e30"]), begin=True)
    assert "run away" in away["said"]
    with pytest.raises(NameError):
        found.train("dC = nothing", begin=True)


def test_names_are_sampled_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained_by_hand, "STEPS", 20)
    found = exercise("training")
    lines = [found.hint(step, 5)[-1].replace("\n   ", "\n") for step in found.steps]
    told = found.train("\n".join(lines), begin=True)
    assert len(told["names"]) == 10 and told["step"] == told["of"] == 20
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz") for name in told["names"])


def test_progress_is_a_file_that_one_can_read(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    progress = Progress(path)
    progress.note("neuron", "h", text="dh = 1", right=False)
    assert (
        json.loads(path.read_text(encoding="utf-8"))["chapters"]["neuron"]["h"]["text"] == "dh = 1"
    )
    assert Progress(path).rows == progress.rows
    assert [p.name for p in tmp_path.iterdir()] == ["progress.json"]
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(GradninjaError, match="no progress file"):
        Progress(path)
    assert path.read_text(encoding="utf-8") == "[]"


def begin(progress: Path, port: int = 0) -> Server:
    server = Server(Workbook(progress, timeout=10.0), port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def end(server: Server) -> None:
    server.shutdown()
    server.server_close()
    server.book.worker.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: Any) -> Iterator[Server]:
    server = begin(tmp_path_factory.mktemp("book") / "progress.json")
    yield server
    end(server)


def asked(server: Server, body: Any, **headers: str) -> tuple[int, str]:
    connection = HTTPConnection(*server.server_address)  # type: ignore[arg-type]
    sent = {"X-Gradninja-Key": server.book.key, **headers}
    connection.request("POST", "/api", json.dumps(body), sent)
    got = connection.getresponse()
    return got.status, got.read().decode()


def test_only_who_has_the_key_is_answered(server: Server) -> None:
    contents = {"action": "contents"}
    status, told = asked(server, contents)
    levels = json.loads(told)["answer"]["endless"]
    assert status == 200 and [(one["level"], one["next"]) for one in levels] == [
        (level, 1) for level in range(1, 6)
    ]
    assert asked(server, contents, **{"X-Gradninja-Key": "guessed"})[0] == 403
    assert asked(server, contents, Host="elsewhere.example:80")[0] == 403
    assert asked(server, {"action": "else"})[0] == 400
    assert asked(server, [])[0] == 400
    connection = HTTPConnection(*server.server_address)  # type: ignore[arg-type]
    connection.request("GET", "/")
    assert connection.getresponse().status == 403


def test_a_line_that_hangs_or_ends_the_process_is_told() -> None:
    worker = Worker(timeout=2.0)
    try:
        assert "answer" in worker.ask("told", "neuron")
        told = worker.ask("judge", "neuron", "h", "while True: pass")
        assert "did not come to an end" in told["failed"]
        told = worker.ask("judge", "neuron", "h", "import os; os._exit(3)")
        assert "ended the process" in told["failed"]
    finally:
        worker.stop()


# -- a learner in a browser ---------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
def test_a_learner_in_a_browser(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="the dev extra is not installed")
    found = exercise("training")
    progress = Progress(tmp_path / "progress.json")
    for step in found.steps:  # as one who has all of that chapter right
        text = found.hint(step, 5)[-1].replace("\n   ", "\n")
        progress.note("training", step, text=text, right=True)
    server = begin(progress.path)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
            server = _learn(page, server, playwright.expect, tmp_path)
            _train(page, playwright.expect, tmp_path)
        finally:
            browser.close()
            end(server)


def _train(page: Any, expect: Any, shots: Path) -> None:
    page.reload()  # on a phone the chapters are folded away
    expect(page.get_by_role("heading", name="dcounts_sum_inv")).to_be_visible()
    page.get_by_text("chapters", exact=True).click()
    page.get_by_role("button", name="Training with your own backward (11 right)").click()
    page.get_by_role("button", name="train", exact=True).click()
    expect(page.get_by_role("img", name="the loss, from")).to_be_visible()
    expect(page.get_by_text("names that it makes up")).to_be_visible()
    page.screenshot(path=str(shots / "training.png"), full_page=True)


def _learn(page: Any, server: Server, expect: Any, shots: Path) -> Server:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(20_000)
    expect.set_options(timeout=20_000)
    page.goto(server.address + "#exercise-1/counts_sum_inv")
    editor, verdict = page.get_by_role("textbox"), page.get_by_role("status")
    expect(page.get_by_role("heading", name="dcounts_sum_inv")).to_be_visible()
    expect(editor).to_be_focused()
    page.keyboard.type("dcounts_sum_inv = counts * dprobs")  # by keyboard alone
    expect(verdict).to_contain_text("wrong shape: no sum over the broadcast axis")
    page.screenshot(path=str(shots / "wrong.png"), full_page=True)
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390, f"{wide} px on a phone"
    dark = page.evaluate("getComputedStyle(document.getElementById('text')).backgroundColor")
    assert dark == "rgb(21, 27, 35)"
    expect(page.get_by_role("img", name="dprobs (32, 27) flows back to")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    hints = page.get_by_role("list", name="hints", exact=True)
    expect(hints).to_contain_text("what answers a broadcast on the way back?")
    page.keyboard.press("Enter")
    expect(hints).to_contain_text("summed over it")
    expect(hints).not_to_contain_text("keepdim=True")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # show me
    expect(hints).to_contain_text("dcounts_sum_inv = (counts * dprobs).sum(1, keepdim=True)")
    editor.fill("dcounts_sum_inv = (counts * dprobs).sum(1, keepdim=True)")
    expect(verdict).to_contain_text("a broadcast in the forward is a sum in the backward")
    page.set_viewport_size({"width": 1200, "height": 900})
    page.screenshot(path=str(shots / "right.png"), full_page=True)
    editor.press("Control+Enter")
    expect(page.get_by_role("heading", name="dcounts_sum,")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="dcounts_sum_inv, right")).to_be_visible()
    page.get_by_role("button", name="dcounts_sum_inv, right").click()
    expect(editor).to_have_value("dcounts_sum_inv = (counts * dprobs).sum(1, keepdim=True)")
    port, path = server.server_address[1], server.book.progress.path
    end(server)
    editor.fill("dcounts_sum_inv = counts")
    expect(page.get_by_role("alert")).to_be_visible()
    server = begin(path, port)
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(verdict).to_contain_text("wrong shape")
    with page.expect_download() as got:
        page.get_by_role("link", name="your progress as a file").click()
    kept = json.loads(Path(got.value.path()).read_text(encoding="utf-8"))["chapters"]
    assert kept["exercise-1"]["dcounts_sum_inv"[1:]]["text"] == "dcounts_sum_inv = counts"
    assert kept == json.loads(path.read_text(encoding="utf-8"))["chapters"]
    page.set_viewport_size({"width": 390, "height": 844})
    assert errors == []
    return server
