"""The connection in the triggerer: one that cannot be read is waited out, one that was edited is noticed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from airflow_side import POLL, Service, eventually, fire

from airflow_provider_xpander.api.errors import XpanderConnectionError
from airflow_provider_xpander.api.exchange import exchange
from airflow_provider_xpander.api.retry import ONCE
from airflow_provider_xpander.api.routes import get_task
from airflow_provider_xpander.emulator import EmulatorServer, Settings
from airflow_provider_xpander.runs import watch as watch_module
from airflow_provider_xpander.triggers import poller as poller_module
from airflow_provider_xpander.triggers import shared_client as shared_client_module
from airflow_provider_xpander.triggers.shared_client import SharedClient, shared_client
from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

NEVER = 3600.0


def trigger(task_id: str, **kwargs: Any) -> XpanderTaskTrigger:
    return XpanderTaskTrigger(task_id, **{"agent_id": "echo", "poll_interval": POLL} | kwargs)


@pytest.fixture(autouse=True)
def reads(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    """Let a read that failed be repeated at once; return what came of each read."""
    monkeypatch.setattr(poller_module, "READ_AGAIN", 0.02)
    read, results = shared_client_module.read_settings, []

    async def noted(conn_id: str) -> Any:
        try:
            found = await read(conn_id)
        except Exception as error:
            results.append(error)
            raise
        results.append(None)
        return found

    monkeypatch.setattr(shared_client_module, "read_settings", noted)
    return results


@pytest.fixture
def second(service: Service, xpander_servers: Callable[..., EmulatorServer]) -> Service:
    """Another service, to which a connection may be changed."""
    return Service(xpander_servers(settings=Settings(run_seconds=0.1)), service.set_env)


# What cannot be read.


@pytest.mark.parametrize("deadline", [None, NEVER], ids=["no deadline", "deadline"])
async def test_a_connection_that_cannot_be_read_for_the_moment_is_waited_for(
    deadline: float | None, service: Service, reads: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Airflow says that there is no such connection if its secrets backend is away for a second."""
    until = None if deadline is None else time.time() + deadline
    waiting = asyncio.ensure_future(fire(trigger(service.start(), xpander_conn_id="hiccup", deadline=until)))
    await asyncio.to_thread(eventually, lambda: len(reads) >= 3, "three tries")
    assert not waiting.done()
    service.connect("hiccup")
    assert (await waiting)["status"] == "completed"
    assert reads[-1] is None


async def test_a_connection_that_stays_away_ends_the_wait_at_its_deadline(service: Service) -> None:
    gone = trigger(service.start(), xpander_conn_id="gone", deadline=time.time() + 0.3)
    assert (await fire(gone))["end"] == "timeout"


async def test_a_connection_that_stays_away_ends_the_wait_as_an_outage_does(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "OUTAGE_BUDGET", 0.2)
    payload = await fire(trigger(service.start(), xpander_conn_id="gone"))
    assert payload["end"] == "error"
    assert "Connection 'gone' cannot be read" in payload["message"]


@pytest.mark.parametrize("spoilt", [None, {"password": ""}], ids=["away", "a wrong value"])
async def test_a_refused_key_outlasts_a_connection_that_cannot_be_read(
    spoilt: dict[str, Any] | None, service: Service, reads: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    service.configure({"run_seconds": 0.6})
    service.connect("rotated")
    waiting = asyncio.ensure_future(fire(trigger(service.start(), xpander_conn_id="rotated")))
    await asyncio.to_thread(eventually, lambda: bool(service.requests()), "the first poll")
    if spoilt is None:
        monkeypatch.delenv("AIRFLOW_CONN_ROTATED")
    else:
        service.connect("rotated", **spoilt)
    service.configure({"api_keys": ["the-new-key-0001"]})
    await asyncio.to_thread(eventually, lambda: any(reads[1:]), "it could not be read")
    assert not waiting.done()
    service.connect("rotated", password="the-new-key-0001")
    assert (await waiting)["status"] == "completed"


@pytest.mark.parametrize("spoilt", [None, {"password": ""}], ids=["away", "a wrong value"])
async def test_what_was_readable_is_used_on_while_it_is_not(
    spoilt: dict[str, Any] | None,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service.connect("known")
    async with shared_client("known") as client:
        await client.refresh()
        before = client.settings
        if spoilt is None:
            monkeypatch.delenv("AIRFLOW_CONN_KNOWN")
        else:
            service.connect("known", **spoilt)
        for _ in range(2):
            await client.refresh()
        assert client.settings is before
        assert caplog.text.count("What it said before is used on") == 1
        service.connect("known", password="another-key-0003")
        await client.refresh()
        assert client.settings.api_key == "another-key-0003"


# What was edited.


@pytest.mark.parametrize("noticed_by", ["a new wait", "time"])
async def test_an_edit_reaches_a_triggerer_that_is_busy(
    noticed_by: str, service: Service, second: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection leads to another service with another key; the old one would still answer."""
    monkeypatch.setattr(poller_module, "FRESH", 0.0 if noticed_by == "a new wait" else NEVER)
    monkeypatch.setattr(poller_module, "RECHECK", 0.0 if noticed_by == "time" else NEVER)
    service.connect("moved")
    busy = asyncio.ensure_future(fire(trigger(service.start("slow", "take 600"), xpander_conn_id="moved")))
    await asyncio.to_thread(eventually, lambda: bool(service.requests()), "the first poll")
    second.configure({"api_keys": ["the-new-key-0001"]})
    second.connect("moved", password="the-new-key-0001")
    payload = await fire(trigger(second.start(), xpander_conn_id="moved"))
    assert payload["status"] == "completed"
    busy.cancel()
    await asyncio.gather(busy, return_exceptions=True)


async def test_a_connection_is_not_read_for_each_of_many_waits(service: Service, reads: list[Any]) -> None:
    service.connect("crowded")
    busy = asyncio.ensure_future(fire(trigger(service.start("slow", "take 600"), xpander_conn_id="crowded")))
    for _ in range(5):
        await fire(trigger(service.start(), xpander_conn_id="crowded"))
    busy.cancel()
    await asyncio.gather(busy, return_exceptions=True)
    assert len(reads) == 1


async def test_an_edit_of_what_a_client_cannot_change_makes_a_new_client(service: Service) -> None:
    service.connect("proxied")
    async with shared_client("proxied") as client:
        await client.refresh()
        inner = client._client._http
        service.connect("proxied", password="another-key-0003")
        await client.refresh()
        assert client._client._http is inner
        service.connect("proxied", extra={"proxy": "http://127.0.0.1:9"})
        await client.refresh()
        assert client._client._http is not inner
    assert inner.is_closed


async def test_a_request_that_was_refused_is_sent_again_the_new_way(service: Service) -> None:
    service.connect("moved", password="the-old-key-0001")
    async with shared_client("moved") as client:
        await client.refresh()
        service.connect("moved", extra={"proxy": "http://127.0.0.1:9"})
        with pytest.raises(XpanderConnectionError, match="127.0.0.1:9"):
            await client.run(exchange(get_task(service.start()), ONCE))
    assert [call.status for call in service.requests()] == [401]


async def test_credentials_are_read_once_for_all_that_were_refused(
    service: Service, reads: list[Any]
) -> None:
    service.connect("rotated")
    async with shared_client("rotated") as client:
        await client.refresh()
        await asyncio.gather(*(SharedClient.replace(client, client.settings) for _ in range(8)))
    assert len(reads) == 2
