"""When a long wait gives a sign of life, and what it says."""

from __future__ import annotations

import pytest

from airflow_provider_xpander.runs.log.heartbeat import LONGEST, next_sign, sign_of_life


def signs(count: int) -> list[float]:
    """Return the seconds from the beginning to each sign, where every one is written in time."""
    times = [next_sign(0.0)]
    while len(times) < count:
        times.append(next_sign(times[-1]))
    return times


def test_the_distance_grows_but_not_for_ever() -> None:
    times = signs(12)
    assert times[:4] == [300, 900, 2100, 4500]
    distances = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    assert distances == sorted(distances)
    assert set(distances[-3:]) == {LONGEST}


@pytest.mark.parametrize(
    ("status", "waited", "trouble", "line"),
    [
        ("executing", 300.4, None, "is executing after 5 min; next look in 30 s"),
        ("paused", 90, None, "is paused after 90 s; next look in 30 s"),
        (
            None,
            10_000,
            "HTTP 502",
            "was not seen yet after 2.8 h; next look in 30 s; the last look failed: HTTP 502",
        ),
    ],
)
def test_age_status_and_next_look_are_told(
    status: str | None, waited: float, trouble: str | None, line: str
) -> None:
    assert sign_of_life("t-1", status, waited, 30, trouble) == f"xpander task t-1 {line}"
