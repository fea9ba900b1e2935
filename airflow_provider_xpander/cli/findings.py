"""The findings of ``check``: pure decisions about what was read of the connection and of the service."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import urlsplit

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.network import proxy_of
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.runs.identity import read_mark
from airflow_provider_xpander.runs.log.status_log import account

_TLS_FAILED = re.compile(r"^cannot reach .*(does not speak TLS|certificate|SSL)", re.DOTALL)
SKEW = 30.0
"""Seconds by which the clocks may differ: more, and times of runs are compared wrongly."""


class State(StrEnum):
    """How good a finding is."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    """It works, but somebody should know."""
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """
    One line of the check.

    :param check: what was looked at.
    :param state: how good it is.
    :param said: in words.
    """

    check: str
    state: State
    said: str

    def row(self) -> dict[str, str]:
        """Return it as a record."""
        return {"check": self.check, "state": self.state.value, "said": self.said}


def about_proxy(settings: Settings) -> Finding:
    """
    Tell which proxy is used.

    :param settings: those of the connection.
    :raises XpanderValidationError: the proxy, or the base URL, cannot be used.
    """
    proxy = proxy_of(settings)
    return Finding("proxy", State.GOOD, f"requests go through {proxy}" if proxy else "none")


def about_tls(settings: Settings) -> Finding:
    """
    Tell whether the key is encrypted on its way, and the service's certificate checked.

    :param settings: those of the connection.
    """
    url = urlsplit(settings.base_url)
    if url.scheme != "https":
        if _is_local(url.hostname or ""):
            return Finding("TLS", State.GOOD, "none, to this machine itself")
        return Finding("TLS", State.DOUBTFUL, "none: the key and all data go over the network in clear")
    if settings.verify is False:
        return Finding("TLS", State.DOUBTFUL, "the certificate is not checked (verify is false)")
    where = "the usual authorities" if settings.verify is True else str(settings.verify)
    return Finding("TLS", State.GOOD, f"the certificate is checked by {where}")


def about_service(settings: Settings, fine: bool, said: str) -> list[Finding]:
    """
    Tell what came of the first request, and whether it was TLS that failed.

    :param settings: those of the connection.
    :param fine: whether the service has answered as it should.
    :param said: what came of it, in words.
    """
    if not fine and _TLS_FAILED.search(said):
        return [Finding("TLS", State.BAD, said)]
    return [about_tls(settings), Finding("key and service", State.GOOD if fine else State.BAD, said)]


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def about_clock(headers: Mapping[str, str], sent: float, came: float) -> Finding:
    """
    Compare the service's clock with the one of this machine.

    :param headers: of a reply.
    :param sent: Unix seconds at which the request was sent.
    :param came: Unix seconds at which the reply came.
    """
    try:
        theirs = parsedate_to_datetime(headers.get("Date") or headers.get("date") or "").timestamp()
    except (ValueError, TypeError):
        return Finding("clock", State.UNKNOWN, "the service does not tell its time")
    # The header has whole seconds.
    skew = max(sent - (theirs + 1.0), theirs - came, 0.0)
    if skew <= SKEW:
        return Finding("clock", State.GOOD, f"the clocks differ by less than {SKEW:.0f} s")
    which = "behind" if theirs > came else "ahead of"
    return Finding("clock", State.DOUBTFUL, f"this machine's clock is {skew:.0f} s {which} the service's")


def about_limits(headers: Mapping[str, str], settings: Settings) -> Finding:
    """
    Compare the limits that the service tells with those that the connection keeps.

    :param headers: of a reply.
    :param settings: those of the connection.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    told = lower.get("x-ratelimit-limit")
    minute, hour = settings.requests_per_minute or "no limit", settings.requests_per_hour or "no limit"
    kept = f"the connection keeps {minute} a minute and {hour} an hour"
    if told is None:
        return Finding("limits", State.UNKNOWN, f"the service tells none; {kept}")
    left = lower.get("x-ratelimit-remaining")
    text = f"the service tells {printable(told, 40)} requests"
    text += f", {printable(left, 40)} left; {kept}" if left is not None else f"; {kept}"
    low = left is not None and left.strip() == "0"
    return Finding("limits", State.DOUBTFUL if low else State.GOOD, text)


def about_marks(records: Sequence[Task], *, listed: Task | None) -> Finding:
    """
    Tell whether the service keeps the marks by which a retry finds its run.

    :param records: some of the newest tasks, as read one by one.
    :param listed: a listed task with a mark in its title, if there is one.
    """
    in_source = any(read_mark(record.source) for record in records)
    if listed is not None:
        also = "titles and sources" if in_source else "titles, but not sources"
        return Finding("marks", State.GOOD, f"the service keeps {also} (seen in task {listed.id})")
    if in_source:
        return Finding(
            "marks", State.DOUBTFUL, "the service keeps sources, but not titles: a retry reads each run"
        )
    return Finding(
        "marks", State.UNKNOWN, "none of the newest runs was started by Airflow; --invoke AGENT finds out"
    )


def about_trial(record: Task, listed: Task | None, token: str, *, timed_out: bool) -> Finding:
    """
    Tell how a trial run went, and what the service has kept of its title and source.

    :param record: the run.
    :param listed: the same as a list shows it, None if none does.
    :param token: a text in its title and in its source.
    :param timed_out: whether its end was not waited for any longer.
    """
    kept = [
        f"its title is {'kept' if token in (record.title or '') else 'NOT kept'}",
        f"its source is {'kept' if token in (record.source or '') else 'NOT kept'}",
        "the list shows it" if listed is not None else "the list does NOT show it yet",
    ]
    how = f"xpander task {record.id} did not end in time and was stopped" if timed_out else account(record)
    failed = record.status is not TaskStatus.COMPLETED
    why = f" ({printable(record.result, 200)})" if failed and record.result else ""
    text = f"{how}{why}; {', '.join(kept)}"
    if failed:
        return Finding("run", State.BAD, text)
    return Finding("run", State.DOUBTFUL if "NOT" in text else State.GOOD, text)
