from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from airflow_side import Service, running_server, service
from command_line import Done
from dag_database import add_dags

from airflow_provider_xpander.api import client as client_module
from airflow_provider_xpander.api.retry import RetryPolicy
from airflow_provider_xpander.cli.main import main

__all__ = ["running_server", "service"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Airflow's own deprecations on the way through its database are none of this package's.
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture
def xpander(
    service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Done]:
    """Run a command in this process."""
    # What the command sets for its own process is not to be that of the tests.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    monkeypatch.setattr("airflow_provider_xpander.cli.main._log_to_stderr", lambda out: None)
    # Its lines would come between two commands, on whatever is the standard output then.
    monkeypatch.setattr(logging.getLogger("airflow_provider_xpander.emulator"), "disabled", True)
    monkeypatch.setattr(client_module, "RetryPolicy", partial(RetryPolicy, base=0.01))

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        code = main(arguments)
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def dags() -> ModuleType:
    """The module with the DAGs, in an Airflow that knows them."""
    add_dags(Path(__file__).parent / "dags")
    import runs_that_go_on

    return runs_that_go_on
