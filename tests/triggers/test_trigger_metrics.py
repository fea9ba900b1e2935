"""Counts of a triggerer, through the Stats that it has set up itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import airflow.jobs.triggerer_job_runner as triggerer
import pytest
from airflow_side import Service, fire

from airflow_provider_xpander._compat import triggerer_stats
from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.telemetry import WaitMetrics
from airflow_provider_xpander.triggers.xpander import XpanderTaskTrigger


def test_the_stats_are_those_of_the_triggerer() -> None:
    """Airflow 3.3 has two, and the other one drops all that is counted in a triggerer."""
    theirs = getattr(triggerer, "stats", None) or triggerer.Stats  # type: ignore[attr-defined]
    assert triggerer_stats().incr == theirs.incr


class Recorder:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.gauges: list[float] = []
        self.timings: list[float] = []
        self.tags: set[str] = set()

    def incr(self, name: str, *, tags: dict[str, Any]) -> None:
        self.counts[name] += 1
        self.tags |= set(tags.values())

    def gauge(self, name: str, value: float, *, tags: dict[str, Any]) -> None:
        assert name == "xpander.waiters"
        self.gauges.append(value)

    def timing(self, name: str, value: float, *, tags: dict[str, Any]) -> None:
        assert name == "xpander.detection_delay"
        self.timings.append(value)


async def test_a_wait_is_counted(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Recorder()
    monkeypatch.setattr(WaitMetrics, "_stats", seen)
    service.connect(extra={"requests_per_minute": 0, "requests_per_hour": 0})
    service.add_fault(Fault.throttled(retry_after=0, times=2))
    triggers = [
        XpanderTaskTrigger(service.start("slow", "take 1"), "slow", poll_interval=0.2) for _ in range(5)
    ]
    await asyncio.gather(*map(fire, triggers))
    pages = [call for call in service.requests("GET") if call.path == "/v1/tasks"]
    assert seen.counts["xpander.list_pages"] == len(pages)
    assert seen.counts["xpander.polls"] == len(service.requests("GET")) - len(pages)
    assert seen.counts["xpander.throttled"] == 2
    assert (max(seen.gauges), seen.gauges[-1]) == (5, 0)
    assert len(seen.timings) == 5
    assert all(0 <= late < 15_000 for late in seen.timings)
    assert seen.tags == {"xpander_default"}


class Broken:
    def __getattr__(self, name: str) -> Any:
        raise OSError("no collector")


async def test_a_wait_outlives_a_broken_collector(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(WaitMetrics, "_stats", Broken())
    assert (await fire(XpanderTaskTrigger(service.start())))["status"] == "completed"
    assert caplog.text.count("could not be sent: no collector") == 1
