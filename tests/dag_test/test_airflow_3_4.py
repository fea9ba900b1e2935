"""A throttled task without retries, and mapped tasks in a loop, on Airflow 3.4 (`make test-next`)."""

from __future__ import annotations

from types import ModuleType

import pytest
from airflow_side import Service
from dag_runs import Result

from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.retry_policy import HAS_RESCHEDULE

pytestmark = pytest.mark.skipif(not HAS_RESCHEDULE, reason="not Airflow 3.4")


def test_a_throttled_task_uses_no_retry(dags: ModuleType, service: Service, quick_repeats: None) -> None:
    import xpander_on_3_4

    service.add_fault(Fault(status=429, method="POST", headers={"Retry-After": "0"}, times=4))
    result = Result(xpander_on_3_4.throttled.test())
    assert result.states == {"ask": {"success"}}
    assert len(service.runs()) == 1


def test_each_mapped_task_of_each_iteration_has_a_run_of_its_own(dags: ModuleType, service: Service) -> None:
    import xpander_on_3_4

    result = Result(xpander_on_3_4.loop.test())
    assert result.dag_run.state == "success", result.states
    assert sorted(run.body["input"]["text"] for run in service.runs()) == ["one", "one", "two", "two"]
    assert len({run.body["title"].rpartition(" [")[2] for run in service.runs()}) == 4
