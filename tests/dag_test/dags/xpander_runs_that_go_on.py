"""A DAG whose runs go on, some with nobody who waits for them."""

from __future__ import annotations

from airflow import DAG

from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

with DAG("xpander_runs_that_go_on", schedule=None) as runs_that_go_on:
    # Its task fails, and its run is left: an orphan.
    late = XpanderInvokeAgentOperator(
        task_id="late", agent_id="slow", input="take 600", timeout=0.5, on_timeout="leave", poll_interval=0.1
    )
    # Its task succeeds at once, as the author wants.
    started = XpanderInvokeAgentOperator(
        task_id="started", agent_id="slow", input="take 600", wait_for_completion=False
    )
    # The test says that its task is deferred, or is in a try after a clear.
    waiting = XpanderInvokeAgentOperator(
        task_id="waiting", agent_id="slow", input="take 600", wait_for_completion=False, retries=2
    )
