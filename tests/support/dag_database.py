"""An Airflow with a database and folders of DAGs, for ``dag.test()``, in the home that the tests have."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

from airflow import __version__ as airflow_version

_folders: list[Path] = []


def add_dags(folder: Path) -> None:
    """
    Let Airflow know one more folder of DAGs, and make the database the first time, by Airflow's own command.

    :param folder: its modules can be imported afterwards.
    """
    if folder in _folders:
        return
    _folders.append(folder)
    bundles = [
        {
            "name": f"tests-{folder.name}",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(folder), "refresh_interval": 3600},
        }
        for folder in _folders
    ]
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(folder)
    os.environ["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = json.dumps(bundles)
    if airflow_version.startswith("2."):
        os.environ["AIRFLOW__CORE__EXECUTOR"] = "SequentialExecutor"  # the only one that takes SQLite
    sys.path.insert(0, str(folder))
    if len(_folders) == 1:
        # One for all processes: the arguments of a watcher's trigger are stored with it.
        os.environ["AIRFLOW__CORE__FERNET_KEY"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        airflow("db", "migrate")


def airflow(*arguments: str) -> str:
    """
    Run Airflow's command line, and return what it prints.

    :param arguments: what follows ``airflow``.
    """
    command = [sys.executable, "-W", "ignore", "-m", "airflow", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
