"""The one event of a trigger: for each end of a wait, small and without secrets."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow_side import POLL, Service, eventually, fire

from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.runs import watch as watch_module
from airflow_provider_xpander.triggers import asking as asking_module
from airflow_provider_xpander.triggers import enrich as enrich_module
from airflow_provider_xpander.triggers import xpander as trigger_module
from airflow_provider_xpander.triggers.asking import XpanderChoiceTrigger
from airflow_provider_xpander.triggers.enrich import XpanderWaveTrigger
from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger


def trigger(task_id: str, **kwargs: Any) -> XpanderTaskTrigger:
    return XpanderTaskTrigger(task_id, **{"agent_id": "echo", "poll_interval": POLL} | kwargs)


def test_it_is_rebuilt_from_plain_json() -> None:
    kwargs = {
        "xpander_task_id": "7",
        "agent_id": "a",
        "xpander_conn_id": "other",
        "poll_interval": 1.5,
        "deadline": 1e9,
        "on_paused": "fail",
        "on_kill_action": "stop",
        "newer_than": 1e8,
        "asked": "paused",
        "created": 2e8,
        "told": "executing",
        "deferred_at": 3e8,
        "digests": ["0a", "1b"],
        "may_ask": True,
    }
    path, stored = XpanderTaskTrigger(**kwargs).serialize()
    assert json.loads(json.dumps(stored)) == kwargs
    assert path == f"{XpanderTaskTrigger.__module__}.{XpanderTaskTrigger.__qualname__}"


@pytest.mark.parametrize(
    ("agent_id", "text", "status"),
    [
        ("echo", "hello", "completed"),
        ("failing", "x", "failed"),
        ("failing", "error", "error"),
        ("failing", "stopped", "stopped"),
    ],
    ids=["completed", "failed", "error", "stopped"],
)
async def test_each_status_that_is_final_ends_the_wait(
    agent_id: str, text: str, status: str, service: Service
) -> None:
    task_id = service.start(agent_id, text)
    assert await fire(trigger(task_id, agent_id=agent_id)) == {
        "xpander_task_id": task_id,
        "agent_id": agent_id,
        "deadline": None,
        "newer_than": None,
        "asked": None,
        "end": "finished",
        "status": status,
        "message": None,
    }


@pytest.mark.parametrize(
    "spelling", ["Completed", "SUCCESS", "succeeded", "done", "cancelled", "canceled", "errored"]
)
async def test_other_spellings_of_final_statuses_end_it_too(spelling: str, service: Service) -> None:
    task_id = service.start("slow", "take 30")
    service.override(task_id, {"status": spelling})
    assert (await fire(trigger(task_id)))["end"] == "finished"


async def test_an_unknown_status_is_a_run_that_goes_on(service: Service) -> None:
    task_id = service.start("slow", "take 30")
    service.override(task_id, {"status": "pondering"})
    payload = await fire(trigger(task_id, deadline=time.time() + 0.3))
    assert (payload["end"], payload["status"]) == ("timeout", "executing")


async def test_a_pause_ends_the_wait_if_asked_for(service: Service) -> None:
    task_id = service.start("paused", "hello")
    payload = await fire(trigger(task_id, on_paused="fail"))
    assert (payload["end"], payload["status"]) == ("paused", "paused")


async def test_a_pause_is_waited_out_else(service: Service) -> None:
    task_id = service.start("paused", "schedule 0.3")
    assert (await fire(trigger(task_id)))["status"] == "completed"


async def test_the_deadline_ends_the_wait(service: Service) -> None:
    task_id = service.start("slow", "take 30")
    payload = await fire(trigger(task_id, deadline=time.time() + 0.3))
    assert (payload["end"], payload["status"]) == ("timeout", "executing")
    assert service.stops(task_id) == 0, "a trigger decides nothing about the run; the worker does"


async def test_a_run_that_has_ended_is_not_late(service: Service) -> None:
    """A triggerer that was down over the deadline still finds the answer that was paid for."""
    task_id = service.start()
    service.finish(task_id)
    assert (await fire(trigger(task_id, deadline=time.time() - 3600)))["end"] == "finished"


async def test_a_task_that_stays_unknown_is_an_error(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "NOT_FOUND_GRACE", 0.2)
    payload = await fire(trigger("no-such-task"))
    assert (payload["end"], payload["status"]) == ("error", None)
    assert "Task no-such-task not found" in payload["message"]
    assert len(service.requests()) > 1, "the grace was used"


async def test_without_access_it_is_an_error_at_once(service: Service) -> None:
    service.add_fault(Fault(status=403, body={"detail": "Access was revoked"}, times=None))
    payload = await fire(trigger(service.start()))
    assert payload["end"] == "error"
    assert "Access was revoked" in payload["message"]
    assert len(service.requests()) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"conn_type": "http"}, "not 'xpander'", id="another type"),
        pytest.param({"password": ""}, "has no API key", id="no key"),
        pytest.param({"extra": {"verify": "/nowhere/ca.pem"}}, "verify", id="CA file is gone"),
    ],
)
async def test_a_connection_that_was_spoilt_meanwhile_is_an_error(
    changes: dict[str, Any], words: str, service: Service
) -> None:
    service.connect("gone", **changes)
    payload = await fire(trigger(service.start(), xpander_conn_id="gone"))
    assert payload["end"] == "error"
    assert words in payload["message"]


async def test_the_event_is_small_and_has_no_answer(service: Service) -> None:
    """Airflow logs the event and stores it in clear."""
    text = "the answer that belongs into XCom only " * 1000
    task_id = service.start("echo", text, user_oidc_token="oidc-token-7731")
    payload = json.dumps(await fire(trigger(task_id)))
    assert len(payload) < 300
    assert "the answer" not in payload
    assert "oidc-token" not in payload


async def test_the_text_of_an_error_is_bounded_and_has_no_key(service: Service) -> None:
    service.add_fault(Fault(status=403, body={"detail": "no\x1b[31m access\n" * 1000}, times=None))
    payload = await fire(trigger(service.start()))
    assert len(payload["message"]) < 1000
    assert payload["message"].isprintable()
    assert service.server.api_key not in json.dumps(payload)


async def test_it_fires_once_and_never_posts(service: Service) -> None:
    task_id = service.start()
    events = [event async for event in trigger(task_id).run()]
    assert len(events) == 1
    assert {call.method for call in service.requests()} == {"GET"}


async def test_a_change_of_the_status_is_logged_once(
    service: Service, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    service.configure({"pending_share": 0})
    task_id = service.start("slow", "take 30")
    with caplog.at_level("INFO"):
        waiting = asyncio.ensure_future(fire(trigger(task_id)))
        await asyncio.to_thread(eventually, lambda: len(service.requests()) >= 4, "some looks")
        service.finish(task_id)
        await waiting
    told = re.findall(
        rf"xpander task {task_id} (is executing|completed)", caplog.text + capsys.readouterr().out
    )
    statuses = [words.split()[-1] for words in told]
    # In two places at the most: Airflow 3 logs to stdout, Airflow 2 to the standard logging.
    assert statuses in (["executing", "completed"], ["executing", "completed"] * 2)


async def test_the_interval_between_looks_is_kept_and_jittered(service: Service) -> None:
    """No look comes early, and triggers that start together drift apart."""
    service.configure({"run_seconds": 2})
    await fire(trigger(service.start(), poll_interval=0.2))
    times = [call.at for call in service.requests("GET")]
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    assert min(gaps) >= 0.2 * 0.8 - 0.01
    assert len({round(gap, 4) for gap in gaps}) > 1


@pytest.mark.parametrize(
    ("in_airflow", "age", "held"),
    [
        pytest.param(True, "60", True, id="young deferral"),
        pytest.param(True, "0", False, id="old deferral"),
        pytest.param(False, "60", False, id="no scheduler, as in dag.test()"),
    ],
)
@pytest.mark.parametrize("deferred_at", [-300.0, 0.0, 300.0], ids=["clock behind", "in step", "clock ahead"])
async def test_an_event_is_held_until_the_scheduler_has_seen_the_worker_end(
    in_airflow: bool,
    age: str,
    held: bool,
    deferred_at: float,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A task that is resumed before that is taken for one that has died, and failed."""
    monkeypatch.setenv("AIRFLOW__XPANDER__MIN_DEFERRAL_AGE", age)
    task_id = service.start()
    service.finish(task_id)
    made = trigger(task_id, deferred_at=time.time() + deferred_at)
    if in_airflow:
        made.task_instance = SimpleNamespace(task_id="ask")
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(trigger_module, "asyncio", SimpleNamespace(sleep=sleep, CancelledError=Exception))
    assert (await fire(made))["end"] == "finished"
    assert [seconds > 0 for seconds in pauses] == ([held] if in_airflow else [])


@pytest.mark.parametrize("in_airflow", [True, False])
@pytest.mark.parametrize("module", [enrich_module, asking_module], ids=["wave", "choice"])
async def test_the_events_of_other_triggers_are_held_too(
    module: Any, in_airflow: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW__XPANDER__MIN_DEFERRAL_AGE", "7")
    held: list[float] = []

    def until_old_enough(began: float, least: float, now: float) -> float:
        assert now - 60 < began <= now
        held.append(least)
        return 0.0

    monkeypatch.setattr(module, "until_old_enough", until_old_enough)
    made = {
        enrich_module: lambda: XpanderWaveTrigger(tmp_path.as_uri(), "no such wave", deferred_at=5.0),
        # The time is up, and nobody can be asked whether somebody has chosen.
        asking_module: lambda: XpanderChoiceTrigger("ti", time.time() - 1, deferred_at=5.0),
    }[module]()
    if in_airflow:
        made.task_instance = SimpleNamespace(task_id="ask")
    await fire(made)
    assert held == ([7.0] if in_airflow else [])


async def test_a_cancelled_wait_ends_at_once(service: Service) -> None:
    waiting = asyncio.ensure_future(fire(trigger(service.start("slow", "take 30"), poll_interval=60)))
    await asyncio.to_thread(eventually, lambda: bool(service.requests()), "the first look")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
