from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow_side import running_server, service
from dag_database import add_dags

__all__ = ["running_server", "service"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Airflow's own deprecations on the way through its database are none of this package's.
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def dags_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of DAGs, in an Airflow that knows it."""
    folder = tmp_path_factory.mktemp("docs")
    add_dags(folder)
    return folder


@pytest.fixture
def loop() -> Iterator[None]:
    """The event loop that pydantic-ai would make otherwise, and leave open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
