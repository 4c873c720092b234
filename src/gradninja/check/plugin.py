"""A pytest plugin: the fixture `gradninja_check`, and `--gradninja` for all that tests import.

With `pytest --gradninja` every `torch.autograd.Function` and custom op that a test module imports,
by its name or within a module, is one test more: judged on guessed values where it has no
annotations, skipped where no guess fits.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import pytest

from gradninja.check.tell.findings import BackwardWrong, CheckError
from gradninja.errors import ReadError


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("gradninja").addoption(
        "--gradninja",
        action="store_true",
        help="judge every autograd Function and custom op that the tests import",
    )


@pytest.fixture
def gradninja_check() -> Any:
    """`gradninja.assert_backward`: fails with the report as the test's message."""
    from gradninja import assert_backward

    return assert_backward


class Judged(pytest.Item):
    """One Function, judged."""

    function: Any

    def runtest(self) -> None:
        from gradninja import check

        try:
            report = check(self.function)
        except (CheckError, ReadError) as error:
            pytest.skip(error.message)
        if not report.ok:
            raise BackwardWrong(report)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, BackwardWrong):
            return str(excinfo.value.report)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        return self.path, None, f"gradninja: {self.name}"


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    if not config.getoption("--gradninja"):
        return
    seen: dict[int, Any] = {}
    for module in {getattr(item, "module", None) for item in items} - {None}:
        for name, function in _functions(module):
            if id(function) not in seen:
                seen[id(function)] = function
                found = Judged.from_parent(session, name=f"gradninja::{name}")
                found.function = function
                items.append(found)


def _functions(module: Any) -> Iterator[tuple[str, Any]]:
    from gradninja.check.given.backwards import is_autograd_function, is_custom_op

    own = vars(module).values()
    for value in own:
        inner = vars(value).values() if isinstance(value, types.ModuleType) else [value]
        foreign = getattr(value, "__name__", "").partition(".")[0] in {"torch", "gradninja"}
        for one in [] if foreign and isinstance(value, types.ModuleType) else inner:
            if is_autograd_function(one) or is_custom_op(one):
                yield getattr(one, "__name__", None) or one._qualname, one
