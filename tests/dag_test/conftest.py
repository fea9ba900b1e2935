"""The DAGs of ``dags/``, in an Airflow that knows them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from airflow_side import quick_repeats, running_server, server_connections, service
from dag_database import add_dags

__all__ = ["quick_repeats", "running_server", "server_connections", "service"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Airflow's own deprecations on the way through its database are none of this package's.
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def dags() -> ModuleType:
    """The module with the DAGs."""
    add_dags(Path(__file__).parent / "dags")
    import xpander_in_one_process

    return xpander_in_one_process
