from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.usage import Usage, usage_of


def task(**fields: Any) -> Task:
    return Task.model_validate({"id": "t-1", "status": "completed", **fields})


def test_everything_that_the_service_tells() -> None:
    tokens = {
        "prompt_tokens": 180, "completion_tokens": 20, "total_tokens": 200,
        "cache_read_tokens": 7, "cache_write_tokens": 3,
    }  # fmt: skip
    run = task(
        tokens=tokens,
        llm_model_name="m-1",
        llm_model_provider="p-1",
        created_at="2026-02-07T06:18:00Z",
        started_at="2026-02-07T06:18:30Z",
        finished_at="2026-02-07T06:19:00.5Z",
    )
    assert usage_of(run) == Usage(180, 20, 200, 7, 3, 30.5, "m-1", "p-1")


def test_nothing_that_it_does_not_tell() -> None:
    assert usage_of(task()) == Usage()


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ({"created_at": "2026-02-07T06:18:00Z", "finished_at": "2026-02-07T06:18:10Z"}, 10.0),
        ({"created_at": "2026-02-07T06:18:00Z"}, None),
        ({"finished_at": "2026-02-07T06:18:00Z"}, None),
        ({"started_at": "2026-02-07T06:18:09Z", "finished_at": "2026-02-07T06:18:00Z"}, 0.0),
    ],
    ids=["null started_at", "goes on", "unknown start", "clocks that disagree"],
)
def test_the_duration(times: dict[str, str], seconds: float | None) -> None:
    assert usage_of(task(**times)).seconds == seconds
