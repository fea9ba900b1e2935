"""Test sessions of their own, as processes, with the plugin as it is here."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from airflow_side import running_server, service

__all__ = ["running_server", "service"]

LIMIT = 240.0
"""Seconds that a session may take: some make a database, on a busy machine."""
PLUGIN = "airflow_provider_xpander.testing.plugin"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "session" in getattr(item, "fixturenames", ()) and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(3 * LIMIT))


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """Run pytest."""
    # The package as it is here, whatever is installed.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    installed = any(entry.value == PLUGIN for entry in entry_points(group="pytest11"))
    ours = not installed or os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    options = ["-p", "no:cacheprovider", "-W", "ignore", *(["-p", PLUGIN] if ours else [])]

    def run(*arguments: str, test: str | None = None, box: bool = False) -> pytest.RunResult:
        if test is not None:
            pytester.makepyfile(test)
        others = [] if box else ["-p", "no:pytest_airflow_in_a_box"]
        return pytester.runpytest_subprocess(*options, *others, *arguments, timeout=LIMIT)

    return run


@pytest.fixture
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load no plugin that happens to be installed; to be used before ``session``."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
