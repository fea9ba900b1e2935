"""A cluster of Airflow for the tests in this folder, started once for all of them (``make test-cluster``)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.cluster import Cluster, NoCluster, local_cluster
from dev.soak import DAGS, environment


@pytest.fixture(scope="session")
def emulator(xpander_server: EmulatorServer) -> EmulatorServer:
    """The plugin's local xpander.ai."""
    return xpander_server


@pytest.fixture(scope="session")
def cluster(emulator: EmulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two schedulers, triggerers and Celery workers."""
    # pytest dies of a SIGTERM without any teardown; as a KeyboardInterrupt it stops what runs here.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    home: Path = tmp_path_factory.mktemp("cluster")
    try:
        with local_cluster(home / "home", dags=(DAGS,), env=environment(emulator, home / "pids", 1)) as one:
            yield one
    except NoCluster as error:
        pytest.skip(str(error))
