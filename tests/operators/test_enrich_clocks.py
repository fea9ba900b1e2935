"""A bulk task that is deferred by a worker with one clock, and resumed by one with another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow_side import Service, fire
from attempts import attempt
from bulk import check_once, enrich, folder, run_to_deferral, tickets

from airflow_provider_xpander._compat import TaskDeferred
from airflow_provider_xpander.operators import starter
from airflow_provider_xpander.operators.bulk import ask, begin, collect, task

__all__ = ["folder"]


@contextmanager
def clock(gap: float) -> Iterator[None]:
    """Let the worker's clock be off by so many seconds."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (ask, begin, collect, starter, task):
            patch.setattr(module, "time", SimpleNamespace(time=lambda: time.time() + gap))
        yield


@pytest.mark.parametrize("gap", [-300.0, 300.0], ids=["behind, then ahead", "ahead, then behind"])
def test_its_time_is_not_over_and_no_row_is_paid_twice(service: Service, folder: Path, gap: float) -> None:
    service.settings.run_seconds = 0.3
    rows = enrich(folder, rows=tickets(6), rows_per_run=2, timeout=120)
    with clock(gap), pytest.raises(TaskDeferred) as deferred:
        run_to_deferral(rows, attempt(1))
    trigger, limit = deferred.value.trigger, deferred.value.timeout
    assert limit is not None
    # Of Airflow 3: when it ends the wait by itself, by its own clock.
    trigger.timeout_after = datetime.now(UTC) + limit
    event = asyncio.run(fire(trigger))
    with clock(-gap):
        manifest = rows.execute_complete(attempt(1).context(), event)
    assert manifest["counts"]["answered"] == 6
    check_once(folder, service, 6)
    assert len(service.posts) == 3
