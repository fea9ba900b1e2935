"""A database for ``dag.test()``, in the home that the tests have, made by Airflow's own command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from airflow import __version__ as airflow_version
from airflow_side import quick_repeats, running_server, server_connections, service

__all__ = ["quick_repeats", "running_server", "server_connections", "service"]

DAGS = Path(__file__).parent / "dags"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Airflow's own deprecations on the way through its database are none of this package's.
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def dags() -> ModuleType:
    """The module with the DAGs, in an Airflow that knows their folder and has a database."""
    bundle = {
        "name": "tests",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(DAGS), "refresh_interval": 3600},
    }
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(DAGS)
    os.environ["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = json.dumps([bundle])
    if airflow_version.startswith("2."):
        os.environ["AIRFLOW__CORE__EXECUTOR"] = "SequentialExecutor"  # the only one that takes SQLite
    migrate = [sys.executable, "-W", "ignore", "-m", "airflow", "db", "migrate"]
    done = subprocess.run(migrate, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(DAGS))
    import xpander_in_one_process

    return xpander_in_one_process
