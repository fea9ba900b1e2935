"""
Table of what each error means to Airflow, for operators, sensor and every wait.

``docs/errors.md`` has the same table; a test compares the two. An author's wish comes on top of it:
``on_stopped="skip"`` and a sensor's ``soft_fail`` turn a failure into a skip.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_xpander.api.errors import (
    XpanderAmbiguousSubmitError,
    XpanderAuthError,
    XpanderBillingError,
    XpanderConnectionError,
    XpanderError,
    XpanderNotFoundError,
    XpanderRateLimitError,
    XpanderServiceError,
    XpanderTaskFailed,
    XpanderTaskPaused,
    XpanderTaskStopped,
    XpanderTaskTimeout,
    XpanderValidationError,
)
from airflow_provider_xpander.runs.answer import XpanderAnswerError


class Then(StrEnum):
    """What follows."""

    RETRY = "fails, may be retried"
    FAIL = "fails, uses no retry"
    WAIT = "goes on waiting"
    NEVER = "-"
    """Does not come up there."""


@dataclass(frozen=True)
class Consequence:
    """
    One row of the table.

    :param what: what happened.
    :param error: how it is raised; the first row that fits an error counts.
    :param operator: what becomes of an operator's task that raises it.
    :param waiting: what a wait does that meets it, in worker, triggerer and sensor.
    :param sensor: what becomes of a sensor's task that raises it.
    """

    what: str
    error: type[XpanderError]
    operator: Then
    waiting: Then
    sensor: Then


RETRY, FAIL, WAIT, NEVER = Then.RETRY, Then.FAIL, Then.WAIT, Then.NEVER

TABLE: tuple[Consequence, ...] = (
    Consequence("401; 403", XpanderAuthError, FAIL, FAIL, FAIL),
    Consequence("404", XpanderNotFoundError, FAIL, FAIL, FAIL),
    Consequence(
        "400; 405; 410; 413; 414; 415; 422; 431; a wrong field", XpanderValidationError, FAIL, FAIL, FAIL
    ),
    Consequence("no credit, plan or budget: 402, 403 or 429", XpanderBillingError, FAIL, FAIL, FAIL),
    Consequence("429", XpanderRateLimitError, RETRY, WAIT, WAIT),
    Consequence("5xx; no answer of the API", XpanderServiceError, RETRY, WAIT, WAIT),
    Consequence("nothing answers", XpanderConnectionError, RETRY, WAIT, WAIT),
    Consequence(
        "an invoke was sent, and its run is not found", XpanderAmbiguousSubmitError, RETRY, NEVER, NEVER
    ),
    Consequence("the run failed, or ended with an error", XpanderTaskFailed, RETRY, NEVER, FAIL),
    Consequence("the run was stopped", XpanderTaskStopped, RETRY, NEVER, FAIL),
    Consequence("the run is late", XpanderTaskTimeout, RETRY, NEVER, FAIL),
    Consequence('the run is paused, with on_paused="fail"', XpanderTaskPaused, RETRY, NEVER, FAIL),
    Consequence("the answer is not what was asked for", XpanderAnswerError, FAIL, NEVER, FAIL),
    Consequence("anything else", XpanderError, RETRY, FAIL, RETRY),
)


def consequence_of(error: XpanderError) -> Consequence:
    """
    Return the row of an error; the last one fits all.

    :param error: the error.
    """
    return next(row for row in TABLE if isinstance(error, row.error))


FINAL: tuple[type[XpanderError], ...] = tuple(row.error for row in TABLE if row.operator is FAIL)
"""What no retry of an operator mends."""
FINAL_FOR_SENSORS: tuple[type[XpanderError], ...] = tuple(row.error for row in TABLE if row.sensor is FAIL)
"""What no retry of a sensor mends: it would find the same run."""
PASSING: tuple[type[XpanderError], ...] = tuple(row.error for row in TABLE if row.waiting is WAIT)
"""What a wait outlasts."""
