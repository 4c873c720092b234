"""A network for elsewhere: the same logits in ONNX, in JSON's lines, in a page in a browser."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import gradninja as gn
from gradninja.cli import app
from gradninja.errors import RunError
from gradninja.models import BUILTIN, load
from gradninja.training import Network, plan
from gradninja.training.export import to_html, to_json, to_onnx, traced
from gradninja.training.export.sampler_page import KNOWN
from gradninja.training.pictures import plots
from small_runs import small_run, word_file

LETTERS = (".", *"abcdefgh")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def network(name: str) -> Network:
    """A small one, untrained, with no zeros among its numbers."""
    model, draw = load(name), torch.Generator().manual_seed(1)
    sizes = {"embedding": 4, "hidden": 6, "layers": 2, "heads": 2, "width": 8, "context": 4}
    config = replace(plan(name), vocabulary=LETTERS, options=dict(model.options), **sizes)
    drawn = model.call("parameters", {**config.sizes, "generator": draw})
    assert isinstance(drawn, dict)
    weights = {n: v + 0.1 * torch.randn(v.shape, generator=draw) for n, v in drawn.items()}
    values = {**config.sizes, **config.options, **weights}
    batches = [torch.randint(0, 9, (20, 4), generator=draw)]
    found = (
        model.call("calibrate", {**values, "batches": batches}) if model.has("calibrate") else {}
    )
    assert isinstance(found, dict)
    return Network(model, config, weights, found)


def rows(n: int) -> torch.Tensor:
    return torch.randint(0, 9, (n, 4), generator=torch.Generator().manual_seed(n))


@pytest.mark.parametrize("name", BUILTIN)
def test_onnx_gives_the_same_logits_for_any_number_of_rows(name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the dev extra is not installed")
    net = network(name)
    session = onnxruntime.InferenceSession(to_onnx(net))
    for n in (1, 2, 5):
        (found,) = session.run(None, {"tokens": rows(n).numpy()})
        np.testing.assert_allclose(found, net.logits(rows(n)).numpy(), rtol=1e-5, atol=1e-5)
    (given,), (told,) = session.get_inputs(), session.get_outputs()
    assert (given.shape, told.shape[0], told.shape[-1]) == (["n", 4], "n", 9)


def test_json_holds_the_network_whole() -> None:
    net = network("mlp")
    told = json.loads(to_json(net))
    assert told["vocabulary"] == list(LETTERS) and told["context"] == 4
    for name, value in net.parameters.items():
        held = told["constants"][name]
        values = torch.tensor(held["values"], dtype=torch.float32).view(held["shape"])
        assert torch.equal(values, value)
    assert told["lines"][0][1] == "index"
    assert told["output"] == told["lines"][-1][0]


def test_json_is_of_one_row_and_in_the_letters_themselves() -> None:
    net = network("mlp")
    net = replace(net, config=replace(net.config, vocabulary=(".", *"abcdefgé")))
    text = to_json(net)
    assert "é" in text
    sizes = [arg for _, op, args in json.loads(text)["lines"] if "view" in op for arg in args]
    assert [1, -1] in sizes, sizes


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    text = load("mlp").text
    path.write_text(text.replace("    h = torch.tanh(", "    h = torch.special.erfcx("))
    net = replace(network("mlp"), model=load(path))
    for write in (to_html, to_onnx):
        with pytest.raises(RunError, match="`special_erfcx`"):
            write(net)
    assert "special_erfcx" in to_json(net)


def test_numbers_that_json_does_not_have() -> None:
    net = network("mlp")
    net.parameters["b1"][0] = -torch.inf
    assert json.loads(to_json(net), parse_constant=pytest.fail)["constants"]["b1"]["values"][0] == (
        torch.finfo(torch.float32).min
    )
    net.parameters["b1"][0] = torch.nan
    for write in (to_json, to_html):
        with pytest.raises(RunError, match="NaN"):
            write(net)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
def test_a_page_samples_in_a_browser(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="the dev extra is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            for name in BUILTIN:
                _sampled(browser.new_page(), network(name), tmp_path / f"{name}.html")
        finally:
            browser.close()


def _sampled(page: Any, net: Network, path: Path) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    path.write_text(to_html(net), encoding="utf-8")
    page.goto(path.as_uri())
    assert set(page.evaluate("gradninja.operations")) == KNOWN
    for start in ([], [3], [1, 2, 8]):
        found = page.evaluate("letters => gradninja.logits(letters)", start)
        true = net.after(torch.tensor([[0, *start]]))[0]
        np.testing.assert_allclose(found, true.numpy(), rtol=1e-5, atol=1e-5)
    words = page.evaluate("gradninja.sample(400, {seed: 3})")
    shares = net.after(torch.zeros((1, 1), dtype=torch.int64)).double()
    shares[0, 0] = -torch.inf
    for letter, share in zip(LETTERS, shares.softmax(1)[0].tolist(), strict=True):
        drawn = sum(word[0] == letter for word in words) / 400
        assert drawn == pytest.approx(share, abs=0.12)
    assert page.locator("#words li").count() == 20
    page.fill("#prefix", "ab")
    page.fill("#count", "7")
    page.click("button")
    told = page.locator("#words li").all_inner_texts()
    assert len(told) == 7 and all(word.startswith("ab") for word in told)
    page.fill("#prefix", "ß")
    page.click("button")
    assert "no letter of its words" in page.inner_text("#told")
    assert errors == []
    page.close()


def test_the_command_line_writes_files(tmp_path: Path) -> None:
    run = str(small_run(tmp_path, model="gru", steps=1).folder.path)
    for form in ("html", "json", "onnx"):
        done = CliRunner().invoke(app, ["export", run, "--format", form])
        assert done.exit_code == 0, done.exception
        assert (Path(run) / f"network.{form}").stat().st_size > 1000
    again = CliRunner().invoke(app, ["export", run])
    assert "is there already" in str(again.exception)
    out = str(tmp_path / "names.html")
    assert CliRunner().invoke(app, ["export", run, "--out", out]).exit_code == 0
    named = tmp_path / "mine.JSON"
    assert CliRunner().invoke(app, ["export", run, "--out", str(named)]).exit_code == 0
    assert json.loads(named.read_text())["model"] == "gru"
    assert "{{network}}" not in Path(out).read_text()


def test_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "draw", lambda *args: [])
    words = word_file(tmp_path)
    settings = {"hidden": 12, "embedding": 4, "steps": 20, "batch": 8, "out": tmp_path / "run"}
    result = gn.train(words, "gru", verify=10, **settings)
    assert result.steps == 20 and len(result.words) == 20
    drawn = gn.sample(result, 5, seed=4, prefix="em")
    assert len(drawn) == 5 and all(word.startswith("em") for word in drawn)
    assert gn.sample(tmp_path / "run", 5, seed=4, prefix="em") == drawn
    new = gn.sample(str(tmp_path / "run"), 30, new_only=True)
    assert len(set(new)) == 30 and not set(new) & set(words.read_text().split())
    with pytest.raises(gn.GradninjaError, match="a run has no `hiden`"):
        gn.train(words, hiden=3)
    with pytest.raises(ValueError, match="not above 0"):
        gn.sample(result, temperature=0)


def test_what_is_written_down_is_what_runs() -> None:
    """A constant keeps its name; what no letter is needed for is worked out beforehand."""
    graph = traced(network("transformer"), 1)
    assert {"C", "Wqkv", "W3"} - graph.constants.keys() <= {"Wqkv"}
    assert "tril" not in graph.operations and "triu" not in graph.operations
