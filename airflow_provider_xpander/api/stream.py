"""Events of an invoke stream: read off the wire, and awaited by somebody who has to look at the clock too."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeAlias, TypeVar

import requests
import sseclient
from requests import exceptions as rex
from urllib3 import exceptions as uex

from airflow_provider_xpander.api.errors import XpanderConnectionError
from airflow_provider_xpander.api.exchange import NoReply, read
from airflow_provider_xpander.api.models import StreamEvent
from airflow_provider_xpander.api.network import reason_of
from airflow_provider_xpander.api.refusals import read_error
from airflow_provider_xpander.api.routes import Call
from airflow_provider_xpander.api.sse import END_OF_STREAM, FINISHED, parse_event
from airflow_provider_xpander.api.text import printable

T = TypeVar("T")
Events: TypeAlias = Generator[StreamEvent, None, None]

IGNORED = 20
"""Events of one stream that carry nothing and are looked into; more of them are passed over in silence."""
BEGINNING = 2000
"""Bytes of a stream without an event that are looked through for the reason."""
_BOM = b"\xef\xbb\xbf"
AHEAD = 256
"""Events that are read ahead of whoever waits; then the server has to wait."""


def events_of(call: Call[Any], response: requests.Response) -> Events:
    """
    Read the events of an open stream, up to the end of its own run.

    :param call: the invoke.
    :param response: the reply, of which nothing was read yet.
    :raises XpanderAmbiguousSubmitError: no event arrived, so the run may exist or not.
    :raises XpanderConnectionError: the stream broke after an event.
    """
    own: str | None = None
    begun, ignored, beginning = False, 0, bytearray()
    problem = "the stream ended without an event"
    try:
        for event in sseclient.SSEClient(_chunks(response, beginning)).events():
            if event.data.strip() == END_OF_STREAM:
                break
            parsed = parse_event(event.data, event.event, quiet=ignored >= IGNORED)
            if parsed is None:
                ignored += 1
                continue
            begun = True
            if own is None and parsed.type != "connected":
                own = parsed.task_id  # those of sub-agents come later
            yield parsed
            if parsed.type == FINISHED and parsed.task_id in (None, own):
                break
            if parsed.type == "error" and own is None:
                break  # no run was named: this is the reason, not what becomes of the connection later
    except (rex.RequestException, uex.HTTPError, UnicodeDecodeError) as error:
        problem = f"the stream broke ({reason_of(error)})"
        if begun:
            raise XpanderConnectionError(f"{call.what}: {problem}; the run goes on.") from error
    finally:
        response.close()
    if not begun:
        if said := read_error(bytes(beginning)).text:
            problem += f"; it began with: {printable(said, 200)}"
        read(call, NoReply(problem, sent=True), datetime.now(UTC))


def _chunks(response: requests.Response, beginning: bytearray) -> Iterator[bytes]:
    """
    Yield the body as it arrives, whatever its framing, without the byte order mark that may lead it.

    :param beginning: is given the first bytes, for a message.
    """
    while chunk := response.raw.read1(65536, decode_content=True):
        if not beginning:
            chunk = chunk.removeprefix(_BOM)
        if len(beginning) < BEGINNING:
            beginning += chunk[:BEGINNING]
        yield chunk


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
