"""What a task tells of its progress, and what of that is news."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.log.progress import Progress, recap

STEPS = [{"id": "a", "title": "Look", "completed": True}, {"id": "b", "title": "Write", "completed": False}]
RICH = {
    "last_executed_node_id": "enrich",
    "internal_status": "at row 7",
    "sub_executions": ["s-1", "s-2"],
    "finished_sub_executions": ["s-1"],
    "deep_planning": {"tasks": STEPS},
}


def task(**fields: Any) -> Task:
    return Task.model_validate({"id": "t-1", **fields})


@pytest.mark.parametrize(
    ("fields", "news"),
    [
        ({}, []),
        ({"last_executed_node_id": "enrich"}, ["has executed node enrich"]),
        ({"internal_status": "at row 7"}, ["says 'at row 7'"]),
        ({"sub_executions": ["s"]}, ["has finished 0 of 1 sub-runs"]),
        ({"finished_sub_executions": ["s"]}, ["has finished 1 of 1 sub-runs"]),
        ({"deep_planning": {"tasks": STEPS}}, ["has done 1 of 2 steps of its plan"]),
        ({"deep_planning": {"tasks": None}}, []),
        ({"last_executed_node_id": "a\n::group::b\x1b[1m"}, ["has executed node a : :group::b"]),
    ],
)
def test_what_is_told(fields: dict[str, Any], news: list[str]) -> None:
    assert Progress.of(task(**fields)).since(Progress()) == news


def test_only_what_is_new_is_told() -> None:
    before = Progress.of(task(**RICH))
    assert Progress.of(task(**RICH)).since(before) == []
    assert Progress.of(task(**RICH | {"last_executed_node_id": "report"})).since(before) == [
        "has executed node report"
    ]


def test_a_slim_answer_is_no_news_and_forgets_nothing() -> None:
    before = Progress.of(task(**RICH))
    slim = Progress.of(task())
    assert slim.since(before) == []
    assert slim.over(before) == before


def test_a_recap_has_the_course_of_the_run_with_its_times() -> None:
    ended = task(
        status="completed",
        created_at="2026-11-21T23:59:58Z",
        started_at="2026-11-22T00:00:03Z",
        finished_at="2026-11-22T01:00:00+01:00",
        **RICH,
    )
    assert recap(ended) == (
        "created 2026-11-21 23:59:58 UTC, executing 2026-11-22 00:00:03 UTC, "
        "completed 2026-11-22 00:00:00 UTC; "
        "has executed node enrich; says 'at row 7'; has finished 1 of 2 sub-runs; "
        "has done 1 of 2 steps of its plan"
    )


def test_a_recap_of_a_slim_task_has_at_least_its_status() -> None:
    assert recap(task(status="stopped")) == "stopped"
