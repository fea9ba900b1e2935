"""The runs that are news to a reader, and how far a round reads for that."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_xpander.api.routes import PAGE_SIZE
from airflow_provider_xpander.api.status import TERMINAL_STATUSES, TaskStatus
from airflow_provider_xpander.runs.ended_runs import (
    LONGEST_AWAY,
    MARGIN,
    Cursor,
    Ended,
    Round,
    RoundReader,
    Wanted,
)
from airflow_provider_xpander.runs.polling.listing import Row, row_of

NOW = 1_795_000_000.0
ALL = Wanted("a", TERMINAL_STATUSES)


def stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def row(
    number: int, at: float, *, created: float | None = None, status: str = "completed", **more: Any
) -> Row:
    return row_of(
        {
            "id": f"run-{number}",
            "agent_id": "a",
            "status": status,
            "created_at": stamp(at - 5 if created is None else created),
            "updated_at": stamp(at),
        }
        | more
    )


def read(reader: RoundReader, rows: list[Row], *bounds: float | None, now: float = NOW) -> Round:
    """Read a round through a list that is in the order of the rows."""
    reader.begin(bounds or [None], {"a"}, now)
    total = -(-len(rows) // PAGE_SIZE)
    number = 0
    while reader.take(rows[number * PAGE_SIZE : (number + 1) * PAGE_SIZE], total):
        number += 1
    return reader.finish()


def ids(runs: list[Ended]) -> list[str]:
    return [run.id for run in runs]


@pytest.mark.parametrize(
    ("wanted", "changes", "fits"),
    [
        ({}, {}, True),
        ({}, {"agent_id": "other"}, False),
        ({"statuses": frozenset({TaskStatus.FAILED})}, {}, False),
        ({"statuses": frozenset({TaskStatus.FAILED})}, {"status": TaskStatus.FAILED}, True),
        ({"title_contains": "REPORT"}, {"title": "The daily report"}, True),
        ({"title_contains": "report"}, {"title": "The weekly bill"}, False),
        ({"title_contains": ""}, {}, True),
        ({}, {"title": "nightly.ask [airflow 0123456789abcdef0123 0123456789ab]"}, False),
        ({}, {"title": "nightly.ask [airflow 0123456789abcdef0123 0123456789ab repair 1]"}, False),
        ({"include_own": True}, {"title": "nightly.ask [airflow 0123456789abcdef0123]"}, True),
    ],
)
def test_only_wanted_runs_count(wanted: Any, changes: Any, fits: bool) -> None:
    run = Ended(
        **{"id": "t", "agent_id": "a", "status": TaskStatus.COMPLETED, "title": "x", "at": NOW} | changes
    )
    assert Wanted(**{"agent_id": "a", "statuses": TERMINAL_STATUSES} | wanted).fits(run) is fits


def test_what_had_ended_before_is_no_news_and_what_ends_later_is_told_once() -> None:
    reader, cursor = RoundReader(), Cursor()
    rows = [row(2, NOW - 1, status="executing"), row(1, NOW - 10)]
    assert cursor.take(read(reader, rows), ALL) == []
    rows = [row(3, NOW + 20), row(2, NOW + 10), row(1, NOW - 10)]
    assert ids(cursor.take(read(reader, rows, cursor.bound), ALL)) == ["run-2", "run-3"]
    assert cursor.take(read(reader, rows, cursor.bound), ALL) == []


def test_a_thread_that_ends_again_is_told_again() -> None:
    reader, cursor = RoundReader(), Cursor()
    cursor.take(read(reader, [row(1, NOW)]), ALL)
    assert ids(cursor.take(read(reader, [row(1, NOW + 30)], cursor.bound), ALL)) == ["run-1"]


def test_an_end_that_the_list_shows_late_is_told_all_the_same() -> None:
    reader, cursor = RoundReader(), Cursor()
    cursor.take(read(reader, [row(1, NOW)]), ALL)
    cursor.take(read(reader, [row(3, NOW + 60)], cursor.bound), ALL)
    late = [row(3, NOW + 60), row(2, NOW + 1)]
    assert ids(cursor.take(read(reader, late, cursor.bound), ALL)) == ["run-2"]


@pytest.mark.parametrize("order", ["updated", "created", "none"])
@pytest.mark.parametrize("restart", [False, True])
def test_in_whatever_order_nothing_is_missed_and_nothing_told_twice(order: str, restart: bool) -> None:
    rng = random.Random(7)
    begins = [NOW + rng.uniform(0, 1500) for _ in range(300)]
    ends = [begun + rng.uniform(1, 900) for begun in begins]
    reader, cursor, told = RoundReader(), Cursor(), []
    for now in [NOW + 30.0 * step for step in range(90)]:
        if restart and rng.random() < 0.2:
            reader, cursor = RoundReader(), Cursor.of(json.loads(json.dumps(cursor.data())), now)
        rows = [
            row(
                number,
                end if end <= now else begun,
                created=begun,
                status="completed" if end <= now else "executing",
            )
            for number, (begun, end) in enumerate(zip(begins, ends, strict=True))
            if begun <= now
        ]
        if order == "updated":
            rows.sort(key=lambda one: -(one.updated or 0.0))
        elif order == "created":
            rows.sort(key=lambda one: -(one.created or 0.0))
        else:
            rng.shuffle(rows)
        told += ids(cursor.take(read(reader, rows, cursor.bound, now=now), ALL))
    assert sorted(told) == sorted(f"run-{number}" for number in range(300))


def test_where_newest_changes_come_first_a_round_is_a_page() -> None:
    reader, cursor = RoundReader(), Cursor()
    rows = [row(number, NOW - 60.0 * number, created=NOW - 9000 + number) for number in range(5000)]
    cursor.take(read(reader, rows), ALL)
    cursor.take(read(reader, rows, cursor.bound), ALL)
    assert reader.pages == 1
    assert reader.created_from is None, "a thread may be older"


def test_a_thousand_ends_at_once_are_a_thousand_events() -> None:
    reader, cursor = RoundReader(), Cursor()
    cursor.take(read(reader, [row(0, NOW, created=NOW - 50), row(1, NOW - 1, created=NOW)]), ALL)
    rows = [row(number, NOW + 30, created=NOW + number % 7) for number in range(2, 1002)]
    assert len(cursor.take(read(reader, rows, cursor.bound), ALL)) == 1000
    assert cursor.take(read(reader, rows, cursor.bound), ALL) == []
    assert len(json.dumps(cursor.data())) < 64 * 1024, "what Airflow warns about"


def test_a_reader_that_was_away_is_read_for_as_far_back_as_it_needs() -> None:
    reader, present, back = RoundReader(), Cursor(), Cursor(NOW - 5000)
    rows = [row(number, NOW - 60.0 * number, created=NOW - 9000 + number) for number in range(200)]
    shallow = read(reader, rows)
    present.take(shallow, ALL)
    assert back.take(shallow, ALL) == []
    assert back.since == NOW - 5000, "what it has not seen is still to come"
    deep = read(reader, rows, present.bound, back.bound)
    assert len(back.take(deep, ALL)) == 1 + (5000 + int(MARGIN)) // 60
    assert present.take(deep, ALL) == []


def test_a_round_for_another_agent_tells_nothing() -> None:
    cursor = Cursor(NOW)
    other = Round(1, "b", NOW - 900, NOW + 900, ())
    assert cursor.take(other, ALL) == []
    assert cursor.since == NOW


@pytest.mark.parametrize("kept", [None, "x", {}, {"since": None}, {"since": "now"}, {"since": [], "told": 5}])
def test_what_is_no_cursor_begins_anew(kept: Any) -> None:
    assert Cursor.of(kept, NOW).since is None


@pytest.mark.parametrize("told", [{"a": "x", "b": None}, {"a": [1]}, [], "x"])
def test_a_cursor_with_what_it_was_not_told_can_be_used(told: Any) -> None:
    cursor = Cursor.of({"since": NOW, "told": told}, NOW)
    assert ids(cursor.take(read(RoundReader(), [row(1, NOW + 1)], cursor.bound), ALL)) == ["run-1"]


def test_a_cursor_of_long_ago_is_not_followed_back_for_ever() -> None:
    assert Cursor.of({"since": 5.0, "told": {}}, NOW).since == NOW - LONGEST_AWAY


def test_an_empty_list_is_a_beginning_too() -> None:
    reader, cursor = RoundReader(), Cursor()
    cursor.take(read(reader, []), ALL)
    assert ids(cursor.take(read(reader, [row(1, NOW)], cursor.bound), ALL)) == ["run-1"]
