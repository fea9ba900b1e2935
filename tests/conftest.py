"""Gives Airflow a home of its own for the tests: set before anything imports it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import entry_points

import pytest

PLUGIN = "airflow_provider_xpander.testing.plugin"
# An environment that was made before the plugin has no entry point for it.
_KNOWN = any(entry.value == PLUGIN for entry in entry_points(group="pytest11"))
pytest_plugins = ["pytester", *([] if _KNOWN else [PLUGIN])]

_HOME = tempfile.mkdtemp(prefix="airflow-provider-xpander-tests-")
os.environ["AIRFLOW_HOME"] = _HOME
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "True"


@pytest.fixture(autouse=True, scope="session")
def place_of_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give what processes of a host share a place of its own: earlier sessions are not to count."""
    place = tmp_path_factory.mktemp("host")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow_provider_xpander.api.host_budget.place_of_host", lambda: place)
        yield


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(_HOME, ignore_errors=True)
