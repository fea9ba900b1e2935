"""Rows of a bulk task that are not answered as they should be, and what becomes of the task."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from airflow_side import Service
from attempts import attempt
from bulk import SCHEMA, asked, check_once, enrich, folder, lines, manifest_of, run, tickets

from airflow_provider_xpander._compat import AirflowFailException
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.operators.bulk import ask as bulk_ask
from airflow_provider_xpander.operators.bulk import task as bulk_task

__all__ = ["folder"]

POISON = "ticket 7"


@pytest.mark.parametrize(
    ("switches", "repeats"),
    [
        ({"pack_rows_missing": 1}, 2),
        ({"pack_rows_doubled": 1}, 2),
        ({"pack_rows_invalid": 1}, 2),
        ({"pack_rows_missing": 2, "pack_rows_foreign": 2}, 4),
        ({"pack_rows_foreign": 3}, 0),
        ({"pack_rows_shuffled": True}, 0),
    ],
)
def test_rows_that_an_answer_is_no_use_for_are_asked_about_alone(
    service: Service, folder: Path, switches: dict[str, Any], repeats: int
) -> None:
    for name, value in switches.items():
        setattr(service.settings, name, value)
    manifest = run(enrich(folder, rows_per_run=5))
    check_once(folder, service, 10)
    assert manifest["runs"] == {"started": 2 + repeats, "completed": 2 + repeats, "repeats": repeats}
    texts = [found.body["input"]["text"] for found in service.runs()]
    assert sum('{"rows":' in text for text in texts) == 2


@pytest.mark.parametrize("rows_per_run", [1, 2, 5, 10, 20])
def test_a_poisonous_row_costs_itself_only(service: Service, folder: Path, rows_per_run: int) -> None:
    service.settings.poisonous_text = POISON
    manifest = run(enrich(folder, rows=tickets(20), rows_per_run=rows_per_run))
    (failed,) = lines(folder, "failed")
    assert failed["id"] == 7
    assert failed["row"] == {"id": 7, "text": f"I was charged twice, {POISON}"}
    assert "cannot work on this row" in failed["reason"]
    assert {line["id"] for line in lines(folder)} == set(range(1, 21)) - {7}
    assert manifest["counts"]["failed"] == 1
    assert manifest["failures"] == [{"id": 7, "reason": failed["reason"]}]
    further = manifest["runs"]["started"] - 20 // rows_per_run
    assert further <= 3 * math.log2(rows_per_run) + 2


def test_failed_rows_are_a_source_again(service: Service, folder: Path) -> None:
    service.settings.poisonous_text = POISON
    run(enrich(folder, rows=tickets(10), exclude_columns=["secret"]))
    service.settings.poisonous_text = ""
    again = folder.parent / "again"
    manifest = run(enrich(again, rows=f"{folder.as_uri()}/failed/*.jsonl", task_id="ask"))
    assert manifest["counts"]["answered"] == 1
    assert [line["id"] for line in lines(again)] == [7]


def test_an_answer_that_is_no_json_is_repaired_once(service: Service, folder: Path) -> None:
    service.story("wrong_json_once", agent="classifier")
    manifest = run(enrich(folder, rows_per_run=10))
    check_once(folder, service, 10)
    assert manifest["runs"] == {"started": 2, "completed": 2, "repeats": 1}
    assert len({found.body.get("id") or found.task_id for found in service.runs()}) == 1


def test_an_agent_that_never_gives_json_fails_all_rows(service: Service, folder: Path) -> None:
    with pytest.raises(AirflowFailException, match=r"^2 of 2 rows failed \(the first: the answer .*\), more"):
        run(enrich(folder, agent_id="not-json", rows=tickets(2)))
    assert {line["reason"] for line in lines(folder, "failed")}
    assert manifest_of(folder)["counts"]["failed"] == 2


@pytest.mark.parametrize(
    ("max_failed", "fails"), [(0.1, False), (0.04, True), (1, False), (0, True), (0.0, True), (1.0, False)]
)
def test_the_task_fails_above_max_failed(
    service: Service, folder: Path, max_failed: float, fails: bool
) -> None:
    service.settings.poisonous_text = POISON
    task = enrich(folder, rows=tickets(20), max_failed=max_failed)
    if fails:
        with pytest.raises(AirflowFailException, match="1 of 20 rows failed"):
            run(task)
    else:
        run(task)
    assert manifest_of(folder)["counts"] == {
        "rows": 20, "answered": 19, "cached": 0, "failed": 1, "skipped": 0,
    }  # fmt: skip


def test_the_first_failed_row_ends_the_asking(service: Service, folder: Path) -> None:
    service.settings.poisonous_text = "ticket 1"
    with pytest.raises(AirflowFailException, match='on_row_error="fail"'):
        run(enrich(folder, max_in_flight=1, on_row_error="fail", rows=tickets(9)))
    assert manifest_of(folder)["counts"]["skipped"] == 8


def test_no_rows_are_a_success_of_zeros(service: Service, folder: Path) -> None:
    manifest = run(enrich(folder, rows=[]))
    assert manifest["counts"] == dict.fromkeys(["rows", "answered", "cached", "failed", "skipped"], 0)
    assert service.runs() == []


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"id": 1}, {"id": 1}], "repeats the key"),
        ([{"id": 1}, {"id": None}], "null"),
        ([{"id": 1}, {"name": "x"}], "has no column 'id'"),
    ],
)
def test_a_bad_key_is_told_before_anything_is_paid(
    service: Service, folder: Path, rows: Any, said: str
) -> None:
    with pytest.raises(AirflowFailException, match=said):
        run(enrich(folder, rows=rows))
    assert service.runs() == []


@pytest.mark.parametrize("on_limit", ["fail", "partial"])
def test_no_more_runs_are_started_than_max_runs(service: Service, folder: Path, on_limit: Any) -> None:
    service.settings.poisonous_text = "ticket 2"  # repeats count
    task = enrich(folder, max_runs=6, on_limit=on_limit, max_failed=1.0, max_in_flight=3)
    if on_limit == "fail":
        with pytest.raises(AirflowFailException, match="max_runs=6"):
            run(task)
    else:
        run(task)
    counts = manifest_of(folder)["counts"]
    assert len(service.runs()) == manifest_of(folder)["runs"]["started"] == 6
    assert counts["skipped"] == 10 - counts["answered"] - counts["failed"] > 0
    assert len(lines(folder)) == counts["answered"]


def test_the_asking_ends_before_the_tokens_are_used_up(service: Service, folder: Path) -> None:
    probe = run(enrich(folder, rows=tickets(1)))["tokens"]["total_tokens"]
    place = folder.parent / "limited"
    run(enrich(place, max_total_tokens=probe * 7, on_limit="partial", max_in_flight=2, rows=tickets(30)))
    manifest = manifest_of(place)
    assert manifest["tokens"]["total_tokens"] <= probe * 7
    assert manifest["counts"]["answered"] >= 5


def test_a_preview_says_what_the_whole_would_cost(service: Service, folder: Path) -> None:
    manifest = run(enrich(folder, preview=4, rows=tickets(100), rows_per_run=2))
    assert manifest["counts"] == {"rows": 100, "answered": 4, "cached": 0, "failed": 0, "skipped": 96}
    preview = manifest["preview"]
    assert preview["rows"] == 4
    assert preview["runs"] == 50
    assert 100 <= preview["requests"] <= 110
    assert preview["tokens"] == manifest["tokens"]["total_tokens"] * 25


def test_a_folder_of_another_task_instance_is_refused(service: Service, folder: Path) -> None:
    run(enrich(folder))
    runs = len(service.runs())
    for other in (attempt(1, run_id="manual__2026-11-02"), attempt(1, map_index=3)):
        with pytest.raises(AirflowFailException, match="another task instance"):
            run(enrich(folder), other)
    stray = folder.parent / "stray"
    (stray / "results").mkdir(parents=True)
    (stray / "results" / "part-0.csv").write_text("id\n")
    with pytest.raises(AirflowFailException, match="no bulk task owns"):
        run(enrich(stray))
    assert len(service.runs()) == runs


def test_a_clear_starts_anew_and_keeps_what_was_there(service: Service, folder: Path) -> None:
    before = run(enrich(folder, rows=tickets(3)))
    files = {path.name: path.read_text() for path in (folder / "results").iterdir()}
    run(enrich(folder, rows=tickets(5)), attempt(2, cleared_at=2))
    check_once(folder, service, 5)
    assert asked(service)[1] == 2
    (kept,) = [path for path in (folder / "_xpander").iterdir() if (path / "manifest.json").exists()]
    assert json.loads((kept / "manifest.json").read_text()) == before
    assert {path.name: path.read_text() for path in (kept / "results").iterdir()} == files


def test_a_retry_reads_the_snapshot_and_not_the_source(service: Service, folder: Path) -> None:
    service.settings.poisonous_text = POISON
    with pytest.raises(AirflowFailException):
        run(enrich(folder, max_failed=0))
    manifest = run(enrich(folder, rows=tickets(50)), attempt(2))
    assert manifest["counts"]["rows"] == 10
    assert asked(service)[7] == 2


def test_a_task_that_is_late_keeps_its_answers_and_stops_the_rest(service: Service, folder: Path) -> None:
    service.agent("long").answers({"category": "bug"}).takes(600)
    with pytest.raises(XpanderError, match="not done in time"):
        run(enrich(folder, agent_id="long", timeout=0.5, max_in_flight=3))
    assert {service.status(found.task_id) for found in service.runs()} == {"stopped"}
    assert manifest_of(folder)["counts"]["skipped"] == 10
    service.agent("long").takes(0.02)
    run(enrich(folder, agent_id="long", max_in_flight=3), attempt(2))
    assert len(lines(folder)) == 10


def test_what_is_sent_of_a_row_can_be_chosen(service: Service, folder: Path) -> None:
    rows = [{"id": 1, "text": "charged {{ twice }}", "secret": "s3cret"}]
    run(enrich(folder, rows=rows, exclude_columns=["secret"]))
    assert service.runs()[0].body["input"]["text"] == (
        'Classify the ticket.\n\n{"id": 1, "text": "charged {{ twice }}"}'
    )
    run(enrich(folder.parent / "two", rows=rows, row_input="{{ row.text }}!"))
    assert service.runs()[-1].body["input"]["text"] == "Classify the ticket.\n\ncharged {{ twice }}!"
    assert service.runs()[-1].body["output_schema"] == SCHEMA


def test_rows_that_were_asked_about_before_are_not_paid_again(service: Service, folder: Path) -> None:
    cache = (folder.parent / "cache").as_uri()
    run(enrich(folder, cache_path=cache, rows_per_run=4))
    known = {line["id"]: line["xpander_task_id"] for line in lines(folder)}
    runs = len(service.runs())
    place = folder.parent / "next"
    rows = [*tickets(10), {"id": 11, "text": "ticket 11, of today"}]
    manifest = run(enrich(place, cache_path=cache, rows=rows, title="Another title"))
    assert manifest["counts"] == {"rows": 11, "answered": 1, "cached": 10, "failed": 0, "skipped": 0}
    assert len(service.runs()) == runs + 1
    cached = {line["id"]: line["xpander_task_id"] for line in lines(place) if line["status"] == "cached"}
    assert cached == known
    other = folder.parent / "other"
    assert run(enrich(other, cache_path=cache, input="Do something else."))["counts"]["cached"] == 0
    # Another service, where an agent has the same id: an emulator, say.
    service.connect(host=service.server.url.replace("127.0.0.1", "localhost"))
    assert run(enrich(folder.parent / "elsewhere", cache_path=cache))["counts"]["cached"] == 0


def test_rows_between_cached_ones_fill_packs(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_ask, "LOOKED_UP", 25)
    cache = (folder.parent / "cache").as_uri()
    run(enrich(folder, cache_path=cache, rows=tickets(90)[::2], rows_per_run=10))
    runs = len(service.runs())
    place = folder.parent / "next"
    run(enrich(place, cache_path=cache, rows=tickets(90), rows_per_run=10, max_in_flight=2))
    check_once(place, service, 90)
    assert len(service.runs()) - runs == math.ceil(45 / 10)


def test_failed_rows_are_not_kept_in_the_cache(service: Service, folder: Path) -> None:
    cache = (folder.parent / "cache").as_uri()
    service.settings.poisonous_text = POISON
    run(enrich(folder, cache_path=cache))
    service.settings.poisonous_text = ""
    manifest = run(enrich(folder.parent / "next", cache_path=cache))
    assert (manifest["counts"]["cached"], manifest["counts"]["answered"]) == (9, 1)


def test_an_agent_that_is_broken_is_not_asked_about_all_rows(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_ask, "VAIN", 8)
    monkeypatch.setattr(bulk_task, "VAIN", 8)
    service.settings.poisonous_text = "ticket"
    task = enrich(folder, rows=tickets(40), max_in_flight=4, max_failed=1.0)
    with pytest.raises(XpanderError, match="8 runs in a row"):
        run(task)
    assert len(service.runs()) == 8
    assert manifest_of(folder)["counts"]["skipped"] > 30
    service.settings.poisonous_text = ""
    run(enrich(folder, rows=tickets(40), max_failed=1.0), attempt(2))
    assert len(lines(folder)) + len(lines(folder, "failed")) == 40
    assert len(lines(folder)) >= 36


def test_an_outlet_is_told_of_the_manifest(service: Service, folder: Path) -> None:
    class Event:
        def __init__(self) -> None:
            self.extra: dict[str, Any] = {}

    ti, event = attempt(1), Event()
    task = enrich(folder, rows=tickets(2), deferrable=False)
    task.outlets = ["labels"]
    context = ti.context() | {"outlet_events": {"labels": event}}
    task.render_template_fields(context)
    manifest = task.execute(context)
    assert event.extra == {"xpander": manifest}


def test_a_paused_run_is_stopped_and_its_row_fails_where_that_is_asked_for(
    service: Service, folder: Path
) -> None:
    with pytest.raises(AirflowFailException, match="2 of 2 rows failed"):
        run(enrich(folder, agent_id="paused", rows=tickets(2), on_paused="fail"))
    assert {service.status(found.task_id) for found in service.runs()} == {"stopped"}
    assert "paused" in lines(folder, "failed")[0]["reason"]


@pytest.mark.parametrize(("on_stopped", "runs", "skipped"), [("skip", 1, 2), ("fail", 3, 0)])
def test_a_run_that_somebody_stops_is_asked_again_or_left(
    service: Service, folder: Path, on_stopped: Any, runs: int, skipped: int
) -> None:
    service.agent("halting").fails("enough", status="stopped", times=2)
    service.agent("halting").answers({"category": "bug"})
    task = enrich(folder, agent_id="halting", rows=tickets(2), rows_per_run=2, on_stopped=on_stopped)
    manifest = run(task)
    assert manifest["counts"]["skipped"] == skipped
    assert len(service.runs()) >= runs
