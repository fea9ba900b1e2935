"""Schemas of answers: given as a schema, a model or its path, and the data that comes of each."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException
from airflow_side import POLL, FakeTaskInstance, Service, run_through
from attempts import Lines, lines
from pydantic import BaseModel

from airflow_provider_xpander.emulator import Fault
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator
from airflow_provider_xpander.runs.log.status_log import StatusReport
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor

try:  # Airflow 3.2 and later
    from airflow.serialization.serialized_objects import DagSerialization as SerializedDag
except ImportError:
    from airflow.serialization.serialized_objects import SerializedDAG as SerializedDag


__all__ = ["lines"]


class Verdict(BaseModel):
    """What is wanted of an answer."""

    category: str
    score: float = 0.5


SCHEMA = {
    "type": "object",
    "properties": {"category": {"type": "string", "enum": ["billing", "bug"]}},
    "required": ["category"],
}
PATH = f"{__name__}.Verdict"
WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])
KINDS = pytest.mark.parametrize(
    "schema", [Verdict, PATH, Verdict.model_json_schema()], ids=["class", "path", "dict"]
)


def agent(**kwargs: Any) -> XpanderInvokeAgentOperator:
    defaults = {"task_id": "ask", "agent_id": "echo", "input": "hello", "poll_interval": POLL}
    return XpanderInvokeAgentOperator(**defaults | kwargs)


@WAYS
@KINDS
def test_the_schema_is_sent_and_the_answer_is_plain_data(
    schema: Any, deferrable: bool, service: Service
) -> None:
    operator = agent(input='{"category": "bug"}', output_schema=schema, deferrable=deferrable)
    answer = run_through(operator, FakeTaskInstance().context())
    assert service.runs()[0].body["output_schema"] == Verdict.model_json_schema()
    assert service.runs()[0].body["output_format"] == "json"
    # Only a model fills in its defaults.
    assert answer == {"category": "bug"} | ({} if isinstance(schema, dict) else {"score": 0.5})


@WAYS
@KINDS
def test_an_answer_that_does_not_match_fails_at_once_and_is_kept(
    schema: Any, deferrable: bool, service: Service
) -> None:
    ti = FakeTaskInstance()
    with pytest.raises(AirflowFailException, match=r"does not match output_schema: \$\.category: .*, got 7"):
        run_through(agent(input='{"category": 7}', output_schema=schema, deferrable=deferrable), ti.context())
    assert ti.xcom["xpander_raw_result"] == '{"category": 7}'
    assert len(service.runs()) == 1


@WAYS
@pytest.mark.parametrize(
    "text", ["no JSON at all", '{"category": 7}', '{"category": "bu', "\x1b[31m::group::\x00"], ids=repr
)
def test_raw_returns_the_text_and_says_what_is_wrong_with_it(
    text: str, deferrable: bool, service: Service, lines: Lines
) -> None:
    ti = FakeTaskInstance()
    operator = agent(input=text, output_schema=SCHEMA, on_invalid="raw", deferrable=deferrable)
    # As the service would keep it: its agents answer what conforms.
    service.configure({"run_seconds": 0})
    service.add_fault(
        Fault(path="/invoke/async$", status=200, body={"id": "t", "status": "completed", "result": text})
    )
    assert run_through(operator, ti.context()) == text.replace("\x00", "\ufffd")
    assert 'It is returned as it is (on_invalid="raw").' in lines.at("warning")
    assert "\x1b" not in lines.text
    assert "::group::" not in lines.text
    assert "xpander_raw_result" not in ti.xcom


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere.Model", "ModuleNotFoundError"),
        ("json.dumps", "is no pydantic model"),
        ("json.Nothing", "Attrib"),
    ],
)
def test_a_path_that_gives_no_model_fails_before_anything_is_started(
    path: str, said: str, service: Service
) -> None:
    with pytest.raises(AirflowFailException, match=f"output_schema: {path} .*{said}"):
        run_through(agent(output_schema=path), FakeTaskInstance().context())
    assert service.calls == []


def test_a_template_cannot_choose_what_is_imported(service: Service) -> None:
    context = FakeTaskInstance().context() | {"params": {"path": PATH}}
    with pytest.raises(AirflowFailException, match="an import path cannot be a template"):
        run_through(agent(output_schema="{{ params.path }}"), context)
    assert service.calls == []


def test_a_model_that_went_away_while_the_task_was_deferred_does_not_lose_the_answer(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "passing_models.py").write_text(
        "from pydantic import BaseModel\nclass M(BaseModel): n: int\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    service.configure({"run_seconds": 0.2})
    ti = FakeTaskInstance()
    operator = agent(input='{"n": 1}', output_schema="passing_models.M", deferrable=False)

    def forget(report: StatusReport, task: Any) -> None:
        (tmp_path / "passing_models.py").unlink(missing_ok=True)
        sys.modules.pop("passing_models", None)

    monkeypatch.setattr(StatusReport, "__call__", forget)
    with pytest.raises(AirflowFailException, match="cannot be checked.*passing_models.M cannot be imported"):
        run_through(operator, ti.context())
    assert ti.xcom["xpander_raw_result"] == '{"n": 1}'


def test_a_dag_with_models_can_be_stored_and_read_back() -> None:
    with DAG("flow", schedule=None) as dag:
        agent(task_id="class", output_schema=Verdict)
        agent(task_id="path", output_schema=PATH)
        agent(task_id="dict", output_schema=SCHEMA)
        XpanderTaskSensor(task_id="sensor", xpander_task_id="7", output_schema=Verdict)
        mapped = XpanderInvokeAgentOperator.partial(task_id="mapped", agent_id="echo", output_schema=Verdict)
        mapped.expand(input=["a", "b"])
    stored = json.loads(json.dumps(SerializedDag.to_dict(dag)))
    fields = {part["__var"]["task_id"]: part["__var"].get("output_schema") for part in stored["dag"]["tasks"]}
    assert fields["class"] == fields["path"] == fields["sensor"] == PATH
    assert fields["dict"] is not None
    restored = SerializedDag.from_dict(stored)
    assert restored.get_task("class").output_schema == PATH
    assert {task.task_id for task in restored.tasks} == set(fields)


@pytest.mark.parametrize("schema", [Verdict, PATH, SCHEMA], ids=["class", "path", "dict"])
def test_a_mapped_task_checks_by_its_model_too(schema: Any, service: Service) -> None:
    with DAG("flow", schedule=None) as dag:
        XpanderInvokeAgentOperator.partial(
            task_id="ask", agent_id="echo", output_schema=schema, poll_interval=POLL
        ).expand(input=['{"category": "bug"}'])
    operator = dag.get_task("ask").unmap({"input": '{"category": "bug"}'})
    assert run_through(operator, FakeTaskInstance().context())["category"] == "bug"


@WAYS
@KINDS
def test_a_sensor_checks_the_answer_too(
    schema: Any, deferrable: bool, service: Service, lines: Lines
) -> None:
    def wait(text: str, ti: FakeTaskInstance, **more: Any) -> Any:
        given = {"task_id": "wait", "poke_interval": POLL, "output_schema": schema, "deferrable": deferrable}
        return run_through(
            XpanderTaskSensor(xpander_task_id=service.start("echo", text), **given, **more), ti.context()
        )

    assert wait('{"category": "bug"}', FakeTaskInstance())["category"] == "bug"
    ti = FakeTaskInstance()
    with pytest.raises(AirflowFailException, match=r"\$\.category: .*, got 7"):
        wait('{"category": 7}', ti)
    assert ti.xcom["xpander_raw_result"] == '{"category": 7}'
    assert wait('{"category": 7}', FakeTaskInstance(), on_invalid="raw") == '{"category": 7}'
    assert service.requests("POST") == []
