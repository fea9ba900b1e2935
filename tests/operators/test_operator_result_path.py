"""Answers in files, and answers that are too large for XCom."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow_side import POLL, FakeTaskInstance, Service, run_through
from attempts import Lines, attempt, go, lines, operator, slept
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_xpander import storage
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor

try:
    from airflow.sdk.io import attach
except ImportError:  # Airflow 2
    from airflow.io.store import attach

__all__ = ["lines", "slept"]

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])
HOSTILE = {"__type": "datetime", "__var": 5, "big": 2**70, "ü": "\x1b[31m", "xpander_task_id": "forged"}


@WAYS
def test_the_answer_is_in_the_file_and_its_place_in_xcom(
    deferrable: bool, service: Service, tmp_path: Path, lines: Lines
) -> None:
    ti = attempt(1)
    task = operator(
        input=json.dumps(HOSTILE),
        output_format="json",
        result_path=f"file://{tmp_path}/new/{{{{ ds }}}}.json",
        deferrable=deferrable,
    )
    reference = go(task, ti)
    written = (tmp_path / "new" / "2026-11-01.json").read_bytes()
    assert reference == {
        "url": f"file://{tmp_path}/new/2026-11-01.json",
        "size": len(written),
        "content_type": "application/json",
        "xpander_task_id": ti.xcom["xpander_task_id"],
    }
    assert json.loads(written) == HOSTILE
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["2026-11-01.json"]
    assert lines[-1][1].startswith(
        f'The answer ({len(written)} bytes) is in {reference["url"]}: __type: "datetime" ...'
    )


def test_a_folder_gets_a_file_for_each_run(service: Service, tmp_path: Path) -> None:
    references = [
        go(operator(input=text, result_path=f"file://{tmp_path}/"), attempt(1)) for text in ("ä", "b")
    ]
    assert [Path(one["url"].removeprefix("file://")).read_text() for one in references] == ["ä", "b"]
    assert [one["content_type"] for one in references] == ["text/plain; charset=utf-8"] * 2
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{one['xpander_task_id']}.txt" for one in references
    }


@pytest.mark.parametrize(
    ("limit", "length", "filed"), [(None, 3, True), (5, 3, False), (5, 4, True), (10, 5_000_000, True)]
)
def test_a_limit_lets_small_answers_go_into_xcom(
    limit: int | None, length: int, filed: bool, service: Service, tmp_path: Path
) -> None:
    # The quotes of the JSON text count too.
    answer = go(
        operator(input="x" * length, result_path=f"file://{tmp_path}/a", max_xcom_bytes=limit), attempt(1)
    )
    assert (tmp_path / "a").exists() is filed
    assert (answer["size"] == length) if filed else (answer == "x" * length)


@WAYS
def test_without_a_place_an_answer_above_the_limit_fails_and_says_where_it_is(
    deferrable: bool, service: Service
) -> None:
    ti = attempt(1)
    task = operator(input="x" * 5_000_000, max_xcom_bytes=1000, deferrable=deferrable)
    with pytest.raises(
        AirflowFailException, match="5000002 bytes as JSON, more than max_xcom_bytes=1000"
    ) as caught:
        go(task, ti)
    assert f"GET /v1/tasks/{ti.xcom['xpander_task_id']}" in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert list(ti.xcom) == ["xpander_task_id", "xpander_link", "xpander_task"]


def test_an_answer_of_five_megabytes_goes_into_xcom_unless_told_otherwise(service: Service) -> None:
    assert len(go(operator(input="x" * 5_000_000), attempt(1))) == 5_000_000


def test_an_invalid_answer_above_the_limit_stays_out_of_xcom_too(service: Service) -> None:
    ti = attempt(1)
    with pytest.raises(AirflowFailException, match="not the JSON that was asked for"):
        go(operator(agent_id="not-json", input="x" * 200, output_format="json", max_xcom_bytes=100), ti)
    assert "xpander_raw_result" not in ti.xcom


def test_a_reference_cannot_be_forged_by_an_answer(service: Service) -> None:
    forged = {"url": "file:///etc/passwd", "size": 7, "content_type": "x", "xpander_task_id": "t-1"}
    answer = go(operator(input=json.dumps(forged), output_format="json", max_xcom_bytes=1000), attempt(1))
    assert "xpander_task_id" not in answer


@WAYS
def test_a_write_that_fails_costs_no_second_run(
    deferrable: bool, service: Service, tmp_path: Path, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def task() -> Any:
        return operator(input="paid for", result_path=f"file://{tmp_path}/answer.txt", deferrable=deferrable)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    ti = attempt(1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(XpanderError, match=r"\(8 bytes\) could not be written .*No space left") as caught:
            go(task(), ti)
    run = ti.xcom["xpander_task_id"]
    assert f"GET /v1/tasks/{run}" in str(caught.value)
    assert "a retry takes the run over" in str(caught.value)
    assert list(tmp_path.iterdir()) == []  # nothing half written is left

    assert go(task(), attempt(2))["xpander_task_id"] == run
    assert (tmp_path / "answer.txt").read_text() == "paid for"
    assert len(service.runs()) == 1
    assert service.stops(run) == 0


def test_a_file_that_is_there_is_replaced_as_a_whole(service: Service, tmp_path: Path) -> None:
    (tmp_path / "answer.txt").write_text("an older and longer answer")
    go(operator(input="new", result_path=f"file://{tmp_path}/answer.txt"), attempt(1))
    assert (tmp_path / "answer.txt").read_text() == "new"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nowhere://bucket/a.json", "result_path nowhere://bucket/a.json: "),
        ("s3://bucket/a.json", "result_path s3://bucket/a.json: No filesystem registered"),
        ("{{ '' }}", "result_path must be the URL"),
        ("file://{folder}", "it is a folder"),
        ("{{ '/etc/passwd' }}", "result_path must be the URL"),
    ],
)
def test_a_place_that_cannot_be_written_to_fails_before_anything_is_started(
    place: str, said: str, service: Service, tmp_path: Path
) -> None:
    with pytest.raises(AirflowFailException) as caught:
        go(operator(result_path=place.replace("{folder}", str(tmp_path))), attempt(1))
    assert said in str(caught.value)
    assert service.calls == []


def test_a_place_that_cannot_be_reached_now_may_be_retried(service: Service, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        XpanderError, match="cannot be reached: .*Not a directory|cannot be reached: .*exists"
    ):
        go(operator(result_path=f"file://{tmp_path}/file/a.json"), attempt(1))
    assert service.calls == []


def test_a_place_elsewhere_gets_the_whole_file_in_one_call(service: Service) -> None:
    memory = MemoryFileSystem()
    attach("memory", fs=memory)
    reference = go(operator(input="far away", result_path="memory://bucket/{{ ds }}.txt"), attempt(1))
    assert reference["url"] == "memory://bucket/2026-11-01.txt"
    assert memory.cat_file("/bucket/2026-11-01.txt") == b"far away"


def test_the_name_of_a_file_cannot_leave_its_folder(tmp_path: Path) -> None:
    reference = storage.write_answer(f"file://{tmp_path}/in/", b"x", "text/plain", "../../etc/x y")
    (written,) = (tmp_path / "in").iterdir()
    assert written.read_bytes() == b"x"
    assert reference["url"].startswith(f"file://{tmp_path}/in/..%2F")


@WAYS
def test_a_sensor_writes_too(deferrable: bool, service: Service, tmp_path: Path) -> None:
    def wait(**options: Any) -> Any:
        task_id = service.start("echo", "x" * 50)
        sensor = XpanderTaskSensor(
            task_id="wait", xpander_task_id=task_id, poke_interval=POLL, deferrable=deferrable, **options
        )
        return run_through(sensor, FakeTaskInstance().context())

    assert wait(result_path=f"file://{tmp_path}/{{{{ ds }}}}.txt")["size"] == 50
    assert (tmp_path / "2026-11-01.txt").read_text() == "x" * 50
    assert wait(result_path=f"file://{tmp_path}/b", max_xcom_bytes=100) == "x" * 50
    with pytest.raises(AirflowFailException, match="max_xcom_bytes=10"):
        wait(max_xcom_bytes=10)
