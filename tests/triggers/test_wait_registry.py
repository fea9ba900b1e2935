"""Odd pages, and the waits of a poller that outlive them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_xpander.api.errors import (
    XpanderNotFoundError,
    XpanderRateLimitError,
    XpanderServiceError,
)
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.routes import Priority, RawPage
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.runs.polling.waiters import ReadPage, ReadTask
from airflow_provider_xpander.runs.watch import End, Watch
from airflow_provider_xpander.telemetry import WaitMetrics
from airflow_provider_xpander.triggers.wait_registry import WaitRegistry

ASKED = "2026-11-22T11:00:00+00:00"


class Crowd:
    """Five waits for runs of one agent, and the first page of its list."""

    def __init__(self, **kwargs: Any) -> None:
        self.waits = WaitRegistry(WaitMetrics("c"))
        self.told: list[str] = []
        self.began = self.waits.now() - 400
        self.waiters = [
            self.waits.add(
                Watch(f"t-{index}", 30.0, brief=True, **kwargs),
                agent_id="a",
                created=self.began,
                report=self.tell,
                log=logging.getLogger(__name__),
            )
            for index in range(5)
        ]
        action, now = None, self.waits.now()
        while action is None:
            now += 0.2
            action = self.waits.scheduler.next_action(now, True)
        assert isinstance(action, ReadPage)
        self.action = action

    def tell(self, task: Task, _: Settings) -> None:
        self.told.append(f"{task.id} {task.status.value}")

    def take(self, *rows: tuple[str, str, float]) -> None:
        """Take a page: ids, statuses, and seconds after the beginning at which they were last changed."""
        items = [
            {
                "id": task_id,
                "status": status,
                "created_at": stamp(self.began),
                "updated_at": stamp(self.began + changed),
            }
            for task_id, status, changed in rows
        ]
        self.waits.take(self.action, RawPage(items, 1))


def stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


async def test_a_page_that_shows_a_task_twice_ends_its_wait_once() -> None:
    crowd = Crowd()
    crowd.take(("t-1", "executing", 10), ("t-1", "completed", 380), ("t-1", "completed", 390))
    assert [waiter.gone for waiter in crowd.waiters] == [False, True, False, False, False]
    assert crowd.told == ["t-1 executing", "t-1 completed"]


async def test_a_row_that_shows_a_run_as_it_was_is_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that has failed long ago, and fails again, is not a run that was gone all the time."""
    crowd = Crowd()
    crowd.take(("t-1", "executing", 10))
    waiter, now = crowd.waiters[1], crowd.waits.now()
    check, missing = ReadTask(waiter, Priority.CHECK), XpanderNotFoundError("no such task", status_code=404)
    crowd.waits.take(check, missing)
    assert waiter.owner.trouble == "no such task"
    crowd.take(("t-1", "executing", 10))
    assert waiter.owner.trouble is None
    monkeypatch.setattr(crowd.waits, "now", lambda: now + 3600)
    crowd.waits.take(check, missing)
    assert not waiter.gone


async def test_throttling_ends_an_outage() -> None:
    crowd = Crowd()
    outage, down = crowd.waits.scheduler.outage, XpanderServiceError("HTTP 502", status_code=502)
    for _ in range(3):
        crowd.waits.take(ReadTask(crowd.waiters[1], Priority.POLL), down)
    assert outage.is_on
    crowd.waits.take(ReadTask(crowd.waiters[1], Priority.POLL), XpanderRateLimitError("slow"))
    assert not outage.is_on


async def test_a_row_from_before_a_pause_does_not_answer_the_question_about_it() -> None:
    crowd = Crowd(on_paused="ask", asked=ASKED)
    crowd.take(*((f"t-{index}", "executing", 10) for index in range(5)))
    assert crowd.told == []
    assert {waiter.watch.asked for waiter in crowd.waiters} == {ASKED}
    looks = [crowd.waits.scheduler.next_action(crowd.waits.now(), True) for _ in range(5)]
    assert {look.waiter for look in looks if isinstance(look, ReadTask)} == set(crowd.waiters)


async def test_a_status_that_the_log_has_told_is_not_told_again() -> None:
    from airflow_provider_xpander.api.status import TaskStatus

    crowd = Crowd(status=TaskStatus.EXECUTING)
    crowd.take(
        ("t-0", "executing", 10), ("t-1", "running", 10), ("t-2", "pending", 0), ("t-3", "completed", 9)
    )
    assert crowd.told == ["t-2 pending", "t-3 completed"]
    over = crowd.waiters[0].watch.without_news(0.0)
    assert over is None
    crowd.waiters[0].watch.deadline = 1.0
    over = crowd.waiters[0].watch.without_news(1.0)
    assert over is not None
    assert (over.end, over.status) == (End.TIMEOUT, TaskStatus.EXECUTING)
