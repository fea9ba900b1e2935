"""The command line of this package as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any


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
