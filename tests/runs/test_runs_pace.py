from __future__ import annotations

import random

import pytest

from airflow_provider_xpander.runs.pace import Pace

EPSILON = 1e-6


def most_in(moments: list[float], window: float) -> int:
    """The most moments that lie in any half-open window of this length."""
    ends = (sum(1 for other in moments if start <= other < start + window - EPSILON) for start in moments)
    return max(ends, default=0)


def send(pace: Pace, arrivals: list[float]) -> list[float]:
    """Send a request for each arrival as soon as it may be sent; returns when each was."""
    now, sent = 0.0, []
    for arrival in arrivals:
        now = max(now, arrival)
        now += pace.delay(now)
        assert pace.delay(now) <= EPSILON, "the delay was not enough"
        pace.note(now)
        sent.append(now)
    return sent


@pytest.mark.parametrize("seed", range(12))
def test_never_more_than_the_limits_in_any_window(seed: int) -> None:
    rng = random.Random(seed)
    per_minute, per_hour = rng.choice([0, 1, 3, 20]), rng.choice([0, 1, 10, 60])
    arrivals, now = [], rng.uniform(0, 1e6)
    for _ in range(150):
        # Bursts, a steady flow, and long silences.
        now += rng.choice([0.0, 0.0, 0.0, rng.uniform(0, 10), rng.uniform(0, 600)])
        arrivals.append(now)
    sent = send(Pace(per_minute, per_hour), arrivals)
    if per_minute:
        assert most_in(sent, 60.0) <= per_minute
    if per_hour:
        assert most_in(sent, 3600.0) <= per_hour
    if not per_minute and not per_hour:
        assert sent == arrivals


def test_a_burst_goes_out_as_fast_as_the_limits_allow() -> None:
    sent = send(Pace(100, 1000), [0.0] * 1050)
    assert sent[99] == 0.0
    assert sent[100] == 60.0
    assert sent[999] == 540.0
    assert sent[1000] == 3600.0


def test_without_limits_nothing_waits() -> None:
    pace = Pace(0, 0)
    for _ in range(1000):
        assert pace.delay(5.0) == 0.0
        pace.note(5.0)


def test_what_is_older_than_an_hour_is_forgotten() -> None:
    pace = Pace(2, 2)
    send(pace, [0.0, 1.0])
    assert pace.delay(3599.0) == pytest.approx(1.0)
    assert pace.delay(3600.5) == 0.0
    pace.note(3600.5)
    assert pace.delay(3600.6) == pytest.approx(0.4)


def test_limits_that_change_hold_for_what_was_sent_before() -> None:
    pace = Pace(0, 0)
    send(pace, [0.0] * 10)
    pace.per_minute = 5
    assert pace.delay(1.0) == pytest.approx(59.0)
