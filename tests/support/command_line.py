"""The command line of this package, in this process or as one of its own."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from airflow_side import Service

from airflow_provider_xpander.api import client as client_module
from airflow_provider_xpander.api.retry import RetryPolicy
from airflow_provider_xpander.cli.main import main


@dataclass(frozen=True)
class Done:
    """What a command has left."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The output as JSON."""
        return json.loads(self.out)


def process(*arguments: str, module: str = "airflow_provider_xpander", text: str = "", **env: str) -> Done:
    """
    Run a command as a process.

    :param arguments: of the command line.
    :param module: ``airflow`` for Airflow's own.
    :param text: the standard input.
    :param env: variables besides those of this process.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", module, *arguments],
        capture_output=True,
        text=True,
        input=text,
        timeout=100,
        check=False,
        env={**os.environ, **env},
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def xpander_airflow(
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
