"""
Exceptions for everything that can go wrong, by what a caller can do about it.

* XpanderError
    * XpanderAuthError             401, 403
    * XpanderNotFoundError         404
    * XpanderValidationError       400, 405, 410, 413, 414, 415, 422, 431, or refused by this package itself
    * XpanderRateLimitError        429, or 403 with a time to come back, that asks to slow down
    * XpanderBillingError          402, 429, 403 that speak of credit, plan or budget
    * XpanderServiceError          5xx, a redirect, any reply that is not the API's
    * XpanderConnectionError       nothing answered
    * XpanderAmbiguousSubmitError  a run may have been started, or not
* XpanderTaskError                 the remote run did not complete
    * XpanderTaskFailed, XpanderTaskStopped, XpanderTaskTimeout, XpanderTaskPaused
"""

from __future__ import annotations

import math
from typing import Any

LONGEST_WAIT = 3600.0
"""The longest that is waited because the service asks for it, in seconds; what asks for more is a mistake."""


class XpanderError(Exception):
    """
    Base of all errors of talking to xpander.ai.

    :param message: what was tried, what came back, what to do; fit for a task log.
    :param status_code: the HTTP status, if there was a reply.
    :param request_id: the service's id of the request, if it sent one.
    """

    def __init__(
        self, message: str, *, status_code: int | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.request_id = request_id

    def __reduce__(self) -> tuple[Any, ...]:
        # By default an exception is copied through its constructor, which has keywords that are needed.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[XpanderError], args: tuple[Any, ...], state: dict[str, Any]) -> XpanderError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def _bounded(retry_after: float | None) -> float | None:
    if retry_after is None or not retry_after > -math.inf:  # None, -inf or NaN
        return None
    return min(max(0.0, retry_after), LONGEST_WAIT)


class XpanderAuthError(XpanderError):
    """The API says that the key is missing or wrong (401), or has no access to the object (403)."""


class XpanderNotFoundError(XpanderError):
    """The API says that the agent, workflow or task does not exist, or is out of the key's sight (404)."""


class XpanderValidationError(XpanderError, ValueError):
    """The request is not acceptable: refused by the service (400, 422, 405 ...) or before it was sent."""


class XpanderRateLimitError(XpanderError):
    """
    The service asks to slow down (429, or 403 with a time to come back).

    :param message: what was tried, what came back, what to do.
    :param retry_after: seconds that the service asks to wait, an hour at the most, or None if it did not say.
    :param kwargs: those of :class:`XpanderError`.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.retry_after = _bounded(retry_after)


class XpanderBillingError(XpanderError):
    """Refused for lack of credit, by a plan's limit or by a budget: waiting does not help (contract 7)."""


class XpanderServiceError(XpanderError):
    """
    The service failed (5xx), or what answered is not the API: a page of a proxy, a body that was cut off.

    :param message: what was tried, what came back, what to do.
    :param retry_after: seconds that the service asks to wait, an hour at the most, or None if it did not say.
    :param may_pass: whether the same request may fare better soon; a redirect will not.
    :param kwargs: those of :class:`XpanderError`.
    """

    def __init__(
        self, message: str, *, retry_after: float | None = None, may_pass: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(message, **kwargs)
        self.retry_after = _bounded(retry_after)
        self.may_pass = may_pass


class XpanderConnectionError(XpanderError):
    """Nothing answered: name resolution, connection, TLS or read time-out."""


class XpanderAmbiguousSubmitError(XpanderError):
    """
    An invoke was sent and its outcome is unknown: the run may exist (and cost), or not.

    :param message: what was tried, what came back, what to do.
    :param target_id: the agent or workflow that was invoked.
    :param title: the title that was sent: what to look for in the list of tasks.
    :param thread_id: the API's ``id`` that was sent, if any.
    :param kwargs: those of :class:`XpanderError`.
    """

    def __init__(
        self,
        message: str,
        *,
        target_id: str,
        title: str | None = None,
        thread_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(message, **kwargs)
        self.target_id = target_id
        self.title = title
        self.thread_id = thread_id


class XpanderTaskError(XpanderError):
    """
    The remote run did not complete.

    :param message: what was tried, what came back, what to do.
    :param task_id: id of the remote task.
    :param status: its status, as the API spells it.
    :param reason: what the service said about it, or None.
    """

    def __init__(
        self, message: str, *, task_id: str, status: str | None = None, reason: str | None = None
    ) -> None:
        super().__init__(message)
        self.task_id = task_id
        self.status = status
        self.reason = reason


class XpanderTaskFailed(XpanderTaskError):
    """The run ended ``failed`` or ``error``."""


class XpanderTaskStopped(XpanderTaskError):
    """The run was stopped, by a person or by the system (``is_manually_stopped`` tells)."""


class XpanderTaskTimeout(XpanderTaskError):
    """The run did not end before the deadline."""


class XpanderTaskPaused(XpanderTaskError):
    """The run waits for a person, and ``on_paused="fail"`` was asked for."""
