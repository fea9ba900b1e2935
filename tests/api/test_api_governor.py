"""The request budget, in a time that only the tests move."""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api import governor as governor_module
from airflow_provider_xpander.api.errors import XpanderConnectionError
from airflow_provider_xpander.api.exchange import NoReply, Reply, Send, Sleep, exchange, governed
from airflow_provider_xpander.api.governor import Governor, governor_of
from airflow_provider_xpander.api.retry import ONCE
from airflow_provider_xpander.api.routes import Priority, as_poll, get_task, stop_task
from airflow_provider_xpander.api.settings import Settings

STOP, READ, SUBMIT, POLL, CHECK = Priority
DATE = datetime(2026, 11, 1, tzinfo=UTC)
OK = Reply(200)


def most_in(moments: list[float], window: float) -> int:
    """The most moments that lie in any half-open window of this length."""
    ends = (bisect_left(moments, start + window - 1e-6) - index for index, start in enumerate(moments))
    return max(ends, default=0)


def play(
    governor: Governor, arrivals: list[tuple[float, Priority]], until: float = float("inf")
) -> list[tuple[float, Priority]]:
    """Send each request as soon as it may be sent, none before an earlier one of its kind; returns when."""
    waiting: dict[Priority, list[float]] = {kind: [] for kind in Priority}
    for moment, kind in sorted(arrivals):
        waiting[kind].append(moment)
    turns = [(times[0], kind) for kind, times in waiting.items() if times]
    heapq.heapify(turns)
    sent = []
    while turns:
        now, kind = heapq.heappop(turns)
        if now >= until:
            continue
        delay = governor.delay(kind, now)
        if delay > 0:
            heapq.heappush(turns, (now + delay, kind))
            continue
        governor.sent(kind, now)
        sent.append((now, kind))
        waiting[kind].pop(0)
        if waiting[kind]:
            heapq.heappush(turns, (max(now, waiting[kind][0]), kind))
    return sent


@pytest.mark.parametrize("seed", range(16))
def test_never_more_than_the_limits_in_any_window(seed: int) -> None:
    rng = random.Random(seed)
    per_minute, per_hour = rng.choice([0, 1, 3, 20, 100]), rng.choice([0, 1, 10, 60, 200])
    governor = Governor(per_minute, per_hour, rng.random)
    arrivals, now = [], rng.uniform(0, 1e6)
    for _ in range(300):
        # Bursts, a steady flow, and long silences.
        now += rng.choice([0.0, 0.0, 0.0, rng.uniform(0, 10), rng.uniform(0, 600)])
        arrivals.append((now, rng.choice(list(Priority))))
        if rng.random() < 0.1:
            governor.guess(rng.choice([READ, SUBMIT]), now)
    sent = play(governor, arrivals)
    assert len(sent) == len(arrivals), "each one is sent at last"
    moments = [moment for moment, _ in sent]
    if per_minute:
        assert most_in(moments, 60.0) <= per_minute
    if per_hour:
        assert most_in(moments, 3600.0) <= per_hour
    if not per_minute and not per_hour:
        assert sorted(sent) == sorted(arrivals)


def test_without_limits_nothing_waits() -> None:
    governor = Governor()
    assert all(governor.delay(kind, 5.0) == 0 for kind in Priority)
    play(governor, [(5.0, POLL)] * 5000)
    assert governor.delay(POLL, 5.0) == 0
    assert governor.has_spare(5.0)


def count(sent: list[tuple[float, Priority]], kind: Priority, since: float, until: float) -> int:
    return sum(1 for moment, which in sent if which is kind and since <= moment < until)


def test_polls_are_spread_over_the_hour_and_leave_room() -> None:
    sent = play(Governor(100, 1000), [(0.0, POLL)] * 10000, until=4 * 3600)
    hours = [count(sent, POLL, hour * 3600, (hour + 1) * 3600) for hour in range(4)]
    assert all(700 <= number <= 880 for number in hours), hours
    minutes = [count(sent, POLL, minute * 60, (minute + 1) * 60) for minute in range(20, 240)]
    assert max(minutes) <= 60, "but for what was saved up"


def test_work_finds_room_beside_polls_at_any_time() -> None:
    rng = random.Random(1)
    for _ in range(20):
        at = rng.uniform(3600, 7200)
        sent = play(
            Governor(100, 1000), [(0.0, POLL)] * 10000 + [(at, SUBMIT), (at, READ), (at, STOP)], at + 60
        )
        late = [moment - at for moment, kind in sent if kind is not POLL]
        assert late == [0.0, 0.0, 0.0]


def test_polls_are_not_starved_by_work() -> None:
    arrivals = [(0.0, POLL)] * 10000 + [(0.0, SUBMIT)] * 10000
    sent = play(Governor(100, 1000), arrivals, until=4 * 3600)
    for hour in range(4):
        assert count(sent, POLL, hour * 3600, (hour + 1) * 3600) >= 90
        assert count(sent, SUBMIT, hour * 3600, (hour + 1) * 3600) >= 700
    gaps = [moment for moment, kind in sent if kind is POLL and moment > 3600]
    assert max(later - earlier for earlier, later in zip(gaps, gaps[1:], strict=False)) < 300


def test_stops_find_room_when_work_has_taken_all_that_it_may() -> None:
    arrivals = [(0.0, SUBMIT)] * 10000 + [(3000.0, STOP)] * 15
    sent = play(Governor(100, 1000), arrivals, until=3600)
    assert [moment for moment, kind in sent if kind is STOP] == [3000.0] * 15


def test_polls_stand_back_while_stops_wait() -> None:
    governor = Governor(100, 0)
    play(governor, [(0.0, STOP)] * 89 + [(0.0, POLL)] * 10)
    assert governor.delay(STOP, 1.0) == 0
    governor.pressing = 5
    assert governor.delay(POLL, 1.0) > 0


def test_polls_make_room_for_what_the_workers_send() -> None:
    governor = Governor(100, 1000)
    for second in range(0, 7200, 10):
        governor.guess(SUBMIT, float(second))
        governor.guess(READ, float(second))
    sent = play(governor, [(3600.0, POLL)] * 5000, until=7200)
    assert 80 <= len(sent) <= 280


def test_what_this_process_has_sent_itself_is_not_guessed_again() -> None:
    guessing, knowing = Governor(100, 1000), Governor(100, 1000)
    for governor in (guessing, knowing):
        play(governor, [(number * 9.0, SUBMIT) for number in range(800)])
    for number in range(800):
        guessing.guess(SUBMIT, number * 9.0)
    polls = [len(play(one, [(7200.0, POLL)] * 5000, until=9000)) for one in (guessing, knowing)]
    assert polls[0] == pytest.approx(polls[1], rel=0.1)


def refuse(governor: Governor, now: float, **headers: str) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    governor.heard(Reply(429, named, b'{"detail": "Too many requests"}'), now, DATE + timedelta(seconds=now))


@pytest.mark.parametrize("limits", [(0, 0), (100, 1000)])
def test_a_refusal_holds_back_all_as_long_as_it_asks_for(limits: tuple[int, int]) -> None:
    for _ in range(20):
        governor = Governor(*limits)
        governor.sent(POLL, 0.0)
        refuse(governor, 0.0, Retry_After="40")
        for kind in Priority:
            assert 40.0 <= governor.delay(kind, 0.0) <= 50.0
        assert not governor.has_spare(1.0)


@pytest.mark.parametrize("asked", ["9999999999", "86400", "1e300", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_no_refusal_holds_anything_back_for_longer_than_an_hour_and_a_quarter(asked: str) -> None:
    governor = Governor(100, 1000)
    refuse(governor, 0.0, Retry_After=asked)
    assert 3600 <= governor.delay(READ, 0.0) <= 4500


def test_processes_that_were_told_the_same_come_back_apart() -> None:
    delays = set()
    for _ in range(10):
        governor = Governor(100, 1000)
        refuse(governor, 0.0, Retry_After="40")
        delays.add(round(governor.delay(POLL, 0.0), 3))
    assert len(delays) > 5


def test_refusals_that_do_not_say_how_long_back_off_ever_further() -> None:
    governor, now, waits = Governor(rng=lambda: 0.0), 0.0, []
    for _ in range(9):
        refuse(governor, now)
        waits.append(governor.delay(READ, now))
        now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    for _ in range(20):
        governor.heard(OK, now, DATE)
    refuse(governor, now)
    assert governor.delay(READ, now) == 1


def test_refusals_of_requests_that_were_under_way_together_count_once() -> None:
    governor = Governor(rng=lambda: 0.0)
    for _ in range(8):
        refuse(governor, 0.0)
    assert governor.delay(READ, 0.0) == 1


def test_a_refusal_for_lack_of_credit_slows_nothing_down() -> None:
    governor = Governor(100, 1000)
    governor.heard(Reply(429, {}, b'{"detail": "your plan\'s usage limit is reached"}'), 0.0, DATE)
    assert governor.delay(POLL, 0.0) == 0


def test_no_reply_slows_nothing_down() -> None:
    governor = Governor(100, 1000)
    with pytest.raises(XpanderConnectionError):
        steps_of(governor, get_task("t-1"), NoReply("cannot reach", sent=False))
    assert governor.delay(POLL, clock.CLOCK.steady()) == 0


def told(governor: Governor, left: int, seconds: float, limit: int = 100) -> None:
    headers = {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(left),
        "X-RateLimit-Reset": str((DATE + timedelta(seconds=seconds)).timestamp()),
    }
    governor.heard(Reply(200, headers), 0.0, DATE)


@pytest.mark.parametrize(
    ("left", "poll_gap", "work_gap"), [(50, 0, 0), (20, 36, 0), (0, 36, 18), (-3, 36, 18)]
)
@pytest.mark.parametrize("seconds", [600.0, 3599.0])
def test_what_the_service_says_is_left_slows_down_and_never_stops(
    left: int, poll_gap: float, work_gap: float, seconds: float
) -> None:
    governor = Governor(100, 1000)
    told(governor, left, seconds)
    for kind, gap in ((POLL, poll_gap), (CHECK, poll_gap), (SUBMIT, work_gap), (READ, work_gap)):
        for moment in (400.0, 500.0):
            assert governor.delay(kind, moment) == 0, "the first one, and the next one after a while"
            governor.sent(kind, moment)
            told(governor, left, seconds)
            assert governor.delay(kind, moment + 1) == pytest.approx(max(0, gap - 1), abs=0.1)
        governor = Governor(100, 1000)
        told(governor, left, seconds)


@pytest.mark.parametrize("limits", [(0, 0), (0, 10), (1, 1)])
def test_without_a_pace_of_its_own_a_poll_goes_out_every_minute(limits: tuple[int, int]) -> None:
    governor = Governor(*limits)
    told(governor, 0, seconds=3000)
    governor.sent(POLL, 0.0)
    governor.limit(0, 0)
    assert governor.delay(POLL, 1.0) == pytest.approx(59)
    assert governor.delay(POLL, 60.0) == 0


def test_the_promised_share_of_polls_is_kept_while_nothing_is_said_to_be_left() -> None:
    governor = Governor(100, 1000)
    sent, now = 0, 0.0
    while now < 3600:
        told(governor, 0, seconds=3590)
        delay = governor.delay(POLL, now)
        if delay == 0:
            governor.sent(POLL, now)
            sent += 1
        now += max(delay, 1.0)
    assert 95 <= sent <= 105


def test_it_is_over_when_the_time_has_come() -> None:
    governor = Governor(100, 1000)
    told(governor, 0, seconds=5)
    governor.sent(SUBMIT, 0.0)
    assert 5 <= governor.delay(SUBMIT, 0.0) <= 5.25
    assert governor.delay(SUBMIT, 6.0) == 0


def test_what_is_left_gets_less_with_each_request() -> None:
    governor = Governor(100, 1000)
    told(governor, 2, seconds=300)
    governor.sent(SUBMIT, 0.0)
    assert governor.delay(SUBMIT, 0.0) == 0
    governor.sent(SUBMIT, 0.0)
    assert governor.delay(SUBMIT, 0.0) == pytest.approx(18, abs=0.1)


def test_a_day_of_refusals_does_not_end_it() -> None:
    governor, now = Governor(rng=lambda: 0.0), 0.0
    for _ in range(1500):
        refuse(governor, now)
        now += governor.delay(READ, now)
    refuse(governor, now)
    assert governor.delay(READ, now) == 60


@pytest.mark.parametrize("seconds", [-5.0, 0.0, 1e9])
def test_a_reset_that_cannot_be_is_ignored(seconds: float) -> None:
    governor = Governor(100, 1000)
    told(governor, 0, seconds)
    assert governor.delay(POLL, 0.0) == 0


@pytest.mark.parametrize(("hints", "tolerated"), [(False, 0.3), (True, 0.06)], ids=["no hint", "Retry-After"])
def test_many_processes_on_one_key_find_their_share(hints: bool, tolerated: float) -> None:
    """Each would poll all that its own limit allows; the service allows all of them together only that."""
    rng = random.Random(5)
    governors = [Governor(100, 1000, rng.random) for _ in range(10)]
    accepted: list[float] = []
    refused: list[float] = []
    turns = [(rng.uniform(0, 5), number) for number in range(10)]
    heapq.heapify(turns)
    shares = [0] * 10
    while turns[0][0] < 6 * 3600:
        now, number = heapq.heappop(turns)
        governor = governors[number]
        delay = governor.delay(POLL, now)
        if delay > 0:
            heapq.heappush(turns, (now + delay, number))
            continue
        governor.sent(POLL, now)
        minute = len(accepted) - bisect_left(accepted, now - 60)
        hour = len(accepted) - bisect_left(accepted, now - 3600)
        if minute >= 100 or hour >= 1000:
            refused.append(now)
            oldest = accepted[-1000] + 3600 if hour >= 1000 else accepted[-100] + 60
            refuse(governor, now, **({"Retry_After": f"{oldest - now:.0f}"} if hints else {}))
        else:
            accepted.append(now)
            shares[number] += 1
            governor.heard(OK, now, DATE)
        heapq.heappush(turns, (now + 0.05, number))
    late = [moment for moment in refused if moment > 3600]
    assert len(late) < tolerated * len(accepted), (len(late), len(accepted))
    assert most_in(refused, 60.0) < 150, "no storm"
    assert len(accepted) > 0.8 * 6 * 1000
    assert min(shares) > 0.4 * sum(shares) / 10, shares


def steps_of(governor: Governor, call: object, *outcomes: Reply | NoReply) -> list[object]:
    done: list[object] = []
    steps = governed(exchange(call, ONCE), governor)  # type: ignore[arg-type]
    replies = list(outcomes)
    step = next(steps)
    while len(done) < 200:
        done.append(step)
        try:
            step = steps.send(replies.pop(0) if isinstance(step, Send) else None)
        except StopIteration:
            return done
    raise AssertionError("no end")


TASK = Reply(200, {}, b'{"id": "t-1"}')


def test_a_conversation_waits_for_its_turn_but_not_for_ever() -> None:
    governor = Governor(1, 0)
    assert [type(step) for step in steps_of(governor, get_task("t-1"), TASK)] == [Send]
    *waits, last = steps_of(governor, get_task("t-1"), TASK)
    assert isinstance(last, Send)
    assert all(isinstance(step, Sleep) for step in waits)
    assert sum(step.seconds for step in waits if isinstance(step, Sleep)) == pytest.approx(60, abs=1)


def test_calls_know_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Priority] = []
    sent: Callable[..., None] = Governor.sent
    monkeypatch.setattr(Governor, "sent", lambda self, kind, now: (seen.append(kind), sent(self, kind, now)))
    for call in (stop_task("t-1"), get_task("t-1"), as_poll(get_task("t-1"))):
        steps_of(Governor(), call, TASK)
    assert seen == [STOP, READ, POLL]


def test_a_service_and_key_have_one_governor_with_the_limits_of_the_connection() -> None:
    governor_module._governors.clear()
    one = governor_of(Settings(api_key="a", requests_per_minute=5))
    assert governor_of(Settings(api_key="a", requests_per_minute=7)) is one
    assert (one.minute.limit, one.hour.limit) == (7, 1000)
    assert governor_of(Settings(api_key="b")) is not one
    assert governor_of(Settings(api_key="a", base_url="https://other")) is not one
