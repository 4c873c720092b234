"""What the package says of itself in several files is one thing."""

from __future__ import annotations

import re
import tomllib

import pytest

import gradninja
from paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOW = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def numbers(found: str) -> tuple[int, ...]:
    return tuple(int(part) for part in found.split("+")[0].split("."))


def test_the_version_is_one() -> None:
    assert f"\nversion: {gradninja.__version__}\n" in text("CITATION.cff")
    released = re.findall(r"^## (\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d$", text("CHANGELOG.md"), re.M)
    assert released[0] == gradninja.__version__
    assert released == sorted(released, key=numbers, reverse=True)


def test_every_python_that_is_named_is_tested() -> None:
    prefix = "Programming Language :: Python :: 3."
    named = [c.removeprefix(prefix) for c in PROJECT["classifiers"] if c.startswith(prefix)]
    tested = re.search(r"^ +python: \[(.*)\]$", WORKFLOW, re.M)
    assert tested is not None
    assert [f'"3.{minor}"' for minor in named] == tested[1].split(", ")
    assert PROJECT["requires-python"] == f">=3.{named[0]}"
    assert "3.11 to 3.14" in text("docs/stability.md") and named[-1] == "14"


def test_what_is_needed_is_pinned_as_it_is_needed() -> None:
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", text("constraints.txt"), re.M))
    pins = {name.lower().replace("_", "-"): pin for name, pin in pins.items()}
    extras = PROJECT["optional-dependencies"]
    for needed in [*PROJECT["dependencies"], *extras["dev"], *extras["docs"], *extras["bench"]]:
        name, least = re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)$", needed).groups()
        assert numbers(pins[name.replace("_", "-")]) >= numbers(least), needed


@pytest.mark.parametrize("name", ["README.md", "mkdocs.yml", "CITATION.cff", "docs/index.md"])
def test_links_go_to_the_project(name: str) -> None:
    own = {PROJECT["urls"]["Repository"], PROJECT["urls"]["Documentation"].rstrip("/")}
    for link in re.findall(r"https://[\w.-]*github[\w./-]*", text(name)):
        assert any(link.startswith(one) for one in own), link
