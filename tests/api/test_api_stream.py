"""Events with ticks in between: nothing is lost or hangs, errors arrive where the events are awaited."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import closing

import pytest

from airflow_provider_xpander.api.stream import AHEAD, with_ticks

LIMIT = 10.0


class Source:
    """Events that a test lets go one by one."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.given = 0
        self.closed = threading.Event()
        self.readers: set[str] = set()

    def events(self, count: int, error: Exception | None = None) -> Generator[int, None, None]:
        try:
            for number in range(count):
                assert self.go.acquire(timeout=LIMIT)
                self.readers.add(threading.current_thread().name)
                self.given = number + 1
                yield number
            if error is not None:
                raise error
        finally:
            self.closed.set()


@pytest.fixture
def source() -> Source:
    return Source()


def test_events_come_in_order_and_ticks_while_there_is_none(source: Source) -> None:
    got: list[int | None] = []
    for event in with_ticks(source.events(3), 0.01):
        if event is None and (not got or got[-1] is not None):
            source.go.release()
            got.append(None)
        elif event is not None:
            got.append(event)
    assert [event for event in got if event is not None] == [0, 1, 2]
    assert got[0] is None
    assert source.readers == {"xpander stream"}


def test_an_error_is_raised_where_the_events_are_awaited(source: Source) -> None:
    source.go.release()
    ticking = with_ticks(source.events(1, ValueError("broken")), LIMIT)
    assert next(ticking) == 0
    with pytest.raises(ValueError, match="broken"):
        next(ticking)


def test_whoever_leaves_does_not_wait_for_the_stream(source: Source) -> None:
    source.go.release()
    started = time.monotonic()
    with closing(with_ticks(source.events(3), 0.01)) as ticking:
        assert next(ticking) == 0
    assert time.monotonic() - started < LIMIT / 2
    source.go.release()
    assert source.closed.wait(LIMIT), "the thread has to end with the next event, and close the stream"


def test_a_slow_reader_makes_the_server_wait(source: Source) -> None:
    with closing(with_ticks(source.events(5 * AHEAD), 0.01)) as ticking:
        for _ in range(5 * AHEAD):
            source.go.release()
        assert next(ticking) == 0
        end = time.monotonic() + LIMIT
        while source.given < AHEAD and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.1)
        assert AHEAD <= source.given <= AHEAD + 2
