from __future__ import annotations

from email.utils import formatdate

import pytest

from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.cli.findings import (
    State,
    about_clock,
    about_limits,
    about_marks,
    about_proxy,
    about_service,
    about_tls,
    about_trial,
)

NOW = 1_795_672_800.0
MARK = f"[airflow {'a' * 20}]"


@pytest.mark.parametrize(
    ("changes", "state", "part"),
    [
        ({}, State.GOOD, "usual authorities"),
        ({"verify": "/etc/ca.pem"}, State.GOOD, "/etc/ca.pem"),
        ({"verify": False}, State.DOUBTFUL, "not checked"),
        ({"base_url": "http://api.example.com"}, State.DOUBTFUL, "in clear"),
        ({"base_url": "http://127.0.0.1:8090"}, State.GOOD, "this machine"),
        ({"base_url": "http://localhost:8090"}, State.GOOD, "this machine"),
        ({"base_url": "http://127.0.0.1.example.com"}, State.DOUBTFUL, "in clear"),
    ],
)
def test_tls(changes: dict, state: State, part: str) -> None:
    found = about_tls(Settings(**changes))
    assert found.state is state
    assert part in found.said


@pytest.mark.parametrize(
    ("fine", "said", "states"),
    [
        (True, "Connected to https://x: 8 agents.", {"TLS": State.GOOD, "key and service": State.GOOD}),
        (False, "https://x does not accept the API key.", {"TLS": State.GOOD, "key and service": State.BAD}),
        (False, "cannot reach https://x: it does not speak TLS.", {"TLS": State.BAD}),
        (False, "cannot reach https://x (certificate verify failed): check it.", {"TLS": State.BAD}),
    ],
)
def test_it_is_told_whether_tls_or_the_service_is_bad(
    fine: bool, said: str, states: dict[str, State]
) -> None:
    assert {found.check: found.state for found in about_service(Settings(), fine, said)} == states


def test_the_proxy_is_named_without_its_password() -> None:
    found = about_proxy(Settings(proxy="http://me:hunter22@proxy.example.com:3128"))
    assert "proxy.example.com:3128" in found.said
    assert "hunter22" not in found.said


@pytest.mark.parametrize(
    ("theirs", "state", "part"),
    [
        (formatdate(NOW, usegmt=True), State.GOOD, "less than 30 s"),
        (formatdate(NOW - 25, usegmt=True), State.GOOD, "less than 30 s"),
        (formatdate(NOW + 300, usegmt=True), State.DOUBTFUL, "299 s behind the service"),
        (formatdate(NOW - 300, usegmt=True), State.DOUBTFUL, "299 s ahead of the service"),
        (None, State.UNKNOWN, "does not tell"),
        ("yesterday", State.UNKNOWN, "does not tell"),
    ],
)
def test_the_clock(theirs: str | None, state: State, part: str) -> None:
    found = about_clock({} if theirs is None else {"Date": theirs}, NOW, NOW + 1)
    assert found.state is state
    assert part in found.said


@pytest.mark.parametrize(
    ("headers", "state", "part"),
    [
        ({}, State.UNKNOWN, "keeps 100 a minute and no limit an hour"),
        ({"x-ratelimit-limit": "60", "x-ratelimit-remaining": "7"}, State.GOOD, "60 requests, 7 left"),
        ({"X-RateLimit-Limit": "60"}, State.GOOD, "60 requests; the connection"),
        ({"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "0"}, State.DOUBTFUL, "0 left"),
    ],
)
def test_the_limits(headers: dict[str, str], state: State, part: str) -> None:
    found = about_limits(headers, Settings(requests_per_hour=0))
    assert found.state is state
    assert part in found.said


@pytest.mark.parametrize(
    ("title", "source", "listed", "state", "part"),
    [
        (MARK, f"airflow {MARK}", True, State.GOOD, "titles and sources"),
        (MARK, "api", True, State.GOOD, "titles, but not sources"),
        ("rewritten", f"airflow {MARK}", False, State.DOUBTFUL, "not titles"),
        ("somebody's", "api", False, State.UNKNOWN, "--invoke"),
    ],
)
def test_the_marks(title: str, source: str, listed: bool, state: State, part: str) -> None:
    task = Task(id="t", title=title, source=source)
    found = about_marks([task], listed=task if listed else None)
    assert found.state is state
    assert part in found.said


@pytest.mark.parametrize(
    ("fields", "listed", "timed_out", "state", "part"),
    [
        (
            {"status": "completed", "title": "T tok", "source": "tok"},
            True,
            False,
            State.GOOD,
            "source is kept",
        ),
        (
            {"status": "completed", "title": "T tok", "source": "api"},
            True,
            False,
            State.DOUBTFUL,
            "source is NOT",
        ),
        (
            {"status": "completed", "title": None, "source": "tok"},
            True,
            False,
            State.DOUBTFUL,
            "title is NOT",
        ),
        (
            {"status": "completed", "title": "tok", "source": "tok"},
            False,
            False,
            State.DOUBTFUL,
            "list does NOT",
        ),
        ({"status": "failed", "result": "no tool"}, True, False, State.BAD, "(no tool)"),
        ({"status": "executing"}, True, True, State.BAD, "was stopped"),
    ],
)
def test_the_trial_run(fields: dict, listed: bool, timed_out: bool, state: State, part: str) -> None:
    task = Task(id="t", **fields)
    found = about_trial(task, task if listed else None, "tok", timed_out=timed_out)
    assert found.state is state
    assert part in found.said
