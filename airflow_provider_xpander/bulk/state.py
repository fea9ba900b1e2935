"""
The state of a bulk task: which rows are settled, which are asked about in which run, and what was spent.

A row is in one place at a time: not reached yet (from ``cursor`` on), waiting to be asked again, in flight,
or settled, which is all the rest. So the state stays small however many rows there are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from airflow_provider_xpander.api.models import Task, Tokens
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.bulk.packs import Pack

SAMPLE = 10
"""Failed rows that the manifest names."""


@dataclass(frozen=True)
class Flight:
    """
    A run that is under way, or may be.

    :param number: of its pack; no other run of the task has it, but for repair turns.
    :param pack: what it is asked about.
    :param asked: fingerprint of the request.
    :param at: Unix seconds at which it was to be submitted.
    :param task_id: the run; None while nobody knows whether it was started.
    :param turn: which repair turn it is in; 0 for the first turn.
    :param newer_than: Unix seconds at which the turn before ended, in a repair turn.
    :param ended: whether it was seen to have ended; its answer is not read yet, for lack of budget say.
    :param unsure: whether nobody knows if its repair turn was started.
    :param unwanted: whether its answer is not wanted, so that it has to be stopped.
    :param inherited: whether an earlier attempt has started it, which may have stopped it when it was ended.
    :param missing: Unix seconds since which the service does not know it; None if it does.
    """

    number: int
    pack: Pack
    asked: str
    at: float
    task_id: str | None = None
    turn: int = 0
    newer_than: float | None = None
    ended: bool = False
    inherited: bool = False
    missing: float | None = None
    unsure: bool = False
    unwanted: bool = False

    @property
    def goes_on(self) -> bool:
        """Whether it is known and goes on, as far as was seen, and is waited for."""
        return self.task_id is not None and not self.ended and not self.unwanted

    @property
    def is_lost(self) -> bool:
        """Whether its submit was lost, so that nobody knows if it was started."""
        return self.task_id is None or self.unsure


@dataclass(frozen=True)
class Spent:
    """
    What was spent.

    :param started: runs, repair turns among them.
    :param completed: those of them that have completed.
    :param repeats: those of them that ask about rows again, repair turns among them.
    :param prompt_tokens: of all that have ended.
    :param completion_tokens: of all that have ended.
    :param total_tokens: of all that have ended.
    :param seconds: that those which have ended took together.
    """

    started: int = 0
    completed: int = 0
    repeats: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    seconds: float = 0.0

    def start(self, *, again: bool) -> Spent:
        """
        Return what was spent with one more run.

        :param again: whether its rows were asked about before.
        """
        return replace(self, started=self.started + 1, repeats=self.repeats + int(again))

    def end(self, task: Task) -> Spent:
        """
        Return what was spent with the end of a run.

        :param task: the run.
        """
        used = task.tokens or Tokens()
        return replace(
            self,
            completed=self.completed + int(task.status is TaskStatus.COMPLETED),
            prompt_tokens=self.prompt_tokens + (used.prompt_tokens or 0),
            completion_tokens=self.completion_tokens + (used.completion_tokens or 0),
            total_tokens=self.total_tokens + (used.total_tokens or 0),
            seconds=self.seconds + (task.duration or 0.0),
        )


@dataclass(frozen=True)
class State:
    """
    The state of a bulk task after one of its steps.

    :param rows: how many the snapshot has.
    :param limit: how many of them are asked about: with ``preview`` fewer.
    :param began: Unix seconds at which the first attempt began.
    :param cursor: place of the first row that was not reached yet.
    :param packs: how many packs have got a number.
    :param answered: rows with an answer of this task.
    :param cached: rows with an answer of the cache.
    :param failed: rows that failed.
    :param left: rows that are not asked about any more, because somebody has stopped their run.
    :param waiting: what is to be asked next.
    :param flight: what is asked now.
    :param spent: what was spent.
    :param parts: how many files of results each attempt has written, as [try, number].
    :param untold: parts whose rows the table has not got yet, as [name, how many rows of the table could be
        taken for them before], None while that is not counted.
    :param sample: some failed rows.
    :param sent: requests of this task's workers, as [Unix second, submits, reads], of the last hour.
    :param trouble: Unix seconds since which the service is away, or None.
    :param vain: runs in a row that have ended without one good answer.
    """

    rows: int
    limit: int
    began: float
    cursor: int = 0
    packs: int = 0
    answered: int = 0
    cached: int = 0
    failed: int = 0
    left: int = 0
    waiting: tuple[Pack, ...] = ()
    flight: tuple[Flight, ...] = ()
    spent: Spent = field(default_factory=Spent)
    parts: tuple[tuple[int, int], ...] = ()
    untold: tuple[tuple[str, int | None], ...] = ()
    sample: tuple[Mapping[str, Any], ...] = ()
    sent: tuple[tuple[float, int, int], ...] = ()
    trouble: float | None = None
    vain: int = 0

    @property
    def part_names(self) -> list[str]:
        """The names of the parts of results, as they stand after "part-"."""
        return [part_name(number, part) for number, count in self.parts for part in range(1, count + 1)]

    def next_part(self, try_number: int) -> tuple[str, State]:
        """
        Return the name of a further file of results, and the state that counts it.

        :param try_number: of the attempt that writes it.
        """
        count = dict(self.parts).get(try_number, 0) + 1
        parts = tuple(sorted((dict(self.parts) | {try_number: count}).items()))
        return part_name(try_number, count), replace(self, parts=parts)

    @property
    def settled(self) -> int:
        """How many rows nothing is to be done for any more."""
        return self.answered + self.cached + self.failed + self.left

    @property
    def skipped(self) -> int:
        """How many rows have neither an answer nor failed."""
        return self.rows - self.answered - self.cached - self.failed

    @property
    def has_more(self) -> bool:
        """Whether there are rows to ask about."""
        return bool(self.waiting) or self.cursor < self.limit

    @property
    def task_ids(self) -> list[str]:
        """The runs that are under way, as far as they are known."""
        return [one.task_id for one in self.flight if one.task_id]

    def without(self, numbers: Iterable[int], *waiting: Pack) -> State:
        """
        Return the state without some runs, and with what is to be asked instead.

        :param numbers: of the runs' packs.
        :param waiting: what is to be asked.
        """
        gone = set(numbers)
        flight = tuple(one for one in self.flight if one.number not in gone)
        return replace(self, flight=flight, waiting=(*self.waiting, *waiting))

    def with_flight(self, changed: Flight) -> State:
        """
        Return the state with what is known now of a run.

        :param changed: the run; the one with its number is replaced.
        """
        flight = tuple(changed if one.number == changed.number else one for one in self.flight)
        return replace(self, flight=flight)

    def with_unwanted(self, task_ids: Iterable[str], now: float) -> State:
        """
        Return the state with further runs that have to be stopped.

        :param task_ids: the runs; nobody waits for their answers.
        :param now: Unix seconds.
        """
        new = [
            Flight(self.packs + number, Pack(()), "", now, task_id, unwanted=True)
            for number, task_id in enumerate(task_ids, 1)
        ]
        return replace(self, packs=self.packs + len(new), flight=(*self.flight, *new))

    def shifted(self, seconds: float) -> State:
        """
        Return the state by another clock.

        :param seconds: how much that clock is ahead of the one that the state was written by.
        """
        return self._timed(lambda moment: moment + seconds) if seconds else self

    def not_after(self, now: float) -> State:
        """
        Return the state as of a process whose clock may be behind that of the one which has written it.

        :param now: Unix seconds; what has happened was not later.
        """
        return self._timed(lambda moment: min(moment, now))

    def _timed(self, timed: Callable[[float], float]) -> State:
        def change(moment: float | None) -> float | None:
            return None if moment is None else timed(moment)

        flight = (replace(one, at=timed(one.at), missing=change(one.missing)) for one in self.flight)
        return replace(
            self,
            flight=tuple(flight),
            sent=tuple((timed(at), submits, reads) for at, submits, reads in self.sent),
            trouble=change(self.trouble),
        )

    def with_failure(self, failure: Mapping[str, Any]) -> State:
        """
        Return the state with one more failed row.

        :param failure: its key columns and the reason.
        """
        sample = (*self.sample, failure) if len(self.sample) < SAMPLE else self.sample
        return replace(self, failed=self.failed + 1, sample=sample)


def part_name(try_number: int, number: int) -> str:
    """
    Return the name of a part of results, as it stands after "part-".

    :param try_number: of the attempt that writes it, so that two that overlap write none of the same name.
    :param number: which of its files it is.
    """
    return f"{try_number:04d}-{number:06d}"


def encode(state: State) -> bytes:
    """
    Return a state as the content of a file.

    :param state: the state.
    """
    data = asdict(state)
    data["waiting"] = [_pack_data(pack) for pack in state.waiting]
    data["flight"] = [asdict(one) | {"pack": _pack_data(one.pack)} for one in state.flight]
    return json.dumps(data, ensure_ascii=False).encode()


def decode(content: bytes) -> State:
    """
    Return the state that a file holds.

    :param content: of the file.
    :raises ValueError: it holds none.
    """
    data = json.loads(content)
    try:
        data["waiting"] = tuple(map(_pack, data["waiting"]))
        data["flight"] = tuple(Flight(**one | {"pack": _pack(one["pack"])}) for one in data["flight"])
        data["spent"] = Spent(**data["spent"])
        data["sent"] = tuple((at, submits, reads) for at, submits, reads in data["sent"])
        data["parts"] = tuple((number, count) for number, count in data["parts"])
        data["untold"] = tuple((part, before) for part, before in data["untold"])
        data["sample"] = tuple(data["sample"])
        return State(**data)
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is no state of a bulk task: {error!r}") from None


def _pack_data(pack: Pack) -> dict[str, Any]:
    return asdict(pack) | {"rows": spans(pack.rows)}


def _pack(data: Mapping[str, Any]) -> Pack:
    rows = tuple(row for first, last in data["rows"] for row in range(first, last + 1))
    return Pack(**{**data, "rows": rows})


def spans(numbers: Sequence[int]) -> list[list[int]]:
    """
    Return ascending numbers as the first and last of each run of consecutive ones.

    :param numbers: the numbers.
    """
    if not numbers:
        return []
    breaks = [at for at, (one, next_) in enumerate(pairwise(numbers), 1) if next_ != one + 1]
    bounds = zip([0, *breaks], [*breaks, len(numbers)], strict=True)
    return [[numbers[first], numbers[end - 1]] for first, end in bounds]
