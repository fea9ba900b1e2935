"""The view that a person has of a bulk task that goes on: its progress in both logs, and a link."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest
from airflow_side import Service, fire
from attempts import Lines, attempt
from bulk import enrich, folder, run, run_to_deferral, tickets

from airflow_provider_xpander._compat import TaskDeferred
from airflow_provider_xpander.operators.enrich import XpanderEnrichOperator
from airflow_provider_xpander.triggers import enrich as enrich_trigger

__all__ = ["folder"]

PROGRESS = re.compile(
    r"[\d,]+ of [\d,]+ rows; [\d,]+ answered, [\d,]+ cached, [\d,]+ failed; [\d,]+ runs in flight.*; "
    r"[\d,]+ runs started, [\d,]+ of them repeats; [\d,]+ tokens"
)


def progress_in(log: Lines) -> list[str]:
    return [text for _, text in log if PROGRESS.match(text)]


def test_the_worker_tells_the_progress_of_each_wave_and_no_content(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Lines()
    monkeypatch.setattr(XpanderEnrichOperator, "log", log, raising=False)
    service.settings.run_seconds = 0.02
    run(enrich(folder, max_in_flight=5))
    found = progress_in(log)
    assert len(found) >= 3
    assert "10 of 10 rows; 10 answered" in found[-1]
    assert any("rows an hour; about" in line for line in found[:-1])
    assert found[-1].endswith("rows an hour"), "nothing is left"
    assert "charged twice" not in log.text


def test_the_triggerer_tells_it_every_five_minutes(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert enrich_trigger.INTERVAL == 300
    monkeypatch.setattr(enrich_trigger, "INTERVAL", 0.2)
    service.settings.run_seconds = 600
    with pytest.raises(TaskDeferred) as deferred:
        run_to_deferral(enrich(folder, rows=tickets(3)), attempt(1))
    trigger, log = deferred.value.trigger, Lines()
    monkeypatch.setattr(type(trigger), "log", log)
    trigger.until = time.time() + 1
    asyncio.run(fire(trigger))
    assert len([text for text in progress_in(log) if "3 runs in flight" in text]) >= 2


def test_a_link_leads_to_a_run_while_the_task_waits(service: Service, folder: Path) -> None:
    ti = attempt(1)
    with pytest.raises(TaskDeferred):
        run_to_deferral(enrich(folder), ti)
    assert ti.xcom["xpander_link"].endswith("/agents/classifier")


@pytest.mark.filterwarnings("ignore")  # those of Airflow's OpenLineage provider are not ours
@pytest.mark.parametrize("moment", ["start", "complete"])
def test_openlineage_is_told_what_is_read_and_written(folder: Path, moment: str) -> None:
    task = enrich(folder, rows="file:///data/tickets-*.csv")
    told = task.get_openlineage_facets_on_start()
    if moment == "complete":
        told = task.get_openlineage_facets_on_complete(None)
    assert [(one.namespace, one.name) for one in told.inputs] == [("file", "/data")]
    assert [(one.namespace, one.name) for one in told.outputs] == [("file", f"{folder}/results")]
    (facet,) = told.job_facets.values()
    assert facet.id == "classifier"
