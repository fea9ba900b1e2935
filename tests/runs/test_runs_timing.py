from __future__ import annotations

import pytest

from airflow_provider_xpander.runs.timing import deadline_of, jittered, until_old_enough


@pytest.mark.parametrize(
    ("timeout", "execution_timeout", "started", "deadline"),
    [
        (None, None, None, None),
        (60.0, None, None, 1060.0),
        (60.0, None, 900.0, 1060.0),
        (0.0, None, None, 1000.0),
        (None, 3600.0, 900.0, 4490.0),
        (None, 3600.0, None, 4590.0),
        (None, 50.0, 1000.0, 1045.0),
        (60.0, 3600.0, 900.0, 1060.0),
        (7200.0, 3600.0, 900.0, 4490.0),
        (None, 3600.0, 0.0, 3590.0),
        (None, 100.0, 500.0, 590.0),
    ],
    ids=[
        "no limit", "from the submit", "whenever the attempt began", "at once",
        "Airflow's limit, less a margin", "start unknown", "short limit, smaller margin",
        "own limit is nearer", "Airflow's limit is nearer", "start at the epoch", "already over",
    ],
)  # fmt: skip
def test_the_deadline(
    timeout: float | None, execution_timeout: float | None, started: float | None, deadline: float | None
) -> None:
    made = deadline_of(1000.0, timeout=timeout, execution_timeout=execution_timeout, started=started)
    assert made == deadline


@pytest.mark.parametrize(("random", "seconds"), [(0.0, 24.0), (0.5, 30.0), (1.0, 36.0)])
def test_an_interval_is_spread_both_ways(random: float, seconds: float) -> None:
    assert jittered(30.0, rng=lambda: random) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("deferred_at", "now", "seconds"),
    [
        pytest.param(None, 1000.0, 0.0, id="not known"),
        pytest.param(1000.0, 1000.0, 10.0, id="just deferred"),
        pytest.param(1000.0, 1004.0, 6.0, id="young"),
        pytest.param(1000.0, 1010.0, 0.0, id="old enough"),
        pytest.param(1000.0, 9000.0, 0.0, id="old"),
        pytest.param(9000.0, 1000.0, 10.0, id="a clock that is ahead"),
    ],
)
def test_a_deferral_lasts_a_while(deferred_at: float | None, now: float, seconds: float) -> None:
    assert until_old_enough(deferred_at, 10.0, now) == seconds
