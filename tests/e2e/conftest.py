"""
A whole local Airflow for the tests in this folder, started once for all of them.

Its DAGs are those of ``tests/e2e/dags`` and the examples. SQLite, or a new database on the PostgreSQL server
that ``XPANDER_TEST_DATABASE`` names, e.g. ``postgresql+psycopg2://user:password@127.0.0.1:5432/postgres``.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from airflow_provider_xpander.emulator import Settings
from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.airflow_client import AirflowClient
from dev.local_airflow import MAJOR, LocalAirflow
from dev.paths import EXAMPLE_DAGS
from dev.scratch_database import scratch_database
from dev.service import emulator_connection


@pytest.fixture(scope="session")
def emulator() -> Iterator[EmulatorServer]:
    """The local xpander.ai; shared, so a test that changes its settings puts them back."""
    # Long enough for a worker's supervisor to be gone when the wait ends: Airflow 3.3 fails a task otherwise.
    with EmulatorServer(settings=Settings(run_seconds=2.5)) as server:
        yield server


@pytest.fixture(scope="session")
def enriched_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the enrichment example writes."""
    return tmp_path_factory.mktemp("output") / "enriched_tickets.csv"


@pytest.fixture(scope="session")
def answers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where e2e_answers lets answers be written."""
    return tmp_path_factory.mktemp("answers")


@pytest.fixture(scope="session")
def airflow(
    emulator: EmulatorServer,
    enriched_table: Path,
    answers_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LocalAirflow]:
    """The running Airflow, with a connection for each situation."""
    # pytest dies of a SIGTERM without any teardown; as a KeyboardInterrupt it stops what runs here.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = os.environ.get("XPANDER_TEST_DATABASE")
    with ExitStack() as stack:
        database_url = stack.enter_context(scratch_database(server)) if server else None
        yield stack.enter_context(
            LocalAirflow(
                tmp_path_factory.mktemp("airflow") / "home",
                dags=[Path(__file__).parent / "dags", EXAMPLE_DAGS],
                env={
                    "AIRFLOW_CONN_XPANDER_DEFAULT": emulator_connection(emulator),
                    "AIRFLOW_CONN_XPANDER_WRONG_KEY": emulator_connection(
                        emulator, api_key="not-a-valid-key"
                    ),
                    "XPANDER_EXAMPLE_OUTPUT": str(enriched_table),
                    "XPANDER_EXAMPLE_POLL_INTERVAL": "1",
                    "E2E_ANSWERS": str(answers_folder),
                    # A secret that no connection holds; e2e_runs sends it to the service.
                    "AIRFLOW_VAR_CRM_LOGIN": secrets.token_urlsafe(16),
                    # SequentialExecutor starts one process after the other: a few are enough there.
                    "E2E_MAPPED": "3" if MAJOR == 2 else "10",
                    # For e2e_kills: where workers note their process ids, and how long they dawdle.
                    "E2E_PIDS": str(tmp_path_factory.mktemp("pids")),
                    "E2E_DAWDLE": "8",
                    # The caller may have an agent of the real service there.
                    "XPANDER_AGENT_ID": "",
                    "XPANDER_WORKFLOW_ID": "",
                },
                database_url=database_url,
            )
        )


@pytest.fixture
def client(airflow: LocalAirflow) -> AirflowClient:
    """The REST client of the running Airflow."""
    return airflow.client
