"""The contenders: each waits for all runs at once, as its triggers would in one triggerer."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

Wait = Callable[[str, int, float], Awaitable[object]]
"""Waits for the run with this id and number, which began at this time."""


def own_client(port: int, ca: str, poll: float) -> Wait:
    """
    Poll each run by itself, with a client for each poll.

    :param port: of the server, on 127.0.0.1.
    :param ca: path of the server's CA.
    :param poll: seconds of the real time from one look to the next.
    """
    import httpx

    context = ssl.create_default_context(cafile=ca)

    async def wait(run_id: str, number: int, created: float) -> None:
        while True:
            async with httpx.AsyncClient(verify=context, trust_env=False) as client:
                answer = await client.get(f"https://127.0.0.1:{port}/v1/tasks/{run_id}", timeout=60)
            if answer.json()["status"] == "completed":
                return
            await asyncio.sleep(poll)

    return wait


def shared_client(port: int, ca: str, poll: float) -> Wait:
    """
    Poll each run by itself, all over one client that keeps its connections.

    :param port: of the server, on 127.0.0.1.
    :param ca: path of the server's CA.
    :param poll: seconds of the real time from one look to the next.
    """
    import httpx

    context = ssl.create_default_context(cafile=ca)
    limits = httpx.Limits(max_connections=16, max_keepalive_connections=16, keepalive_expiry=120)
    client = httpx.AsyncClient(verify=context, trust_env=False, limits=limits, timeout=None)

    async def wait(run_id: str, number: int, created: float) -> None:
        while True:
            answer = await client.get(f"https://127.0.0.1:{port}/v1/tasks/{run_id}")
            if answer.json()["status"] == "completed":
                return
            await asyncio.sleep(poll)

    return wait


def databricks(port: int, ca: str, poll: float) -> Wait:
    """
    Wait with the trigger of apache-airflow-providers-databricks.

    :param port: of the server, on 127.0.0.1.
    :param ca: path of the server's CA.
    :param poll: seconds of the real time from one look to the next.
    """
    connection = {
        "conn_type": "databricks",
        "host": "https://127.0.0.1",
        "port": port,
        "password": "benchmark-token",
    }
    os.environ["AIRFLOW_CONN_DATABRICKS_DEFAULT"] = json.dumps(connection)
    os.environ["SSL_CERT_FILE"] = ca
    from airflow.providers.databricks.triggers.databricks import DatabricksExecutionTrigger

    async def wait(run_id: str, number: int, created: float) -> Any:
        trigger = DatabricksExecutionTrigger(number, "databricks_default", polling_period_seconds=poll)  # type: ignore[arg-type]
        async for event in trigger.run():
            return event
        return None

    return wait


def dbt_cloud(port: int, ca: str, poll: float) -> Wait:
    """
    Wait with the trigger of apache-airflow-providers-dbt-cloud.

    :param port: of the server, on 127.0.0.1.
    :param ca: path of the server's CA.
    :param poll: seconds of the real time from one look to the next.
    """
    connection = {"conn_type": "dbt_cloud", "host": f"127.0.0.1:{port}", "login": "1", "password": "token"}
    os.environ["AIRFLOW_CONN_DBT_CLOUD_DEFAULT"] = json.dumps(connection)
    os.environ["SSL_CERT_FILE"] = ca
    from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger

    async def wait(run_id: str, number: int, created: float) -> Any:
        trigger = DbtCloudRunJobTrigger("dbt_cloud_default", number, time.time() + 3600, poll, 1)
        async for event in trigger.run():
            if "status" not in event.payload or event.payload["status"] != "success":
                raise RuntimeError(str(event.payload))
            return event
        return None

    return wait


def xpander(port: int, ca: str, poll: float, *, speed: float, origin: float, limits: bool = False) -> Wait:
    """
    Wait with this provider's trigger; its clock is as fast as that of the server.

    :param port: of the server, on 127.0.0.1.
    :param ca: path of the server's CA.
    :param poll: seconds of the real time from one look to the next.
    :param speed: how fast the server's clock goes.
    :param origin: real time at which that clock began.
    :param limits: whether the published limits are kept.
    """
    from airflow_provider_xpander.api import clock

    clock.CLOCK = clock.Clock(speed, origin)
    none = {} if limits else {"requests_per_minute": 0, "requests_per_hour": 0}
    connection = {
        "conn_type": "xpander",
        "host": f"https://127.0.0.1:{port}",
        "password": "xpander-benchmark-key-0000",
        "extra": {"verify": ca, **none},
    }
    os.environ["AIRFLOW_CONN_XPANDER_DEFAULT"] = json.dumps(connection)
    from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

    async def wait(run_id: str, number: int, created: float) -> Any:
        # As the operator makes it, whose log has told what the submit has answered.
        trigger = XpanderTaskTrigger(
            run_id, "agent-1", poll_interval=poll * speed, created=created, told="executing"
        )
        async for event in trigger.run():
            if event.payload["end"] != "finished":
                raise RuntimeError(str(event.payload))
            return event
        return None

    return wait


CONTENDERS: dict[str, Callable[..., Wait]] = {
    "naive, own client": own_client,
    "naive, shared client": shared_client,
    "databricks": databricks,
    "dbt-cloud": dbt_cloud,
    "xpander": xpander,
}
