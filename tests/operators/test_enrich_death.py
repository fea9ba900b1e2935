"""Attempts at a bulk task that die: each row is paid once all the same, and no run goes on."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow_side import Service, resume
from attempts import attempt
from bulk import asked, check_once, dying, enrich, folder, lines, manifest_of, run, run_to_deferral, tickets

from airflow_provider_xpander import storage
from airflow_provider_xpander._compat import AirflowFailException, TaskDeferred
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.bulk import folder as folder_module
from airflow_provider_xpander.bulk import waves
from airflow_provider_xpander.bulk.state import Flight
from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.operators.bulk import collect as bulk_collect
from airflow_provider_xpander.operators.bulk import pace as bulk_pace
from airflow_provider_xpander.operators.bulk.collect import Collector
from airflow_provider_xpander.runs import watch

__all__ = ["folder"]

ROWS = 6
MOMENTS = 20
"""Files that such a task writes, and conversations that it has with the service."""


def task(folder: Path, **kwargs: Any) -> Any:
    return enrich(folder, **{"rows": tickets(ROWS), "rows_per_run": 2, "max_in_flight": 2} | kwargs)


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waves, "LOST_GRACE", 0.3)


@pytest.mark.parametrize("at", range(MOMENTS))
def test_a_worker_that_dies_at_any_moment_pays_no_row_twice(service: Service, folder: Path, at: int) -> None:
    service.settings.run_seconds = 0.02
    with dying(at) as death:
        run(task(folder))
    assert death.dead, "a longer task is needed to die that late"
    manifest = run(task(folder), attempt(2))
    check_once(folder, service, ROWS)
    assert set(asked(service).values()) == {1}, death.moments[-1]
    assert manifest == manifest_of(folder)
    assert manifest["counts"]["answered"] == manifest["runs"]["completed"] * 2 == ROWS


def test_all_moments_were_tried(service: Service, folder: Path) -> None:
    with dying(1000) as death:
        run(task(folder))
    assert len(death.moments) == MOMENTS, death.moments


@pytest.mark.parametrize("acted", [True, False], ids=["it was started", "it was not"])
@pytest.mark.parametrize("deferrable", [True, False], ids=["deferrable", "in the worker"])
def test_a_lost_submit_is_looked_for_before_its_rows_are_asked_about_again(
    service: Service, folder: Path, acted: bool, deferrable: bool
) -> None:
    service.add_fault(Fault.html(504, method="POST", path="/invoke/async$", act_first=acted, times=1))
    manifest = run(task(folder, deferrable=deferrable))
    check_once(folder, service, ROWS)
    assert set(asked(service).values()) == {1}
    assert manifest["runs"]["started"] == 3
    assert manifest["runs"]["repeats"] == (0 if acted else 1)


def test_a_run_that_shows_late_is_taken_over_and_not_asked_again(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waves, "LOST_GRACE", 5.0)
    service.settings.list_lag_seconds = 0.5
    service.add_fault(Fault.html(504, method="POST", path="/invoke/async$", act_first=True, times=1))
    run(task(folder, poll_interval=0.2))
    check_once(folder, service, ROWS)
    assert set(asked(service).values()) == {1}


def test_the_service_may_be_away_for_a_while(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_pace, "TROUBLE", 0.2)
    for method, path in (("POST", "/invoke/async$"), ("GET", "/v1/tasks/[^/]+$")):
        service.add_fault(Fault(status=503, method=method, path=path, after=2, times=5))
    run(task(folder, max_in_flight=1))
    check_once(folder, service, ROWS)


def test_refusals_for_too_many_requests_only_cost_time(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_pace, "TROUBLE", 0.2)
    service.add_fault(Fault(status=429, method="POST", path="/invoke/async$", after=1, times=4))
    manifest = run(task(folder))
    check_once(folder, service, ROWS)
    assert manifest["runs"] == {"started": 3, "completed": 3, "repeats": 0}


def test_storage_that_fails_for_a_moment_costs_nothing(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "DELAYS", (0.01, 0.01, 0.01))
    written, calls = storage.write_whole, iter(range(10_000))

    def now_and_then(url: str, content: bytes) -> None:
        if next(calls) % 3:
            raise OSError("the bucket is away")
        written(url, content)

    monkeypatch.setattr(folder_module, "write_whole", now_and_then)
    run(task(folder))
    check_once(folder, service, ROWS)
    assert set(asked(service).values()) == {1}


def test_storage_that_cannot_be_read_is_not_taken_for_an_empty_folder(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "DELAYS", ())
    with dying(13):
        run(task(folder))
    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "open_path", _unreadable(folder_module.open_path))
        with pytest.raises(XpanderError, match="could not"):
            run(task(folder), attempt(2))
    assert set(asked(service).values()) == {1}
    run(task(folder), attempt(3))
    check_once(folder, service, ROWS)
    assert set(asked(service).values()) == {1}


def _unreadable(open_path: Any) -> Any:
    def opened(url: str) -> Any:
        path = open_path(url)
        return SimpleNamespace(path=path.path, fs=_Unreadable(path.fs))

    return opened


class _Unreadable:
    """A file system whose folders can be listed, and whose files cannot be read for now."""

    def __init__(self, files: Any) -> None:
        self._files = files

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)

    def cat_file(self, path: str) -> bytes:
        raise OSError("the bucket is away")


def test_of_two_attempts_that_overlap_the_older_one_ends(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = task(folder)
    with pytest.raises(TaskDeferred) as deferred:
        run_to_deferral(first, attempt(1))
    manifest = run(task(folder), attempt(2))
    with pytest.raises(XpanderError, match="newer attempt"):
        resume(first, deferred.value, attempt(1).context())
    check_once(folder, service, ROWS)
    assert set(asked(service).values()) == {1}
    assert manifest == manifest_of(folder)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "labels.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE labels (id INTEGER, category TEXT, xpander_task_id TEXT)")
        database.execute("INSERT INTO labels VALUES (1, 'of another day', 'another run')")
        database.commit()
    monkeypatch.setenv("AIRFLOW_CONN_LABELS", json.dumps({"conn_type": "sqlite", "host": str(file)}))
    return file


INTO_TABLE = {"write_table": "labels", "write_conn_id": "labels", "max_in_flight": 3}


def in_table(file: Path) -> list[int]:
    with closing(sqlite3.connect(file)) as database:
        found = database.execute("SELECT id FROM labels WHERE xpander_task_id <> 'another run' ORDER BY id")
        return [row[0] for row in found]


@pytest.mark.parametrize("at", range(13, 20))
def test_a_worker_that_dies_in_the_write_back_doubles_no_row_of_the_table(
    service: Service, folder: Path, table: Path, at: int
) -> None:
    service.settings.run_seconds = 0.02
    with dying(at) as death:
        run(task(folder, **INTO_TABLE))
    assert death.dead, death.moments
    run(task(folder, **INTO_TABLE), attempt(2))
    check_once(folder, service, ROWS)
    assert in_table(table) == list(range(1, ROWS + 1)), death.moments[-1]


def test_a_database_that_is_away_loses_no_answer(service: Service, folder: Path, table: Path) -> None:
    with closing(sqlite3.connect(table)) as database:
        database.execute("ALTER TABLE labels RENAME TO elsewhere")
        database.execute("CREATE TABLE labels (id INTEGER, category TEXT CHECK (0), xpander_task_id TEXT)")
        database.commit()
    with pytest.raises(XpanderError, match="could not be written into the table"):
        run(task(folder, **INTO_TABLE))
    assert manifest_of(folder)["counts"]["answered"] == ROWS
    with closing(sqlite3.connect(table)) as database:
        database.execute("DROP TABLE labels")
        database.execute("ALTER TABLE elsewhere RENAME TO labels")
        database.commit()
    run(task(folder, **INTO_TABLE), attempt(2))
    assert in_table(table) == list(range(1, ROWS + 1))
    assert set(asked(service).values()) == {1}


def test_answers_that_were_read_are_kept_when_the_next_cannot_be(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, looked = Collector._look, list[str]()

    def look(self: Collector, flight: Flight, task_id: str) -> bool:
        if not looked:  # not before: the trigger reads runs too
            service.add_fault(Fault(status=403, method="GET", path="/v1/tasks/[^/]+$", after=1, times=1))
        looked.append(task_id)
        return read(self, flight, task_id)

    monkeypatch.setattr(Collector, "_look", look)
    with pytest.raises(AirflowFailException):
        run(task(folder, max_in_flight=3))
    assert len(lines(folder)) == 2


@pytest.mark.parametrize(("times", "runs"), [(1, 3), (1000, 4)], ids=["once", "for good"])
def test_a_run_that_the_service_does_not_know_for_a_moment_is_not_given_up(
    times: int, runs: int, service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long after its start: the grace counts from the first time, not from the start."""
    monkeypatch.setattr(bulk_collect, "NOT_FOUND_GRACE", 0.05)
    monkeypatch.setattr(watch, "NOT_FOUND_GRACE", 0.05)
    read, unknown = Collector._look, list[str]()

    def look(self: Collector, flight: Flight, task_id: str) -> bool:
        if not unknown:
            unknown.append(task_id)
            service.add_fault(Fault(status=404, method="GET", path=f"/v1/tasks/{task_id}$", times=times))
        return read(self, flight, task_id)

    monkeypatch.setattr(Collector, "_look", look)
    manifest = run(task(folder, max_in_flight=3))
    assert manifest["counts"]["answered"] == ROWS
    assert manifest["runs"]["started"] == runs
