"""The notifier: one short submit for each try that failed, and never an error of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow_side import FakeTaskInstance, Service
from scripted_server import ScriptedServer, Then

from airflow_provider_xpander import notice_ledger, notifications
from airflow_provider_xpander._compat import AIRFLOW_VERSION, BaseNotifier, mask_secret
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.notifications import XpanderNotifier
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

BEGAN = datetime(2026, 11, 1, 3, tzinfo=UTC)
# Of the deadline alerts of Airflow 3.1 and later, which `airflow.models.deadline` makes.
ALERT = {
    "dag_run": {"dag_id": "nightly", "dag_run_id": "scheduled__1", "start_date": "2026-11-01T03:00:00Z"},
    "deadline": {"id": "0199", "deadline_time": datetime(2026, 11, 1, 4, tzinfo=UTC)},
}


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which this machine has its ledgers."""
    monkeypatch.setattr(notice_ledger.tempfile, "tempdir", str(tmp_path))
    return tmp_path


has_alerts = pytest.mark.skipif(
    not hasattr(BaseNotifier, "async_notify"), reason="this Airflow has no deadline alerts"
)
Logged = Callable[[], str]


@pytest.fixture
def logged(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Logged:
    """What is in the log: Airflow 3 writes it to the standard output, Airflow 2 hands it to ``logging``."""
    caplog.set_level("INFO")
    seen: list[str] = []

    def text() -> str:
        seen.extend(capfd.readouterr())
        return "".join([*seen, caplog.text])

    return text


def another_machine(machine: Path) -> None:
    for ledger in machine.rglob("notices-*"):
        ledger.unlink()


def failed(error: Any = "the table is locked", **fields: Any) -> dict[str, Any]:
    """Return the context of a callback for a task that has failed."""
    ti = FakeTaskInstance(**{"task_id": "load", "run_id": "scheduled__1", "max_tries": 2} | fields)
    ti.log_url = "http://airflow.example.com/log"  # type: ignore[attr-defined]
    run = SimpleNamespace(dag_id=ti.dag_id, run_id=ti.run_id, start_date=BEGAN, logical_date=BEGAN)
    return {
        "ti": ti,
        "run_id": ti.run_id,
        "dag_run": run,
        "dag": dag(),
        "exception": ValueError(error) if isinstance(error, str) else error,
    }


def dag(**kwargs: Any) -> Any:
    if AIRFLOW_VERSION.startswith("2."):
        from airflow.models.dag import DAG
    else:
        from airflow.sdk import DAG
    return DAG("nightly", schedule=None, **kwargs)


def notifier(**fields: Any) -> XpanderNotifier:
    return XpanderNotifier(**{"agent_id": "echo", "input": "Why did {{ ti.task_id }} fail?"} | fields)


def texts(service: Service) -> list[str]:
    return [run.body["input"]["text"] for run in service.runs()]


def test_a_failure_starts_one_run_that_knows_what_airflow_knows(service: Service, logged: Logged) -> None:
    notifier()(failed(try_number=2, map_index=3))
    (text,) = texts(service)
    lines = text.splitlines()
    assert lines[0] == "Why did load fail?"
    assert lines[2:] == [
        "What Airflow knows of it:",
        "- DAG: nightly",
        "- DAG run: scheduled__1",
        "- Logical date: 2026-11-01T03:00:00+00:00",
        "- Task: load[3]",
        "- Try: 2 of 3",
        "- Log: http://airflow.example.com/log",
        "- Error: ValueError: the table is locked",
    ]
    assert [call.path for call in service.posts] == ["/v1/agents/echo/invoke/async"]
    assert len(service.requests()) == 2, "one look at the list, one submit"
    assert f"xpander task {service.runs()[0].task_id}, https://app.xpander.ai/agents/echo" in logged()


def test_the_run_is_started_with_the_mark_and_the_user_of_all_runs(service: Service) -> None:
    service.connect(extra={"user_email": "ada@example.com"})
    notifier()(failed())
    body = service.posts[0].body
    assert body["title"].startswith("Airflow notifier: nightly.load scheduled__1, try 1 [airflow ")
    assert body["source"].startswith("airflow [airflow ")
    assert body["input"]["user"] == {"email": "ada@example.com"}


@pytest.mark.parametrize("elsewhere", [False, True], ids=["the same machine", "another machine"])
def test_airflow_may_call_twice(elsewhere: bool, service: Service, machine: Path, logged: Logged) -> None:
    notifier()(failed())
    if elsewhere:
        another_machine(machine)
    notifier()(failed("Airflow tells another error the second time"))
    assert len(texts(service)) == 1
    assert "it was told before" in logged()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"try_number": 2}),
        ({}, {"map_index": 1}),
        ({}, {"task_id": "export"}),
        ({}, {"run_id": "scheduled__2"}),
    ],
)
def test_each_try_of_each_task_instance_is_told(first: Any, second: Any, service: Service) -> None:
    for fields in (first, second):
        notifier()(failed(**fields))
    assert len(texts(service)) == 2


def test_two_notifiers_of_a_task_ask_two_questions(service: Service) -> None:
    for question in ("Why?", "Write a ticket."):
        notifier(input=question)(failed())
    assert [text.splitlines()[0] for text in texts(service)] == ["Why?", "Write a ticket."]


def test_one_notifier_serves_many_tasks(service: Service) -> None:
    shared = notifier()
    for task_id in ("load", "export"):
        shared(failed(task_id=task_id))
    assert [text.splitlines()[0] for text in texts(service)] == ["Why did load fail?", "Why did export fail?"]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["one machine", "many machines"])
def test_an_outage_of_many_tasks_is_not_as_many_bills(
    elsewhere: bool, service: Service, machine: Path, logged: Logged
) -> None:
    service.start("echo", title="A run of somebody else does not count")
    own = len(service.runs())
    for number in range(20):
        notifier(max_per_hour=3)(failed(task_id=f"load_{number}"))
        if elsewhere:
            another_machine(machine)
    assert len(service.runs()) - own == 3
    assert "there were 3 notices in the last hour, and max_per_hour is 3" in logged()
    if not elsewhere:
        assert len(service.requests()) == 6, "what is not sent costs no request"


def test_what_was_told_an_hour_ago_does_not_count(service: Service, machine: Path) -> None:
    notifier(max_per_hour=1)(failed())
    service.override(
        service.runs()[0].task_id, {"created_at": (datetime.now(UTC) - timedelta(minutes=61)).isoformat()}
    )
    (ledger,) = machine.rglob("notices-*")
    ledger.write_text(f"{time.time() - 3660:.0f} {ledger.read_text().split()[1]}\n")
    notifier(max_per_hour=1)(failed(task_id="export"))
    assert len(texts(service)) == 2


def test_the_error_is_told_with_its_causes_and_without_secrets(service: Service) -> None:
    mask_secret("hush-warehouse-4711")
    try:
        try:
            raise KeyError("no column 'id'")
        except KeyError as cause:
            raise RuntimeError(
                "login with hush-warehouse-4711 {{ conn.xpander_default.password }}"
            ) from cause
    except RuntimeError as error:
        notifier(input="{{ exception }}")(failed(error))
    (text,) = texts(service)
    assert "hush-warehouse" not in text
    assert "RuntimeError: login with *** {{ conn.xpander_default.password }} (in test_the_error" in text
    assert "  caused by KeyError: \"no column 'id'\" (in test_the_error" in text
    assert service.server.api_key not in text, "what an error says is no template"


def test_the_run_of_a_notifier_is_not_taken_for_that_of_the_task(service: Service) -> None:
    context = failed(try_number=2, max_tries=2)
    context["ti"].task_id = "load"
    notifier()(failed(try_number=1, max_tries=2))
    operator = XpanderInvokeAgentOperator(
        task_id="load", agent_id="echo", input="mine", retries=2, deferrable=False, poll_interval=0.05
    )
    assert operator.execute(context) == "mine"
    assert len(service.runs()) == 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"agent_id": "nobody"}, "Check the id"),
        ({"xpander_conn_id": "missing"}, "agent echo was not told: AirflowNotFoundException: There is no"),
        (
            {"input": "{{ nothing.at.all }}"},
            "echo was not told: UndefinedError: 'nothing' is undefined",
        ),
        ({"input": "{{"}, "agent echo was not told: TemplateSyntaxError: "),
        ({"input": "{{ ' ' }}"}, ", try 1: input: text or at least one file is needed"),
    ],
)
def test_nothing_that_goes_wrong_reaches_airflow(
    fields: dict[str, Any], said: str, service: Service, logged: Logged
) -> None:
    notifier(**fields)(failed())
    text = logged()
    assert said in text
    assert 'notifications.py", line' not in text, "no frames of ours"
    assert service.runs() == []


@pytest.mark.parametrize("context", [{}, {"dag": None, "ti": None}, {"ti": object()}])
def test_a_context_that_lacks_everything_is_no_error_either(context: Any, service: Service) -> None:
    notifier(input="Why?")(context)


def test_a_service_that_is_away_is_not_waited_for(service: Service, logged: Logged) -> None:
    service.connect(host="http://127.0.0.1", port=9)
    notifier()(failed())
    assert "was not told of nightly.load scheduled__1, try 1: list tasks: " in logged()


def test_a_submit_without_a_clear_answer_is_not_repeated(service: Service, logged: Logged) -> None:
    service.add_fault(Fault(status=503, method="POST", times=9))
    notifier()(failed())
    assert len(service.posts) == 1
    assert "The run may have been started" in logged()


def test_a_service_that_says_nothing_holds_nobody_up(
    service: Service, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    monkeypatch.setattr(notifications, "LIMIT", 0.3)
    with ScriptedServer([Then.STALL]) as server:
        service.connect(host=server.url)
        notifier()(failed())
    assert "no whole answer within 0.3 s" in logged() or "no answer within 0.3 s" in logged()


def test_a_ledger_that_cannot_be_written_costs_no_notice(
    service: Service, machine: Path, logged: Logged
) -> None:
    notice_ledger.ledger_path(service.server.url, "echo").symlink_to(machine / "elsewhere")
    notifier()(failed())
    assert "Notices are not counted on this machine" in logged()
    assert len(texts(service)) == 1


def test_a_dag_run_that_has_failed_is_told_once(service: Service) -> None:
    context = failed() | {"reason": "task_failure", "exception": None}
    for _ in range(2):
        notifier(input="Why did {{ dag_run.run_id }} fail?")(context)
    (text,) = texts(service)
    assert text.startswith("Why did scheduled__1 fail?")
    assert "- Reason: task_failure" in text
    assert "- Task that Airflow names: load (state unknown)" in text
    context["dag_run"].start_date += timedelta(hours=1)  # cleared, and failed again
    notifier()(context)
    assert len(texts(service)) == 2


@has_alerts
async def test_a_deadline_alert_tells_in_the_event_loop(service: Service, logged: Logged) -> None:
    for _ in range(2):
        # What Airflow's CallbackTrigger does.
        await XpanderNotifier(agent_id="echo", input="{{ dag_run.dag_id }} is late", context=dict(ALERT))
    (text,) = texts(service)
    assert text.splitlines()[0] == "nightly is late"
    assert "- Deadline that was missed: 2026-11-01T04:00:00+00:00" in text
    assert "looks into nightly scheduled__1" in logged()


@has_alerts
@pytest.mark.parametrize("fields", [{"xpander_conn_id": "missing"}, {"input": "{{"}, {"agent_id": "nobody"}])
async def test_an_alert_raises_nothing(fields: dict[str, Any], service: Service) -> None:
    await XpanderNotifier(**{"agent_id": "echo", "context": dict(ALERT)} | fields)
    assert service.runs() == []


@has_alerts
async def test_an_alert_waits_no_longer_than_the_limit(
    service: Service, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    monkeypatch.setattr(notifications, "LIMIT", 0.3)
    with ScriptedServer([Then.STALL]) as server:
        service.connect(host=server.url)
        await XpanderNotifier(agent_id="echo", context=dict(ALERT))
    assert "no answer within 0.3 s" in logged()


@pytest.mark.parametrize(
    "fields",
    [
        {"agent_id": " "},
        {"input": ""},
        {"max_per_hour": 0},
        {"max_per_hour": 51},
        {"max_per_hour": 2.5},
        {"max_per_hour": True},
    ],
)
def test_a_wrong_value_is_refused_when_the_dag_is_parsed(fields: dict[str, Any]) -> None:
    with pytest.raises(XpanderValidationError, match=next(iter(fields))):
        notifier(**fields)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("12345", "12345"),
        ("[1, 2]", "[1, 2]"),
        ("None", "None"),
        ("{{ 5 }}", "5"),
        ("{{ [ti.task_id] }}", "['load']"),
        ("Look into {{ ti.task_id }}", "Look into load"),
    ],
)
def test_what_is_asked_is_a_text_with_native_rendering_too(asked: str, text: str, service: Service) -> None:
    native = dag(render_template_as_native_obj=True)
    XpanderNotifier("echo", asked)(failed() | {"dag": native})
    (run,) = service.runs()
    assert run.body["input"]["text"].partition("\n")[0] == text
