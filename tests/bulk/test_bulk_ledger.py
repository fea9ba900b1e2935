"""The ledger of a bulk task: any prefix of its files is a consistent state, and each row is in one place."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_provider_xpander.api.errors import XpanderError, XpanderValidationError
from airflow_provider_xpander.bulk.folder import Folder
from airflow_provider_xpander.bulk.ledger import Ledger, Outdated
from airflow_provider_xpander.bulk.packs import Pack, after_failure
from airflow_provider_xpander.bulk.state import Flight, Spent, State, decode, encode, spans

ME = {"dag_id": "nightly", "task_id": "enrich"}


def ledger(place: Path, try_number: int = 1, generation: str = "g1") -> Ledger:
    return Ledger(Folder(place.as_uri()), generation, try_number)


def rows_of(state: State) -> list[int]:
    """Return the rows that are not settled, and fail if one is in two places."""
    open_rows = [row for pack in state.waiting for row in pack.rows]
    open_rows += [row for one in state.flight for row in one.pack.rows]
    open_rows += range(state.cursor, state.limit)
    assert len(open_rows) == len(set(open_rows))
    return open_rows


def step(state: State, rng: random.Random, book: Ledger) -> State:
    """Take one step of a task: ask, and have some runs end somehow."""
    if rng.random() < 0.5 and state.has_more:
        size = rng.randint(1, 5)
        if state.waiting and rng.random() < 0.5:
            pack, state = state.waiting[0], replace(state, waiting=state.waiting[1:])
        else:
            end = min(state.limit, state.cursor + size)
            if end == state.cursor:
                return state
            pack, state = Pack(tuple(range(state.cursor, end))), replace(state, cursor=end)
        flight = Flight(state.packs + 1, pack, "f" * 12, 1.5)
        state = replace(state, packs=flight.number, flight=(*state.flight, flight))
        book.intend(state)
        if rng.random() < 0.8:
            state = state.with_flight(replace(flight, task_id=f"run-{flight.number}"))
        return replace(state, spent=state.spent.start(again=pack.again))
    if not state.flight:
        return state
    flight = rng.choice(state.flight)
    if rng.random() < 0.6:
        part, state = state.next_part(book.try_number)
        assert part in state.part_names
        return replace(state.without([flight.number]), answered=state.answered + len(flight.pack.rows))
    then = after_failure(flight.pack)
    state = state.without([flight.number], *then)
    return state if then else state.with_failure({"id": flight.pack.rows[0], "reason": "x"})


@pytest.mark.parametrize("seed", range(20))
def test_any_prefix_of_the_files_is_a_consistent_state(tmp_path: Path, seed: int) -> None:
    rng, book = random.Random(seed), ledger(tmp_path / "all")
    state = State(rows=30, limit=rng.choice([30, 20]), began=1.0)
    book.done(state)
    for _ in range(30):
        state = step(state, rng, book)
        book.done(state)
    files = sorted((tmp_path / "all").rglob("*-*.json"), key=lambda path: path.name)
    assert len(files) > 31
    for count in range(1, len(files) + 1):
        place = tmp_path / f"first-{count}"
        for file in files[:count]:
            there = place / file.relative_to(tmp_path / "all")
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, there)
        found = ledger(place, try_number=2).load()
        assert found is not None
        assert len(rows_of(found)) + found.settled == found.limit
        assert all(one.task_id is None for one in found.flight[-1:]) or "done" in str(files[count - 1])
    assert ledger(tmp_path / "all", 2).load() == state


def test_a_state_comes_back_as_it_was_written() -> None:
    state = State(
        rows=9,
        limit=7,
        began=2.5,
        cursor=6,
        packs=3,
        answered=2,
        waiting=(Pack((3, 4, 9), 1, again=True),),
        flight=(
            Flight(3, Pack((5,)), "a" * 12, 3.5, "run-3", 1, 4.5, ended=True, inherited=True, missing=5.5),
            Flight(4, Pack((6,)), "b" * 12, 3.5, "run-4", 1, 4.5, unsure=True),
            Flight(5, Pack(()), "", 3.5, "run-5", unwanted=True),
        ),
        spent=Spent(3, 2, 1, 10, 20, 30, 4.5),
        parts=((1, 2), (2, 1)),
        untold=(("0001-000002", None), ("0002-000001", 7)),
        sample=({"id": 1, "reason": "ü"},),
        sent=((1.5, 2, 3),),
        trouble=9.5,
        vain=3,
    )
    assert decode(encode(state)) == state


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"rows": 1}', b"\xff"])
def test_what_is_no_state_is_an_error(content: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        decode(content)


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ([], []),
        ([3], [[3, 3]]),
        ([1, 2, 3, 7, 8, 10], [[1, 3], [7, 8], [10, 10]]),
        ([5, 1, 2], [[5, 5], [1, 2]]),
    ],
)
def test_spans(numbers: list[int], found: list[list[int]]) -> None:
    assert spans(numbers) == found


def test_what_an_older_attempt_writes_does_not_count_once_a_newer_one_has(tmp_path: Path) -> None:
    first, second = ledger(tmp_path, 1), ledger(tmp_path, 2)
    first.begin_attempt({})
    state = State(rows=5, limit=5, began=1.0)
    first.done(state)
    second.begin_attempt({})
    assert second.load() == state
    second.done(replace(state, answered=1))
    first.done(replace(state, answered=5))
    assert ledger(tmp_path, 3).load() == replace(state, answered=1)
    with pytest.raises(Outdated):
        first.check_attempt()
    with pytest.raises(Outdated):
        first.load()


def test_an_attempt_of_before_a_clear_ends(tmp_path: Path) -> None:
    first = ledger(tmp_path, 1)
    first.own(ME)
    first.begin_attempt({})
    first.check_attempt()
    ledger(tmp_path, 2, "g2").own(ME)
    with pytest.raises(Outdated):
        first.check_attempt()


def test_a_resumed_attempt_keeps_its_deadline(tmp_path: Path) -> None:
    assert ledger(tmp_path).begin_attempt({"deadline": 7.0}) == {"deadline": 7.0}
    assert ledger(tmp_path).begin_attempt({"deadline": 9.0}) == {"deadline": 7.0}
    assert ledger(tmp_path, 2).begin_attempt({"deadline": 9.0}) == {"deadline": 9.0}


def test_a_snapshot_is_taken_once_and_read_row_by_row(tmp_path: Path) -> None:
    rows = [{"id": number, "text": "line\none\u2028two"} for number in range(2500)]
    assert ledger(tmp_path).snapshot(lambda: rows) == 2500
    again = ledger(tmp_path, 2)
    assert again.snapshot(lambda: pytest.fail("the source is not read again")) == 2500
    for place in (0, 999, 1000, 2499, 1):
        assert again.row(place) == rows[place]


def test_a_snapshot_that_was_broken_off_is_taken_again(tmp_path: Path) -> None:
    def dying() -> object:
        yield from ({"id": number} for number in range(1500))
        raise OSError("the database is away")

    with pytest.raises(OSError, match="away"):
        ledger(tmp_path).snapshot(dying)  # type: ignore[arg-type]
    assert ledger(tmp_path, 2).snapshot(lambda: [{"id": 7}]) == 1
    assert ledger(tmp_path, 2).row(0) == {"id": 7}


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    mine = ledger(tmp_path)
    assert mine.claim(ME) is None
    mine.own(ME)
    assert ledger(tmp_path, 2, "g2").claim(ME) == "g1"
    with pytest.raises(XpanderValidationError, match="another task instance"):
        mine.claim(ME | {"task_id": "other"})


def test_what_a_generation_wrote_is_put_away_also_if_that_was_broken_off(tmp_path: Path) -> None:
    for name in ("results/part-1.jsonl", "failed/part-1.jsonl", "manifest.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    mine = ledger(tmp_path, 2, "g2")
    mine.folder.move("results/part-1.jsonl", "_xpander/g1/results/part-1.jsonl")
    assert mine.put_away("g1") == 1
    for name in ("results/part-1.jsonl", "failed/part-1.jsonl", "manifest.json"):
        assert (tmp_path / "_xpander" / "g1" / name).read_text() == name
        assert not (tmp_path / name).exists()


def test_a_file_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    place = tmp_path / "file.json"
    place.mkdir()
    with pytest.raises(XpanderError, match="could not read"):
        Folder(tmp_path.as_uri()).read("file.json")
    with pytest.raises(FileNotFoundError):
        Folder(tmp_path.as_uri()).read("other.json")
    assert Folder(tmp_path.as_uri()).names("no/such/folder") == []
