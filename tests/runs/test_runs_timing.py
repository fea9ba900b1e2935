from __future__ import annotations

import pytest

from airflow_provider_xpander.runs.timing import (
    backstop,
    clock_shift,
    deadline_of,
    jittered,
    resume_shift,
    until_old_enough,
)


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
    ("now", "seconds"),
    [
        pytest.param(1000.0, 10.0, id="just begun"),
        pytest.param(1004.0, 6.0, id="young"),
        pytest.param(1010.0, 0.0, id="old enough"),
        pytest.param(9000.0, 0.0, id="old"),
    ],
)
def test_a_deferral_lasts_a_while(now: float, seconds: float) -> None:
    assert until_old_enough(1000.0, 10.0, now) == seconds


@pytest.mark.parametrize(
    ("deadline", "seconds"),
    [
        pytest.param(None, None, id="none"),
        pytest.param(1060.0, 360.0, id="to come"),
        pytest.param(900.0, 200.0, id="over"),
        pytest.param(100.0, 1.0, id="long over"),
    ],
)
def test_airflow_ends_a_deferral_some_time_after_its_deadline(
    deadline: float | None, seconds: float | None
) -> None:
    limit = backstop(deadline, 1000.0)
    assert (None if limit is None else limit.total_seconds()) == seconds


@pytest.mark.parametrize(
    ("deferred_at", "earliest", "latest", "shift"),
    [
        pytest.param(990.0, None, None, 0.0, id="nothing known"),
        pytest.param(990.0, 980.0, None, 0.0, id="in step, as far as can be told"),
        pytest.param(990.0, 990.5, 990.5, 0.5, id="in step, and known"),
        pytest.param(10.0, 5.0, None, 0.0, id="a triggerer that starts again much later"),
        pytest.param(1298.0, None, None, -298.0, id="ahead"),
        pytest.param(1298.0, 980.0, None, -298.0, id="ahead, and queued long before"),
        pytest.param(1290.0, 990.0, 990.0, -300.0, id="ahead, and known"),
        pytest.param(690.0, 980.0, None, 290.0, id="behind"),
        pytest.param(690.0, 990.0, 990.0, 300.0, id="behind, and known"),
        pytest.param(690.0, None, None, 0.0, id="behind, which nothing tells"),
    ],
)
def test_moments_of_a_worker_are_brought_to_this_clock(
    deferred_at: float, earliest: float | None, latest: float | None, shift: float
) -> None:
    assert clock_shift(deferred_at, 1000.0, earliest, latest) == shift


@pytest.mark.parametrize(
    ("clock", "shift"),
    [
        pytest.param(None, 0.0, id="not known"),
        pytest.param(990.0, 0.0, id="resumed after some seconds"),
        pytest.param(800.0, 0.0, id="resumed after some minutes"),
        pytest.param(700.0, 300.0, id="this clock is ahead"),
        pytest.param(1300.0, -300.0, id="this clock is behind"),
    ],
)
def test_moments_are_brought_to_the_clock_of_the_worker_that_resumes(
    clock: float | None, shift: float
) -> None:
    assert resume_shift(clock, 1000.0) == shift
