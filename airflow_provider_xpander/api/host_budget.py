"""
Requests that the processes of one host send with one key, noted in files that all of them read.

Each attempt of a task has a process of its own, which knows of no other's requests. So each notes what it
sends, and what the service has refused. A note is appended in one piece: nobody waits for anybody, and who
dies leaves nothing half done. A file holds the notes of an hour, so that old ones go without being sorted
out. Nothing secret is in them.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import stat
import struct
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from airflow_provider_xpander.api import clock

log = logging.getLogger(__name__)

HOUR = 3600.0
HELD = 255
"""Kind of a note that is no request: the service refuses all until its moment."""
_NOTE = struct.Struct("<dqq")


class Note(NamedTuple):
    """
    What a process has noted.

    :param at: Unix seconds at which the request was sent, or until which all are refused.
    :param kind: number of the request's priority, or ``HELD``.
    """

    at: float
    kind: int


def place_of_host() -> Path:
    """Return where this user's processes share files on this host: below the folder for temporary files."""
    return Path(tempfile.gettempdir(), f"airflow-provider-xpander-{os.getuid()}")


def host_folder() -> Path | None:
    """Return that folder, which exists and is nobody else's; None if it cannot be had."""
    try:
        place = place_of_host()
        place.mkdir(mode=0o700, exist_ok=True)
        found = place.lstat()
    except OSError:
        return None
    is_safe = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return place if is_safe else None


class HostBudget:
    """
    The notes of one service and key.

    :param base_url: of the service.
    :param api_key: only a hash of it is used, for the name of the files.
    :param folder: gives where they are, or None for none. It is asked each hour, so that trouble passes.
    """

    def __init__(self, base_url: str, api_key: str, folder: Callable[[], Path | None] = host_folder) -> None:
        self._name = hashlib.sha256(f"{base_url}\n{api_key}".encode()).hexdigest()[:32]
        self._find = folder
        self._folder: Path | None = None
        self._token = secrets.randbits(62)
        self._heard: dict[int, int] = {}
        """Bytes that were read of the file of each hour."""

    def note(self, kind: int, at: float) -> None:
        """
        Tell the others of a request, or of a refusal.

        :param kind: number of the request's priority, or ``HELD``.
        :param at: Unix seconds.
        """
        with self._or_alone(), self._open(_hour()) as file:
            if file.write(_NOTE.pack(at, kind, self._me)) != _NOTE.size:
                raise OSError("a note was cut off")  # what follows it cannot be read any more

    def news(self) -> Iterator[Note]:
        """Yield what the others have noted in this hour and the last, except what was yielded before."""
        this, me = _hour(), self._me
        for hour in (this - 1, this):
            noted = b""
            with self._or_alone(), self._open(hour) as file:
                heard = self._heard[hour]
                file.seek(heard)
                noted = file.read()
                noted = noted[: len(noted) - len(noted) % _NOTE.size]
                self._heard[hour] = heard + len(noted)
            for at, kind, author in _NOTE.iter_unpack(noted):
                if author != me:
                    yield Note(at, kind)

    @property
    def _me(self) -> int:
        return self._token + os.getpid()  # a process that was forked off is another

    def _open(self, hour: int) -> FileIO:
        if hour not in self._heard:
            self._folder = self._find()
            self._heard[hour] = 0
            self._forget(hour - 2)
        if self._folder is None:
            raise FileNotFoundError("there is no folder that is safe")
        return FileIO(self._folder / f"{self._name}.{hour}", "a+", opener=partial(os.open, mode=0o600))

    def _forget(self, hour: int) -> None:
        """Remove what is as old as that, of keys that are used no longer too."""
        for old in self._folder.glob("*.*") if self._folder else ():
            if old.suffix[1:].isdecimal() and int(old.suffix[1:]) <= hour:
                old.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _or_alone(self) -> Iterator[None]:
        """Go on without the others, up to the next hour, where the files cannot be used."""
        try:
            yield
        except OSError as error:
            if self._folder is not None:
                log.debug("Requests are counted for this process alone: %s", error)
            self._folder = None


def _hour() -> int:
    return int(clock.CLOCK.time() // HOUR)
