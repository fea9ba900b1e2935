"""Bulk tasks within the request budget of a connection: a worker defers rather than sleep for it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow_side import Service, fire
from attempts import attempt
from bulk import enrich, folder, run_to_deferral, tickets

from airflow_provider_xpander._compat import TaskDeferred
from airflow_provider_xpander.api import governor as governor_module
from airflow_provider_xpander.api import host_budget
from airflow_provider_xpander.api.errors import XpanderConnectionError
from airflow_provider_xpander.api.exchange import TooLong
from airflow_provider_xpander.api.governor import Governor
from airflow_provider_xpander.api.host_budget import HostBudget
from airflow_provider_xpander.api.routes import Priority
from airflow_provider_xpander.bulk.packs import Pack
from airflow_provider_xpander.bulk.state import Flight, State
from airflow_provider_xpander.operators.bulk import pace as bulk_pace
from airflow_provider_xpander.operators.bulk.collect import Collector
from airflow_provider_xpander.operators.bulk.pace import SLICE, Pace

__all__ = ["folder"]

PER_MINUTE = 20


@pytest.fixture
def limited(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(bulk_pace, "SLICE", 0.2)
    service.settings.run_seconds = 600
    service.connect(extra={"requests_per_minute": PER_MINUTE})
    return service


@pytest.mark.parametrize("host", ["the same", "another", "one with other tasks"])
def test_a_worker_defers_until_there_is_room(
    host: str, limited: Service, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.time()
    with pytest.raises(TaskDeferred) as deferred:
        run_to_deferral(enrich(folder, rows=tickets(50)), attempt(1))
    submits = len(limited.posts)
    assert PER_MINUTE / 2 < submits < PER_MINUTE
    trigger = deferred.value.trigger
    assert 30 < trigger.until - began < 90
    # The next worker is another process, and on another host it knows only by the ledger what was sent.
    governor_module._governors.clear()
    if host != "the same":
        monkeypatch.setattr(host_budget, "place_of_host", lambda: tmp_path)
    if host == "one with other tasks":
        HostBudget(limited.server.url, limited.server.api_key).note(Priority.SUBMIT, time.time())
    with pytest.raises(TaskDeferred) as again:
        enrich(folder, rows=tickets(50)).execute_complete(attempt(1).context(), {"going": [[1, submits]]})
    assert len(limited.posts) == submits
    assert again.value.trigger.until > time.time() + 20
    (governor,) = governor_module._governors.values()
    assert governor.hour.counts[Priority.SUBMIT] == submits, "counted once"
    assert time.time() - began < 10


def test_a_worker_sleeps_ten_seconds_at_the_most_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(bulk_pace, "sleep", slept.append)
    governor = Governor(per_minute=PER_MINUTE)
    pace = Pace(governor)
    for seconds in (4.0, 5.0, 0.5):
        governor.delay = lambda priority, now, seconds=seconds: seconds  # type: ignore[misc]
        assert pace.may(Priority.SUBMIT)
        pace.sleep(seconds)
    governor.delay = lambda priority, now: 1.0  # type: ignore[method-assign]
    assert not pace.may(Priority.SUBMIT)
    with pytest.raises(TooLong):
        pace.sleep(1.0)
    assert SLICE == 10
    assert sum(slept) == 9.5
    assert pace.until is not None
    governor.delay = lambda priority, now: 0.0  # type: ignore[method-assign]
    assert not pace.may(Priority.READ), "nothing is sent before it is time"
    pace.begin()
    assert pace.may(Priority.READ)


def test_what_was_sent_more_than_an_hour_ago_does_not_count() -> None:
    now = time.time()
    governor = Governor(per_minute=100, per_hour=1000)
    pace = Pace(governor)
    pace.remember(((now - 4000, 500, 500), (now - 60, 20, 30)))
    assert governor.hour.total == 50
    assert [one[1:] for one in pace.sent] == [(20, 30)]


def test_an_outage_is_waited_out_for_an_hour() -> None:
    state = State(rows=1, limit=1, began=0.0)
    pace = Pace(Governor())
    error = bulk_pace.XpanderError("away")
    since = pace.trouble(error, state)
    assert pace.until is not None
    assert pace.until > time.time() + 20
    with pytest.raises(bulk_pace.XpanderError, match="away"):
        pace.trouble(error, State(rows=1, limit=1, began=0.0, trouble=since - 3601))


@pytest.mark.parametrize(("away", "since"), [(False, None), (True, 5.0)])
def test_a_list_that_can_be_read_ends_an_outage(
    away: bool, since: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two failures an hour apart would end the task, with runs in flight that go well."""

    def find(self: Collector, lost: Any) -> list[None]:
        if away:
            raise XpanderConnectionError("away")
        return [None]

    monkeypatch.setattr(Collector, "_find", find)
    flight = (Flight(1, Pack((0,)), "asked", time.time()),)
    book = SimpleNamespace(state=State(rows=1, limit=1, began=0.0, trouble=5.0, flight=flight))

    def trouble(_: Exception) -> None:
        book.state = replace(book.state, trouble=5.0)

    Collector(SimpleNamespace(book=book), SimpleNamespace(trouble=trouble), None).find_lost()  # type: ignore[arg-type]
    assert book.state.trouble == since


def test_answers_that_there_is_no_budget_for_cost_no_further_resumes(limited: Service, folder: Path) -> None:
    limited.settings.run_seconds = 0.01
    task = enrich(folder, rows=tickets(14), max_in_flight=14)
    with pytest.raises(TaskDeferred):
        run_to_deferral(task, attempt(1))
    with pytest.raises(TaskDeferred) as deferred:
        task.execute_complete(attempt(1).context(), {"going": []})
    asked = len(limited.requests())
    trigger = deferred.value.trigger
    assert trigger.until > time.time() + 10
    trigger.until = time.time() + 0.5
    began = time.time()
    asyncio.run(fire(trigger))
    assert time.time() - began >= 0.5, "it does not fire for runs that had ended before"
    assert len(limited.requests()) == asked
