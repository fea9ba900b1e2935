"""A try that Airflow 3.4 reschedules after an error: the same number again, and still one run, one bill."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow_side import Service
from attempts import Attempt, go, lines, operator, slept, slow_operator, submit

__all__ = ["lines", "slept"]

pytestmark = pytest.mark.usefixtures("slept")


@dataclass
class Rescheduled(Attempt):
    """The first and only try, begun again so many times."""

    times: int = 0
    first: datetime | None = None

    def context(self) -> Any:
        return super().context() | {"task_reschedule_count": self.times}

    def get_first_reschedule_date(self, context: Any) -> datetime | None:
        return self.first


def only_run(service: Service) -> str:
    (run,) = service.runs()
    return run.task_id


class Policy:
    def __init__(self, **decision: Any) -> None:
        known = {"action": SimpleNamespace(value="reschedule"), "max_reschedules": None}
        self.decision = SimpleNamespace(**known | {"reschedule_timeout": None} | decision)

    def evaluate(self, **given: Any) -> Any:
        return self.decision


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_run_of_before_is_taken_over(deferrable: bool, service: Service) -> None:
    first = submit(Rescheduled())
    service.configure({"run_seconds": 0})
    service.finish(first)
    ti = Rescheduled(times=1)
    assert go(slow_operator(deferrable=deferrable), ti) == "Done after 600 seconds."
    assert ti.xcom["xpander_task_id"] == first
    assert len(service.posts) == 1


def test_where_none_was_started_one_is(service: Service) -> None:
    assert go(operator(deferrable=False), Rescheduled(times=1)) is not None
    assert len(service.posts) == 1


AN_HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("decision", "times", "begun_before", "stops"),
    [
        ({"reschedule_timeout": AN_HOUR}, 0, None, 0),
        ({"reschedule_timeout": AN_HOUR}, 3, timedelta(minutes=59), 0),
        ({"reschedule_timeout": AN_HOUR}, 3, timedelta(minutes=61), 1),
        ({"max_reschedules": 2}, 1, None, 0),
        ({"max_reschedules": 2}, 2, None, 1),
        ({"action": SimpleNamespace(value="retry")}, 0, None, 1),
    ],
)
def test_the_last_try_keeps_its_run_as_long_as_it_is_rescheduled(
    decision: dict[str, Any], times: int, begun_before: timedelta | None, stops: int, service: Service
) -> None:
    task = slow_operator(deferrable=False, retries=0)
    object.__setattr__(task, "retry_policy", Policy(**decision))
    first = None if begun_before is None else datetime.now(UTC) - begun_before
    ti = Rescheduled(times=times, first=first, fails_at="xpander_link")
    with pytest.raises(RuntimeError):
        go(task, ti)
    assert service.stops(only_run(service)) == stops
