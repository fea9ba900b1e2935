"""A proxy in front of a service, which adds headers to what it passes on, as gateways do."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

LIMIT_SECONDS = 30.0
ADDED = {
    "Set-Cookie": "session=cookie-secret-0815",
    "X-Request-Id": "request-4711",
    "X-RateLimit-Limit": "60",
}
"""What it adds to each reply."""
_OWN = {"connection", "content-length", "host", "keep-alive", "proxy-connection", "transfer-encoding"}


@dataclass(frozen=True)
class Request:
    """A request as the client has sent it."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes


@dataclass
class HeaderProxy:
    """The proxy: where it is, and what went through it."""

    url: str
    requests: list[Request] = field(default_factory=list)

    @property
    def posts(self) -> list[Request]:
        """The requests that have started a run."""
        return [request for request in self.requests if request.method == "POST"]


@contextmanager
def header_proxy(service: str) -> Iterator[HeaderProxy]:
    """
    Run a proxy that leads to a service, whatever host its clients ask for.

    :param service: base URL of the service.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            asked = urlsplit(self.path)
            path = f"{asked.path}?{asked.query}" if asked.query else asked.path
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            proxy.requests.append(Request(self.command, self.path, dict(self.headers), body))
            kept = {name: value for name, value in self.headers.items() if name.lower() not in _OWN}
            upstream = http.client.HTTPConnection(urlsplit(service).netloc, timeout=LIMIT_SECONDS)
            try:
                upstream.request(self.command, path, body or None, kept)
                reply = upstream.getresponse()
                answer = reply.read()
            finally:
                upstream.close()
            self.send_response_only(reply.status)
            passed = [(name, value) for name, value in reply.getheaders() if name.lower() not in _OWN]
            for name, value in [*passed, *ADDED.items(), ("Content-Length", str(len(answer)))]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = pass_on

        def log_message(self, *said: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        proxy = HeaderProxy(f"http://127.0.0.1:{server.server_port}")
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            serving.join(LIMIT_SECONDS)
