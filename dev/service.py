"""The xpander.ai that the examples talk to: the emulator, or the real one when there is a key."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from airflow_provider_xpander.emulator.server import EmulatorServer
from airflow_provider_xpander.emulator.settings import Settings


class ServiceError(Exception):
    """The environment does not say which service to use; the message says what to set."""


@dataclass(frozen=True)
class Service:
    """
    A service to talk to.

    :param name: for people
    :param env: what Airflow's processes need to know of it: connection, agent, pace
    """

    name: str
    env: Mapping[str, str]


@contextmanager
def chosen_service(run_seconds: float) -> Iterator[Service]:
    """
    Yield the real service when ``XPANDER_API_KEY`` is set, otherwise a new emulator.

    :param run_seconds: how long the emulator's agents take
    """
    if os.environ.get("XPANDER_API_KEY"):
        yield _real_service(os.environ)
        return
    with EmulatorServer(settings=Settings(run_seconds=run_seconds)) as emulator:
        yield Service(
            name=f"the emulator on {emulator.url}",
            env={
                "AIRFLOW_CONN_XPANDER_DEFAULT": emulator_connection(
                    emulator, task_link_template=f"{emulator.url}/_emulator/tasks/{{task_id}}"
                ),
                # The emulator knows only its own agents, whatever the caller's environment says.
                "XPANDER_AGENT_ID": "",
                "XPANDER_WORKFLOW_ID": "",
            },
        )


def emulator_connection(
    emulator: EmulatorServer,
    *,
    api_key: str | None = None,
    requests_per_minute: int = 0,
    requests_per_hour: int = 0,
    task_link_template: str | None = None,
) -> str:
    """
    Return an Airflow connection to an emulator, as JSON.

    :param emulator: the emulator.
    :param api_key: another key than the emulator's own
    :param requests_per_minute: by default none: the published limits would make forty tickets take minutes
    :param requests_per_hour: likewise
    :param task_link_template: where the links of runs lead; by default to the web console, as real ones do
    """
    return json.dumps(
        {
            "conn_type": "xpander",
            "host": emulator.url,
            "password": api_key or emulator.api_key,
            "extra": {
                "requests_per_minute": requests_per_minute,
                "requests_per_hour": requests_per_hour,
                "task_link_template": task_link_template,
            },
        }
    )


def _real_service(environ: Mapping[str, str]) -> Service:
    if not environ.get("XPANDER_AGENT_ID"):
        raise ServiceError(
            "XPANDER_API_KEY is set, so the real service is used: set XPANDER_AGENT_ID to the id of an agent "
            "of yours that can classify a text, or unset XPANDER_API_KEY to use the emulator."
        )
    connection = {"conn_type": "xpander", "password": environ["XPANDER_API_KEY"]}
    if environ.get("XPANDER_API_URL"):
        connection["host"] = environ["XPANDER_API_URL"]
    return Service(
        name=environ.get("XPANDER_API_URL") or "the real xpander.ai",
        env={
            "AIRFLOW_CONN_XPANDER_DEFAULT": json.dumps(connection),
            "XPANDER_AGENT_ID": environ["XPANDER_AGENT_ID"],
            "XPANDER_EXAMPLE_POLL_INTERVAL": environ.get("XPANDER_EXAMPLE_POLL_INTERVAL") or "10",
        },
    )
