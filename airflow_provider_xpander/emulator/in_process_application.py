"""The emulator's application for one request at a time, without a socket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable
from typing import Any

import httpx
from starlette.types import ASGIApp, Message

from airflow_provider_xpander.emulator.app import create_app
from airflow_provider_xpander.emulator.connections import Connections
from airflow_provider_xpander.emulator.state import Emulator

Put = Callable[[Message], None]

DROP: Message = {"type": "drop"}
"""A fault breaks the connection."""
END: Message = {"type": "end"}
"""The answer is complete."""


class Application(Connections):
    """
    The application, for one request at a time; a connection that a fault breaks is told to its reader.

    :param emulator: who answers.
    """

    def __init__(self, emulator: Emulator) -> None:
        super().__init__()
        self._app: ASGIApp = create_app(emulator, self)
        self._numbers = itertools.count(1)
        self._readers: dict[Any, Put] = {}

    async def drop(self, client: Any, patience: float = 1.0) -> None:
        """
        Break a connection.

        :param client: host and port of the client.
        :param patience: of no use here.
        """
        self._readers[client](DROP)

    async def answer(
        self, method: str, url: str, headers: list[tuple[str, str]], body: bytes, put: Put
    ) -> None:
        """
        Carry out a request.

        :param method: HTTP method.
        :param url: the whole URL.
        :param headers: request headers.
        :param body: all of it.
        :param put: takes each message of the answer, then one that ends it.
        """
        client = ("in-process", next(self._numbers))
        self._readers[client] = put
        asked = httpx.URL(url)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": asked.scheme,
            "path": asked.path,
            "raw_path": asked.raw_path,
            "query_string": asked.query,
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
            "client": client,
            "server": (asked.host, asked.port or 80),
            "root_path": "",
        }
        sent = False

        async def receive() -> Message:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            # The client goes away by cancelling the task, or not at all.
            await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            put(message)

        try:
            await self._app(scope, receive, send)
        finally:
            del self._readers[client]
            put(END)

    def begin(self, method: str, url: str, headers: list[tuple[str, str]], body: bytes, put: Put) -> None:
        """
        Carry out a request in a thread of its own, for a client that is not asynchronous.

        :param method: HTTP method.
        :param url: the whole URL.
        :param headers: request headers.
        :param body: all of it.
        :param put: takes each message of the answer, then one that ends it.
        """

        def run() -> None:
            # An error in the application has been told to the client, as far as that is possible.
            with contextlib.suppress(Exception):
                asyncio.run(self.answer(method, url, headers, body, put))

        threading.Thread(target=run, name="xpander-emulator-request", daemon=True).start()
