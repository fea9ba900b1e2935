"""When a long wait gives a sign of life, and what it says."""

from __future__ import annotations

from airflow_provider_xpander.runs.heartbeat import LONGEST, Heartbeat

BEGAN = 1_000_000.0


def signs(until: float, every: float = 10.0) -> list[float]:
    """Return the seconds after which there is a sign, with a look every so often."""
    heartbeat = Heartbeat(BEGAN)
    times = [number * every for number in range(1, int(until / every) + 1)]
    return [second for second in times if heartbeat.line(BEGAN + second, "executing", every)]


def test_a_short_wait_is_quiet() -> None:
    assert signs(59) == []


def test_the_distance_grows() -> None:
    assert signs(1000) == [60, 180, 420, 900]


def test_the_distance_does_not_grow_for_ever() -> None:
    last = signs(24 * 3600)[-3:]
    assert [later - earlier for earlier, later in zip(last, last[1:], strict=False)] == [LONGEST, LONGEST]


def test_age_status_and_next_look_are_told() -> None:
    heartbeat = Heartbeat(BEGAN)
    assert heartbeat.line(BEGAN + 61, "paused", 29.6) == "still paused after 1 min 1 s; next look in 30 s"
    assert (
        heartbeat.line(BEGAN + 7500, "executing", 30) == "still executing after 2 h 5 min; next look in 30 s"
    )
