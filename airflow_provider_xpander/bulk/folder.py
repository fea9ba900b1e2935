"""A folder of small files, wherever Airflow's ObjectStoragePath reaches; short failures are outlasted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.storage import open_path, write_whole

T = TypeVar("T")

log = logging.getLogger(__name__)

DELAYS = (0.5, 1.0, 2.0, 4.0)
"""Seconds between the tries of one operation."""
_FINAL = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, ValueError, ImportError)


class Folder:
    """
    A folder.

    :param url: its ObjectStoragePath URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") + "/"

    @cached_property
    def _root(self) -> Any:
        return open_path(self.url.rstrip("/"))

    def _path(self, name: str) -> str:
        return f"{str(self._root.path).rstrip('/')}/{name}".rstrip("/")

    def write(self, name: str, content: bytes) -> str:
        """
        Write a file so that a reader sees all of it or nothing.

        :param name: below the folder, with ``/`` between its parts.
        :param content: what to write.
        :return: its URL.
        :raises XpanderError: it could not be written.
        """
        self.patiently("write", name, lambda: write_whole(self.url + name, content))
        return self.url + name

    def read(self, name: str) -> bytes:
        """
        Read a file.

        :param name: below the folder.
        :raises FileNotFoundError: there is none.
        :raises XpanderError: it could not be read, which says nothing about whether it is there.
        """
        return self.patiently("read", name, lambda: bytes(self._root.fs.cat_file(self._path(name))))

    def names(self, name: str) -> list[str]:
        """
        Return the names of what is in a folder below this one, sorted; none if there is no such folder.

        :param name: below the folder; an empty text for the folder itself.
        :raises XpanderError: it could not be listed.
        """

        def ls() -> list[str]:
            files = self._root.fs
            files.invalidate_cache()
            try:
                found = files.ls(self._path(name), detail=False)
            except FileNotFoundError:
                return []
            return sorted(one.rstrip("/").rpartition("/")[2] for one in found)

        # An unfinished file of a writer that died is none.
        return [one for one in self.patiently("list", name, ls) if one and not one.endswith(".part")]

    def move(self, name: str, to: str) -> None:
        """
        Move a file; one that is gone was moved before.

        :param name: below the folder.
        :param to: its new name, below the folder too.
        :raises XpanderError: it could not be moved.
        """
        try:
            content = self.read(name)
        except FileNotFoundError:
            return
        self.write(to, content)
        self.remove(name)

    def remove(self, name: str) -> None:
        """
        Remove a file, if it is there.

        :param name: below the folder.
        :raises XpanderError: it could not be removed.
        """
        try:
            self.patiently("remove", name, lambda: self._root.fs.rm_file(self._path(name)))
        except FileNotFoundError:
            return

    def patiently(self, what: str, name: str, act: Callable[[], T]) -> T:
        """
        Do something with a file, again if that fails.

        :param what: the verb, for messages.
        :param name: of the file.
        :param act: does it; a repetition has to do no harm.
        :raises FileNotFoundError: there is no such file.
        :raises XpanderError: it failed, several times if that could help.
        """
        for delay in (*DELAYS, None):
            try:
                return act()
            except FileNotFoundError:
                raise
            except Exception as error:  # of whatever library reaches the place
                if delay is None or isinstance(error, _FINAL):
                    raise XpanderError(
                        f"{self.url}{name}: could not {what} it: {type(error).__name__}: "
                        f"{printable(error, 300)}"
                    ) from error
                log.warning("%s%s: could not %s it, trying again: %s", self.url, name, what, type(error))
            time.sleep(delay)
        raise AssertionError("unreachable")
