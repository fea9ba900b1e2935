"""The error that a reply means which is no success: the words in it, whose words they are, what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_xpander.api.errors import (
    LONGEST_WAIT,
    XpanderAuthError,
    XpanderBillingError,
    XpanderError,
    XpanderNotFoundError,
    XpanderRateLimitError,
    XpanderServiceError,
    XpanderValidationError,
)
from airflow_provider_xpander.api.text import printable

ERROR_KEYS = ("detail", "message", "error")
"""Fields of which an error of the API has one (contract section 7)."""
_REPR = re.compile(r"""['"](?:detail|message)['"]:\s*(['"])((?:(?!\1).)+)\1""")
_BILLING = re.compile(
    r"billing|credits?\b|budget|\bplan\b|usage limit|quota|subscription|insufficient (funds|balance)|top.?up|"
    r"payment|max_runs_per_day|free tier",
    re.IGNORECASE,
)
_PACE = re.compile(r"\d.*(\b(per|an?|each|every)\s|/\s?)(second|sec|minute|min|hour)s?\b", re.IGNORECASE)
"""What a limit of requests names, and one of money does not."""
_PROBLEM = frozenset({"type", "title", "status"})
"""Fields of an error by RFC 9457, which Airflow 2 and many others send, and the xpander.ai API does not."""
_NO_SUCH_PATH = re.compile(
    r"^not found$|^method not allowed$|no(t)? (such )?route|route not found|requested url|removed in airflow",
    re.IGNORECASE,
)
"""What servers and their frameworks say of a path that they do not have, whatever the id in it."""
_HTML = re.compile(r"^\s*(<!doctype html|<html|<head|<body|<\?xml)", re.IGNORECASE)

LARGE_BODY = 256 * 1024
"""Bytes of a body from which on it is not parsed in an event loop."""

_UNACCEPTABLE = frozenset({413, 414, 415, 431})
"""Too large, or of a kind that is not taken: the same request will not fare better, whoever answers."""
_UNKNOWN_ROUTE = frozenset({405, 410})
_PASSING = frozenset({408, 425})
"""Below 500, what may be different the next time."""


@dataclass(frozen=True)
class Said:
    """
    What the body of an error says.

    :param text: one printable line, empty if it says nothing.
    :param by_api: whether it is an error of the API, rather than a page of something in front of it.
    """

    text: str
    by_api: bool


def read_error(body: bytes) -> Said:
    """
    Find the sentence in an error body (contract section 7, "Error text extraction").

    ``detail`` can be a string, the list of a validation error, an object, nested in itself, or the Python
    repr of all that; else ``message``, else ``error``, else the text as it is. All that is an error of the
    API. HTML, text, JSON without any of these fields, an error by RFC 9457 and an empty body are not.

    :param body: the body as received.
    """
    text = body.decode("utf-8", "replace")
    if _HTML.match(text):
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        named = f" titled {printable(title[1], 100)!r}" if title else ""
        return Said(f"an HTML page{named}", by_api=False)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = text
    by_api = isinstance(content, Mapping) and any(key in content for key in ERROR_KEYS)
    by_api = by_api and not set(content) >= _PROBLEM
    by_api = by_api or (isinstance(content, str) and _REPR.search(content) is not None)
    return Said(error_sentence(content), by_api)


def error_sentence(content: Any) -> str:
    """
    Return the sentence in the decoded body of an error, as one printable line.

    :param content: what JSON can hold.
    """
    return printable(_sentence(content))


def _sentence(content: Any, depth: int = 0) -> str:
    if content is None or depth > 8:
        return ""
    if isinstance(content, str):
        inner = _REPR.search(content)
        return inner[2] if inner else content
    if isinstance(content, list):
        return "; ".join(filter(None, (_sentence(item, depth + 1) for item in content[:10])))
    if isinstance(content, Mapping):
        if "msg" in content:
            path = content.get("loc")
            parts = path if isinstance(path, list) else ()
            place = ".".join(str(part) for part in parts if part != "body")
            return f"{place}: {content['msg']}" if place else str(content["msg"])
        for key in (*ERROR_KEYS, "title") if set(content) >= _PROBLEM else ERROR_KEYS:
            if content.get(key):
                return _sentence(content[key], depth + 1)
        return json.dumps(content, default=str)
    return str(content)


def is_billing(status_code: int, said: Said, retry_after: float | None = None) -> bool:
    """
    Tell whether a refusal is about money, rather than about too many requests or a missing right.

    402 is. So are 403 and 429 with a telling text (contract section 7), but not where they name a time to
    come back, nor a 429 about so many a minute: limits "of the plan" or "quotas" are limits of requests then.

    :param status_code: the HTTP status.
    :param said: what the body says.
    :param retry_after: seconds to wait that the reply's headers ask for, or None.
    """
    if status_code == 402:
        return True
    if status_code not in (403, 429) or retry_after is not None:
        return False
    if status_code == 429 and _PACE.search(said.text):
        return False
    return said.by_api and bool(_BILLING.search(said.text))


def error_from_status(
    what: str,
    status_code: int,
    body: bytes,
    *,
    retry_after: float | None = None,
    request_id: str | None = None,
    submit: bool = False,
    at: str = "the connection",
) -> XpanderError:
    """
    Turn a reply that is not a success into the error that tells what to do.

    :param what: what was tried, for example ``"get task 1234"``.
    :param status_code: the HTTP status of the reply.
    :param body: the body of the reply.
    :param retry_after: seconds to wait that the reply's headers ask for, however many, or None.
    :param request_id: the service's id of the request, or None.
    :param submit: whether a run was to be started.
    :param at: the connection, and the address that was asked, in words.
    """
    said = read_error(body)
    # Each sentence gets its full stop below.
    reply = f"{what}: HTTP {status_code}, {said.text.rstrip('. ') or 'empty answer'}"
    if request_id:
        reply += f" (request {printable(request_id, 100)})"
    known: dict[str, Any] = {"status_code": status_code, "request_id": request_id}
    if is_billing(status_code, said, retry_after):
        hint = "The organisation's credit, plan or budget refuses the run; a retry does not help."
        return XpanderBillingError(f"{reply}. {hint}", **known)
    if status_code == 429 or (status_code == 403 and said.by_api and retry_after is not None):
        return XpanderRateLimitError(
            f"{reply}. The service asks to slow down; try again {_when(retry_after)}.",
            retry_after=retry_after,
            **known,
        )
    if status_code in _UNACCEPTABLE or (status_code in _UNKNOWN_ROUTE and (submit or said.by_api)):
        return XpanderValidationError(f"{reply}. {_not_taken(status_code, at)}", **known)
    if 400 <= status_code < 500 and (status_code == 407 or not said.by_api):
        return XpanderServiceError(f"{reply}. {_in_front(status_code, at)}", retry_after=retry_after, **known)
    if status_code == 401:
        hint = f"Check the API key (password) of {at}."
        if said.text.lower() in ("not authenticated", "unauthorized"):
            hint += " Other APIs say the same: check the base URL, too."
        return XpanderAuthError(f"{reply}. {hint}", **known)
    if status_code == 403:
        hint = f"The key of {at} is known but has no access to this; keys can be limited to named agents."
        return XpanderAuthError(f"{reply}. {hint}", **known)
    if status_code == 404:
        hint = f"Check the id, and whether the key of {at} may see it."
        if _NO_SUCH_PATH.search(said.text):
            hint = f"{_no_such_path(at)} If that is right, check the id."
        return XpanderNotFoundError(f"{reply}. {hint}", **known)
    if status_code in (400, 422):
        hint = ""
        if "input.user" in said.text:
            hint = " Set user on the operator, or user_email and user_id on the connection."
        return XpanderValidationError(f"{reply}.{hint}", **known)
    if 300 <= status_code < 400:
        hint = "Redirects are not followed, so that the key stays with its host; set the connection's host."
        return XpanderServiceError(f"{reply}. {hint}", may_pass=False, **known)
    may_pass = status_code >= 500 or status_code in _PASSING
    return XpanderServiceError(f"{reply}.", retry_after=retry_after, may_pass=may_pass, **known)


def _when(retry_after: float | None) -> str:
    if retry_after is None:
        return "later"
    if retry_after > LONGEST_WAIT:
        return f"in {LONGEST_WAIT:.0f} s, which is the most (it asks for {retry_after:.0f} s)"
    return f"in {retry_after:.0f} s"


def _not_taken(status_code: int, at: str) -> str:
    if status_code in _UNKNOWN_ROUTE:
        return _no_such_path(at)
    return "The request is too large, or of a kind that is not taken; a retry does not help."


def _no_such_path(at: str) -> str:
    return (
        "The server has no such path: this is not the xpander.ai API, or the path in the base URL is wrong. "
        f"Check the base URL of {at}."
    )


def _in_front(status_code: int, at: str) -> str:
    if status_code == 407:
        return f"The proxy asks for credentials: put them into its URL. Asked was {at}."
    return (
        "That is no answer of the xpander.ai API: a proxy, gateway or firewall in front of it has answered, "
        f"or the base URL of {at} leads elsewhere."
    )


def describe_body(body: bytes) -> str:
    """
    Say what the body is that cannot be the API's.

    :param body: as received.
    """
    if not body.strip():
        return "an empty body"
    if len(body) >= LARGE_BODY:
        return f"{len(body)} bytes that are not the JSON of the API"
    said = read_error(body)
    if said.text.startswith("an HTML page"):
        return f"{said.text} instead of JSON"
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        if body.lstrip()[:1] in (b"{", b"["):
            return f"a JSON body that is cut off or broken ({len(body)} bytes)"
        return f"a body that is not JSON: {printable(said.text, 200).rstrip('.')}"
    # Of JSON only the shape is told: the service echoes the tokens of a request (contract section 4).
    shape = f"an object with the keys {', '.join(content)}" if isinstance(content, dict) else "no object"
    return f"JSON of another shape than the API's: {printable(shape, 200)}"
