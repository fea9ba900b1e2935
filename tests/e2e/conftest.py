"""
A whole local Airflow for the tests in this folder, started once for all of them.

Its DAGs are those of ``tests/e2e/dags`` and the examples; its database is that of ``dev/database.py``.
"""

from __future__ import annotations

import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_provider_xpander.emulator import Settings
from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.airflow_client import AirflowClient
from dev.database import Database, airflow_database
from dev.local_airflow import MAJOR, LocalAirflow
from dev.paths import EXAMPLE_DAGS
from dev.scenario import Scenario
from dev.service import emulator_connection


@pytest.fixture(scope="session")
def emulator(xpander_server: EmulatorServer) -> EmulatorServer:
    """The plugin's local xpander.ai; shared, so a test that changes its settings puts them back."""
    # Long enough for a worker's supervisor to be gone when the wait ends: Airflow 3.3 fails a task otherwise.
    xpander_server.emulator.reset(Settings(run_seconds=2.5))
    return xpander_server


@pytest.fixture(scope="session")
def enriched_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the enrichment example writes."""
    return tmp_path_factory.mktemp("output") / "enriched_tickets.csv"


@pytest.fixture(scope="session")
def answers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where e2e_answers lets answers be written."""
    return tmp_path_factory.mktemp("answers")


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    """Where this Airflow keeps its data."""
    with airflow_database() as database:
        yield database


@pytest.fixture(scope="session")
def airflow(
    emulator: EmulatorServer,
    database: Database,
    enriched_table: Path,
    answers_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LocalAirflow]:
    """The running Airflow, with a connection for each situation."""
    # pytest dies of a SIGTERM without any teardown; as a KeyboardInterrupt it stops what runs here.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with LocalAirflow(
        tmp_path_factory.mktemp("airflow") / "home",
        dags=[Path(__file__).parent / "dags", EXAMPLE_DAGS],
        env={
            "AIRFLOW_CONN_XPANDER_DEFAULT": emulator_connection(emulator),
            "AIRFLOW_CONN_XPANDER_WRONG_KEY": emulator_connection(emulator, api_key="not-a-valid-key"),
            "XPANDER_EXAMPLE_OUTPUT": str(enriched_table),
            "XPANDER_EXAMPLE_POLL_INTERVAL": "1",
            "E2E_ANSWERS": str(answers_folder),
            # A secret that no connection holds; e2e_runs sends it to the service.
            "AIRFLOW_VAR_CRM_LOGIN": secrets.token_urlsafe(16),
            # SequentialExecutor starts one process after the other: a few are enough there.
            "E2E_MAPPED": "3" if MAJOR == 2 and database.url is None else "10",
            # For e2e_kills: where workers note their process ids, and how long they dawdle.
            "E2E_PIDS": str(tmp_path_factory.mktemp("pids")),
            "E2E_DAWDLE": "60",
            "E2E_MANY": "20",
            "AIRFLOW_CONN_XPANDER_LIMITED": emulator_connection(emulator, requests_per_minute=100),
            # The caller may have an agent of the real service there.
            "XPANDER_AGENT_ID": "",
            "XPANDER_WORKFLOW_ID": "",
        },
        parallelism=8 if database.url else 4,
        database_url=database.url,
    ) as airflow:
        yield airflow


@pytest.fixture
def client(airflow: LocalAirflow) -> AirflowClient:
    """The REST client of the running Airflow."""
    return airflow.client


@pytest.fixture(scope="session")
def parallel(airflow: LocalAirflow, database: Database) -> LocalAirflow:
    """The running Airflow, if it runs several tasks at a time; else these tests take too long."""
    if MAJOR == 2 and database.url is None:
        pytest.skip(f"Airflow 2 on SQLite runs one task at a time; SQLite because: {database.why_sqlite}")
    return airflow


@pytest.fixture(scope="session")
def wave(database: Database) -> int:
    """How many runs at a time: SQLite locks up under more."""
    return 12 if database.url else 4


@pytest.fixture
def start(parallel: LocalAirflow, emulator: EmulatorServer) -> Callable[[str, str], Scenario]:
    """Start one of the DAGs of e2e_kills with a text for its agent."""
    return lambda kind, text: Scenario(parallel, emulator, f"kill_{kind}", text)
