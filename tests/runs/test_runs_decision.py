from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_xpander.runs.decision import Decision, decision_of
from airflow_provider_xpander.runs.question import WENT_ON

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (None, None),
        ("Approve", None),
        ({"xpander_task_id": "t", "end": "finished"}, None),
        ({"late": True}, None),
        ({"chosen_options": []}, None),
        ({"chosen_options": [WENT_ON]}, None),
        ({"chosen_options": ["a"]}, Decision(("a",))),
        (
            {
                "chosen_options": ["a", "b"],
                "params_input": {"x": 1},
                "responded_by_user": {"id": "1", "name": "Ada\n"},
                "responded_at": NOON,
            },
            Decision(("a", "b"), "Ada ", "2026-11-01T12:00:00+00:00", {"x": 1}),
        ),
        ({"chosen_options": ["a"], "responded_at": "2026-11-01"}, Decision(("a",), None, "2026-11-01")),
    ],
)
def test_only_what_a_person_has_answered_is_a_decision(payload: Any, expected: Decision | None) -> None:
    found = decision_of(payload)
    if expected and expected.by:
        assert found is not None
        assert found.by == "Ada"
        found = Decision(found.options, expected.by, found.at, found.inputs)
    assert found == expected
