"""A streamed run on a running Airflow: what a reader of the task log sees, and how a stream may fail."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from streamed_story import STORY_LOG, without_ids

from airflow_provider_xpander.emulator.server import EmulatorServer
from airflow_provider_xpander.emulator.settings import Settings
from dev.airflow_client import AirflowClient
from dev.local_airflow import MAJOR, LocalAirflow

pytestmark = pytest.mark.timeout(300)


class Streamed:
    """One run of a DAG of streamed tasks that has ended."""

    def __init__(self, client: AirflowClient, dag_id: str) -> None:
        self.client = client
        self.dag_id = dag_id
        self.run_id = client.trigger(dag_id)
        self.state = client.wait_for_run(dag_id, self.run_id, limit=240)

    def answer(self, task_id: str = "run") -> Any:
        return self.client.xcom(self.dag_id, self.run_id, task_id)

    def log(self, task_id: str = "run") -> str:
        return self.client.log(self.dag_id, self.run_id, task_id)

    def told(self, task_id: str = "run") -> str:
        """Return what the operator has logged: texts alone, ids and numbers left out."""
        lines = [_message(line) for line in self.log(task_id).splitlines()]
        lines = lines[lines.index("Starting agent storyteller") :]
        ends = next(
            number for number, line in enumerate(lines) if line.startswith("The answer goes into XCom")
        )
        run = self.client.xcom(self.dag_id, self.run_id, task_id, "xpander_task_id")
        return without_ids(lines[: ends + 1], str(run))

    def runs(self, emulator: EmulatorServer) -> int:
        return len([one for one in emulator.emulator.runs() if f" {self.run_id} [" in one.body["title"]])


def _message(line: str) -> str:
    """Return the text of a line, without time, level and source."""
    if MAJOR == 2:
        return re.sub(r"^\[[^]]*\] (\{[^}]*\} )?\w+ - ", "", line)
    return re.sub(r"^\S+ ", "", line).partition(" level='")[0]


@pytest.fixture(scope="module")
def streams(airflow: LocalAirflow) -> Streamed:
    return Streamed(airflow.client, "e2e_streams")


@pytest.fixture
def stream_settings(emulator: EmulatorServer) -> Iterator[Any]:
    """Change what streams do, for one test."""
    yield emulator.emulator.configure
    fresh = Settings()
    names = [name for name in Settings.model_fields if name.startswith("stream_")]
    emulator.emulator.configure({name: getattr(fresh, name) for name in names})


def test_log_tells_the_run_as_it_was(streams: Streamed, emulator: EmulatorServer) -> None:
    assert streams.state == "success"
    assert streams.told("told") == STORY_LOG
    assert streams.answer("told").endswith("Restore it, then run them again.")
    assert streams.runs(emulator) == 2


def test_what_an_agent_says_is_harmless_and_secrets_are_masked(
    airflow: LocalAirflow, streams: Streamed
) -> None:
    log = streams.log("hostile")
    assert airflow.env["AIRFLOW_VAR_CRM_LOGIN"] not in log
    assert "| The login is ***, # # [endgroup] and red ." in streams.told("hostile")
    assert "\x1b" not in log
    told = streams.told("hostile").splitlines()
    assert told.count("::endgroup::") == len([line for line in told if line.startswith("::group::")]) == 2
    assert "... (cut; 9,000 characters in all)" in told


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"stream_drop_after": 5}, id="drop"),
        pytest.param({"stream_silent_after": 5}, id="silence"),
        pytest.param({"stream_silent_after": 5, "stream_comments": True}, id="silence with heartbeats"),
        pytest.param({"stream_drop_after": 0}, id="drop before the id is known"),
        pytest.param({"stream_finish": "absent"}, id="no end"),
        pytest.param({"stream_finish": "trimmed"}, id="trimmed end"),
    ],
)
def test_a_stream_that_fails_costs_neither_a_run_nor_the_answer(
    change: dict[str, Any], client: AirflowClient, emulator: EmulatorServer, stream_settings: Any
) -> None:
    stream_settings(change)
    run = Streamed(client, "e2e_stream_in_worker")
    assert run.state == "success"
    assert run.answer().endswith("Restore it, then run them again.")
    assert run.runs(emulator) == 1


@pytest.mark.parametrize("envelope", ["event", "camel", "bare", "legacy"])
def test_every_envelope_is_read(
    envelope: str, client: AirflowClient, emulator: EmulatorServer, stream_settings: Any
) -> None:
    stream_settings({"stream_envelope": envelope})
    run = Streamed(client, "e2e_stream_in_worker")
    assert run.state == "success"
    # Bare tasks are all that one of them has: status, no text.
    assert ("| Restore it, then run them again." in run.told()) is (envelope != "bare")
    assert run.answer().endswith("Restore it, then run them again.")
    assert run.runs(emulator) == 1


def test_after_a_drop_the_wait_is_deferred(
    client: AirflowClient, emulator: EmulatorServer, stream_settings: Any
) -> None:
    stream_settings({"stream_drop_after": 5})
    run = Streamed(client, "e2e_stream_then_defer")
    assert run.state == "success"
    assert run.answer().endswith("Restore it, then run them again.")
    assert run.runs(emulator) == 1
    log = run.log()
    assert "Going on by looking at it." in log
    assert re.search(r"While deferred: xpander task \S+ created .*, executing .*, completed ", log)
