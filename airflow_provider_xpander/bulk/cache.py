"""
The cache of answers by content: what was asked in the same words before is not paid for again.

Each answer is a file of its own, named after all that it depends on. It is written whole, so readers and
writers need no lock: two that write the same file have answers to the same question, and one of them stays.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.bulk.rows import JsonValue, json_line
from airflow_provider_xpander.storage import open_path, write_all

log = logging.getLogger(__name__)

FETCHED_AT_ONCE = 200
"""Files that are read at a time: object stores answer them side by side."""


@dataclass(frozen=True, slots=True)
class Hit:
    """
    An answer that was paid for earlier.

    :param answer: the answer.
    :param xpander_task_id: the run that gave it.
    """

    answer: dict[str, JsonValue]
    xpander_task_id: str


class AnswerCache:
    """
    Answers below a folder.

    :param path: URL of the folder.
    :param ttl: seconds for which an answer is used, None for ever.
    """

    def __init__(self, path: str, ttl: float | None = None) -> None:
        self._folder = path.rstrip("/")
        self._ttl = ttl
        self._has_warned = False

    def get(self, contents: Sequence[Mapping[str, Any]]) -> list[Hit | None]:
        """
        Return the answers that are there, None for each that is not, or is too old.

        :param contents: JSON data: all that each answer depends on, and nothing else.
        :raises XpanderError: the folder cannot be read; that is not the same as an answer that is not there.
        """
        try:
            folder = open_path(self._folder)
            names = [f"{str(folder.path).rstrip('/')}/{_name(content)}" for content in contents]
            found = list(_fetched(folder.fs, names))
        except Exception as error:  # of whatever library reaches the place
            raise self._unreadable(error) from error
        for one in found:
            if isinstance(one, Exception) and not isinstance(one, FileNotFoundError):
                raise self._unreadable(one) from one
        return [self._hit(one) if isinstance(one, bytes) else None for one in found]

    def put(self, entries: Iterable[tuple[Mapping[str, Any], Mapping[str, Any], str]]) -> None:
        """
        Keep answers. If that fails, a warning says so once: the answers are paid for and go on.

        :param entries: of each the JSON data that it depends on, the answer itself, the run that gave it.
        """
        stored_at = time.time()
        files = {
            _name(content): json_line(
                {"answer": dict(answer), "xpander_task_id": task_id, "stored_at": stored_at}
            )
            for content, answer, task_id in entries
        }
        try:
            write_all(self._folder, files)
        except Exception as error:  # of whatever library reaches the place
            if not self._has_warned:
                log.warning("No answers are kept in cache_path %s: %s", self._folder, printable(error, 300))
                self._has_warned = True

    def _hit(self, entry: bytes) -> Hit | None:
        """Return what a file holds, None if it is too old or was not written here."""
        try:
            known = json.loads(entry)
            answer, task_id, stored_at = known["answer"], known["xpander_task_id"], known["stored_at"]
            fits = (
                isinstance(answer, dict) and isinstance(task_id, str) and isinstance(stored_at, int | float)
            )
        except (ValueError, TypeError, LookupError, RecursionError):
            return None
        if not fits or (self._ttl is not None and time.time() - stored_at > self._ttl):
            return None
        return Hit(answer, task_id)

    def _unreadable(self, error: Exception) -> XpanderError:
        return XpanderError(
            f"cache_path {self._folder} cannot be read: {type(error).__name__}: {printable(error, 300)}"
        )


def _fetched(file_system: Any, names: list[str]) -> Iterator[Any]:
    """Give the content of each file, or the error in its place."""
    for at in range(0, len(names), FETCHED_AT_ONCE):
        yield from file_system.cat_ranges(names[at : at + FETCHED_AT_ONCE], None, None, on_error="return")


def _name(content: Mapping[str, Any]) -> str:
    """Name a file after its content, in one of 256 folders."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{digest[:2]}/{digest[2:]}.json"
