"""One HTTP client per connection for all triggers of a process, open as long as one of them needs it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from airflow_provider_xpander.api.aclient import AsyncClient, tls_context
from airflow_provider_xpander.hooks.xpander import read_settings


@dataclass
class _Shared:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    client: AsyncClient | None = None
    users: int = 0


# By event loop too: a client belongs to the loop that it was opened in.
_shared: dict[tuple[asyncio.AbstractEventLoop, str], _Shared] = {}


@asynccontextmanager
async def shared_client(conn_id: str) -> AsyncIterator[AsyncClient]:
    """
    Give the client of a connection; the first user opens it, the last one closes it.

    :param conn_id: id of the Airflow connection.
    :raises AirflowNotFoundException: there is no such connection.
    :raises ValueError: the connection has a wrong value.
    """
    key = (asyncio.get_running_loop(), conn_id)
    shared = _shared.setdefault(key, _Shared())
    shared.users += 1
    try:
        async with shared.lock:
            if shared.client is None:
                shared.client = await _open(conn_id)
        yield shared.client
    finally:
        shared.users -= 1
        if not shared.users:
            del _shared[key]
            if shared.client is not None:
                await shared.client.close()


def _load(verify: bool | str) -> ssl.SSLContext:
    """Do what takes long the first time: certificates, and what httpx imports only when it is used."""
    import anyio
    import httpcore  # noqa: F401 - imported by the constructor of a client

    anyio.run(anyio.sleep, 0)  # imports the backend for asyncio, by which the first request goes
    return tls_context(verify)


async def _open(conn_id: str) -> AsyncClient:
    settings = await read_settings(conn_id)
    tls = await asyncio.to_thread(_load, settings.verify)
    return AsyncClient(settings, tls=tls, refresh=partial(read_settings, conn_id))
