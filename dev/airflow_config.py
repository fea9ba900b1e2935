"""The configuration of the local Airflow, as environment variables."""

from __future__ import annotations

import base64
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

# Lets everybody in without a login on 2.11, in the UI and in the REST API. Only ever bound to 127.0.0.1.
WEBSERVER_CONFIG = 'AUTH_ROLE_PUBLIC = "Admin"\nWTF_CSRF_ENABLED = False\n'


PARSE_AGAIN = "120"
"""Seconds after which a DAG file is parsed again that has not changed; one that has is parsed at once."""


def airflow_environment(
    *,
    home: Path,
    dags_folder: Path,
    port: int,
    major: int,
    parallelism: int,
    database_url: str | None,
    extra: Mapping[str, str],
) -> dict[str, str]:
    """
    Return the whole environment for the processes of one local Airflow.

    Nothing of the caller's own Airflow configuration leaks in. Keys are new for every call and only live in
    the environment, so they end up in no file.

    :param home: folder of this Airflow.
    :param dags_folder: folder of the DAG files.
    :param port: of the api-server (3.x) or webserver (2.11), on 127.0.0.1
    :param major: major version of Airflow
    :param parallelism: how many tasks run at once; SQLite locks up with more than some eight
    :param database_url: SQLAlchemy URL of an empty PostgreSQL database; SQLite in ``home`` without it
    :param extra: added at the end, so it wins
    """
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "_AIRFLOW_"))
    }
    # 2.11 starts each task as `airflow tasks run`, found on PATH.
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    # A proxy has no business between components on 127.0.0.1.
    env["NO_PROXY"] = env["no_proxy"] = ",".join(filter(None, [env.get("NO_PROXY"), "127.0.0.1,localhost"]))
    env |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": str(parallelism),
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }
    env |= _airflow_2(home, port, database_url) if major == 2 else _airflow_3(port)
    if database_url:
        env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = database_url
    return {**env, **extra}


def _airflow_3(port: int) -> dict[str, str]:
    url = f"http://127.0.0.1:{port}"
    return {
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": PARSE_AGAIN,
        # A supervisor that lingers after its task has deferred makes the scheduler fail a task whose trigger
        # was faster ("finished with state success, but ... queued"): keep that window short.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    }


def _airflow_2(home: Path, port: int, database_url: str | None) -> dict[str, str]:
    return {
        # The only executor that Airflow 2 allows on SQLite.
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor" if database_url else "SequentialExecutor",
        "AIRFLOW__WEBSERVER__WEB_SERVER_HOST": "127.0.0.1",
        "AIRFLOW__WEBSERVER__WEB_SERVER_PORT": str(port),
        "AIRFLOW__WEBSERVER__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__WEBSERVER__SECRET_KEY": secrets.token_urlsafe(32),
        # On a loaded machine its monitor ended a webserver that answered, since it saw no worker get ready.
        "AIRFLOW__WEBSERVER__WEB_SERVER_MASTER_TIMEOUT": "3600",
        "AIRFLOW__WEBSERVER__CONFIG_FILE": str(home / "webserver_config.py"),
        "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": PARSE_AGAIN,
        "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__PARSING_PROCESSES": "1",
        # How soon a running task notices that it was marked: failed at the second heartbeat, success later.
        "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "2",
        "AIRFLOW__CORE__TASK_SUCCESS_OVERTIME": "5",
    }
