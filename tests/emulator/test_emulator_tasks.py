from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from emulator_api import Api

from airflow_provider_xpander.emulator import Emulator, ManualClock

BODY = {"input": {"text": "hello"}}


def test_a_new_task_may_be_unknown_for_a_while(api: Api, emulator: Emulator, clock: ManualClock) -> None:
    emulator.configure({"not_found_lag_seconds": 3})
    task_id = api.start()["id"]
    assert api("GET", f"/v1/tasks/{task_id}").status_code == 404
    assert api("GET", f"/v1/tasks/{task_id}/thread").status_code == 404
    clock.advance(3)
    assert api("GET", f"/v1/tasks/{task_id}").status_code == 200


def test_list_filters(api: Api) -> None:
    one = api.start("echo", input={"text": "x", "user": {"id": "u1", "email": "a@example.com"}}, title="one")
    two = api.start("slow", parent_execution_id="p1", triggering_agent_id="t1")
    api.until_status(one["id"], "completed")

    def listed(**query: Any) -> list[str]:
        return [item["id"] for item in api("GET", "/v1/tasks", params=query).json()["items"]]

    assert set(listed()) == {one["id"], two["id"]}
    assert listed(agent_id="echo") == [one["id"]]
    assert listed(user_id="u1") == [one["id"]]
    assert listed(parent_task_id="p1") == [two["id"]]
    assert listed(triggering_agent_id="t1") == [two["id"]]
    assert listed(status="completed") == [one["id"]]
    assert listed(internal_status="x") == []
    assert listed(agent_id="slow", status="completed") == []
    middle = two["created_at"]
    assert listed(from_date=middle) == [two["id"]]
    assert listed(to_date=one["created_at"]) == [one["id"]]
    assert listed(from_date=(datetime.now(UTC) + timedelta(days=1)).isoformat()) == []


def test_dates_are_inclusive_whatever_the_clock_has_behind_the_microseconds(
    api: Api, clock: ManualClock
) -> None:
    for fraction in (0.00000049, 0.00000051, 0.1234567):
        clock.advance(100 + fraction)
        task = api.start()
        moment = {"from_date": task["created_at"], "to_date": task["created_at"]}
        listed = api("GET", "/v1/tasks", params=moment).json()["items"]
        assert [item["id"] for item in listed] == [task["id"]]


@pytest.fixture
def far_west(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/Los_Angeles")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_west")
def test_dates_without_a_zone_are_utc(api: Api) -> None:
    api.start()
    earlier = (datetime.now(UTC) - timedelta(hours=1)).replace(tzinfo=None).isoformat()
    assert api("GET", "/v1/tasks", params={"from_date": earlier}).json()["total"] == 1
    assert api("GET", "/v1/tasks", params={"to_date": earlier}).json()["total"] == 0


def test_list_items_are_lean_and_have_no_result_before_the_end(api: Api) -> None:
    task_id = api.start("slow", title="t")["id"]
    (item,) = api("GET", "/v1/agents/slow/tasks").json()["items"]
    assert (item["id"], item["result"], item["title"]) == (task_id, "", "t")
    assert "tokens" not in item
    assert "finished_at" not in item


def test_list_is_in_pages_latest_update_first(api: Api, emulator: Emulator) -> None:
    ids = [api.start("paused")["id"] for _ in range(5)]
    for task_id in ids:
        api.until_status(task_id, "paused")
    emulator.resume(ids[0])
    first = api("GET", "/v1/tasks?per_page=2").json()
    assert (first["total"], first["page"], first["per_page"], first["total_pages"]) == (5, 1, 2, 3)
    pages = [api("GET", f"/v1/tasks?per_page=2&page={page}").json()["items"] for page in (1, 2, 3)]
    listed = [item["id"] for page in pages for item in page]
    assert listed == [ids[0], *reversed(ids[1:])]


def test_lists_may_lag(api: Api, emulator: Emulator, clock: ManualClock) -> None:
    emulator.configure({"list_lag_seconds": 60})
    task_id = api.start()["id"]
    assert api("GET", "/v1/tasks").json()["items"] == []
    assert api("GET", f"/v1/tasks/{task_id}").status_code == 200
    clock.advance(60)
    assert [item["id"] for item in api("GET", "/v1/tasks").json()["items"]] == [task_id]


def test_lists_may_ignore_or_refuse_a_status(api: Api, emulator: Emulator) -> None:
    task_id = api.start("slow")["id"]
    assert api("GET", "/v1/tasks?status=completed").json()["items"] == []
    emulator.configure({"list_status_filter": "ignored"})
    assert [item["id"] for item in api("GET", "/v1/tasks?status=completed").json()["items"]] == [task_id]
    emulator.configure({"list_status_filter": "refused"})
    assert api("GET", "/v1/tasks?status=completed").status_code == 422
    assert api("GET", "/v1/tasks").status_code == 200


@pytest.mark.parametrize("query", ["status=running", "per_page=51", "per_page=0", "page=0", "from_date=soon"])
def test_wrong_queries_answer_422(api: Api, query: str) -> None:
    answer = api("GET", f"/v1/tasks?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", query.split("=")[0]]


def test_stop_is_idempotent(api: Api, emulator: Emulator) -> None:
    task_id = api.start("slow", "take 60")["id"]
    stopped = api("POST", f"/v1/tasks/{task_id}/stop").json()
    assert (stopped["status"], stopped["is_manually_stopped"]) == ("stopped", True)
    again = api("POST", f"/v1/tasks/{task_id}/stop")
    assert (again.status_code, again.json()) == (200, stopped)
    assert emulator.stops(task_id) == 2


def test_stop_leaves_a_completed_task_as_it_is(api: Api) -> None:
    task = api("POST", "/v1/agents/echo/invoke", json=BODY).json()
    assert api("POST", f"/v1/tasks/{task['id']}/stop").json() == task


def test_stop_may_take_a_while(api: Api, emulator: Emulator, clock: ManualClock) -> None:
    emulator.configure({"stop_delay_seconds": 3})
    task_id = api.start("slow", "take 60")["id"]
    assert api("POST", f"/v1/tasks/{task_id}/stop").json()["status"] == "pending"
    clock.advance(2)
    # A second stop does not put the first one off.
    api("POST", f"/v1/tasks/{task_id}/stop")
    assert api.get(task_id)["status"] == "executing"
    clock.advance(1)
    assert (api.get(task_id)["status"], api.get(task_id)["is_manually_stopped"]) == ("stopped", True)


def test_a_run_may_complete_while_it_is_being_stopped(
    api: Api, emulator: Emulator, clock: ManualClock
) -> None:
    emulator.configure({"stop_delay_seconds": 3})
    task_id = api.start("slow", "take 2")["id"]
    api("POST", f"/v1/tasks/{task_id}/stop")
    clock.advance(3)
    assert (api.get(task_id)["status"], api.get(task_id)["is_manually_stopped"]) == ("completed", False)


def test_deleted_tasks_are_gone(api: Api) -> None:
    task_id = api.start()["id"]
    answer = api("DELETE", f"/v1/tasks/{task_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert api("GET", f"/v1/tasks/{task_id}").status_code == 404
    assert api("DELETE", f"/v1/tasks/{task_id}").status_code == 404


def test_a_known_id_continues_the_thread(api: Api, emulator: Emulator) -> None:
    first = api("POST", "/v1/agents/echo/invoke", json={"input": {"text": "one"}, "title": "a"}).json()
    second = api(
        "POST", "/v1/agents/echo/invoke", json={"input": {"text": "two"}, "id": first["id"], "title": "b"}
    ).json()
    assert (second["id"], second["result"], second["created_at"]) == (first["id"], "two", first["created_at"])
    assert second["finished_at"] > first["finished_at"]
    (item,) = api("GET", "/v1/tasks").json()["items"]
    assert (item["title"], item["result"]) == ("b", "two")
    thread = api("GET", f"/v1/tasks/{first['id']}/thread").json()
    assert [(message["role"], message["content"]) for message in thread] == [
        ("user", "one"), ("assistant", "one"), ("user", "two"), ("assistant", "two"),
    ]  # fmt: skip
    assert thread[0]["id"] == f"{first['id']}_user_1"
    assert api("GET", f"/v1/tasks/{first['id']}/thread/full").json() == {"root": thread}
    assert len(emulator.runs("echo")) == 2


def test_a_follow_up_may_still_show_the_turn_before(api: Api, emulator: Emulator, clock: ManualClock) -> None:
    emulator.configure({"run_seconds": 0, "stale_turn_seconds": 3})
    first = api.start("echo", "one")
    clock.advance(100)
    assert api.start("echo", "two", id=first["id"])["result"] == "two"
    assert api.get(first["id"]) == first
    clock.advance(3)
    second = api.get(first["id"])
    assert second["result"] == "two"
    assert second["finished_at"] > first["finished_at"]


def test_unknown_ids_are_taken_or_refused(api: Api, emulator: Emulator) -> None:
    assert api.start(id="my-thread-1")["id"] == "my-thread-1"
    emulator.configure({"unknown_ids": "not_found"})
    refused = api("POST", "/v1/agents/echo/invoke/async", json={**BODY, "id": "my-thread-2"})
    assert refused.status_code == 404
    assert api.start(id="my-thread-1")["id"] == "my-thread-1"


@pytest.mark.parametrize(("how", "answers"), [("accept", 2), ("cancel", 1), ("steer", 1)])
def test_a_message_to_a_running_id(
    api: Api, emulator: Emulator, clock: ManualClock, how: str, answers: int
) -> None:
    emulator.configure({"busy_thread": how})
    task_id = api.start("slow", "take 10")["id"]
    clock.advance(5)
    api.start("slow", "take 10", id=task_id)
    clock.advance(10)
    assert api.get(task_id)["status"] == "completed"
    thread = api("GET", f"/v1/tasks/{task_id}/thread").json()
    assert [message["role"] for message in thread].count("assistant") == answers
    asked = [message["content"] for message in thread if message["role"] == "user"]
    assert asked == ["take 10", "take 10"]
    assert len(emulator.runs()) == (1 if how == "steer" else 2)


def test_lists_may_use_the_old_names_of_statuses(api: Api, emulator: Emulator, clock: ManualClock) -> None:
    emulator.configure({"list_status_names": "old", "run_seconds": 10, "pending_share": 0.5})
    task_id = api.start()["id"]
    seen = []
    for _ in range(2):
        seen.append(api("GET", "/v1/tasks").json()["items"][0]["status"])
        clock.advance(6)
    api.start("slow", id=task_id)
    api("POST", f"/v1/tasks/{task_id}/stop")
    seen.append(api("GET", "/v1/tasks").json()["items"][0]["status"])
    assert seen == ["queued", "running", "cancelled"]
    assert api.get(task_id)["status"] == "stopped"


@pytest.mark.parametrize(("status", "body"), [(204, ""), (202, ""), (200, "Task deleted")])
def test_a_delete_answers_as_some_page_says(api: Api, emulator: Emulator, status: int, body: str) -> None:
    emulator.configure({"delete_status": status})
    task_id = api.start()["id"]
    answer = api("DELETE", f"/v1/tasks/{task_id}")
    assert answer.status_code == status
    assert body in answer.text
    assert api("GET", f"/v1/tasks/{task_id}").status_code == 404


@pytest.mark.parametrize("shape", ["object", "array"])
def test_a_full_thread_has_two_shapes(api: Api, emulator: Emulator, shape: str) -> None:
    emulator.configure({"full_thread": shape})
    thread = api("GET", f"/v1/tasks/{api.start()['id']}/thread/full").json()
    messages = thread if shape == "array" else thread["root"]
    assert messages[0]["content"] == "hello"


def test_a_pause_may_show_the_old_request_for_approval(
    api: Api, emulator: Emulator, clock: ManualClock
) -> None:
    emulator.configure({"hitl_request": "approval"})
    task_id = api.start("paused")["id"]
    assert api.get(task_id)["hitl_request"] is None
    clock.advance(1)
    assert api.get(task_id)["hitl_request"].keys() >= {"operation_id", "content", "approved_by"}
