"""Tolerance of a wait: everything that may pass is survived, up to the deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from airflow_side import POLL, Service, eventually, fire

from airflow_provider_xpander.api.governor import Governor
from airflow_provider_xpander.emulator import EmulatorServer, Fault, Settings
from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger


def trigger(task_id: str, **kwargs: Any) -> XpanderTaskTrigger:
    return XpanderTaskTrigger(task_id, **{"agent_id": "echo", "poll_interval": POLL} | kwargs)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault.server_error(), id="500"),
        pytest.param(Fault.html(502), id="502 HTML"),
        pytest.param(Fault.html(503), id="503 HTML"),
        pytest.param(Fault.html(504), id="504 HTML"),
        pytest.param(Fault(status=200, body="<html><title>Please log in</title></html>"), id="200 HTML"),
        pytest.param(Fault.empty(), id="empty body"),
        pytest.param(Fault.truncated(), id="truncated body"),
        pytest.param(Fault(status=200, body=[1]), id="JSON of another shape"),
        pytest.param(Fault.dropped(), id="connection broken before the answer"),
        pytest.param(Fault.dropped("during"), id="connection broken in the answer"),
        pytest.param(Fault.throttled(), id="429"),
        pytest.param(Fault.throttled(retry_after=0), id="429 Retry-After"),
        pytest.param(Fault(status=404, body={"detail": "Task not found"}), id="404"),
        pytest.param(Fault(status=408, body=""), id="408"),
        pytest.param(Fault(status=302, headers={"Location": "/login"}), id="302"),
    ],
)
async def test_a_look_that_fails_for_the_moment_is_repeated(fault: Fault, service: Service) -> None:
    fault = service.add_fault(fault.model_copy(deep=True, update={"times": 3}))
    payload = await fire(trigger(service.start()))
    assert fault.hits == 3
    assert (payload["end"], payload["status"]) == ("finished", "completed")


async def test_an_answer_that_comes_too_late_is_asked_for_again(service: Service) -> None:
    service.connect(extra={"timeout": 0.2})
    service.add_fault(Fault.slow(1.0))
    assert (await fire(trigger(service.start())))["end"] == "finished"


async def test_a_redirect_is_not_followed_with_the_key(service: Service) -> None:
    service.add_fault(Fault(status=307, headers={"Location": "/v1/elsewhere"}, times=2))
    await fire(trigger(service.start()))
    assert service.requests(ending="/elsewhere") == []


async def test_a_task_that_is_not_visible_yet_is_waited_for(service: Service) -> None:
    service.configure({"not_found_lag_seconds": 0.4})
    payload = await fire(trigger(service.start()))
    assert (payload["end"], payload["status"]) == ("finished", "completed")
    assert service.requests()[0].status == 404


async def test_retry_after_is_obeyed(service: Service) -> None:
    service.add_fault(Fault.throttled(retry_after=1))
    await fire(trigger(service.start()))
    refused, repeated = service.requests()[:2]
    assert refused.status == 429
    assert repeated.at - refused.at >= 0.8  # one second, jittered


async def test_a_long_retry_after_does_not_prolong_the_wait(service: Service) -> None:
    service.add_fault(Fault.throttled(retry_after=3600, times=None))
    payload = await fire(trigger(service.start("slow", "take 30"), deadline=time.time() + 0.3))
    assert payload["end"] == "timeout"


async def test_the_deadline_holds_while_nothing_answers(service: Service) -> None:
    service.add_fault(Fault.html(503, times=None))
    payload = await fire(trigger(service.start(), deadline=time.time() + 0.3))
    assert (payload["end"], payload["status"]) == ("timeout", None)


async def test_a_wait_outlives_an_outage(
    service: Service, xpander_servers: Callable[..., EmulatorServer]
) -> None:
    """The service goes away while the run is waited for, and comes back when it is over."""
    own_server = xpander_servers(settings=Settings(run_seconds=0.2))
    service.connect("away", host=own_server.url)
    away = Service(own_server, service.set_env)
    run = away.start("slow", "take 600")
    waiting = asyncio.ensure_future(fire(trigger(run, xpander_conn_id="away")))
    await asyncio.to_thread(eventually, lambda: bool(away.requests()), "the first look")
    await asyncio.to_thread(own_server.stop)
    await asyncio.sleep(0.5)
    assert not waiting.done()
    away.finish(run)
    await asyncio.to_thread(own_server.start)
    assert (await waiting)["status"] == "completed"


async def test_a_refused_key_is_read_again_from_the_connection(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, note = [], Governor.sent
    monkeypatch.setattr(Governor, "sent", lambda *args: (counted.append(args), note(*args)))
    service.configure({"run_seconds": 0.6})
    waiting = asyncio.ensure_future(fire(trigger(service.start())))
    await asyncio.to_thread(eventually, lambda: bool(service.requests()), "the first look")
    service.connect(password="the-new-key-0001")
    service.configure({"api_keys": ["the-new-key-0001"]})
    assert (await waiting)["status"] == "completed"
    assert [call.status for call in service.requests()].count(401) == 1
    assert service.requests()[-1].headers["x-api-key"] == "the-new-key-0001"
    assert len(counted) == len(service.requests())


async def test_a_key_that_is_refused_and_was_not_changed_ends_the_wait(service: Service) -> None:
    service.configure({"api_keys": ["the-new-key-0001"]})
    service.connect(password="an-outdated-key-0002")
    payload = await fire(trigger(service.start()))
    assert payload["end"] == "error"
    assert "Invalid or missing API key" in payload["message"]
    assert "an-outdated-key-0002" not in payload["message"]
    assert [call.status for call in service.requests()] == [401]


async def test_each_refusal_of_a_long_wait_gets_its_own_second_chance(service: Service) -> None:
    """Keys are changed more than once in the hours that a run may take."""
    run = service.start("slow", "take 600")
    waiting = asyncio.ensure_future(fire(trigger(run)))
    for number, key in enumerate(["the-second-key-1", "the-third-key-2"], start=1):
        done = len(service.requests())
        await asyncio.to_thread(eventually, lambda n=done: len(service.requests()) > n + 1, "another look")
        service.connect(password=key)
        service.configure({"api_keys": [key]})
        await asyncio.to_thread(
            eventually,
            lambda n=number: [call.status for call in service.requests()].count(401) == n,
            "the old key is refused",
        )
    service.finish(run)
    assert (await waiting)["status"] == "completed"


async def test_all_waits_go_on_when_one_has_read_the_new_key(service: Service) -> None:
    service.configure({"run_seconds": 600})
    runs = [service.start() for _ in range(10)]
    waits = [asyncio.ensure_future(fire(trigger(run))) for run in runs]
    await asyncio.to_thread(eventually, lambda: service.requests(), "somebody has looked")
    service.connect(password="the-new-key-0001")
    service.configure({"api_keys": ["the-new-key-0001"]})
    for run in runs:
        service.server.emulator.finish(run)
    assert {payload["status"] for payload in await asyncio.gather(*waits)} == {"completed"}
