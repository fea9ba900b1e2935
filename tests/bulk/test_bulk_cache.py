"""The cache of answers: by content, for a time, and whole whoever reads and writes it at once."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.bulk import cache as module
from airflow_provider_xpander.bulk.cache import AnswerCache, Hit

try:
    from airflow.sdk.io import attach
except ImportError:  # Airflow 2
    from airflow.io.store import attach

CONTENT: dict[str, Any] = {
    "target": "agent a",
    "request": {"input": "what?", "output_schema": {"a": 1, "b": 2}},
    "row": {"x": "ü\ud800"},
}  # fmt: skip


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(params=["folder", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "folder":
        yield f"file://{tmp_path}/cache"
        return
    memory = MemoryFileSystem()
    attach("memory", fs=memory)
    yield "memory://answers/"
    if memory.exists("/answers"):
        memory.rm("/answers", recursive=True)


def test_a_hit_has_the_answer_and_names_the_run_it_came_from(place: str) -> None:
    assert AnswerCache(place).get([CONTENT]) == [None]
    answer = {"label": "ü\x00\ud800", "n": [1, None, {"deep": True}]}
    AnswerCache(place).put([(CONTENT, answer, "run-1")])
    assert AnswerCache(place).get([{"row": 1}, CONTENT, CONTENT]) == [
        None,
        Hit({**answer, "label": "ü\x00\ufffd"}, "run-1"),
        Hit({**answer, "label": "ü\x00\ufffd"}, "run-1"),
    ]
    assert AnswerCache(place).get([]) == []


@pytest.mark.parametrize(
    "other",
    [
        {**CONTENT, "target": "agent b"},
        {**CONTENT, "row": {"x": "u"}},
        {**CONTENT, "row": {"x": ["ü\ud800"]}},
        {**CONTENT, "request": {**CONTENT["request"], "version": 2}},
        {**CONTENT, "request": {**CONTENT["request"], "input": "What?"}},
    ],
)
def test_another_content_is_another_question(other: Any, tmp_path: Path) -> None:
    cache = AnswerCache(str(tmp_path))
    cache.put([(CONTENT, {}, "run-1")])
    assert cache.get([other]) == [None]


def test_the_order_of_names_is_no_other_content(tmp_path: Path) -> None:
    cache = AnswerCache(str(tmp_path))
    cache.put([({"a": {"x": 1, "y": 2}, "b": 3}, {}, "run-1")])
    assert cache.get([{"b": 3, "a": {"y": 2, "x": 1}}]) == [Hit({}, "run-1")]


def test_many_are_read_in_their_order(tmp_path: Path) -> None:
    cache = AnswerCache(str(tmp_path))
    cache.put(({"row": number}, {"n": number}, "run") for number in range(0, 500, 2))
    found = cache.get([{"row": number} for number in range(500)])
    assert [hit and hit.answer["n"] for hit in found] == [None if n % 2 else n for n in range(500)]


def test_an_answer_that_is_too_old_is_not_used_and_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(module.time, "time", lambda: now)
    AnswerCache(str(tmp_path)).put([(CONTENT, {"n": 1}, "run-1")])
    now += 3600
    assert AnswerCache(str(tmp_path), ttl=3600).get([CONTENT]) == [Hit({"n": 1}, "run-1")]
    now += 1
    assert AnswerCache(str(tmp_path), ttl=3600).get([CONTENT]) == [None]
    assert AnswerCache(str(tmp_path)).get([CONTENT]) == [Hit({"n": 1}, "run-1")]
    AnswerCache(str(tmp_path), ttl=3600).put([(CONTENT, {"n": 2}, "run-2")])
    assert AnswerCache(str(tmp_path), ttl=3600).get([CONTENT]) == [Hit({"n": 2}, "run-2")]
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize(
    "foreign",
    [
        b"", b"\xff", b"[1]", b"null", b'{"answer": {}}',
        b'{"answer": [], "xpander_task_id": "a", "stored_at": 1}',
        b'{"answer": {}, "xpander_task_id": 1, "stored_at": 1}',
        b'{"answer": {}, "xpander_task_id": "a", "stored_at": ""}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_file_that_was_not_written_here_is_no_hit(foreign: bytes, tmp_path: Path) -> None:
    cache = AnswerCache(str(tmp_path), ttl=60)
    cache.put([(CONTENT, {}, "run-1")])
    files(tmp_path)[0].write_bytes(foreign)
    assert cache.get([CONTENT]) == [None]


def test_a_folder_that_cannot_be_read_is_not_an_answer_that_is_not_there(tmp_path: Path) -> None:
    cache = AnswerCache(str(tmp_path))
    cache.put([(CONTENT, {}, "run-1")])
    (file,) = files(tmp_path)
    file.unlink()
    file.mkdir()  # reading it fails, also for root
    with pytest.raises(XpanderError, match=f"cache_path {tmp_path} cannot be read: IsADirectoryError"):
        cache.get([CONTENT])
    with pytest.raises(XpanderError, match="cache_path nostore://x cannot be read"):
        AnswerCache("nostore://x").get([CONTENT])


def test_an_answer_that_cannot_be_kept_is_told_once_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    cache = AnswerCache(f"{tmp_path}/file")
    for _ in range(2):
        cache.put([(CONTENT, {"label": "SECRET"}, "run-1")])
    (message,) = (record.getMessage() for record in caplog.records if record.name == module.__name__)
    assert message.startswith(f"No answers are kept in cache_path {tmp_path}/file: ")
    assert "SECRET" not in message


def write_and_read(folder: str, failures: Any) -> None:
    cache = AnswerCache(folder)
    text = f"{os.getpid()}" * 20_000
    for _ in range(60):
        cache.put([(CONTENT, {"text": text}, text)])
        (hit,) = cache.get([CONTENT])
        if hit is None or hit.answer["text"] != hit.xpander_task_id:
            failures.put("torn")


def test_processes_that_write_and_read_the_same_answer_at_once_see_whole_ones(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    failures = fork.Queue()
    writers = [fork.Process(target=write_and_read, args=(str(tmp_path), failures)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert failures.empty()
    assert len(files(tmp_path)) == 1
    assert json.loads(files(tmp_path)[0].read_bytes())["xpander_task_id"]
