"""The emulator on a socket: a uvicorn server in a thread of its own."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from airflow_provider_xpander.emulator.connections import Connections
from airflow_provider_xpander.emulator.settings import Settings
from airflow_provider_xpander.emulator.state import Emulator

if TYPE_CHECKING:
    import asyncio

    import uvicorn

_START_SECONDS = 10.0
_STOP_SECONDS = 10.0
# Waits inside the server end by themselves when it closes; this is for what nobody thought of.
_GRACE_SECONDS = 2


class EmulatorServer:
    """
    A running emulator, as a context manager; it can be stopped and started again on the same port.

    :param emulator: state to serve; default: a new one.
    :param settings: settings of the new one; not together with ``emulator``.
    :param host: address to listen on.
    :param port: port to listen on; 0 takes a free one.
    :param tls_cert: certificate chain (PEM); with it the server speaks TLS.
    :param tls_key: private key (PEM) that belongs to ``tls_cert``.
    :raises ImportError: on start, when the extra ``emulator`` is not installed.
    :raises OSError: on start, when the port is taken.
    """

    def __init__(
        self,
        emulator: Emulator | None = None,
        *,
        settings: Settings | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        tls_cert: str | Path | None = None,
        tls_key: str | Path | None = None,
    ) -> None:
        if emulator is not None and settings is not None:
            raise ValueError("settings: the emulator has its own, change those")
        self.emulator = emulator or Emulator(settings)
        self.host = host
        self.port = port
        self.tls_cert = tls_cert
        self.tls_key = tls_key
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Base URL, without a slash at the end."""
        scheme = "https" if self.tls_cert else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    @property
    def api_key(self) -> str:
        """An API key that is accepted."""
        return self.emulator.settings.api_keys[0]

    def start(self) -> EmulatorServer:
        """Listen, and return when requests are answered."""
        if self._thread is not None:
            raise RuntimeError("The emulator is running")
        server = self._build()
        # Bound here and not in the thread: a port that is taken is the caller's error.
        listener = socket.create_server((self.host, self.port), family=self._family())
        # asyncio turns Nagle's algorithm off only where it made the socket itself; with it on, each answer
        # waits some 40 ms for the client's delayed ACK. Linux hands the option down to accepted sockets.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = listener.getsockname()[1]
        self.emulator.closing = False
        self._server = server
        self._thread = threading.Thread(
            target=server.run, args=([listener],), name="xpander-emulator", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("The emulator did not start")
            time.sleep(0.002)
        return self

    def stop(self) -> None:
        """Close every connection and return when the thread is gone; a second time it does nothing."""
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        self.emulator.close()
        server.should_exit = True
        thread.join(_STOP_SECONDS)
        self._server = self._thread = None
        if thread.is_alive():
            raise RuntimeError("The emulator did not stop")

    def __enter__(self) -> EmulatorServer:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def _family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def _build(self) -> uvicorn.Server:
        # Not at the top: the rest of the package is to be importable without the extra.
        try:
            import uvicorn
            from uvicorn.protocols.http.h11_impl import H11Protocol

            from airflow_provider_xpander.emulator.app import create_app
        except ImportError as error:
            raise ImportError(
                "The xpander.ai emulator needs FastAPI and uvicorn: "
                "pip install 'airflow-provider-xpander[emulator]'"
            ) from error

        connections = Connections()

        class Protocol(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                connections.opened(self.client, transport)

            def connection_lost(self, exc: Exception | None) -> None:
                connections.lost(self.client)
                super().connection_lost(exc)

        config = uvicorn.Config(
            create_app(self.emulator, connections),
            http=Protocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            # The address in ASGI's scope is to be that of the connection.
            proxy_headers=False,
            access_log=False,
            log_config=None,
            log_level="error",
            ssl_certfile=self.tls_cert,
            ssl_keyfile=self.tls_key,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        config.load()
        return uvicorn.Server(config)
