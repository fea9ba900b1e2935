"""The retry policy on a running Airflow."""

from __future__ import annotations

import pytest

from airflow_provider_xpander._compat import HAS_RETRY_POLICY
from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.airflow_client import AirflowClient

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not HAS_RETRY_POLICY, reason="Airflow before 3.3 has no retry policies"),
]


def test_the_retry_comes_when_the_service_asks_for_it(
    client: AirflowClient, emulator: EmulatorServer
) -> None:
    # Longer than an attempt waits by itself, and much shorter than the task's retry_delay.
    emulator.emulator.add_fault(Fault.throttled(retry_after=61, path="/agents/echo/invoke/async$"))
    run_id = client.trigger("e2e_retry_policy")
    client.wait_for_task("e2e_retry_policy", run_id, "run", {"up_for_retry"})
    assert "the service asks to wait 61 s" in client.log("e2e_retry_policy", run_id, "run")
    assert client.wait_for_run("e2e_retry_policy", run_id, limit=150) == "success"
    assert client.task_instance("e2e_retry_policy", run_id, "run").try_number == 2
