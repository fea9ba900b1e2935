"""
The ledger of a bulk task: files below ``_xpander/`` of its ``result_path``, by which a retry goes on.

=========================================  ===================================================================
``owner.json``                             the task instance that owns the folder, and its present generation
``<generation>/snapshot/part-*.jsonl``     the rows, as they were when the task began; then ``rows.json``
``<generation>/attempts/<try>.json``       when an attempt began: an older one that still lives gives up
``<generation>/intents/<try>-<step>.json``  the state before a wave's first submit, its runs without an id
``<generation>/done/<try>-<step>.json``    the state after a step
``<generation>/results/``, ``failed/``     after a clear: what the generation had written
=========================================  ===================================================================

A generation is what lies between two clears. No file is changed once it is written, as object stores cannot
append; the newest state is the one that counts. Each holds all that is to be known, so any prefix of the
files is consistent: what a step has written besides is of no account before the state that names it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from airflow_provider_xpander.api.errors import XpanderError, XpanderValidationError
from airflow_provider_xpander.bulk.folder import Folder
from airflow_provider_xpander.bulk.state import State, decode, encode

ROOM = "_xpander"
OUTPUTS = ("results", "failed")
MANIFEST = "manifest.json"
CHUNK = 1000
"""Rows in a file of the snapshot."""
TAKEN_OVER = "A newer attempt of this task has begun and goes on with its rows; this one ends here."

T = TypeVar("T")

Values = dict[str, Any]


class Outdated(XpanderError):
    """A newer attempt of the same task has taken over; this one has nothing to do any more."""


class Ledger:
    """
    The ledger of one generation.

    :param folder: the ``result_path``.
    :param generation: what stands for the time between two clears.
    :param try_number: Airflow's number of this attempt.
    """

    def __init__(self, folder: Folder, generation: str, try_number: int) -> None:
        self.folder = folder
        self.generation = generation
        self.try_number = try_number
        self.name = ""
        """Name of the file of the state that was read or written last."""
        self._step = 0
        self._chunk: tuple[int, list[Values]] = (-1, [])

    def claim(self, instance: Mapping[str, Any]) -> str | None:
        """
        See that the folder is this task instance's, or nobody's yet.

        :param instance: what tells task instances apart.
        :return: the generation that the folder is of now, None if it is new.
        :raises XpanderValidationError: it is somebody else's.
        """
        owner = self._json(f"{ROOM}/owner.json")
        if owner is None:
            there = [name for name in (*OUTPUTS, ROOM) if self.folder.names(name)]
            if there or MANIFEST in self.folder.names(""):
                raise XpanderValidationError(
                    f"result_path {self.folder.url} has results that no bulk task owns "
                    f"({', '.join(there) or MANIFEST}): give this task a folder of its own"
                )
            return None
        if owner["instance"] != instance:
            name = " ".join(str(owner["instance"].get(part)) for part in ("dag_id", "task_id", "run_id"))
            raise XpanderValidationError(
                f"result_path {self.folder.url} has the results of another task instance, {name}: give each "
                f"its own folder, such as .../{{{{ dag_run.run_id }}}}/{{{{ task.task_id }}}}, for mapped "
                f"tasks with {{{{ ti.map_index }}}} too"
            )
        return str(owner["generation"])

    def own(self, instance: Mapping[str, Any]) -> None:
        """
        Note whose folder it is, and of which generation.

        :param instance: what tells task instances apart.
        """
        self._write(f"{ROOM}/owner.json", {"instance": dict(instance), "generation": self.generation})

    def put_away(self, generation: str) -> int:
        """
        Move what a generation before a clear has written below its own folder.

        :param generation: the one before.
        :return: how many files were moved.
        """
        moved = 0
        for kind in OUTPUTS:
            for name in self.folder.names(kind):
                self.folder.move(f"{kind}/{name}", f"{ROOM}/{generation}/{kind}/{name}")
                moved += 1
        self.folder.move(MANIFEST, f"{ROOM}/{generation}/{MANIFEST}")
        return moved

    def remove_stray(self, parts: Iterable[str]) -> None:
        """
        Remove results that no state names, because the attempt that wrote them died before it said so.

        :param parts: names of those that count, as they stand after ``part-``.
        """
        known = {f"part-{part}" for part in parts}
        for kind in OUTPUTS:
            for name in self.folder.names(kind):
                if name.partition(".")[0] not in known:
                    self.folder.remove(f"{kind}/{name}")

    # The snapshot.

    def snapshot(self, read: Callable[[], Iterable[Values]]) -> int:
        """
        Write down the rows, or find that an earlier attempt has done so.

        :param read: gives the rows, column by column; called only if there is no snapshot yet.
        :return: how many there are.
        """
        found = self._json(self._name("snapshot/rows.json"))
        if found is None:
            found = {"rows": self._write_rows(read())}
            self._write(self._name("snapshot/rows.json"), found)
        return int(found["rows"])

    def _write_rows(self, rows: Iterable[Values]) -> int:
        count, lines = 0, list[str]()
        for values in rows:
            lines.append(json.dumps(values, ensure_ascii=False))
            count += 1
            if len(lines) == CHUNK:
                self._write_chunk(count // CHUNK - 1, lines)
                lines = []
        if lines:
            self._write_chunk(count // CHUNK, lines)
        return count

    def _write_chunk(self, number: int, lines: list[str]) -> None:
        self.folder.write(self._part(number), "".join(f"{line}\n" for line in lines).encode())

    def row(self, place: int) -> Values:
        """
        Return the columns of a row.

        :param place: of the row in the snapshot.
        """
        number, line = divmod(place, CHUNK)
        if self._chunk[0] != number:
            content = self.folder.read(self._part(number)).decode()
            self._chunk = number, [json.loads(one) for one in content.split("\n") if one]
        return self._chunk[1][line]

    def _part(self, number: int) -> str:
        return self._name(f"snapshot/part-{number:06d}.jsonl")

    def patiently(self, write: Callable[[], T]) -> T:
        """
        Write something else below the folder, over short failures.

        :param write: does so.
        :raises XpanderError: it could not be written.
        """
        return self.folder.patiently("write", "", write)

    # Rows that the table has not got yet.

    def keep_for_table(self, part: str, lines: bytes) -> None:
        """
        Keep what goes into a table, until it is there.

        :param part: name of the file of results with the same rows.
        :param lines: of JSON.
        """
        self.folder.write(self._name(f"table/{part}.jsonl"), lines)

    def for_table(self, part: str) -> list[Values]:
        """
        Return what was kept; nothing if it was forgotten, because the table has it.

        :param part: name of the file.
        """
        try:
            content = self.folder.read(self._name(f"table/{part}.jsonl")).decode()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in content.split("\n") if line]

    def forget(self, part: str) -> None:
        """
        Forget what was kept: the table has it.

        :param part: name of the file.
        """
        self.folder.remove(self._name(f"table/{part}.jsonl"))

    # States.

    def load(self) -> State | None:
        """
        Return the newest state, None if there is none yet.

        :raises Outdated: it is of a newer attempt.
        :raises XpanderError: it could not be read, which is not to say that there is none.
        """
        found = [(name, kind) for kind in ("intents", "done") for name in self.folder.names(self._name(kind))]
        if not found:
            return None
        name, kind = max(found)
        try_number, _, step = name.removesuffix(".json").partition("-")
        # A step belongs to one attempt, so that two that overlap overwrite nothing of each other.
        self._step = int(step)
        if int(try_number) > self.try_number:
            raise Outdated(TAKEN_OVER)
        self.name = self._name(f"{kind}/{name}")
        return read_state(self.folder, self.name)

    def intend(self, state: State) -> None:
        """
        Write the state before something is submitted.

        :param state: its runs that are to be submitted have no id.
        """
        self._save("intents", state)

    def done(self, state: State) -> None:
        """
        Write the state after a step.

        :param state: as it is now.
        """
        self._save("done", state)

    def _save(self, kind: str, state: State) -> None:
        name = self._name(f"{kind}/{self.try_number:04d}-{self._step + 1:06d}.json")
        self.folder.write(name, encode(state))
        self._step += 1
        self.name = name

    def begin_attempt(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """
        Note that this attempt has begun, or return what it has noted before it was deferred.

        :param data: what to note.
        :raises Outdated: a newer attempt has begun.
        """
        name = self._attempt(self.try_number)
        self.check_attempt()
        found = self._json(name)
        if found is None:
            self._write(name, data)
        return dict(data) if found is None else found

    def check_attempt(self) -> None:
        """
        See that no newer attempt has begun: Airflow may start one, also after a clear, while this one lives.

        :raises Outdated: a newer attempt has begun.
        """
        owner = self._json(f"{ROOM}/owner.json") or {}
        newest = max(self.folder.names(self._name("attempts")), default="")
        is_newer = self._name(f"attempts/{newest}") > self._attempt(self.try_number)
        if is_newer or owner.get("generation", self.generation) != self.generation:
            raise Outdated(TAKEN_OVER)

    def _attempt(self, number: int) -> str:
        return self._name(f"attempts/{number:04d}.json")

    def _name(self, name: str) -> str:
        return f"{ROOM}/{self.generation}/{name}"

    def _json(self, name: str) -> dict[str, Any] | None:
        try:
            content = self.folder.read(name)
        except FileNotFoundError:
            return None
        found = json.loads(content)
        return found if isinstance(found, dict) else None

    def _write(self, name: str, data: Mapping[str, Any]) -> None:
        self.folder.write(name, json.dumps(data).encode())


def read_state(folder: Folder, name: str) -> State:
    """
    Read a state.

    :param folder: the ``result_path``.
    :param name: of the file below it.
    :raises XpanderError: it could not be read.
    """
    try:
        return decode(folder.read(name))
    except (ValueError, FileNotFoundError) as error:
        raise XpanderError(f"{folder.url}{name} cannot be read: {error}") from error
