from __future__ import annotations

from pathlib import Path

import pytest
from airflow_side import running_server, service
from command_line import xpander_airflow

__all__ = ["running_server", "service", "xpander_airflow"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Airflow's own deprecations on the way through its database are none of this package's.
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))
