"""The example with a table, run twice: the second run pays for nothing but what is new."""

from __future__ import annotations

import importlib
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from airflow_side import Service
from dag_database import add_dags
from dag_runs import Result

from dev.paths import EXAMPLE_DAGS


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("XPANDER_EXAMPLE_FOLDER", str(tmp_path))
    monkeypatch.setenv("XPANDER_EXAMPLE_POLL_INTERVAL", "0.1")
    monkeypatch.delenv("AIRFLOW_CONN_XPANDER_EXAMPLE_DB", raising=False)
    add_dags(EXAMPLE_DAGS)
    sys.modules.pop("example_xpander_enrich_table", None)
    yield importlib.import_module("example_xpander_enrich_table")
    os.environ.pop("AIRFLOW_CONN_XPANDER_EXAMPLE_DB", None)  # it was set by the import


def counts(result: Result) -> dict[str, int]:
    found: dict[str, int] = result.xcom("enrich")["counts"]
    return found


def test_a_second_night_pays_for_new_rows_only(example: Any, service: Service) -> None:
    first = Result(example.dag.test())
    assert first.dag_run.state == "success", first.states
    assert counts(first) == {"rows": 40, "answered": 40, "cached": 0, "failed": 0, "skipped": 0}
    assert len(service.runs()) == 4
    assert sum(first.xcom("count").values()) == 40
    with closing(sqlite3.connect(example.DATABASE)) as database:
        database.execute(
            "INSERT INTO tickets VALUES ('T-9', 'New', 'Invoice', 'Charged twice, please refund')"
        )
        database.execute("UPDATE tickets SET customer = 'Renamed' WHERE id = 'T-1001'")  # it is not sent
        database.commit()
    second = Result(example.dag.test())
    assert second.dag_run.state == "success", second.states
    assert counts(second) == {"rows": 41, "answered": 1, "cached": 40, "failed": 0, "skipped": 0}
    assert len(service.runs()) == 5
    prompts = [run.body["input"]["text"] for run in service.runs()]
    assert not any("T-1001" in prompt or "Brightwater" in prompt for prompt in prompts)
    with closing(sqlite3.connect(example.DATABASE)) as database:
        labels = database.execute(
            "SELECT id, category, status, xpander_task_id FROM ticket_labels"
        ).fetchall()
    assert len(labels) == 41
    assert {row[3] for row in labels} == {run.task_id for run in service.runs()}
    assert sorted({row[2] for row in labels}) == ["answered", "cached"]
