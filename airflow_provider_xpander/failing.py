"""Failures that no retry of Airflow can mend use none (the table is in ``runs/error_policy.py``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_xpander._compat import AirflowFailException
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.runs.error_policy import FINAL


@contextmanager
def failing_at_once(final: tuple[type[XpanderError], ...] = FINAL) -> Iterator[None]:
    """
    Turn errors that a retry would only repeat into a failure that uses none.

    :param final: those errors; by default those of operators.
    :raises AirflowFailException: with the text of the error.
    """
    try:
        yield
    except final as error:
        raise AirflowFailException(str(error)) from error
