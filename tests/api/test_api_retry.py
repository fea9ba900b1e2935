from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_xpander.api.retry import ONCE, RetryPolicy, retry_after_seconds

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
EPOCH = NOW.timestamp()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"retry-after": "7"}, 7),
        ({"RETRY-AFTER": " 1.5 "}, 1.5),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "-3"}, 0),
        ({"Retry-After": "Fri, 01 May 2026 12:00:30 GMT"}, 30),
        ({"Retry-After": "Fri, 01 May 2026 14:00:30 +0200"}, 30),
        ({"Retry-After": "Fri, 01 May 2026 12:00:30 -0000"}, 30),
        ({"Retry-After": "Fri, 01 May 2026 11:00:00 GMT"}, 0),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "1e999"}, None),
        ({"Retry-After": "Fri, 99 May 2026 12:00:30 GMT"}, None),
        ({"Retry-After": "Fri, 01 May 2026 12:00:30 +99999999999999999999"}, None),
        ({"Retry-After": "Fri, 01 May 99999999999999999999 12:00:30 GMT"}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{EPOCH + 20:.0f}"}, 20),
        ({"X-RateLimit-Reset": f"{EPOCH + 20:.0f}"}, 20),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{EPOCH - 20:.0f}"}, 0),
        ({"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": f"{EPOCH + 20:.0f}"}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "later"}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "nan"}, None),
        ({"X-RateLimit-Remaining": "none", "X-RateLimit-Reset": "1"}, None),
        ({"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0"}, None),
        ({"Retry-After": "86400"}, 3600),
        ({"Retry-After": "9999999999"}, 3600),
        ({"Retry-After": f"{EPOCH + 20:.0f}"}, 3600),
        ({"Retry-After": "9" * 400}, None),
        ({"Retry-After": "-inf"}, None),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, 3600),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 -2359"}, 3600),
        ({"Retry-After": "Mon, 01 Jan 0001 00:00:00 +2359"}, 0),
        ({"X-RateLimit-Reset": f"{1000 * EPOCH:.0f}"}, 3600),
        ({"X-RateLimit-Reset": "9" * 300}, 3600),
        ({"X-RateLimit-Reset": "30"}, 30),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "2026-05-01T12:00:20Z"}, 20),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "Fri, 01 May 2026 12:00:20 GMT"}, 20),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "20"}, 20),
        ({"RateLimit-Remaining": "3", "RateLimit-Reset": "20"}, None),
        ({"Retry-After-Ms": "2500"}, 2.5),
        ({"Retry-After": "soon", "Retry-After-Ms": "2500"}, 2.5),
        ({"Retry-After": "soon", "X-RateLimit-Reset": f"{EPOCH + 20:.0f}"}, 20),
        ({"X-RateLimit-Reset": "-1"}, 0),
        ({"X-RateLimit-Remaining": "nan", "X-RateLimit-Reset": f"{EPOCH + 20:.0f}"}, 20),
        ({"Retry-After": "5", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{EPOCH + 20:.0f}"}, 5),
    ],
    ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "",
)
def test_how_long_the_server_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("attempt", "retry_after", "random", "delay"),
    [
        (1, None, 0.0, 1.0),
        (2, None, 0.0, 2.0),
        (3, None, 0.0, 4.0),
        (4, None, 0.0, 5.0),
        (1, None, 1.0, 0.75),
        (1, 0.0, 0.0, 1.0),
        (1, 20.0, 0.0, 20.0),
        (1, 60.0, 0.0, 60.0),
        (1, 60.5, 0.0, None),
        (5, None, 0.0, None),
        (5, 1.0, 0.0, None),
        (6, None, 0.0, None),
    ],
    ids=[
        "first wait", "doubled", "doubled again", "capped", "jittered down", "never less than the backoff",
        "what the server asks", "just patient enough", "too long to sleep", "no attempt left",
        "no attempt left whatever the server says", "beyond",
    ],
)  # fmt: skip
def test_the_wait_before_a_repetition(
    attempt: int, retry_after: float | None, random: float, delay: float | None
) -> None:
    policy = RetryPolicy(attempts=5, base=1.0, cap=5.0, patience=60.0)
    assert policy.delay(attempt, retry_after, lambda: random) == delay


def test_once_never_waits() -> None:
    assert ONCE.delay(1, None) is None
    assert ONCE.delay(1, 0.0) is None
