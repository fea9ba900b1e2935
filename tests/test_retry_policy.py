"""The retry policy for Airflow 3.3 and later."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_xpander._compat import HAS_RETRY_POLICY
from airflow_provider_xpander.api.errors import (
    XpanderAmbiguousSubmitError,
    XpanderAuthError,
    XpanderBillingError,
    XpanderConnectionError,
    XpanderError,
    XpanderRateLimitError,
    XpanderServiceError,
    XpanderTaskFailed,
    XpanderValidationError,
)
from airflow_provider_xpander.retry_policy import HAS_RESCHEDULE, LONGEST_OUTAGE, XpanderRetryPolicy

# Airflow 3.4 can try a task again without using a retry.
AGAIN = "reschedule" if HAS_RESCHEDULE else "retry"
new_airflow = pytest.mark.skipif(not HAS_RETRY_POLICY, reason="Airflow before 3.3 has no retry policies")
old_airflow = pytest.mark.skipif(HAS_RETRY_POLICY, reason="Airflow 3.3 has retry policies")


def decision(error: BaseException) -> Any:
    return XpanderRetryPolicy().evaluate(error, 1, 3)


@new_airflow
@pytest.mark.parametrize(
    ("error", "action"),
    [
        (XpanderAuthError("401"), "fail"),
        (XpanderBillingError("no credit"), "fail"),
        (XpanderRateLimitError("429", retry_after=90.0), AGAIN),
        (XpanderServiceError("503", retry_after=5.0), AGAIN),
        (XpanderRateLimitError("429"), "reschedule" if HAS_RESCHEDULE else "default"),
        (XpanderConnectionError("away"), "reschedule" if HAS_RESCHEDULE else "default"),
        (XpanderServiceError("a redirect", may_pass=False), "default"),
        (XpanderAmbiguousSubmitError("lost", target_id="a"), "default"),
        (XpanderTaskFailed("ended failed", task_id="t"), "default"),
        (XpanderError("something"), "default"),
        (RuntimeError("not ours"), "default"),
    ],
)
def test_what_follows(error: BaseException, action: str) -> None:
    assert decision(error).action.value == action


@new_airflow
def test_the_service_is_given_the_time_that_it_asks_for() -> None:
    asked = decision(XpanderRateLimitError("429", retry_after=90.0))
    assert timedelta(seconds=90) <= asked.retry_delay <= timedelta(seconds=108)
    assert asked.reason == "the service asks to wait 90 s"


@new_airflow
@pytest.mark.parametrize("asked", [1e30, 86_400.0, float("inf"), 1.7e12])
def test_nobody_waits_longer_than_an_hour_and_the_spread(asked: float) -> None:
    waited = decision(XpanderRateLimitError("429", retry_after=asked)).retry_delay
    assert timedelta(hours=1) <= waited <= timedelta(hours=1.2)


@pytest.mark.skipif(not HAS_RESCHEDULE, reason="Airflow before 3.4 reschedules no failure")
def test_an_outage_uses_no_retry_for_some_hours() -> None:
    away = decision(XpanderConnectionError("away"))
    assert (away.retry_delay, away.reschedule_timeout) == (None, LONGEST_OUTAGE)
    throttled = decision(XpanderRateLimitError("429", retry_after=90.0))
    assert throttled.retry_delay >= timedelta(seconds=90)


@new_airflow
def test_it_can_be_stored_with_the_dag() -> None:
    assert isinstance(XpanderRetryPolicy.deserialize(XpanderRetryPolicy().serialize()), XpanderRetryPolicy)


@old_airflow
def test_an_older_airflow_refuses_it_when_the_dag_is_parsed() -> None:
    with pytest.raises(XpanderValidationError, match=r"needs Airflow 3\.3 or later, and this is [23]\."):
        XpanderRetryPolicy()
