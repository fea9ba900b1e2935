"""Events of runs that have ended, from a real triggerer, which is killed in between."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_xpander._compat import HAS_EVENT_TRIGGERS
from airflow_provider_xpander.emulator.request_model import AgentExecutionRequest
from airflow_provider_xpander.emulator.server import EmulatorServer
from airflow_provider_xpander.triggers.events import HAS_SHARED_STREAM
from dev.local_airflow import LocalAirflow
from dev.waiting import wait_for

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not HAS_EVENT_TRIGGERS, reason="this Airflow has no event triggers"),
]
ASSETS = ("e2e_answers", "e2e_bills")


@pytest.fixture
def end_run(emulator: EmulatorServer) -> Callable[..., str]:
    """Let somebody else start a run that ends at once; returns its id."""

    def start(title: str = "watched") -> str:
        body = AgentExecutionRequest.model_validate({"input": {"text": "take 0"}, "title": title})
        return emulator.emulator.invoke("agent", "echo", body.model_dump(mode="json")).id

    return start


def told(airflow: LocalAirflow) -> Counter[tuple[str, str]]:
    """Return how often each end is an event of each asset."""
    return Counter(
        (event["name"], payload["xpander_task_id"])
        for event in airflow.client.asset_events()
        if event["name"] in ASSETS and (payload := event["extra"]["payload"])
    )


def test_no_end_is_missed_and_none_told_twice_over_a_triggerer_that_is_killed(
    airflow: LocalAirflow, end_run: Callable[..., str], emulator: EmulatorServer
) -> None:
    client = airflow.client
    client.unpause("watcher")
    ids: list[str] = []

    def is_watching() -> bool:
        ids.append(end_run())
        return bool(told(airflow))

    wait_for(is_watching, limit=120, what="the first event", interval=5, explain=lambda: log(airflow))
    early = set(ids[:-1])  # which of these ended before the watch began is not known
    own = end_run("watched by ourselves [airflow 0123456789abcdef0123 0123456789ab]")

    def all_told(since: list[str]) -> Callable[[], Any]:
        return lambda: {(asset, one) for asset in ASSETS for one in since} <= set(told(airflow))

    began = time.time()
    later = [end_run() for _ in range(3)]
    wait_for(all_told(later), limit=60, what="the events", explain=lambda: log(airflow))
    if HAS_SHARED_STREAM:
        wait_for(lambda: kept(airflow, began) >= len(later), limit=30, what="the cursor")
        airflow.kill("triggerer")
        later += [end_run() for _ in range(3)]
        wait_for(lambda: ended(emulator, later), limit=30, what="the ends")
        airflow.start("triggerer")
    later.append(end_run())
    wait_for(all_told(later), limit=120, what="the events of both triggerers", explain=lambda: log(airflow))
    client.pause("watcher")
    later.append(end_run())
    wait_for(lambda: ended(emulator, later), limit=30, what="the last end")
    client.pause("watcher", paused=False)
    later.append(end_run())
    wait_for(all_told(later), limit=120, what="the events after a pause", explain=lambda: log(airflow))

    counts = told(airflow)
    assert {number for (_, one), number in counts.items() if one not in early} == {1}, counts
    assert own not in {one for _, one in counts}
    run_id = client.runs("watcher")[-1]
    assert client.wait_for_run("watcher", run_id) == "success"
    assert set(client.xcom("watcher", run_id, "ended")) <= {one for _, one in counts}


def ended(emulator: EmulatorServer, ids: list[str]) -> bool:
    return all(emulator.emulator.status(one) == "completed" for one in ids)


def kept(airflow: LocalAirflow, since: float) -> int:
    """Return how many ends since a moment the kept cursor knows of."""
    cursors = [
        one["value"] for one in airflow.client.asset_state() if one["key"].startswith("xpander_cursor_")
    ]
    return sum(at >= since for cursor in cursors for at in cursor["told"].values())


def log(airflow: LocalAirflow) -> str:
    return airflow.log_tail("triggerer", 60)
