"""Thousands of triggers share one client, which lives as long as one of them needs it."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from typing import Any

import pytest
from airflow_side import LIMIT, POLL, OpenConnections, Service, eventually, fire
from slow_secrets import SlowSecrets

from airflow_provider_xpander.emulator import EmulatorServer, Settings
from airflow_provider_xpander.triggers.wait_registry import WaitRegistry
from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger


def trigger(task_id: str, **kwargs: Any) -> XpanderTaskTrigger:
    return XpanderTaskTrigger(task_id, **{"agent_id": "echo", "poll_interval": POLL} | kwargs)


async def all_closed(connections: OpenConnections) -> bool:
    await asyncio.to_thread(eventually, lambda: connections.all_closed, "all connections are closed")
    return True


async def test_many_triggers_poll_over_a_few_connections_and_close_them(
    service: Service, server_connections: OpenConnections
) -> None:
    service.configure({"run_seconds": 1.5})
    service.connect(extra={"requests_per_minute": 0, "requests_per_hour": 0})
    triggers = [trigger(service.start(), agent_id=None, poll_interval=0.3) for _ in range(60)]
    payloads = await asyncio.gather(*map(fire, triggers))
    assert {payload["status"] for payload in payloads} == {"completed"}
    assert len(service.requests("GET")) >= 60
    assert server_connections.count <= 8
    assert await all_closed(server_connections)
    gc.collect()  # a client that was forgotten open would be a ResourceWarning, which is an error here


async def test_a_trigger_that_begins_as_the_last_one_ends_is_served(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The poller is about to close then, and must not take it in."""
    first, second = trigger(service.start()), trigger(service.start())
    begun: list[asyncio.Task[dict[str, Any]]] = []
    finish = WaitRegistry._finish

    def finish_and_begin(waits: WaitRegistry, waiter: Any, over: Any) -> None:
        finish(waits, waiter, over)
        if not begun:
            begun.append(asyncio.create_task(fire(second)))

    monkeypatch.setattr(WaitRegistry, "_finish", finish_and_begin)
    assert (await fire(first))["end"] == "finished"
    assert (await asyncio.wait_for(begun[0], LIMIT))["end"] == "finished"


async def test_the_connection_is_read_once_for_all(
    service: Service, slow_secrets: type[SlowSecrets], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_secrets.prepare(service, seconds=0.1)
    payloads = await asyncio.gather(*(fire(trigger(service.start(), **slow_secrets.use)) for _ in range(20)))
    assert {payload["status"] for payload in payloads} == {"completed"}
    assert slow_secrets.reads == 1


async def test_the_client_stays_while_one_trigger_needs_it(
    service: Service, server_connections: OpenConnections
) -> None:
    long_wait = asyncio.ensure_future(fire(trigger(service.start("slow", "take 1"), poll_interval=0.1)))
    for _ in range(3):
        assert (await fire(trigger(service.start())))["end"] == "finished"
    assert (await long_wait)["status"] == "completed"
    assert server_connections.count <= 3
    assert await all_closed(server_connections)


async def test_a_later_trigger_gets_a_new_client_with_what_the_connection_says_then(
    service: Service, server_connections: OpenConnections
) -> None:
    await fire(trigger(service.start()))
    assert await all_closed(server_connections)
    service.connect(password="the-new-key-0001")
    service.configure({"api_keys": ["the-new-key-0001"]})
    await fire(trigger(service.start()))
    assert 401 not in [call.status for call in service.requests()]


async def test_each_connection_has_its_own_client(
    service: Service, xpander_servers: Callable[..., EmulatorServer]
) -> None:
    other = Service(xpander_servers(settings=Settings(run_seconds=0.3)), service.set_env)
    service.connect("other", host=other.server.url)
    here, there = service.start(), other.start()
    payloads = await asyncio.gather(fire(trigger(here)), fire(trigger(there, xpander_conn_id="other")))
    assert [payload["status"] for payload in payloads] == ["completed", "completed"]
    assert {call.path for call in service.requests()} == {f"/v1/tasks/{here}"}
    assert {call.path for call in other.requests()} == {f"/v1/tasks/{there}"}


def test_each_event_loop_has_its_own_client(service: Service, server_connections: OpenConnections) -> None:
    for _ in range(2):
        assert asyncio.run(fire(trigger(service.start())))["end"] == "finished"
    eventually(lambda: server_connections.all_closed, "all connections are closed")


async def test_cancelled_triggers_leave_nothing_open(
    service: Service, server_connections: OpenConnections
) -> None:
    waits = [asyncio.ensure_future(fire(trigger(service.start("slow", "take 30")))) for _ in range(5)]
    await asyncio.to_thread(eventually, lambda: len(service.requests()) >= 5, "all have looked")
    for wait in waits:
        wait.cancel()
    ends = await asyncio.gather(*waits, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    assert await all_closed(server_connections)
    gc.collect()


async def test_a_trigger_that_is_cancelled_while_it_opens_the_client_spoils_no_other(
    service: Service, slow_secrets: type[SlowSecrets]
) -> None:
    slow_secrets.prepare(service, seconds=0.3)
    task_id = service.start("slow", "take 0.5")
    first, second = (asyncio.ensure_future(fire(trigger(task_id, **slow_secrets.use))) for _ in range(2))
    await asyncio.to_thread(eventually, lambda: slow_secrets.reads == 1, "the connection is being read")
    first.cancel()
    async with asyncio.timeout(LIMIT):
        assert (await second)["status"] == "completed"
    assert first.cancelled()


async def test_a_connection_that_cannot_be_read_fails_each_trigger_and_is_tried_anew(
    service: Service,
) -> None:
    service.connect("late", password="")
    waits = [fire(trigger(service.start(), xpander_conn_id="late")) for _ in range(3)]
    assert {payload["end"] for payload in await asyncio.gather(*waits)} == {"error"}
    service.connect("late")
    assert (await fire(trigger(service.start(), xpander_conn_id="late")))["end"] == "finished"


async def test_polls_are_not_logged_one_by_one_by_the_http_library(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await fire(trigger(service.start()))
    assert not [record for record in caplog.records if record.name.startswith(("httpx", "httpcore"))]
