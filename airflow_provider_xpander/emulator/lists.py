"""The list of tasks with all that lists get wrong (contract 2.5)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import overload

from airflow_provider_xpander.emulator.bodies import Body, list_item, task_body
from airflow_provider_xpander.emulator.settings import Settings
from airflow_provider_xpander.emulator.tasks import EmulatedTask, Turn

_Entry = tuple[EmulatedTask, Turn, float]
"""A task, its turn that is shown, and the time whose state is shown."""


class Listed(Sequence[Body]):
    """
    The items of a list, each made when it is asked for: most are on pages that nobody reads.

    :param entries: in the order of the list.
    :param settings: of the emulator.
    """

    def __init__(self, entries: Sequence[_Entry], settings: Settings) -> None:
        self._entries = entries
        self._settings = settings

    @overload
    def __getitem__(self, index: int) -> Body: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Body]: ...
    def __getitem__(self, index: int | slice) -> Body | Sequence[Body]:
        """Return an item, or some."""
        if isinstance(index, slice):
            return [self._item(entry) for entry in self._entries[index]]
        return self._item(self._entries[index])

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._entries)

    def _item(self, entry: _Entry) -> Body:
        task, turn, at = entry
        return list_item(task, turn, at, self._settings)


def listed(
    tasks: Iterable[EmulatedTask],
    now: float,
    settings: Settings,
    equal: Mapping[str, str | None],
    earliest: float,
    latest: float,
) -> Listed:
    """
    Return the list.

    :param tasks: all tasks.
    :param now: epoch seconds.
    :param settings: order, lag and lies.
    :param equal: fields of the task and the value they must have; None is no condition.
    :param earliest: epoch seconds of the earliest creation.
    :param latest: epoch seconds of the latest creation.
    """
    wanted = {key: value for key, value in equal.items() if value is not None}
    if settings.list_status_filter == "ignored":
        wanted.pop("status", None)
    full = settings.model_copy(update={"slim_bodies": False})
    entries = []
    for task, turn, at in _shown(tasks, now, settings):
        if not earliest <= task.created <= min(latest, now - settings.scaled(settings.list_lag_seconds)):
            continue
        if wanted.keys() <= {"agent_id", "status"} and wanted.keys().isdisjoint(task.overrides):
            fits = wanted.get("agent_id", turn.target_id) == turn.target_id and (
                "status" not in wanted or turn.at(at).status == wanted["status"]
            )
        else:
            body = task_body(task, turn, at, full) if wanted else {}
            fits = all(body.get(key) == value for key, value in wanted.items())
        if fits:
            entries.append((task, turn, at))
    if settings.list_order == "none":
        entries.sort(key=lambda entry: zlib.crc32(entry[0].id[::-1].encode()))
    elif settings.list_order == "created":
        entries.sort(key=lambda entry: entry[0].created, reverse=True)
    else:
        entries.sort(key=lambda entry: entry[1].at(entry[2]).updated_at, reverse=True)
    return Listed(entries, settings)


def _shown(tasks: Iterable[EmulatedTask], now: float, settings: Settings) -> Iterator[_Entry]:
    for task in tasks:
        luck = zlib.crc32(task.id.encode()) / 2**32
        if luck < settings.list_hidden_share:
            continue
        turn = task.visible(now, settings.scaled(settings.stale_turn_seconds))
        at = max(turn.started, now - settings.scaled(settings.list_stale_seconds))
        yield task, turn, turn.started if 1 - luck <= settings.list_frozen_share else at
