"""Arguments of operators and sensor: what they may be, checked when the DAG is parsed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander._compat import AIRFLOW_VERSION, HAS_HUMAN_IN_THE_LOOP
from airflow_provider_xpander.api import request
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.runs.schema import AnswerSchema, check_path, import_schema, path_of, schema_of

if TYPE_CHECKING:
    from airflow_provider_xpander.api.models import Task
    from airflow_provider_xpander.operators.attempt import Attempt
    from airflow_provider_xpander.runs.adopt import Reattach
    from airflow_provider_xpander.runs.answer import AnswerRules
    from airflow_provider_xpander.runs.deferral import Wait
    from airflow_provider_xpander.runs.stop_policy import OnKill
    from airflow_provider_xpander.runs.watch import OnPaused, Over
    from airflow_provider_xpander.telemetry import Invocation

MODES = ("async", "sync", "stream")
ON_TIMEOUT = ("stop", "leave")
ON_KILL = ("stop", "leave")
ON_PAUSED = ("wait", "fail", "ask")
PARTS = frozenset({"text", "files", "user"})
ON_STOPPED = ("fail", "skip")
ON_INVALID = ("fail", "raw", "repair")
MAX_REPAIRS = 10
"""Repair turns of one run that may be asked for: each costs as much as a run."""
LONGEST = 1e10
"""Seconds, three hundred years: with more, no moment can be told at which a wait is over."""


@contextmanager
def naming(operator: Any) -> Iterator[None]:
    """
    Name the task in errors about its arguments, and leave away how they were found.

    :param operator: the task.
    :raises XpanderValidationError: names the task, the parameter, the value and what is allowed.
    """
    try:
        yield
    except XpanderValidationError as error:
        task = f"task {operator.task_id!r} ({type(operator).__name__})"
        raise XpanderValidationError(f"{task}: {error}") from None


def check_choice(name: str, value: Any, allowed: tuple[str, ...]) -> Any:
    """
    Return a value that is one of the allowed ones.

    :param name: of the parameter, for messages.
    :param value: what the author gave.
    :param allowed: what it may be.
    :raises XpanderValidationError: it is not; names the parameter, the value and what is allowed.
    """
    if value not in allowed:
        raise XpanderValidationError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def check_on_paused(value: Any) -> OnPaused:
    """
    Return a value for ``on_paused``.

    :param value: what the author gave.
    :raises XpanderValidationError: it is none, or this Airflow cannot ask anybody.
    """
    checked: OnPaused = check_choice("on_paused", value, ON_PAUSED)
    if checked == "ask" and not HAS_HUMAN_IN_THE_LOOP:
        raise XpanderValidationError(
            f"on_paused='ask' needs Airflow 3.1 or newer, which can ask a person; this is {AIRFLOW_VERSION}, "
            "where on_paused must be one of 'wait', 'fail'"
        )
    return checked


def check_reattach(value: Any) -> Reattach:
    """
    Return a value for ``reattach``.

    :param value: what the author gave.
    :raises XpanderValidationError: it is neither True, False nor ``"same_request"``.
    """
    if value is True or value is False or value == "same_request":
        return value  # type: ignore[no-any-return]
    raise XpanderValidationError(f"reattach must be True, False or 'same_request', got {value!r}")


def check_seconds(name: str, value: Any) -> float:
    """
    Return a duration in seconds.

    :param name: the parameter.
    :param value: a number of seconds or a timedelta.
    :raises XpanderValidationError: it is none, not greater than 0, or more than can be waited for.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST:
        raise XpanderValidationError(
            f"{name} must be a number of seconds (or a timedelta) greater than 0, and 1e10 at the most, "
            f"got {printable(repr(value), 100)}"
        )
    return float(seconds)


def check_fields(fields: Mapping[str, Any]) -> None:
    """
    Check the fields of a request as far as they are known before templates are rendered.

    :param fields: as for :class:`~airflow_provider_xpander.api.models.InvokeRequest`.
    :raises XpanderValidationError: names each wrong field, its value and what is allowed.
    """
    given = {name: value for name, value in fields["input"].items() if value is not None}
    known: dict[str, Any] = {name: value for name, value in fields.items() if is_literal(value)}
    known["input"] = {name: value for name, value in given.items() if is_literal(value)}
    unrendered = [name for name in ("text", "files") if name in given and name not in known["input"]]
    if unrendered and not known["input"].get("text"):
        known["input"]["text"] = "not rendered yet"
    request.parse_request(known)


def is_literal(value: Any) -> bool:
    """
    Whether a value is what it will be when the task runs: neither a template nor another task's output.

    :param value: any value.
    """
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    if isinstance(value, Mapping):
        return all(is_literal(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(is_literal(item) for item in value)
    return value is None or isinstance(value, bool | int | float)


def check_id(name: str, value: Any) -> None:
    """
    Refuse what cannot be an id; a template or another task's output is let pass until it is known.

    :param name: of the parameter, for messages.
    :param value: what the author gave.
    :raises XpanderValidationError: names the parameter, the value, and a character that no id has.
    """
    if is_literal(value):
        request.check_id(name, value)


def input_parts(value: Any) -> Mapping[str, Any]:
    """
    Return the parts of an ``input``: ``text``, ``files``, ``user``.

    :param value: a text, a mapping of parts, another task's output, or None.
    :raises XpanderValidationError: it is data, of which a text has to be made first.
    """
    is_known = isinstance(value, Mapping) or is_literal(value)
    if value is None or isinstance(value, str) or not is_known:
        return {"text": value}
    if isinstance(value, Mapping) and (not value or not PARTS.isdisjoint(value)):
        return value
    what = f"input.{next(iter(value))}: no such field" if isinstance(value, Mapping) else "input: no text"
    raise XpanderValidationError(
        f"{what}, got {printable(value, 200)}. An input is a text, or a mapping with text, files and user. "
        f"Of data, make a text: input=\"{{{{ ti.xcom_pull('it') | tojson }}}}\", or input={{'text': ...}}"
    )


def check_target(field: str, agent_id: Any, workflow_id: Any) -> str:
    """
    Return the id of what is run.

    :param field: ``agent_id`` or ``workflow_id``, whichever the class takes.
    :param agent_id: as given.
    :param workflow_id: as given.
    :raises XpanderValidationError: it is empty, or the other one is given.
    """
    given = {"agent_id": agent_id, "workflow_id": workflow_id}
    for name, value in given.items():
        if name != field and value is not None:
            raise XpanderValidationError(f"{name} is not taken here, got {value!r}: give {field}")
    check_id(field, given[field])
    return given[field]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Options:
    """
    What the author wants of the wait and its end, as operator and sensor have it among their parameters.

    :param xpander_conn_id: id of the Airflow connection.
    :param invocation: what was asked for by a run, for metrics and traces.
    :param rules: what is wanted of the answer of a run.
    :param poll_interval: seconds between two looks at the run.
    :param deferrable: whether to wait in the triggerer.
    :param on_paused: whether a paused run is waited for, fails the task, or a person is asked.
    :param on_stopped: ``fail`` or ``skip`` the task when the run was stopped.
    :param on_kill_action: what becomes of a run whose Airflow task is gone.
    :param timeout: seconds from the submit within which the run has to end, for messages; None for no limit.
    :param may_ask: whether people are asked in Airflow.
    :param conclude: makes what the task returns of a run whose wait is over; by default it is the answer.
    """

    xpander_conn_id: str
    invocation: Callable[[Task], Invocation]
    rules: Callable[[Task], AnswerRules]
    poll_interval: float
    deferrable: bool
    on_paused: OnPaused = "wait"
    on_stopped: str = "fail"
    on_kill_action: OnKill = "leave"
    timeout: float | None = None
    may_ask: bool = False
    conclude: Callable[[Attempt, Wait, Over], Any] | None = None


class AnswerArguments:
    """
    What an operator or a sensor was told about answers.

    :param output_schema: a JSON Schema, a pydantic model class or the import path of one, a template of a
        JSON Schema, or None.
    :raises XpanderValidationError: names the parameter, the value and what is allowed.
    """

    def __init__(self, output_schema: Any) -> None:
        self.asked = output_schema is not None
        self._made: AnswerSchema | None = None
        self._path: str | None = None
        if isinstance(output_schema, type):
            self._made = schema_of(output_schema)
        elif isinstance(output_schema, str):
            self._path = output_schema
            if is_literal(output_schema):
                check_path(output_schema)
        elif self.asked and is_literal(output_schema):
            schema_of(output_schema)

    def schema(self, rendered: Any) -> AnswerSchema | None:
        """
        Return the schema, importing it where a path was given.

        :param rendered: the template field as it is when the task runs.
        :raises XpanderValidationError: it is none.
        """
        if rendered is None or self._made is not None:
            return self._made
        if not isinstance(rendered, str):
            return schema_of(rendered)
        if rendered != self._path:
            # What is imported is the author's choice, not that of whoever fills the template.
            raise XpanderValidationError(
                f"output_schema: the template {self._path!r} renders to a text; it has to give a dictionary, "
                f"a JSON Schema, and an import path cannot be a template"
            )
        return import_schema(rendered)


def as_field(output_schema: Any) -> Any:
    """
    Return what stands for a schema as a template field: plain data, which Airflow stores with the DAG.

    :param output_schema: a schema, a model class, or the import path of one.
    """
    return path_of(output_schema) if isinstance(output_schema, type) else output_schema


def answer_rules(operator: Any, *, on_invalid: Any) -> AnswerRules:
    """
    Return the rules for an answer, of an operator or sensor whose template fields are rendered.

    :param operator: the operator or sensor.
    :param on_invalid: what becomes of an answer that is not what was asked for.
    """
    from airflow_provider_xpander.runs.answer import AnswerRules

    return AnswerRules(
        wants_json=operator.output_format == "json" or operator.output_schema is not None,
        schema=lambda: operator.answers.schema(operator.output_schema),
        on_invalid=on_invalid,
        result_path=operator.result_path,
        max_xcom_bytes=operator.max_xcom_bytes,
        multiple_outputs=operator.multiple_outputs,
    )


def check_count(name: str, value: Any, most: int | None = None) -> int:
    """
    Return a whole number of at least 1.

    :param name: the parameter.
    :param value: what the author gave.
    :param most: the greatest that is allowed, or None for any.
    :raises XpanderValidationError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or (most and value > most):
        span = f"from 1 to {most}" if most else "of at least 1"
        raise XpanderValidationError(f"{name} must be a whole number {span}, got {value!r}")
    return value


def check_result_path(value: Any) -> None:
    """
    Refuse what cannot be an ObjectStoragePath URL; templates are let pass until they are rendered.

    :param value: what the author gave.
    :raises XpanderValidationError: names the parameter, the value and what is allowed.
    """
    if value is None or not is_literal(value):
        return
    allowed = "must be the URL of a file, such as 's3://conn_id@bucket/{{ ds }}.json' or 'file:///...'"
    scheme, separator, rest = value.partition("://") if isinstance(value, str) else ("", "", "")
    if not scheme or not separator:
        raise XpanderValidationError(f"result_path {allowed}, got {value!r}")
    if ":" in rest.partition("/")[0].rpartition("@")[0]:
        raise XpanderValidationError(
            f"result_path {allowed}: it must hold no password, which Airflow would show; before the @ goes "
            f"the id of a connection"
        )


def check_rendered_result_path(value: str | None) -> None:
    """
    See that an answer has a place to go to, before it is paid for or waited for.

    :param value: ``result_path`` as it is when the task runs.
    :raises XpanderValidationError: it is no URL of a file, or nothing can be written there.
    :raises XpanderError: the place cannot be reached.
    """
    check_result_path(value)
    if value is not None:
        from airflow_provider_xpander.storage import check_place

        check_place(value)
