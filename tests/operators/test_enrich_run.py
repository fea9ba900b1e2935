"""Bulk tasks from end to end: rows in, one answer per row out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from airflow_side import Service
from bulk import check_once, enrich, folder, lines, manifest_of, run
from metrics import Metrics, metrics

__all__ = ["folder", "metrics"]


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferrable", "in the worker"])
@pytest.mark.parametrize(("rows_per_run", "runs"), [(1, 10), (4, 3), (20, 1)])
def test_each_row_has_one_answer(
    service: Service, folder: Path, rows_per_run: int, runs: int, deferrable: bool
) -> None:
    manifest = run(enrich(folder, rows_per_run=rows_per_run, deferrable=deferrable))
    check_once(folder, service, 10)
    assert len(service.runs()) == runs
    assert manifest == manifest_of(folder)
    assert manifest["counts"] == {"rows": 10, "answered": 10, "cached": 0, "failed": 0, "skipped": 0}
    assert manifest["runs"] == {"started": runs, "completed": runs, "repeats": 0}
    assert manifest["tokens"]["total_tokens"] > 0
    (first,) = [line for line in lines(folder) if line["id"] == 1]
    assert first["answer"] == {"category": "billing"}
    assert first["status"] == "answered"


def test_rows_are_counted_by_what_became_of_them(service: Service, folder: Path, metrics: Metrics) -> None:
    service.settings.poisonous_text = "ticket 3"
    run(enrich(folder, cache_path=(folder.parent / "cache").as_uri()))
    counted: Counter[str] = Counter()
    for number, tags in metrics.of("xpander.bulk.rows"):
        counted[tags["status"]] += int(number)
    assert counted == {"answered": 9, "failed": 1}
    assert len(metrics.of("xpander.run.ended")) == 11
