from __future__ import annotations

from airflow_provider_xpander.runs.heartbeat import LONGEST, Heartbeat, sign_of_life


def test_signs_of_life_come_ever_less_often() -> None:
    beat = Heartbeat(1000.0)
    moments = [beat.first]
    for _ in range(6):
        moments.append(beat.next(moments[-1]))
    gaps = [later - earlier for earlier, later in zip([1000.0, *moments], moments, strict=False)]
    assert gaps == [300, 600, 1200, 2400, LONGEST, LONGEST, LONGEST]


def test_a_sign_of_life_tells_age_status_and_next_look() -> None:
    assert sign_of_life("t-1", "executing", 600.0, 30.0, None) == (
        "xpander task t-1 is executing after 10 min; next look in 30 s"
    )
    assert sign_of_life("t-1", None, 7300.0, 200.0, "cannot reach https://x") == (
        "xpander task t-1 was not seen yet after 2.0 h; next look in 3 min; "
        "the last look failed: cannot reach https://x"
    )
