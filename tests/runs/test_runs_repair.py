from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.identity import Identity, Mark
from airflow_provider_xpander.runs.repair import (
    Repair,
    decide_repair,
    end_of,
    is_after,
    is_same_owner,
    mark_of,
    repair_text,
)

OURS = Identity("d", "r", "t", -1, 1)
MARK = Mark(OURS.digest, "a" * 12)
OTHERS = Mark("f" * 20, "a" * 12)
AT = 1_770_000_000.0


def thread(status: str = "completed", ended: str | None = "2026-02-02T02:40:00Z", **fields: Any) -> Task:
    return Task.model_validate({"id": "t-1", "status": status, "finished_at": ended, **fields})


@pytest.mark.parametrize(
    ("turns", "attempts", "deadline", "possible", "retried", "decision"),
    [
        (0, 1, None, True, True, Repair.NOW),
        (0, 1, AT + 1, True, False, Repair.NOW),
        (1, 2, None, True, False, Repair.NOW),
        (1, 1, None, True, True, Repair.NEVER),
        (2, 1, None, True, True, Repair.NEVER),
        (0, 1, AT, True, True, Repair.LATER),
        (0, 1, AT, True, False, Repair.NEVER),
        (0, 1, None, False, True, Repair.LATER),
        (0, 1, None, False, False, Repair.NEVER),
        (1, 1, None, False, True, Repair.NEVER),
    ],
)
def test_what_becomes_of_an_invalid_answer(
    turns: int, attempts: int, deadline: float | None, possible: bool, retried: bool, decision: Repair
) -> None:
    assert decision is decide_repair(
        turns=turns, attempts=attempts, now=AT, deadline=deadline, possible=possible, retried=retried
    )


def test_the_agent_is_told_what_is_wrong_and_nothing_else_to_do() -> None:
    text = repair_text(["$.a: expected string, got 7", "$.b: expected object, got null"])
    assert "- $.a: expected string, got 7\n- $.b: expected object, got null\n" in text
    assert "Do not do the task again" in text


def test_the_end_of_a_turn_is_told_by_whatever_the_service_gives() -> None:
    assert end_of(thread()) == AT
    assert end_of(thread(ended=None, updated_at="2026-02-02T02:40:00Z")) == AT
    assert end_of(thread(ended=None)) is None


@pytest.mark.parametrize(
    ("now", "after"),
    [
        (thread(), False),
        (thread(ended="2026-02-02T02:40:00.000001Z"), True),
        (thread(ended="2026-02-02T02:39:59Z"), False),
        (thread(ended=None), False),
        (thread("failed", "2026-02-02T02:41:00Z"), True),
        (thread("executing", None), True),
        (thread("pending", None), True),
        (thread("paused", None), True),
    ],
)
def test_whether_a_thread_has_gone_on(now: Task, after: bool) -> None:
    assert is_after(now, AT) is after


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ({"title": f"x {MARK}"}, {"title": f"x {Mark(OURS.digest, 'a' * 12, 1)}"}, True),
        ({"title": f"x {MARK}"}, {"title": f"x {OTHERS}"}, False),
        ({"title": f"x {MARK}"}, {"title": "by hand"}, False),
        ({"title": f"x {MARK}"}, {}, False),
        ({"title": "rewritten"}, {"title": "rewritten again"}, True),
        ({"title": "rewritten", "source": f"airflow {MARK}"}, {"source": f"airflow {MARK}"}, True),
        ({"title": "rewritten", "source": f"airflow {MARK}"}, {"title": "rewritten", "source": "api"}, False),
    ],
)
def test_whose_turn_a_thread_shows(before: Any, now: Any, same: bool) -> None:
    assert is_same_owner(thread(**now), OURS, thread(**before)) is same


def test_the_mark_is_read_where_the_title_was_rewritten() -> None:
    assert mark_of(thread(title="Nice chat", source=f"airflow {Mark(OURS.digest, 'a' * 12, 3)}")) == Mark(
        OURS.digest, "a" * 12, 3
    )
