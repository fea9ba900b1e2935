"""
The poll for ended runs: one for each event loop and connection, for all event triggers that read there.

It keeps the budget of the connection and uses its one client, as the poller of the waits does
(``poller.py``).
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.exchange import exchange, governed
from airflow_provider_xpander.api.retry import ONCE
from airflow_provider_xpander.api.routes import poll_tasks
from airflow_provider_xpander.runs.ended_runs import MOST_PAGES, Cursor, Ended, Round, RoundReader, Wanted
from airflow_provider_xpander.runs.polling.listing import row_of
from airflow_provider_xpander.runs.timing import jittered
from airflow_provider_xpander.triggers.shared_client import RECHECK, SharedClient, shared_client

log = logging.getLogger(__name__)

GATHER = 0.5
"""Real seconds that a round waits for further readers: after a restart they come one after the other."""
KEEP_EVERY = 600.0
"""Seconds after which a cursor is kept although nothing was told: less is to be read after a restart."""

Keep = Callable[[dict[str, Any]], Awaitable[None]]
"""Stores a cursor."""


@dataclass(eq=False)
class Reader:
    """
    One event trigger.

    :param wanted: what it wants to hear of.
    :param cursor: how far it has read.
    :param poll_interval: seconds between two rounds.
    :param keep: stores its cursor; None where Airflow keeps none.
    """

    wanted: Wanted
    cursor: Cursor
    poll_interval: float
    keep: Keep | None = None
    _to_keep: deque[tuple[int, dict[str, Any]]] = field(default_factory=deque)
    _kept_at: float = float("-inf")

    def take(self, round_: Round) -> list[Ended]:
        """
        Return what is news in a round, oldest first, and note that its cursor is to be kept.

        :param round_: the round.
        """
        news = self.cursor.take(round_, self.wanted)
        now = clock.CLOCK.steady()
        if self.keep is not None and (news or now - self._kept_at >= KEEP_EVERY):
            self._kept_at = now
            self._to_keep.append((round_.number, self.cursor.data()))
        return news

    async def settle(self, number: int) -> None:
        """
        Keep the cursor of a round whose news Airflow has stored.

        :param number: of the round.
        """
        data = None
        while self._to_keep and self._to_keep[0][0] <= number:
            _, data = self._to_keep.popleft()
        if data is None or self.keep is None:
            return
        try:
            await self.keep(data)
        except Exception:  # that of a later round will do
            self._kept_at = float("-inf")
            log.warning("The cursor of an event trigger could not be stored", exc_info=True)


class EventPoll:
    """
    The readers of one connection, and the rounds that are read for them.

    :param conn_id: id of the Airflow connection.
    """

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self.readers: set[Reader] = set()
        self._woken = asyncio.Event()
        self._queues: set[asyncio.Queue[Round | Exception]] = set()
        self._running: asyncio.Task[None] | None = None
        self._warned = False

    @asynccontextmanager
    async def reading(self, reader: Reader) -> AsyncIterator[None]:
        """
        Count a reader as one for which rounds are read.

        :param reader: the reader.
        """
        self.readers.add(reader)
        self._woken.set()
        try:
            yield
        finally:
            self.readers.discard(reader)

    async def rounds(self) -> AsyncIterator[Round]:
        """Read a round in each interval of the reader that has the shortest, for ever."""
        pages = RoundReader()
        async with shared_client(self.conn_id) as client:
            while True:
                await self._wait_for_readers()
                try:
                    found = await self._round(client, pages)
                except (XpanderError, ValueError) as error:
                    log.log(
                        logging.DEBUG if self._warned else logging.WARNING,
                        "%s Event triggers of connection %r hear nothing until it is over.",
                        error,
                        self.conn_id,
                    )
                    self._warned = True
                else:
                    self._warned = False
                    yield found
                await self._pause()

    async def shared_rounds(self) -> AsyncIterator[Round]:
        """Give the rounds of one task to each who asks, where Airflow itself does not share a stream."""
        queue: asyncio.Queue[Round | Exception] = asyncio.Queue()
        self._queues.add(queue)
        if self._running is None:
            # In no trigger's context: what is logged here belongs to none of them.
            self._running = asyncio.create_task(self._spread(), context=contextvars.Context())
        try:
            while True:
                found = await queue.get()
                if isinstance(found, Exception):
                    raise found
                yield found
        finally:
            self._queues.discard(queue)
            if not self._queues and self._running is not None:
                running, self._running = self._running, None
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running

    async def _spread(self) -> None:
        try:
            async for found in self.rounds():
                for queue in self._queues:
                    queue.put_nowait(found)
        except Exception as error:
            for queue in self._queues:
                queue.put_nowait(error)

    async def _wait_for_readers(self) -> None:
        while not self.readers:
            self._woken.clear()
            await self._woken.wait()
        if self._woken.is_set():
            self._woken.clear()
            await asyncio.sleep(GATHER)

    async def _pause(self) -> None:
        shortest = min((reader.poll_interval for reader in self.readers), default=0.0)
        with suppress(TimeoutError):
            async with asyncio.timeout(clock.CLOCK.real(jittered(shortest, 0.1))):
                await self._woken.wait()

    async def _round(self, client: SharedClient, pages: RoundReader) -> Round:
        await client.refresh(RECHECK)
        agents = {reader.wanted.agent_id for reader in self.readers}
        pages.begin([reader.cursor.bound for reader in self.readers], agents, clock.CLOCK.time())
        since = pages.created_from
        from_date = None if since is None else datetime.fromtimestamp(max(0.0, since), UTC)
        while True:
            number = pages.pages + 1
            call = poll_tasks(pages.agent_id, from_date=from_date, page=number, more=("agent_id", "title"))
            asking = governed(exchange(call, ONCE), client.governor, patience=math.inf)
            page = await client.run(asking)
            if not pages.take([row_of(item) for item in page.items], page.total_pages):
                break
        if pages.pages >= MOST_PAGES:
            log.warning("Event triggers of connection %r read %d pages at the most", self.conn_id, MOST_PAGES)
        return pages.finish()


class EventProducer:
    """
    The poll as Airflow 3.3 shares it: a ``SharedStreamProducer``, which is told when events were stored.

    :param poll: the poll of the connection.
    """

    def __init__(self, poll: EventPoll) -> None:
        self._poll = poll

    async def open_stream(self) -> AsyncIterator[tuple[Round, int]]:
        """Give each round, and its number."""
        async for found in self._poll.rounds():
            yield found, found.number

    async def advance(self, batch: Sequence[Any]) -> None:
        """
        Let the readers keep their cursors.

        :param batch: rounds whose events were stored.
        """
        number = max(item.broker_payload for item in batch)
        for reader in list(self._poll.readers):
            await reader.settle(number)

    def get_advance_lane(self, broker_payload: int) -> None:
        """
        Return the one lane: rounds are stored one after the other.

        :param broker_payload: number of the round.
        """

    async def aclose(self) -> None:
        """Do nothing: the last user of the client closes it."""


def poll_of(conn_id: str) -> EventPoll:
    """
    Return the poll of a connection in this event loop.

    :param conn_id: id of the Airflow connection.
    """
    loop = asyncio.get_running_loop()
    for key in [key for key in _polls if key[0].is_closed()]:
        del _polls[key]
    return _polls.setdefault((loop, conn_id), EventPoll(conn_id))


_polls: dict[tuple[asyncio.AbstractEventLoop, str], EventPoll] = {}
