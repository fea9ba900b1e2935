from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator.clock import timestamp
from airflow_provider_xpander.emulator.schedule import Behaviour, Plan, ended, plan_run, resumed, snapshot

END = {"result": "done"}


def plan(behaviour: Behaviour) -> Plan:
    return plan_run(100.0, replace(behaviour, seconds=10), END, pending=2)


@pytest.mark.parametrize(
    ("now", "status", "result"),
    [
        (99.0, "pending", None),
        (100.0, "pending", None),
        (101.9, "pending", None),
        (102.0, "executing", None),
        (109.9, "executing", None),
        (110.0, "completed", "done"),
        (9999.0, "completed", "done"),
    ],
)
def test_a_run_goes_from_pending_to_its_end(now: float, status: str, result: str | None) -> None:
    seen = snapshot(plan(Behaviour("done")), now)
    assert (seen.status, seen.fields.get("result")) == (status, result)


def test_timestamps_are_those_of_the_steps() -> None:
    seen = snapshot(plan(Behaviour("done")), 500)
    assert (seen.started_at, seen.finished_at, seen.updated_at, seen.paused_at) == (102, 110, 110, None)
    assert snapshot(plan(Behaviour("done")), 105).finished_at is None


def test_nodes_are_executed_one_after_the_other() -> None:
    course = plan(Behaviour(status=TaskStatus.FAILED, nodes=("a", "b")))
    nodes = [snapshot(course, now).fields.get("last_executed_node_id") for now in (103, 106, 110)]
    assert nodes == [None, "a", "b"]
    assert snapshot(course, 110).status == "failed"


def test_a_paused_run_waits_until_it_is_resumed() -> None:
    course = plan(Behaviour("done", pause={"hitl_request": {"wait_node_id": "w"}}))
    assert snapshot(course, 9999).status == "paused"
    assert snapshot(course, 9999).paused_at == 110
    course = resumed(course, 200, Behaviour("done", seconds=5), END)
    seen = snapshot(course, 201)
    assert (seen.status, seen.fields["hitl_request"]) == ("executing", None)
    assert snapshot(course, 205).fields["result"] == "done"


def test_a_run_that_is_not_paused_is_not_resumed() -> None:
    course = plan(Behaviour("done"))
    assert resumed(course, 105, Behaviour("done", seconds=5), END) == course


def test_a_self_scheduled_run_resumes_by_itself() -> None:
    course = plan(Behaviour("done", pause={}, resume_after=3))
    assert [snapshot(course, now).status for now in (111, 113, 123)] == ["paused", "executing", "completed"]


@pytest.mark.parametrize(
    ("at", "final"), [(100.5, "stopped"), (105.0, "stopped"), (110.0, "completed"), (120.0, "completed")]
)
def test_a_run_can_be_over_before_it_is_stopped(at: float, final: str) -> None:
    course = ended(plan(Behaviour("done")), at, TaskStatus.STOPPED, {"is_manually_stopped": True})
    seen = snapshot(course, 9999)
    assert seen.status == final
    assert seen.fields.get("is_manually_stopped", False) is (final == "stopped")


def test_timestamps_have_six_digits_and_z() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00.000000Z"
    assert timestamp(1.5) == "1970-01-01T00:00:01.500000Z"
    assert timestamp(None) is None
