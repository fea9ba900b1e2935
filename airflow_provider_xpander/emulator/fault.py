"""Faults: what goes wrong with which request, and how often."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from pydantic import Field

from airflow_provider_xpander.emulator.due import Due

_PROXY_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"
_REASONS = {502: "502 Bad Gateway", 503: "503 Service Temporarily Unavailable", 504: "504 Gateway Time-out"}


class Fault(Due):
    """
    Something that goes wrong. Which requests, how often, and what happens then; in that order.

    :param method: HTTP method; None is any.
    :param path: regular expression that is searched in the path, for example ``/invoke/async$``.
    :param after: so many matching requests go well first.
    :param times: then so many go wrong; None is all of them.
    :param delay_seconds: the answer comes so much later (before the request is carried out, unless
        ``act_first``).
    :param act_first: carry the request out and then answer wrongly: a run is created, but the caller does
        not get to know.
    :param status: HTTP status to answer instead of the real answer.
    :param body: body to go with ``status``; what is not a string is sent as JSON. With none, an error has
        that of the API.
    :param headers: headers to go with ``status``.
    :param drop: break the connection before the answer, or in the middle of the real one.
    :param truncate: send only the first half of the real answer, as if it were all.
    """

    method: str | None = None
    path: str = ""
    delay_seconds: float = Field(default=0, ge=0)
    act_first: bool = False
    status: int | None = Field(default=None, ge=200, le=599)
    body: Any = ""
    headers: dict[str, str] = Field(default_factory=dict)
    drop: Literal["before", "during"] | None = None
    truncate: bool = False

    def take(self, method: str, path: str) -> bool:
        """
        Count a request and tell whether the fault hits it.

        :param method: HTTP method, in capitals.
        :param path: path of the request.
        """
        if (self.method or method).upper() != method or not re.search(self.path, path):
            return False
        return self.count()

    def answer(self) -> tuple[bytes, dict[str, str]]:
        """Return body and headers that go with ``status``."""
        content = self.body
        if content == "" and (self.status or 0) >= 400:
            content = {"detail": f"A fault of the emulator ({self.status})"}
        if not isinstance(content, str):
            body, media = json.dumps(content), "application/json"
        else:
            body, media = content, "text/html" if content.startswith("<") else "text/plain"
        return body.encode(), {"content-type": media, **self.headers}

    @classmethod
    def html(cls, status: int = 502, **match: Any) -> Fault:
        """
        A proxy's HTML page: 502, 503 or 504.

        :param status: the HTTP status.
        :param match: which requests it hits, by the fields of :class:`Fault`.
        """
        return cls(status=status, body=_PROXY_PAGE.format(_REASONS.get(status, str(status))), **match)

    @classmethod
    def throttled(
        cls, *, retry_after: str | float | None = None, reset: float | None = None, **match: Any
    ) -> Fault:
        """
        Answer 429 for too many requests.

        :param retry_after: value of ``Retry-After``: seconds or an HTTP date; None sends none.
        :param reset: value of ``X-RateLimit-Reset`` in epoch seconds; None sends no such headers.
        :param match: which requests it hits, by the fields of :class:`Fault`.
        """
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        if reset is not None:
            headers |= {
                "X-RateLimit-Limit": "100",
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": f"{reset:.0f}",
            }
        return cls(status=429, body={"detail": "Too many requests"}, headers=headers, **match)

    @classmethod
    def billing(cls, *, status: int = 429, **match: Any) -> Fault:
        """
        The refusal of an organisation without credit, nested as the service nests it (contract 7).

        :param status: the HTTP status.
        :param match: which requests it hits, by the fields of :class:`Fault`.
        """
        text = "Your plan's usage limit is reached. Add credits under billing to go on."
        return cls(status=status, body={"detail": {"detail": {"detail": text}}}, **match)

    @classmethod
    def server_error(cls, **match: Any) -> Fault:
        """
        A 500 with an ``error`` field, as container agents answer it.

        :param match: which requests it hits, by the fields of :class:`Fault`.
        """
        return cls(status=500, body={"error": "Internal server error"}, **match)

    @classmethod
    def dropped(cls, drop: Literal["before", "during"] = "before", **match: Any) -> Fault:
        """
        A connection that breaks before the answer, or in the middle of it.

        :param drop: where it breaks.
        :param match: which requests it hits, by the fields of :class:`Fault`.
        """
        return cls(drop=drop, **match)

    @classmethod
    def slow(cls, seconds: float, **match: Any) -> Fault:
        """
        An answer that comes late; with ``act_first`` the request is carried out at once.

        :param seconds: by how much.
        :param match: which requests it hits, by the fields of :class:`Fault`.
        """
        return cls(delay_seconds=seconds, **match)

    @classmethod
    def empty(cls, **match: Any) -> Fault:
        """
        A 200 without a body.

        :param match: which requests it hits, by the fields of :class:`Fault`.
        """
        return cls(status=200, **match)

    @classmethod
    def truncated(cls, **match: Any) -> Fault:
        """
        A 200 whose JSON ends in the middle.

        :param match: which requests it hits, by the fields of :class:`Fault`.
        """
        return cls(truncate=True, **match)
