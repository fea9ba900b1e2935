"""Retry policies of Airflow 3.3 and later: one that waits as the service asks, and one that is asked once."""

from __future__ import annotations

import random
from datetime import timedelta
from functools import partial
from typing import Any

from airflow_provider_xpander._compat import AIRFLOW_VERSION, HAS_RETRY_POLICY, RetryDecision, RetryPolicy
from airflow_provider_xpander.api.errors import XpanderError, XpanderValidationError
from airflow_provider_xpander.runs.error_policy import Then, consequence_of

HAS_RESCHEDULE = hasattr(RetryDecision, "reschedule")
"""Whether Airflow can try a task again without using a retry (3.4)."""
LONGEST_OUTAGE = timedelta(hours=6)
"""How long a try is rescheduled for throttling and outages; then its retries count again."""
SPREAD = 0.2
"""Share of the wait that is added at random, so that mapped tasks do not all come back at once."""


class XpanderRetryPolicy(RetryPolicy):
    """
    Decide about a retry by what the service said.

    - A refusal with ``Retry-After`` (429, 503): the next try comes when the service asks for it, rather than
      after ``retry_delay``; what asks for more than an hour gets an hour.
    - Throttling and outages, on Airflow 3.4 and later: the task is rescheduled, which uses no retry, for six
      hours at the most. A run that was started before is taken over, as by a retry.
    - An error that a retry would only repeat fails at once. Operators and sensor of this provider do so by
      themselves; with the policy, tasks of your own that use ``XpanderHook`` do too.
    - Anything else is left to the task's ``retries`` and ``retry_delay``.

    :raises XpanderValidationError: on Airflow before 3.3, which has no such policies, when a DAG is parsed.
    """

    def __init__(self) -> None:
        if not HAS_RETRY_POLICY:
            raise XpanderValidationError(
                f"XpanderRetryPolicy needs Airflow 3.3 or later, and this is {AIRFLOW_VERSION}: leave "
                f"retry_policy away, and choose a retry_delay of a minute or more"
            )

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> Any:
        """
        Decide about one failure.

        :param exception: what the task failed with.
        :param try_number: number of the try that failed, from 1; not used.
        :param max_tries: not used: Airflow itself ends at the last try.
        :param context: not used.
        :return: Airflow's ``RetryDecision``.
        """
        if not isinstance(exception, XpanderError):
            return RetryDecision.default()
        then = consequence_of(exception)
        if then.operator is Then.FAIL:
            return RetryDecision.fail(f"{type(exception).__name__}: a retry would only repeat it")
        asked = getattr(exception, "retry_after", None)
        why = (
            "the service is away, or throttles"
            if asked is None
            else f"the service asks to wait {asked:.0f} s"
        )
        delay = None if asked is None else timedelta(seconds=asked * (1 + SPREAD * random.random()))
        if HAS_RESCHEDULE and then.waiting is Then.WAIT and getattr(exception, "may_pass", True):
            return RetryDecision.reschedule(  # type: ignore[attr-defined]
                delay, reschedule_timeout=LONGEST_OUTAGE, reason=why
            )
        return RetryDecision.default() if delay is None else RetryDecision.retry(delay, why)

    def serialize(self) -> dict[str, Any]:
        """Return the policy as JSON; it has no parameters."""
        return {"__type": type(self).__name__}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> XpanderRetryPolicy:
        """
        Return the policy.

        :param data: not used, because the policy has no parameters.
        """
        return cls()


class AskedPolicy(RetryPolicy):
    """
    A retry policy that is asked about one error once, and then remembers what it has said.

    :param policy: the policy.
    :param error: the error.
    """

    def __init__(self, policy: Any, error: Exception) -> None:
        self._policy, self._error = policy, error
        self._said: Any = None
        self._failure: Exception | None = None

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> Any:
        """
        Decide about one failure.

        :param exception: what the task failed with.
        :param try_number: number of the try that failed, from 1.
        :param max_tries: Airflow's number of the last try.
        :param context: that of the task instance.
        :return: Airflow's ``RetryDecision``.
        """
        ask = partial(
            self._policy.evaluate,
            exception=exception,
            try_number=try_number,
            max_tries=max_tries,
            context=context,
        )
        if exception is not self._error:
            return ask()
        if self._said is None and self._failure is None:
            try:
                self._said = ask()
            except Exception as failure:  # whatever it is, it is Airflow's to deal with
                self._failure = failure
        if self._failure is not None:
            raise self._failure
        return self._said


__all__ = ["XpanderRetryPolicy"]
