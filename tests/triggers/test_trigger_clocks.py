"""The clock of a worker that has deferred a task differs from the triggerer's, by five minutes."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow_side import POLL, Service, fire

from airflow_provider_xpander.runs.timing import backstop
from airflow_provider_xpander.triggers.asking import XpanderChoiceTrigger
from airflow_provider_xpander.triggers.deferral_clock import brought_here
from airflow_provider_xpander.triggers.enrich import XpanderWaveTrigger, until_here
from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger

GAP = 300.0


def by_airflow_3(trigger: Any, deferred: float) -> Any:
    """Tell a trigger what the triggerer of Airflow 3 does: when Airflow itself ends the wait."""
    limit = backstop(trigger.deadline, trigger.deferred_at)
    assert limit is not None
    trigger.timeout_after = datetime.fromtimestamp(deferred, UTC) + limit
    return trigger


def by_airflow_2(trigger: Any, deferred: float) -> Any:
    """Tell a trigger what the triggerer of Airflow 2 does: the row of its task instance."""
    trigger.task_instance = SimpleNamespace(
        task_id="ask", queued_dttm=datetime.fromtimestamp(deferred - 2, UTC)
    )
    return trigger


@pytest.mark.parametrize("airflow", [by_airflow_3, by_airflow_2])
@pytest.mark.parametrize("gap", [-GAP, 0.0, GAP], ids=["behind", "in step", "ahead"])
@pytest.mark.parametrize("age", [0.0, 60.0], ids=["first start", "after a restart of the triggerer"])
def test_a_deadline_is_that_of_the_triggerers_clock(airflow: Any, gap: float, age: float) -> None:
    deferred = time.time() - age
    trigger = XpanderTaskTrigger("7", deadline=deferred + gap + 120, deferred_at=deferred + gap)
    here = brought_here(airflow(trigger, deferred), trigger.deadline)
    assert here is not None
    # Of a clock that is ahead, Airflow 2 tells nothing: that a deferral is not later than now is all.
    late = age if airflow is by_airflow_2 and gap > 0 else 0.0
    assert here == pytest.approx(deferred + 120 + late, abs=4)


@pytest.mark.parametrize(
    "trigger",
    [
        pytest.param(XpanderTaskTrigger("7", deadline=5.0), id="stored by an earlier version"),
        pytest.param(XpanderWaveTrigger("file:///r", "w", deadline=5.0, deferred_at=1.0), id="wave"),
        pytest.param(XpanderChoiceTrigger("ti", 5.0, 1.0), id="choice"),
    ],
)
def test_where_nothing_is_known_a_deadline_stays(trigger: Any) -> None:
    assert brought_here(trigger, trigger.deadline) == 5.0
    assert brought_here(trigger, None) is None


async def test_a_run_in_time_is_not_ended_because_the_workers_clock_is_behind(service: Service) -> None:
    task_id, now = service.start("slow", "take 1"), time.time()
    deadline = now - GAP + 60
    trigger = XpanderTaskTrigger(
        task_id, agent_id="slow", poll_interval=POLL, deadline=deadline, deferred_at=now - GAP
    )
    event = await fire(by_airflow_3(trigger, now))
    assert (event["end"], event["deadline"]) == ("finished", deadline)


async def test_a_late_run_is_ended_although_the_workers_clock_is_ahead(service: Service) -> None:
    task_id, now = service.start("slow", "take 600"), time.time()
    trigger = XpanderTaskTrigger(
        task_id, agent_id="slow", poll_interval=POLL, deadline=now + GAP + 0.3, deferred_at=now + GAP
    )
    async with asyncio.timeout(20):
        assert (await fire(trigger))["end"] == "timeout"


@pytest.mark.parametrize(
    ("until", "shift", "here"),
    [
        pytest.param(None, 0.0, None, id="nothing to wait for"),
        pytest.param(1600.0, 0.0, 1600.0, id="in step"),
        pytest.param(1001.0, 0.0, 1003.0, id="soon"),
        pytest.param(1600.0, -300.0, 1300.0, id="ahead"),
        pytest.param(1600.0, 300.0, 1900.0, id="behind, and known"),
        pytest.param(990.0, 0.0, 992.0, id="over before it began"),
    ],
)
def test_a_wait_for_budget_ends_when_it_is_time_here(
    until: float | None, shift: float, here: float | None
) -> None:
    assert until_here(until, 1000.0, shift, 1002.0) == here


def test_a_worker_whose_clock_is_behind_is_not_resumed_at_once_for_budget() -> None:
    """It would do nothing but defer again, and so on, for as long as the clocks are apart."""
    assert until_here(700.0 + 90.0, 700.0, 0.0, 1002.0) == 1032.0


def test_an_older_deferral_waits_as_it_says() -> None:
    assert until_here(5.0, None, 0.0, 1002.0) == 5.0
