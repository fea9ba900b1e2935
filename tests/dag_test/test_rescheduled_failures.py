"""A task without retries that is throttled, on Airflow 3.4: it is tried again until the service has time."""

from __future__ import annotations

from types import ModuleType

import pytest
from airflow_side import Service
from dag_runs import Result

from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.retry_policy import HAS_RESCHEDULE


@pytest.mark.skipif(not HAS_RESCHEDULE, reason="Airflow before 3.4 reschedules no failure")
def test_a_throttled_task_uses_no_retry(dags: ModuleType, service: Service, quick_repeats: None) -> None:
    import xpander_rescheduled_failures

    service.add_fault(Fault(status=429, method="POST", headers={"Retry-After": "0"}, times=4))
    result = Result(xpander_rescheduled_failures.throttled.test())
    assert result.states == {"ask": {"success"}}
    assert len(service.runs()) == 1
