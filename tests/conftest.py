"""Gives Airflow a home of its own for the tests: set before anything imports it."""

from __future__ import annotations

import os
import shutil
import tempfile
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


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(_HOME, ignore_errors=True)
