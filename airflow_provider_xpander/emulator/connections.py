"""The open connections of the server, so that one can be broken on purpose: ASGI has no means for that."""

from __future__ import annotations

import asyncio
import time
from typing import Any

Client = tuple[str, int]


class Connections:
    """Transports of the open connections by the client's address and port, as ``scope["client"]`` has it."""

    def __init__(self) -> None:
        self._transports: dict[Client, asyncio.Transport] = {}

    def opened(self, client: Client | None, transport: asyncio.Transport) -> None:
        """
        Remember a connection.

        :param client: host and port of the client.
        :param transport: what can be closed.
        """
        if client is not None:
            self._transports[client] = transport

    def lost(self, client: Client | None) -> None:
        """
        Forget a connection.

        :param client: host and port of the client.
        """
        if client is not None:
            self._transports.pop(client, None)

    async def drop(self, client: Any, patience: float = 1.0) -> None:
        """
        Close a connection after what was sent on it, and return when it is closed.

        :param client: host and port of the client.
        :param patience: seconds that the client has to take what was sent; then the connection is reset.
        """
        transport = self._transports.get(tuple(client or ()))
        if transport is None:
            return
        transport.close()
        deadline = time.monotonic() + patience
        while tuple(client) in self._transports:
            if time.monotonic() > deadline:
                transport.abort()
            await asyncio.sleep(0.001)
