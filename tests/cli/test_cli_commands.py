"""The commands against the emulator, in this process."""

from __future__ import annotations

import io
import json
import sys
import threading

import pytest
from airflow_side import Service, eventually

from airflow_provider_xpander.emulator import Fault


def test_invoke_prints_the_answer_alone(xpander_airflow, service: Service) -> None:
    done = xpander_airflow("invoke", "echo", "hello", "--title", "By hand", "--poll-interval", "0.05")
    assert (done.code, done.out) == (0, "hello\n")
    (run,) = service.runs("echo")
    assert run.body["title"] == "By hand"
    assert run.task_id in done.err


def test_invoke_reads_the_standard_input(
    xpander_airflow, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("a long\ntext"))
    assert xpander_airflow("invoke", "echo", "-", "--poll-interval", "0.05").out == "a long\ntext\n"


def test_invoke_as_json_has_the_run(xpander_airflow, service: Service) -> None:
    done = xpander_airflow("invoke", "classifier", "I was charged twice", "--json", "--poll-interval", "0.05")
    assert done.data["status"] == "completed"
    assert done.data["xpander_task_id"] == service.runs()[0].task_id


def test_invoke_without_waiting(xpander_airflow, service: Service) -> None:
    done = xpander_airflow("invoke", "slow", "take 600", "--no-wait")
    assert done.out.strip() == service.runs()[0].task_id
    assert service.status(done.out.strip()).value != "completed"


def test_a_run_that_failed_or_goes_on_has_its_own_exit_code(xpander_airflow, service: Service) -> None:
    failed = xpander_airflow("invoke", "failing", "please", "--poll-interval", "0.05")
    assert failed.code == 3
    assert "a required tool is missing" in failed.out
    late = xpander_airflow("invoke", "slow", "take 600", "--timeout", "0.2", "--poll-interval", "0.05")
    assert late.code == 4
    assert late.out == ""
    assert "goes on" in late.err
    assert service.stops(service.runs("slow")[0].task_id) == 0


def test_invoke_waits_for_the_turn_that_it_has_started(xpander_airflow, service: Service) -> None:
    first = xpander_airflow("invoke", "echo", "one", "--json", "--poll-interval", "0.05").data[
        "xpander_task_id"
    ]
    service.configure({"stale_turn_seconds": 0.5})
    again = xpander_airflow("invoke", "echo", "two", "--thread-id", first, "--poll-interval", "0.05")
    assert again.out == "two\n"


def test_invoke_never_posts_to_a_thread_that_is_busy(xpander_airflow, service: Service) -> None:
    busy = service.start("slow", "take 600")
    done = xpander_airflow("invoke", "slow", "and now?", "--thread-id", busy)
    assert done.code == 1
    assert "Nothing was started" in done.err
    assert len(service.runs()) == 1


def test_tail_tells_progress_and_prints_the_answer(xpander_airflow, service: Service) -> None:
    task_id = service.start("paused", "approve it")

    def resume() -> None:
        eventually(lambda: service.status(task_id) == "paused", "it is paused")
        before = len(service.requests("GET"))
        eventually(lambda: len(service.requests("GET")) > before + 1, "the pause was seen")
        service.resume(task_id)

    threading.Thread(target=resume).start()
    done = xpander_airflow("tail", task_id, "--poll-interval", "0.05")
    assert (done.code, done.out) == (0, "Resumed and completed: approve it\n")
    assert "is paused: a person has to answer" in done.err


def test_get_shows_no_secret_that_the_service_repeats(xpander_airflow, service: Service) -> None:
    task_id = service.start("echo", "hello", user_tokens={"crm": "hush-token-4711"})
    eventually(lambda: service.status(task_id) == "completed", "it is completed")
    done = xpander_airflow("get", task_id, "--json")
    assert done.data["result"] == "hello"
    assert done.data["link"].startswith("https://")
    assert "hush" not in done.out
    assert {line["role"] for line in xpander_airflow("get", task_id, "--thread", "--json").data} >= {"user"}


def test_stop_stops_each_and_says_what_became_of_it(xpander_airflow, service: Service) -> None:
    going, over = service.start("slow", "take 600"), service.start("echo")
    eventually(lambda: service.status(over) == "completed", "it is completed")
    done = xpander_airflow("stop", going, "not-there", over, "--json")
    assert done.code == 3, "one of them could not be stopped"
    assert [one["status"] for one in done.data] == ["stopped", None, "completed"]
    assert "could not be stopped" in done.data[1]["said"]
    assert "had ended" in done.data[2]["said"]
    assert xpander_airflow("stop", going).code == 0


def test_the_service_refuses(xpander_airflow, service: Service) -> None:
    service.add_fault(Fault(status=503, times=None))
    done = xpander_airflow("get", "1")
    assert (done.code, done.out) == (1, "")
    assert "503" in done.err


def test_ls_of_everybody_is_newest_first(xpander_airflow, service: Service) -> None:
    ids = [service.start("echo", title=str(number)) for number in range(3)]
    rows = xpander_airflow("ls", "--all", "--limit", "2", "--json").data
    assert [row["xpander_task_id"] for row in rows] == ids[:0:-1]
    assert rows[0]["title"] == "2"


@pytest.mark.parametrize(
    ("changes", "check", "said"),
    [
        ({"host": "https://no-such-host.invalid"}, "key and service", "host name is unknown: check the host"),
        ({"host": "https"}, "TLS", "does not speak TLS"),
        ({"extra": {"proxy": "http://127.0.0.1:1"}}, "key and service", "127.0.0.1:1"),
        ({"conn_type": "http"}, "connection", "'http'"),
    ],
    ids=["host", "TLS", "proxy", "type"],
)
def test_check_tells_a_bad_connection(
    xpander_airflow, service: Service, changes: dict, check: str, said: str
) -> None:
    if changes.get("host") == "https":
        changes = {"host": service.server.url.replace("http:", "https:")}
    service.connect(**changes)
    done = xpander_airflow("check", "--json")
    assert done.code == 1
    assert [row["check"] for row in done.data if row["state"] == "bad"] == [check]
    assert said in done.data[-1]["said"]


def test_check_makes_one_run_where_it_is_asked_to(xpander_airflow, service: Service) -> None:
    done = xpander_airflow("check", "--invoke", "echo", "--workflow", "nope", "--json")
    states = {row["check"]: row["state"] for row in done.data}
    assert states["agent"] == states["run"] == states["key and service"] == states["clock"] == "good"
    assert states["workflow"] == "bad"
    assert done.code == 1
    assert len(service.runs()) == 1


def test_check_stops_a_run_that_is_late(xpander_airflow, service: Service) -> None:
    done = xpander_airflow("check", "--invoke", "paused", "--timeout", "0.3", "--json")
    assert {row["check"]: row["state"] for row in done.data}["run"] == "bad"
    (run,) = service.runs()
    assert service.status(run.task_id) == "stopped"


def test_check_sees_the_marks_of_earlier_runs(xpander_airflow, service: Service) -> None:
    service.start(title=f"dag.task run [airflow {'a' * 20}]", source=f"airflow [airflow {'a' * 20}]")
    done = xpander_airflow("check", "--json")
    assert done.code == 0
    assert "titles and sources" in json.dumps(done.data)
