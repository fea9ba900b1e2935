"""Airflow's metrics, kept in a list instead of sent to a collector."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import Stats


class Metrics(list[tuple[str, float, dict[str, str]]]):
    """What Airflow gives its logger of metrics: name, count or seconds, tags."""

    def incr(self, stat: str, count: int = 1, rate: float = 1, *, tags: dict[str, str] | None = None) -> None:
        self.append((stat, count, tags or {}))

    def gauge(self, stat: str, value: float, *args: Any, tags: dict[str, str] | None = None) -> None:
        self.append((stat, value, tags or {}))

    def timing(self, stat: str, dt: timedelta | float, *, tags: dict[str, str] | None = None) -> None:
        self.append((stat, dt.total_seconds() if isinstance(dt, timedelta) else dt / 1000, tags or {}))

    def of(self, name: str) -> list[tuple[float, dict[str, str]]]:
        return [(value, tags) for its_name, value, tags in self if its_name == name]

    def __bool__(self) -> bool:
        return True  # Airflow 2 takes an empty logger for none


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is counted during a test."""
    kept = Metrics()
    if airflow_version.startswith("2."):
        monkeypatch.setattr(Stats, "instance", kept, raising=False)
        yield kept
        return
    from airflow.sdk._shared.observability.metrics import stats as module

    for name in ("_factory", "_backend", "_export_legacy_names"):
        monkeypatch.setattr(module, name, getattr(module, name))
    Stats.initialize(factory=lambda: kept, export_legacy_names=False)
    yield kept
