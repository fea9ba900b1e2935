"""A server of task logs on 127.0.0.1, for the page of a task that runs or is deferred."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from dev.local_airflow import MAJOR

# 2.11 reads another name than it documents.
TRIGGERER = "TRIGGERER" if MAJOR == 2 else "TRIGGER"


@contextmanager
def log_server(folder: Path) -> Iterator[Mapping[str, str]]:
    """
    Serve log files while the block runs, and yield the configuration that lets Airflow read them here.

    Airflow's own servers of logs listen on all interfaces, so they are not started. Without any, the page of
    a task begins with an error about them.

    :param folder: of the logs; it need not be there yet.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": f"{__name__}.{loopback.__name__}",
            f"AIRFLOW__LOGGING__{TRIGGERER}_LOG_SERVER_PORT": str(server.server_port),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(server.server_port),
        }
    finally:
        server.shutdown()
        server.server_close()


def loopback() -> str:
    """Return what Airflow's processes are to take for the name of this machine."""
    return "127.0.0.1"


class _Files(SimpleHTTPRequestHandler):
    """Answers ``/log/<path>`` with the file, and says nothing about it."""

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.removeprefix("/log"))

    def list_directory(self, path: object) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass
