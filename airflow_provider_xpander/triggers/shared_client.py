"""The HTTP client of a connection: one for all triggers of a process, open while one of them needs it."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from airflow_provider_xpander._compat import connection_in_event_loop
from airflow_provider_xpander.api.aclient import AsyncClient, tls_context
from airflow_provider_xpander.api.errors import XpanderConnectionError
from airflow_provider_xpander.api.exchange import Steps
from airflow_provider_xpander.api.governor import Governor, governor_of
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.connection import settings_of

log = logging.getLogger(__name__)

T = TypeVar("T")

RECHECK = 45.0
"""Real seconds after which a connection that is in use is read again: somebody may have edited it."""
FRESH = 5.0
"""Real seconds for which a connection that was just read is not read again, whoever needs it."""


async def read_settings(conn_id: str) -> Settings:
    """
    Read a connection in an event loop without blocking it.

    :param conn_id: id of the Airflow connection.
    :raises ValueError: names the connection, the field and what is allowed.
    """
    return settings_of(conn_id, await connection_in_event_loop(conn_id))


class SharedClient:
    """
    The client of one connection, which follows the edits of the connection.

    :param conn_id: id of the Airflow connection.
    """

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self.users = 0
        self._client: AsyncClient | None = None
        self._lock = asyncio.Lock()
        self._read_at = float("-inf")
        self._warned = False

    @property
    def is_open(self) -> bool:
        """Whether the connection could be read so far."""
        return self._client is not None

    @property
    def settings(self) -> Settings:
        """What the connection says, as last read."""
        return self._opened.settings

    @property
    def governor(self) -> Governor:
        """The budget of the service and key that the connection names."""
        return governor_of(self.settings)

    @property
    def age(self) -> float:
        """Real seconds since the connection was last read."""
        return asyncio.get_running_loop().time() - self._read_at

    async def run(self, steps: Steps[T]) -> T:
        """
        Carry out a conversation.

        :param steps: the conversation.
        :raises XpanderError: it did not succeed.
        """
        return await self._opened.run(steps)

    async def refresh(self, age: float = 0.0) -> None:
        """
        Read the connection again. Where it was readable before, a failure changes nothing.

        :param age: real seconds; a reading that is younger will do.
        :raises XpanderConnectionError: it cannot be read, and never could.
        :raises ValueError: it has a wrong value, and never had a right one.
        """
        async with self._lock:
            if self.is_open and self.age < age:
                return
            try:
                await self._read()
            except (XpanderConnectionError, ValueError) as error:
                if self._client is None:
                    raise
                if not self._warned:
                    log.warning("%s What it said before is used on.", error)
                self._warned = True
            else:
                self._warned = False

    async def replace(self, refused: Settings) -> Settings:
        """
        Read the connection again because its credentials were refused, unless that was done meanwhile.

        :param refused: what was used.
        :return: what the connection says now.
        :raises XpanderConnectionError: it cannot be read, or has a wrong value.
        """
        async with self._lock:
            if self.settings is refused:
                try:
                    await self._read()
                except ValueError as error:
                    raise XpanderConnectionError(f"{error}.") from error
            return self.settings

    async def close(self) -> None:
        """Close the client, if it was opened."""
        if self._client is not None:
            await self._client.close()

    @property
    def _opened(self) -> AsyncClient:
        if self._client is None:
            raise RuntimeError("refresh() comes first")
        return self._client

    async def _read(self) -> None:
        self._read_at = asyncio.get_running_loop().time()
        try:
            settings = await read_settings(self.conn_id)
            if self._client is None:
                tls = await asyncio.to_thread(_load, settings.verify)
                self._client = AsyncClient(settings, tls=tls, refresh=self.replace)
            elif _transport(settings) != _transport(self.settings):
                self._client.reopen(settings, await asyncio.to_thread(_load, settings.verify))
            self._client.settings = settings
        except ValueError:
            raise
        except Exception as error:
            # Airflow makes AirflowNotFoundException of whatever a secrets backend dies of.
            problem = printable(error, 300).rstrip(".")
            raise XpanderConnectionError(f"Connection {self.conn_id!r} cannot be read: {problem}.") from error


# By event loop too: a client belongs to the loop that it was opened in.
_shared: dict[tuple[asyncio.AbstractEventLoop, str], SharedClient] = {}


@asynccontextmanager
async def shared_client(conn_id: str) -> AsyncIterator[SharedClient]:
    """
    Give the client of a connection; :meth:`SharedClient.refresh` opens it, its last user closes it.

    :param conn_id: id of the Airflow connection.
    """
    key = (asyncio.get_running_loop(), conn_id)
    shared = _shared.setdefault(key, SharedClient(conn_id))
    shared.users += 1
    try:
        yield shared
    finally:
        shared.users -= 1
        if not shared.users:
            del _shared[key]
            await shared.close()


def _transport(settings: Settings) -> tuple[object, ...]:
    """Return what a client cannot change after it was made."""
    return settings.proxy, settings.verify


def _load(verify: bool | str) -> ssl.SSLContext:
    """Do what takes long the first time: certificates, and what httpx imports only when it is used."""
    import anyio
    import httpcore  # noqa: F401 - imported by the constructor of a client

    anyio.run(anyio.sleep, 0)  # imports the backend for asyncio, by which the first request goes
    return tls_context(verify)
