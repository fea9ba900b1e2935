"""
Request budget of one connection: what may be sent when, so that nothing is refused.

The service allows so many requests a minute and an hour for all that an organisation does (contract section
7). Nobody counts them for us: this process knows what it sends itself, reads what others on its host have
sent, guesses what the workers of its runs send elsewhere, and hears the rest from ``X-RateLimit-*`` headers
and refusals.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api.clock import Window
from airflow_provider_xpander.api.host_budget import HELD, HostBudget
from airflow_provider_xpander.api.refusals import is_billing, read_error
from airflow_provider_xpander.api.retry import reset_seconds, retry_after_seconds
from airflow_provider_xpander.api.routes import Priority
from airflow_provider_xpander.api.settings import Settings

if TYPE_CHECKING:
    from airflow_provider_xpander.api.exchange import Reply

MINUTE = 63.0
HOUR = 3603.0
"""Seconds of the windows: a little more than the service's, because some requests take longer to arrive."""

WORK_SHARE = 0.2
"""Share of a limit that polls leave to stops, submits and answers, even while there are none."""
POLL_SHARE = 0.1
"""Share of a limit that submits and answers leave to polls: a run whose end nobody notices is no use."""
ANSWER_MARGIN = 0.02
"""Share of a limit that submits never take, so that answers come before new runs."""
SLACK_SHARE = 0.05
"""Share of a limit that polls do not count on, for work that comes unevenly."""
STOP_SHARE = 0.02
"""Share of a limit that all others leave to stops."""
SPARE_SHARE = 0.5
"""Share of an hour's limit up to which there are looks that could wait: quick ones, and mere checks."""
BURST_SHARE = 0.05
"""Share of an hour's polls that may be sent in one go; the rest is spread over the hour."""

BACKOFF = 1.0
"""Seconds without requests after a refusal that does not say how long; doubled for each further one."""
BACKOFF_CAP = 60.0
"""The longest such wait in seconds, and the longest between two requests where little is said to be left."""
RECOVERY = 7200.0
"""Seconds in which polls come back to their full rate after refusals, each of which has halved it."""


class Governor:
    """
    Tell when a request may be sent. It neither waits nor sends; times are seconds of any steady clock.

    In no window of a minute or an hour more is sent than the limits say. Within that, part of each limit is
    kept for stops, part for the work (submits, answers), part for polls, so that none can starve another;
    and polls are spread over the hour.

    :param per_minute: requests allowed in a minute; 0 for no limit.
    :param per_hour: requests allowed in an hour; 0 for no limit.
    :param rng: gives a float in [0, 1) for the jitter.
    """

    def __init__(
        self, per_minute: int = 0, per_hour: int = 0, rng: Callable[[], float] = random.random
    ) -> None:
        self.host: HostBudget | None = None
        """What other processes of this host send; None to know nothing of it."""
        self.minute = Window(MINUTE, per_minute)
        self.hour = Window(HOUR, per_hour)
        self.pressing = 0
        """Stops that wait for their turn: polls go behind them."""
        self._guessed = Window(HOUR, 0)
        self._recent = Window(HOUR / 6, 0)
        self._rng = rng
        self._blocked_until = self._held_until = -math.inf
        self._strikes = 0.0
        self._slowed_at = -math.inf
        self._factor = 1.0
        self._tokens: float | None = None
        self._filled_at = -math.inf
        self._told: tuple[int, int, float] | None = None  # left, limit, until
        self._last_poll = self._last_work = -math.inf

    def limit(self, per_minute: int, per_hour: int) -> None:
        """
        Change the limits; what was sent before counts.

        :param per_minute: requests allowed in a minute; 0 for no limit.
        :param per_hour: requests allowed in an hour; 0 for no limit.
        """
        self.minute.limit, self.hour.limit = per_minute, per_hour

    def sent(self, priority: Priority, now: float) -> None:
        """
        Note that a request is sent now.

        :param priority: of the request.
        :param now: seconds of the steady clock.
        """
        if priority >= Priority.POLL:
            self._refill(now)
        self.count(priority, now, now)
        self._tell_host(priority, now)

    def count(self, priority: Priority, at: float, now: float) -> None:
        """
        Count a request of any process.

        :param priority: of the request.
        :param at: when it was sent, in seconds of the steady clock.
        :param now: the present time.
        """
        for window in (self.minute, self._recent, self.hour):
            if now - at < window.seconds:
                window.note(priority, at)
        if priority >= Priority.POLL:
            if self._tokens is not None:
                self._tokens -= 1
            self._last_poll = max(self._last_poll, at)
        else:
            self._last_work = max(self._last_work, at)
        if self._told:
            left, limit, until = self._told
            self._told = (left - 1, limit, until)

    def _tell_host(self, kind: int, at: float) -> None:
        if self.host:
            self.host.note(kind, clock.CLOCK.time() + at - clock.CLOCK.steady())

    def hear_host(self, now: float) -> None:
        """
        Take note of what the other processes of this host have sent.

        :param now: seconds of the steady clock.
        """
        if not self.host:
            return
        ahead = clock.CLOCK.time() - now
        for note in self.host.news():
            at = min(note.at - ahead, now + HOUR)
            if note.kind == HELD:
                self._hold(at - now, now)
            elif now - HOUR < at and 0 <= note.kind < len(Priority):
                self.count(Priority(note.kind), min(at, now), now)

    def guess(self, priority: Priority, now: float) -> None:
        """
        Note a request that another process has surely sent: the submit of a run, the reading of its answer.

        Polls make room for it; where this process sends the same itself, it is not counted twice.

        :param priority: of the request.
        :param now: seconds of the steady clock.
        """
        self._guessed.note(priority, now)

    def delay(self, priority: Priority, now: float) -> float:
        """
        Return the seconds after which to ask again, 0 if the request may be sent now.

        :param priority: of the request.
        :param now: the present time.
        """
        self.hear_host(now)
        for window in (self.minute, self._recent, self.hour, self._guessed):
            window.trim(now)
        delays = [self._blocked_until - now, self._told_delay(priority, now)]
        delays += [self._window_delay(window, priority, now) for window in (self.minute, self.hour)]
        if priority >= Priority.POLL:
            delays.append(self._spread_delay(now))
        return max(0.0, *delays)

    def held(self, now: float) -> float:
        """
        Return the seconds for which the service refuses all, as it has told a process of this host, or 0.

        :param now: seconds of the steady clock.
        """
        return max(0.0, self._held_until - now)

    def has_spare(self, now: float) -> bool:
        """
        Tell whether there is budget for looks that could wait.

        :param now: seconds of the steady clock.
        """
        if self._blocked_until > now or self._factor < 0.5:
            return False
        rate = self._refill(now)
        if math.isinf(rate):
            return True
        used = self._work_an_hour() + self.hour.polls
        ample = not self.hour.limit or used < SPARE_SHARE * self.hour.limit
        return ample and (self._tokens or 0.0) >= self._depth(rate) / 2

    def heard(self, reply: Reply, now: float, date: datetime, *, submit: bool = False) -> None:
        """
        Take note of what a reply says about the limits.

        :param reply: the reply.
        :param now: the present time of the steady clock.
        :param date: the present time of the wall clock, aware; headers may speak of it.
        :param submit: whether it is one to a submit, whose refusal may be about runs rather than requests.
        """
        if reply.status == 429:
            asked = retry_after_seconds(reply.headers, date)
            if not is_billing(reply.status, read_error(reply.body), asked):
                self._refused(asked, now, submit)
            return
        self._strikes *= 0.8
        self._read_headers(reply.headers, now, date)

    def _refused(self, asked: float | None, now: float, submit: bool) -> None:
        if now >= self._blocked_until:  # else it was under way with the one that was refused before
            self._strikes += 1
            self._refill(now)
            if now - self._slowed_at >= MINUTE:  # else it is the same jam
                self._slowed_at = now
                self._factor = max(1 / 64, self._factor / 2)
                if self._tokens is not None:
                    self._tokens /= 2
        wait = max(asked or 0.0, min(BACKOFF_CAP, BACKOFF * 2.0 ** min(16, int(self._strikes - 1))))
        self._hold(wait, now)
        self._tell_host(HELD, now + (min(wait, BACKOFF_CAP) if submit else wait))

    def _hold(self, seconds: float, now: float) -> None:
        self._held_until = max(self._held_until, now + seconds)
        # Later than asked for, by chance: many processes were told the same.
        self._blocked_until = max(self._blocked_until, now + seconds * (1 + 0.25 * self._rng()))

    def _read_headers(self, headers: Mapping[str, str], now: float, date: datetime) -> None:
        lower = {name.lower(): value for name, value in headers.items()}
        try:
            left = int(lower["x-ratelimit-remaining"])
            seconds = reset_seconds(lower["x-ratelimit-reset"], date)
            limit = int(lower.get("x-ratelimit-limit", "0"))
        except (KeyError, ValueError):
            return
        if seconds is not None and 0 < seconds <= HOUR:
            self._told = (left, limit, now + seconds * (1 + 0.05 * self._rng()))

    def _told_delay(self, priority: Priority, now: float) -> float:
        """Slow down where the service says that little is left; it may speak of another window or client."""
        if self._told is None:
            return 0.0
        left, limit, until = self._told
        if now >= until:
            self._told = None
            return 0.0
        polls = priority >= Priority.POLL
        if left > (int(limit * WORK_SHARE) if polls else 0):
            return 0.0
        share, last = (POLL_SHARE, self._last_poll) if polls else (WORK_SHARE, self._last_work)
        gaps = [
            window.seconds / (window.limit * share) for window in (self.minute, self.hour) if window.limit
        ]
        return min(until - now, last + min(BACKOFF_CAP, max(gaps, default=BACKOFF_CAP)) - now)

    def _guessed_work(self, window: Window) -> int:
        """Work of other processes in the last hour, as far as it can be concluded."""
        if window is not self.hour:
            return 0
        guessed, own = self._guessed.counts, window.counts
        return sum(max(0, guessed[kind] - own[kind]) for kind in (Priority.SUBMIT, Priority.READ))

    def _work_an_hour(self) -> int:
        """Work of an hour, if it goes on as in the last hour or as in the last ten minutes."""
        return max(self.hour.work + self._guessed_work(self.hour), 6 * self._recent.work)

    def _window_delay(self, window: Window, priority: Priority, now: float) -> float:
        limit = window.limit
        if not limit:
            return 0.0
        kept = 0
        if priority is not Priority.STOP:
            kept += max(0, int(limit * STOP_SHARE) - window.counts[Priority.STOP])
        if priority >= Priority.POLL:
            work = window.work + self._guessed_work(window)
            floor = max(0, int(limit * POLL_SHARE) - window.polls)
            # What others need, but the least that polls are promised.
            kept = min(
                kept + self.pressing + self._guessed_work(window) + max(0, int(limit * WORK_SHARE) - work),
                max(kept, limit - window.total - floor),
            )
        elif priority is not Priority.STOP:
            kept += max(0, int(limit * POLL_SHARE) - window.polls)
            if priority is Priority.SUBMIT:
                kept += int(limit * ANSWER_MARGIN)
        over = window.total + min(kept, limit - 1) - limit + 1
        if over <= 0:
            return 0.0
        return max(1e-3, window.until_fewer(min(over, max(1, window.total)), now))

    def _rate(self) -> float:
        """Polls a second that there is room for in the long run."""
        rates = []
        for window in (self.hour, self.minute):
            if window.limit:
                known = self._work_an_hour() if window is self.hour else window.work
                work = max(float(known), window.limit * WORK_SHARE)
                share = max(window.limit * POLL_SHARE, window.limit * (1 - SLACK_SHARE) - work)
                rates.append(share * (1 - BURST_SHARE) / window.seconds)
        return min(rates, default=math.inf) * self._factor

    def _depth(self, rate: float) -> float:
        longest = self.hour.seconds if self.hour.limit else self.minute.seconds
        return max(2.0, rate * longest * BURST_SHARE)

    def _refill(self, now: float) -> float:
        passed = max(0.0, now - self._filled_at)
        self._factor = min(1.0, self._factor + passed / RECOVERY)
        rate = self._rate()
        self._filled_at = now
        if math.isinf(rate):
            self._tokens = None
        else:
            depth = self._depth(rate)
            self._tokens = min(depth, math.inf if self._tokens is None else self._tokens + passed * rate)
        return rate

    def _spread_delay(self, now: float) -> float:
        rate = self._refill(now)
        if self._tokens is None or self._tokens >= 1:
            return 0.0
        return max(1e-3, (1 - self._tokens) / rate)


# For ever: what was sent counts for an hour.
_governors: dict[tuple[str, str], Governor] = {}


def governor_of(settings: Settings) -> Governor:
    """
    Return the one governor of this process for a service and key, with the limits of the settings.

    :param settings: of the connection.
    """
    key = settings.base_url, settings.api_key
    governor = _governors.setdefault(key, Governor())
    governor.limit(settings.requests_per_minute, settings.requests_per_hour)
    if governor.host is None and (settings.requests_per_minute or settings.requests_per_hour):
        governor.host = HostBudget(*key)
    return governor
