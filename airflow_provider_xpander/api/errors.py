"""
Everything that can go wrong, by what a caller can do about it.

* XpanderError
    * XpanderAuthError             401, 403
    * XpanderNotFoundError         404
    * XpanderValidationError       400, 422, or a request that this package refuses itself
    * XpanderRateLimitError        429 that asks to slow down
    * XpanderBillingError          402, 429, 403 that speak of credit, plan or budget
    * XpanderServiceError          5xx, a redirect, an answer that is not the API's
    * XpanderConnectionError       nothing answered
    * XpanderAmbiguousSubmitError  a run may have been started, or not
* XpanderTaskError                 the remote run did not complete
    * XpanderTaskFailed, XpanderTaskStopped, XpanderTaskTimeout, XpanderTaskPaused
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

TEXT_LIMIT = 500
"""Characters of a foreign text that go into an error message or a log line."""

# Escape sequences and control characters of untrusted text; a tab or newline becomes a blank. So does what
# turns the direction of writing: a line could be made to read as another.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
# Airflow folds its task log at these; a foreign text could hide what comes after it.
_LOG_GROUP = re.compile(r"(?:::|##\[)(?=(?:end)?group(?:::|\]))")
_BILLING = re.compile(
    r"billing|credits?\b|budget|\bplan\b|usage limit|quota|subscription|insufficient (funds|balance)|top.?up|"
    r"payment|max_runs_per_day|free tier",
    re.IGNORECASE,
)
_HTML = re.compile(r"^\s*(<!doctype html|<html|<head|<body|<\?xml)", re.IGNORECASE)


class XpanderError(Exception):
    """
    Base of all errors of talking to xpander.ai.

    :param message: what was tried, what came back, what to do; fit for a task log.
    :param status_code: the HTTP status, if there was an answer.
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


class XpanderAuthError(XpanderError):
    """The key is missing or wrong (401), or has no access to the object (403)."""


class XpanderNotFoundError(XpanderError):
    """The agent, workflow or task does not exist, or is out of the key's sight (404)."""


class XpanderValidationError(XpanderError, ValueError):
    """The request is not acceptable: refused by the service (400, 422) or before it was sent."""


class XpanderRateLimitError(XpanderError):
    """
    The service asks to slow down (429).

    :param retry_after: seconds that the service asks to wait, or None if it did not say.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.retry_after = retry_after


class XpanderBillingError(XpanderError):
    """Refused for lack of credit, by a plan's limit or by a budget: waiting does not help (contract 7)."""


class XpanderServiceError(XpanderError):
    """
    The service failed (5xx), or what answered did not speak its language (proxy page, cut-off body).

    :param retry_after: seconds that the service asks to wait, or None if it did not say.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.retry_after = retry_after


class XpanderConnectionError(XpanderError):
    """Nothing answered: name resolution, connection, TLS or read time-out."""


class XpanderAmbiguousSubmitError(XpanderError):
    """
    An invoke was sent and its outcome is unknown: the run may exist (and cost), or not.

    :param target_id: the agent or workflow that was invoked.
    :param title: the title that was sent: what to look for in the list of tasks.
    :param thread_id: the API's ``id`` that was sent, if any.
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


def printable(text: Any, limit: int = TEXT_LIMIT) -> str:
    """
    Make a foreign text harmless for one log line, and cut it.

    There are no control characters in it and no markers of Airflow's log groups.

    :param text: anything; what is not a string is shown by ``str``.
    :param limit: the greatest number of characters of the text that are kept.
    """
    clean = _CONTROL.sub(" ", _ANSI.sub("", str(text))).strip()
    clean = _LOG_GROUP.sub(lambda marker: " ".join(marker[0]), clean)
    return clean if len(clean) <= limit else f"{clean[:limit]}... ({len(clean)} characters)"


def error_text(body: bytes) -> str:
    """
    Find the sentence in an error body (contract section 7, "Error text extraction").

    ``detail`` can be a string, the list of a validation error, an object, nested in itself, or the Python
    repr of all that; else ``message``, else ``error``, else the text as it is.

    :param body: the body as received.
    :return: one printable line, empty if the body says nothing.
    """
    text = body.decode("utf-8", "replace")
    if _HTML.match(text):
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        return "an HTML page" + (f" titled {printable(title[1], 100)!r}" if title else "")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = text
    return printable(_sentence(content))


def _sentence(content: Any, depth: int = 0) -> str:
    if content is None or depth > 8:
        return ""
    if isinstance(content, str):
        inner = re.search(r"""['"](?:detail|message)['"]:\s*(['"])((?:(?!\1).)+)\1""", content)
        return inner[2] if inner else content
    if isinstance(content, list):
        return "; ".join(filter(None, (_sentence(item, depth + 1) for item in content[:10])))
    if isinstance(content, Mapping):
        if "msg" in content:
            path = content.get("loc")
            parts = path if isinstance(path, list) else ()
            place = ".".join(str(part) for part in parts if part != "body")
            return f"{place}: {content['msg']}" if place else str(content["msg"])
        for key in ("detail", "message", "error"):
            if content.get(key):
                return _sentence(content[key], depth + 1)
        return json.dumps(content, default=str)
    return str(content)


def is_billing(status_code: int, text: str) -> bool:
    """Whether a refusal is about money: 402, or 403/429 with a telling text (contract section 7)."""
    return status_code == 402 or (status_code in (403, 429) and bool(_BILLING.search(text)))


def error_from_status(
    what: str,
    status_code: int,
    body: bytes,
    *,
    retry_after: float | None = None,
    request_id: str | None = None,
) -> XpanderError:
    """
    Turn an answer that is not a success into the error that tells what to do.

    :param what: what was tried, for example ``"get task 1234"``.
    :param status_code: the HTTP status of the answer.
    :param body: the body of the answer.
    :param retry_after: seconds to wait that the answer's headers ask for, or None.
    :param request_id: the service's id of the request, or None.
    """
    said = error_text(body)
    answer = f"{what}: HTTP {status_code}" + (f", {said}" if said else ", empty answer")
    if request_id:
        answer += f" (request {request_id})"
    known: dict[str, Any] = {"status_code": status_code, "request_id": request_id}
    if is_billing(status_code, said):
        hint = "The organisation's credit, plan or budget refuses the run; a retry does not help."
        return XpanderBillingError(f"{answer}. {hint}", **known)
    if status_code == 401:
        return XpanderAuthError(f"{answer}. Check the API key (password) of the connection.", **known)
    if status_code == 403:
        hint = "The key is known but has no access to this; keys can be limited to named agents."
        return XpanderAuthError(f"{answer}. {hint}", **known)
    if status_code == 404:
        return XpanderNotFoundError(f"{answer}. Check the id, and whether the key may see it.", **known)
    if status_code in (400, 422):
        hint = ""
        if "input.user" in said:
            hint = " Set user on the operator, or user_email and user_id on the connection."
        return XpanderValidationError(f"{answer}.{hint}", **known)
    if status_code == 429:
        wait = f"in {retry_after:.0f} s" if retry_after is not None else "later"
        return XpanderRateLimitError(
            f"{answer}. The service asks to slow down; try again {wait}.", retry_after=retry_after, **known
        )
    if 300 <= status_code < 400:
        hint = "Redirects are not followed, so that the key stays with its host; set the connection's host."
        return XpanderServiceError(f"{answer}. {hint}", **known)
    return XpanderServiceError(f"{answer}.", retry_after=retry_after, **known)
