"""The link to the console as the REST API and so the UI has it, while a task waits and afterwards."""

from __future__ import annotations

import pytest

from dev.airflow_client import AirflowClient
from dev.waiting import wait_for

pytestmark = pytest.mark.timeout(300)

SLOW = {"xpander.ai": "https://app.xpander.ai/agents/slow"}


def test_it_is_there_while_the_task_is_deferred(client: AirflowClient) -> None:
    run_id = client.trigger("e2e_links")
    for task_id in ("deferred", "sensor"):
        client.wait_for_task("e2e_links", run_id, task_id, {"deferred"})
        links = client.links("e2e_links", run_id, task_id)
        assert client.task_instance("e2e_links", run_id, task_id).state == "deferred"
        assert links == SLOW
    client.set_task_state("e2e_links", run_id, "sensor", "success")
    client.wait_for_task("e2e_links", run_id, "deferred", {"success"})
    assert client.links("e2e_links", run_id, "deferred") == SLOW
    client.wait_for_run("e2e_links", run_id)


def test_it_is_there_while_the_task_runs_and_empty_without_a_run(client: AirflowClient) -> None:
    dag_id = "e2e_links_worker"
    run_id = client.trigger(dag_id)
    client.wait_for_task(dag_id, run_id, "worker", {"running", "success"})
    wait_for(
        lambda: client.links(dag_id, run_id, "worker") == SLOW,
        limit=60,
        what="the link",
        explain=lambda: str(client.links(dag_id, run_id, "worker")),
    )
    assert client.task_instance(dag_id, run_id, "worker").state == "running"
    client.wait_for_run(dag_id, run_id)
    assert client.links(dag_id, run_id, "refused") == {"xpander.ai": None}
