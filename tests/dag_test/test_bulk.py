"""Bulk tasks that are really executed, triggers and all, by ``dag.test()`` in this process."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.utils.session import create_session
from airflow_side import Service
from dag_runs import Result

COUNTS = {"rows": 7, "answered": 7, "cached": 0, "failed": 0, "skipped": 0}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    room = tmp_path_factory.mktemp("bulk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XPANDER_TEST_BULK", room.as_uri())
        yield room


@pytest.fixture
def bulk(room: Path, dags: ModuleType) -> ModuleType:
    return import_module("xpander_in_bulk")


def keys(folder: Path) -> list[int]:
    files = sorted((folder / "results").iterdir())
    return sorted(json.loads(line)["id"] for file in files for line in file.read_text().splitlines())


def test_rows_from_another_task_are_enriched_in_worker_and_triggerer(
    bulk: ModuleType, room: Path, service: Service
) -> None:
    result = Result(bulk.bulk.test())
    assert result.dag_run.state == "success", result.states
    for task_id in ("deferred", "worker"):
        manifest = result.xcom(task_id)
        assert manifest["counts"] == COUNTS
        folder = room / result.dag_run.run_id / task_id
        assert manifest == json.loads((folder / "manifest.json").read_text())
        assert keys(folder) == list(range(1, 8))
    asked = [run.body["input"]["text"] for run in service.runs()]
    assert any('{"id": 1, "row"' in text or "{{ ds }} ticket 1" in text for text in asked)
    # A partition each, side by side, in folders of their own.
    mapped = result.xcoms("mapped")
    assert [one["counts"]["answered"] for one in mapped] == [1, 1, 1, 1]
    assert len({one["urls"]["results"] for one in mapped}) == 4
    assert len(service.runs()) == 3 + 3 + 4


def test_nothing_of_the_rows_is_in_airflows_database(bulk: ModuleType, service: Service) -> None:
    result = Result(bulk.bulk.test())
    with create_session() as session:
        query = session.query(RenderedTaskInstanceFields).filter_by(run_id=result.dag_run.run_id)
        rendered = [str(one.rendered_fields) for one in query]
    assert len(rendered) >= 6
    assert not [one for one in rendered if "ticket 1" in one]
    stored = [str(row.value) for row in result.rows() if row.task_id != "tickets"]
    assert not [one for one in stored if "ticket 1" in one or "category" in one]


def test_a_table_in_a_table_out(
    bulk: ModuleType, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tickets.db"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE tickets (id INTEGER PRIMARY KEY, text TEXT)")
        database.executemany(
            "INSERT INTO tickets VALUES (?, ?)", [(one, f"ticket {one}") for one in range(1, 8)]
        )
        database.execute(
            "CREATE TABLE labels (id INTEGER PRIMARY KEY, category TEXT, status TEXT, xpander_task_id TEXT)"
        )
    monkeypatch.setenv("AIRFLOW_CONN_TICKETS_DB", json.dumps({"conn_type": "sqlite", "host": str(file)}))
    result = Result(bulk.sql.test())
    assert result.state("table") == "success"
    with create_session() as session:
        query = session.query(RenderedTaskInstanceFields).filter_by(run_id=result.dag_run.run_id)
        assert "WHERE id >= 3 ORDER" in [str(one.rendered_fields) for one in query][0]
    with sqlite3.connect(file) as database:
        found = database.execute(
            "SELECT id, category, status, xpander_task_id FROM labels ORDER BY id"
        ).fetchall()
    assert [row[0] for row in found] == [3, 4, 5, 6, 7]
    assert {row[2] for row in found} == {"answered"}
    assert {row[3] for row in found} == {run.task_id for run in service.runs()}
