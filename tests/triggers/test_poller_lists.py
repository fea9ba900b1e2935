"""Many waits for one agent go through its list, whatever the list gets wrong."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from typing import Any

import pytest
from airflow_side import LIMIT, OpenConnections, Service, eventually, fire

from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.runs import timing as interval_module
from airflow_provider_xpander.triggers import poller as poller_module
from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

NO_LIMITS = {"requests_per_minute": 0, "requests_per_hour": 0}


def trigger(service: Service, text: str = "take 1", **kwargs: Any) -> XpanderTaskTrigger:
    """A trigger as the operator makes it, for a new run of the slow agent."""
    task_id = service.start("slow", text)
    created = service.task(task_id).created
    return XpanderTaskTrigger(
        task_id, **{"agent_id": "slow", "poll_interval": 0.2, "created": created} | kwargs
    )


async def fire_all(triggers: list[XpanderTaskTrigger]) -> list[dict[str, Any]]:
    return await asyncio.gather(*map(fire, triggers))


def pages(service: Service) -> int:
    return len([call for call in service.requests("GET") if call.path == "/v1/tasks"])


def looks(service: Service) -> Counter[str]:
    return Counter(
        call.path.rpartition("/")[2] for call in service.requests("GET") if call.path != "/v1/tasks"
    )


@pytest.mark.parametrize("order", ["updated", "created", "none"])
async def test_a_hundred_waits_take_a_few_pages(order: str, service: Service) -> None:
    service.configure({"list_order": order})
    service.connect(extra=NO_LIMITS)
    payloads = await fire_all([trigger(service, f"take {0.5 + index / 100}") for index in range(100)])
    assert {(payload["end"], payload["status"]) for payload in payloads} == {("finished", "completed")}
    assert len(service.requests("GET")) < 60
    assert sum(looks(service).values()) < 10


@pytest.mark.parametrize(("by_status", "most"), [("kept", 1000), ("ignored", 1), ("refused", 1)])
async def test_hundreds_of_waits_read_the_lists_of_ended_tasks(
    by_status: str, most: int, service: Service
) -> None:
    service.configure({"list_order": "none", "list_status_filter": by_status, "pending_share": 0})
    service.connect(extra=NO_LIMITS)
    triggers = [trigger(service, f"take {2.5 + index / 200}", poll_interval=0.5) for index in range(400)]
    payloads = await fire_all(triggers)
    assert {(payload["end"], payload["status"]) for payload in payloads} == {("finished", "completed")}
    assert 1 <= len([call for call in service.requests("GET") if "status" in call.query]) <= most
    assert sum(looks(service).values()) < 40


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"list_hidden_share": 0.3}, id="hides tasks"),
        pytest.param({"list_stale_seconds": 0.5}, id="is behind"),
        pytest.param({"list_lag_seconds": 0.5}, id="shows new ones late"),
        pytest.param({"list_order": "none", "list_stale_seconds": 0.3, "list_hidden_share": 0.1}, id="all"),
    ],
)
async def test_a_list_that_is_wrong_delays_but_strands_nobody(
    settings: dict[str, Any], service: Service
) -> None:
    service.configure(settings)
    service.connect(extra=NO_LIMITS)
    payloads = await fire_all([trigger(service) for _ in range(60)])
    assert {(payload["end"], payload["status"]) for payload in payloads} == {("finished", "completed")}


async def test_rows_that_never_change_strand_nobody(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interval_module, "CHECK_LEAST", 2.0)
    service.configure({"list_frozen_share": 0.2})
    service.connect(extra=NO_LIMITS)
    payloads = await fire_all([trigger(service, poll_interval=0.1) for _ in range(30)])
    assert {payload["status"] for payload in payloads} == {"completed"}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(status=403, body={"detail": "no access to lists"}), id="403"),
        pytest.param(Fault(status=404, body={"detail": "no such route"}), id="404"),
        pytest.param(Fault(status=422, body={"detail": []}), id="422"),
        pytest.param(Fault.html(502), id="502"),
        pytest.param(Fault.truncated(), id="truncated"),
        pytest.param(Fault(status=200, body={"items": "none"}), id="of another shape"),
        pytest.param(Fault(status=200, body={"items": [{"id": 5}, "x", {}]}), id="of nonsense"),
    ],
)
async def test_without_a_list_each_run_is_looked_at(fault: Fault, service: Service) -> None:
    service.connect(extra=NO_LIMITS)
    service.add_fault(fault.model_copy(deep=True, update={"path": "/v1/tasks$", "times": None}))
    payloads = await fire_all([trigger(service) for _ in range(12)])
    assert {payload["status"] for payload in payloads} == {"completed"}
    assert len(looks(service)) == 12


async def test_a_list_that_fails_for_the_moment_is_read_again(service: Service) -> None:
    service.connect(extra=NO_LIMITS)
    fault = service.add_fault(Fault.truncated(path="/v1/tasks$", times=1))
    payloads = await fire_all([trigger(service) for _ in range(12)])
    assert {payload["status"] for payload in payloads} == {"completed"}
    assert fault.hits == 1
    assert sum(looks(service).values()) < 12


async def test_a_pause_in_the_list_is_looked_at_and_told_with_its_reason(
    service: Service, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        others = [trigger(service, "take 2") for _ in range(4)]
        waiting = [asyncio.ensure_future(fire(other)) for other in others]
        task_id = service.start("paused", "hello")
        service.override(task_id, {"agent_id": "slow"})
        paused = XpanderTaskTrigger(task_id, "slow", poll_interval=0.1, on_paused="fail", created=time.time())
        payload = await fire(paused)
        await asyncio.gather(*waiting)
    assert (payload["end"], payload["status"]) == ("paused", "paused")
    assert f"{task_id} is paused: a person has to answer" in caplog.text + capsys.readouterr().out


async def test_the_end_of_an_earlier_turn_is_never_taken_from_the_list(service: Service) -> None:
    """A thread's list row says too little to tell its turns apart."""
    service.configure({"stale_turn_seconds": 0.5})
    others = [asyncio.ensure_future(fire(trigger(service, "take 2"))) for _ in range(4)]
    task_id = service.start("slow", "take 0")
    await asyncio.sleep(0.05)
    ended = service.task(task_id).last.at(time.time()).finished_at
    service.start("slow", "take 0.8", id=task_id)
    started = time.monotonic()
    payload = await fire(
        XpanderTaskTrigger(task_id, "slow", poll_interval=0.1, newer_than=ended, created=time.time())
    )
    assert payload["end"] == "finished"
    assert time.monotonic() - started > 0.6
    await asyncio.gather(*others)


async def test_deadlines_hold_for_waits_in_a_list(service: Service) -> None:
    service.connect(extra=NO_LIMITS)
    deadline = time.time() + 0.5
    late = [trigger(service, "take 30", deadline=deadline, poll_interval=60) for _ in range(20)]
    in_time = [trigger(service, "take 0.2", deadline=deadline, poll_interval=60) for _ in range(20)]
    payloads = await fire_all(late + in_time)
    assert {(payload["end"], payload["status"]) for payload in payloads[:20]} == {("timeout", "executing")}
    # Their end is found by the last look, for which the deadline is the occasion.
    assert {(payload["end"], payload["status"]) for payload in payloads[20:]} == {("finished", "completed")}
    assert time.time() - deadline < 5
    assert len(service.requests("GET")) < 15


async def test_two_waits_for_one_run_take_one_place_in_the_list(service: Service) -> None:
    triggers = [trigger(service) for _ in range(5)]
    twins = [XpanderTaskTrigger(**one.serialize()[1]) for one in triggers]
    payloads = await fire_all(triggers + twins)
    assert {payload["status"] for payload in payloads} == {"completed"}


async def test_waits_that_are_cancelled_leave_the_others_alone(
    service: Service, server_connections: OpenConnections
) -> None:
    service.connect(extra=NO_LIMITS)
    waits = [asyncio.ensure_future(fire(trigger(service))) for _ in range(40)]
    await asyncio.to_thread(eventually, lambda: pages(service) >= 1, "a round")
    for wait in waits[::2]:
        wait.cancel()
    async with asyncio.timeout(LIMIT):
        ends = await asyncio.gather(*waits, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends[::2])
    assert all(isinstance(end, dict) and end["status"] == "completed" for end in ends[1::2])
    assert not poller_module._pollers
    await asyncio.to_thread(eventually, lambda: server_connections.all_closed, "all connections are closed")
    gc.collect()


def test_a_loop_that_was_closed_in_the_middle_is_no_burden_for_the_next(service: Service) -> None:
    loop = asyncio.new_event_loop()
    task = loop.create_task(fire(trigger(service, "take 30")))
    loop.run_until_complete(asyncio.sleep(0.2))
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    assert asyncio.run(fire(trigger(service, "take 0.1")))["end"] == "finished"
    assert not poller_module._pollers


async def test_a_key_that_changes_is_read_once_for_all(service: Service) -> None:
    service.connect(extra=NO_LIMITS)
    waits = [asyncio.ensure_future(fire(trigger(service))) for _ in range(30)]
    await asyncio.to_thread(eventually, lambda: pages(service) >= 1, "a round")
    service.connect(password="the-new-key-0001", extra=NO_LIMITS)
    service.configure({"api_keys": ["the-new-key-0001"]})
    assert {payload["status"] for payload in await asyncio.gather(*waits)} == {"completed"}
    assert [call.status for call in service.requests()].count(401) == 1


async def test_a_key_that_is_refused_for_good_ends_all_waits_at_once(service: Service) -> None:
    service.connect(password="an-outdated-key-0002")
    service.configure({"api_keys": ["the-new-key-0001"]})
    payloads = await fire_all([trigger(service, "take 30") for _ in range(30)])
    assert {payload["end"] for payload in payloads} == {"error"}
    assert len(service.requests()) <= 8


async def test_signs_of_life_come_ever_less_often(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from airflow_provider_xpander.runs.log import status_log

    monkeypatch.setattr(status_log, "FIRST_SIGN", 0.2)
    with caplog.at_level("INFO"):
        await fire(trigger(service, "take 2", poll_interval=0.1))
    lines = [
        line for line in (caplog.text + capsys.readouterr().out).splitlines() if "; next look in" in line
    ]
    assert 2 <= len(lines) <= 8  # at 0.2, 0.6 and 1.4 s; 2.11 and 3.x write to different places, or both
    assert any(" is executing after " in line for line in lines)
