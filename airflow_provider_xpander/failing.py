"""Which failures no retry of Airflow can mend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_xpander._compat import AirflowFailException
from airflow_provider_xpander.api.errors import (
    XpanderAuthError,
    XpanderBillingError,
    XpanderError,
    XpanderNotFoundError,
    XpanderValidationError,
)
from airflow_provider_xpander.runs.answer import XpanderAnswerError

FINAL: tuple[type[XpanderError], ...] = (
    XpanderAuthError,
    XpanderNotFoundError,
    XpanderValidationError,
    XpanderBillingError,
    XpanderAnswerError,  # the run is over and paid for; its answer stays what it is
)
"""Not among them: a submit whose outcome is unknown. A retry looks for the run before it starts another."""


@contextmanager
def failing_at_once(*more: type[XpanderError]) -> Iterator[None]:
    """
    Turn errors that a retry would only repeat into a failure that uses none.

    :param more: further errors that are final for the caller.
    :raises AirflowFailException: with the text of the error.
    """
    try:
        yield
    except (*FINAL, *more) as error:
        raise AirflowFailException(str(error)) from error
