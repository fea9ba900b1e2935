"""Events of a stream for somebody who has to look at the clock too: a thread reads, and there are ticks."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

AHEAD = 256
"""Events that are read ahead of whoever waits; then the server has to wait."""


@dataclass(frozen=True)
class _End(Generic[T]):
    error: BaseException | None = None


def with_ticks(events: Generator[T, None, None], seconds: float) -> Generator[T | None, None, None]:
    """
    Yield events as they come, and None whenever none has come for some seconds; raise what they raise.

    A read on a socket cannot be interrupted to look at the clock, and its time-out ends the stream. So a
    thread reads. Once this generator is closed, the thread ends with the next event or the time-out of its
    read, and closes the events.

    :param events: are read in the thread, from the first one on.
    :param seconds: between two ticks.
    """
    arrived: SimpleQueue[T | _End[T]] = SimpleQueue()
    room = threading.Semaphore(AHEAD)
    gone = threading.Event()

    def read() -> None:
        error: BaseException | None = None
        try:
            for event in events:
                while not room.acquire(timeout=seconds) and not gone.is_set():
                    pass
                if gone.is_set():
                    break
                arrived.put(event)
        except BaseException as raised:  # whatever it is, it is raised where the events are awaited
            error = raised
        finally:
            events.close()
            arrived.put(_End(error))

    threading.Thread(target=read, name="xpander stream", daemon=True).start()
    try:
        while True:
            try:
                event = arrived.get(timeout=seconds)
            except Empty:
                yield None
                continue
            if isinstance(event, _End):
                if event.error is not None:
                    raise event.error
                return
            room.release()
            yield event
    finally:
        gone.set()
