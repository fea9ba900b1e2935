"""Many tasks that are tried again at once share the list that they read, and are told nothing wrong by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow_side import Service
from attempts import BEGAN, LONG, attempt, lists, mark_of, slept, submit

from airflow_provider_xpander.api import host_budget
from airflow_provider_xpander.api.exchange import Reply, Send, Sleep
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.operators import shared_lists
from airflow_provider_xpander.operators.shared_lists import SharedLists
from airflow_provider_xpander.runs.identity import Mark
from airflow_provider_xpander.runs.task_list import Lists, TaskList

__all__ = ["slept"]

pytestmark = pytest.mark.usefixtures("slept")

SETTINGS = Settings(base_url="http://127.0.0.1:1", api_key="k")


def kept() -> Path:
    (file,) = (one for one in host_budget.place_of_host().iterdir() if not one.suffix)
    return file


def reads(service: Service) -> int:
    return len([call for call in service.requests("GET") if call.path.startswith("/v1/tasks/")])


def test_a_mass_retry_reads_the_list_once_and_each_run_once(service: Service) -> None:
    started = [submit(attempt(1, map_index=index)) for index in range(10)]
    for _ in range(60):
        service.start("slow", LONG, title="A chat")
    assert [submit(attempt(2, map_index=index)) for index in range(10)] == started
    assert lists(service) <= 4
    assert reads(service) == 10


def test_nothing_is_started_because_of_what_was_seen_before(service: Service) -> None:
    """The list was read to its end before the run was there."""
    submit(attempt(2, map_index=0))
    before = lists(service)
    started = submit(attempt(1, map_index=1))
    assert submit(attempt(2, map_index=1)) == started
    assert lists(service) > before


def test_a_run_that_has_ended_since_does_not_hide_the_one_after_it(service: Service) -> None:
    first = submit(attempt(1))
    submit(attempt(1, map_index=7))
    assert submit(attempt(2)) == first  # is in the file now
    service.finish(first, "failed")
    second = service.start("slow", LONG, title=f"t {mark_of(service, 0)}", source="")
    assert submit(attempt(3)) == second
    assert len(service.posts) == 2
    assert second in kept().read_text(), "what the second look has shown is shared too"


def test_what_the_file_says_is_not_believed(service: Service) -> None:
    """Of the run that it names, the mark counts that the service shows."""
    started = submit(attempt(1))
    theirs = service.start("slow", LONG, title=f"t {Mark('f' * 20)}")
    submit(attempt(2))
    text = kept().read_text()
    kept().write_text(text.replace(started, "?").replace(theirs, started).replace("?", theirs))
    assert submit(attempt(3)) == started


def test_the_file_has_marks_and_no_words(service: Service) -> None:
    service.start("slow", LONG, title="about Mrs Miller")
    submit(attempt(1))
    submit(attempt(2))
    assert "Miller" not in kept().read_text()
    assert {len(one) for one in json.loads(kept().read_text())["tasks"]} == {6}


@pytest.mark.parametrize(
    "damage", ["", "[]", "{}", '{"began": 1, "tasks": [1]}', '{"began": "x", "tasks": []}']
)
def test_a_damaged_file_does_no_harm(damage: str, service: Service) -> None:
    started = submit(attempt(1))
    submit(attempt(2))
    kept().write_text(damage)
    assert submit(attempt(3)) == started


def test_a_folder_that_is_open_to_others_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o777)
    monkeypatch.setattr(host_budget, "place_of_host", lambda: tmp_path)
    assert type(SharedLists.of(SETTINGS, "slow", BEGAN)) is Lists
    tmp_path.chmod(0o700)
    assert type(SharedLists.of(SETTINGS, "slow", BEGAN)) is SharedLists
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setattr(host_budget, "place_of_host", lambda: tmp_path / "link")
    assert type(SharedLists.of(SETTINGS, "slow", BEGAN)) is Lists


class Process:
    """One process that looks for a task, step by step."""

    def __init__(self, path: Path, task_id: str, *, only_new: bool = False) -> None:
        self.lists = SharedLists(path)
        self.lists.only_new = only_new
        self.steps = self.lists.read("slow", BEGAN, lambda task: task.id == task_id)
        self.asks = next(self.steps)

    def go_on(self, *listed: str) -> TaskList | Any:
        """Answer what it asks for; return what it found, or what it asks for next."""
        page = {"items": [{"id": one, "status": "executing"} for one in listed], "total_pages": 1}
        try:
            answer = Reply(200, {}, json.dumps(page).encode()) if isinstance(self.asks, Send) else None
            self.asks = self.steps.send(answer)
        except StopIteration as end:
            return end.value
        return self.asks


def test_the_others_wait_and_are_told_what_the_one_has_seen(tmp_path: Path) -> None:
    first, second, third = (Process(tmp_path / "list", name) for name in ("t1", "t2", "t3"))
    assert isinstance(first.asks, Send)
    assert [second.asks, third.asks] == [Sleep(shared_lists.TURN)] * 2
    assert isinstance(second.go_on(), Sleep)
    assert first.go_on("t1", "t2").enough
    # It is there, and is read before anything follows from it.
    found = second.go_on()
    assert {task.id for task in found.tasks} == {"t1", "t2"}
    assert second.lists.was_old
    # It is not there, and the list was not read after this one had asked for it.
    assert isinstance(third.go_on(), Send)
    fourth, fifth = (Process(tmp_path / "list", name) for name in ("t4", "t5"))
    assert third.go_on("t1", "t2").whole
    assert isinstance(fourth.go_on(), Send), "the reading had begun before it asked"
    sixth = Process(tmp_path / "list", "t1")
    assert fourth.go_on("t1").whole
    told = fifth.go_on()
    assert not told.enough
    assert told.whole
    assert not fifth.lists.was_old
    assert {task.id for task in sixth.go_on().tasks} == {"t1", "t2"}


def test_those_whom_an_old_list_does_not_help_share_the_new_one(tmp_path: Path) -> None:
    """As after a mass clear: each run that the old list shows is stopped, and there may be others."""
    assert Process(tmp_path / "list", "none").go_on("t1", "t2").whole
    first, second, third = (Process(tmp_path / "list", f"t{n}", only_new=True) for n in (3, 4, 5))
    assert isinstance(first.asks, Send)
    assert [second.asks, third.asks] == [Sleep(shared_lists.TURN)] * 2
    assert first.go_on("t1", "t2").whole
    assert isinstance(second.go_on(), Send), "the reading had begun before it asked"
    assert second.go_on("t1", "t2").whole
    told = third.go_on()
    assert told.whole
    assert not third.lists.was_old
    assert {task.id for task in told.tasks} == {"t1", "t2"}


def test_a_turn_that_does_not_end_is_not_waited_for_long(tmp_path: Path) -> None:
    first, second = Process(tmp_path / "list", "t1"), Process(tmp_path / "list", "t2")
    asked: Any = second.asks
    for _ in range(shared_lists.TURNS):
        assert isinstance(asked, Sleep)
        asked = second.go_on()
    assert isinstance(asked, Send)
    assert second.go_on("t2").tasks == [Task(id="t2", status="executing")]
    assert first.go_on("t1").enough


def test_a_file_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    process = Process(tmp_path / "nowhere" / "list", "t1")
    assert isinstance(process.asks, Send)
    assert process.go_on("t1").enough
