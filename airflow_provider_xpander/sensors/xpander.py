"""The sensor: waits for the end of a run that something else has started, and returns its answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import unwrap
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel

from airflow_provider_xpander._compat import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    Context,
    PokeReturnValue,
    default_deferrable,
)
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.connection import DEFAULT_CONN_ID
from airflow_provider_xpander.operators.arguments import (
    AnswerArguments,
    Options,
    answer_rules,
    as_field,
    check_choice,
    check_count,
    check_id,
    check_rendered_result_path,
    check_result_path,
    naming,
)
from airflow_provider_xpander.operators.attempt import Attempt
from airflow_provider_xpander.operators.links import XpanderRunLink
from airflow_provider_xpander.operators.run_guard import KillState, RunGuard
from airflow_provider_xpander.operators.templating import DataIsNoTemplate, check_schema_path
from airflow_provider_xpander.runs.answer import AnswerRules, OnInvalid
from airflow_provider_xpander.runs.deferral import Wait, read_event, wait_of
from airflow_provider_xpander.runs.error_policy import FINAL_FOR_SENSORS, PASSING
from airflow_provider_xpander.runs.log.status_log import StatusReport
from airflow_provider_xpander.runs.task_errors import paused
from airflow_provider_xpander.runs.thread import Turn, read_turn
from airflow_provider_xpander.runs.timing import jittered, look_interval
from airflow_provider_xpander.runs.watch import End, Watch
from airflow_provider_xpander.task_instance import TURN_KEY, failing_at_once, noted_turn, tasks_before
from airflow_provider_xpander.telemetry import Invocation
from airflow_provider_xpander.xcom import push_link

if TYPE_CHECKING:
    from airflow_provider_xpander.hooks.xpander import XpanderHook


class XpanderTaskSensor(DataIsNoTemplate, BaseSensorOperator):
    """
    Wait until an xpander task has ended, and return its answer; the run itself is never stopped.

    A run that did not complete fails the sensor at once, because a retry would find the same; with
    ``soft_fail`` it is skipped. ``timeout``, ``poke_interval``, ``mode``, ``soft_fail`` and ``never_fail``
    are those of all of Airflow's sensors.

    :param xpander_task_id: the remote task, for example the output of an operator with
        ``wait_for_completion=False``.
    :param xpander_conn_id: id of a connection of type ``xpander``.
    :param thread_turn: which turn is meant of a thread that others continue: the XCom ``xpander_thread_turn``
        of the task that has started it. By default that of the nearest task before the sensor that has one.
    :param output_format: ``json`` to parse the answer; by default as the task itself says.
    :param output_schema: what the answer has to look like, as for the operators; implies ``json``.
    :param on_invalid: ``fail``, or ``raw`` to return an answer that is not what was asked for as it came.
    :param result_path: ObjectStoragePath URL that the answer is written to, as for the operators.
    :param max_xcom_bytes: bytes of JSON above which an answer does not go into XCom, as for the operators.
    :param on_paused: ``wait`` while the run waits for a person, or ``fail``.
    :param deferrable: wait in the triggerer; ``poke_interval`` is then the seconds between two looks.
    :param kwargs: those of Airflow's ``BaseSensorOperator``.
    """

    template_fields: Sequence[str] = (
        "xpander_task_id", "xpander_conn_id", "thread_turn", "output_schema", "result_path",
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = {"output_schema": "json"}
    operator_extra_links: tuple[XpanderRunLink, ...] = (XpanderRunLink(),)
    ui_color = "#e6e0ff"

    _looked: Task | None = None
    _address: str | None = None
    """Of the run in the console, once it is known to this process."""
    _report: StatusReport | None = None

    def __init__(
        self,
        *,
        xpander_task_id: str,
        xpander_conn_id: str = DEFAULT_CONN_ID,
        thread_turn: Mapping[str, Any] | str | None = None,
        output_format: Literal["text", "markdown", "json", "voice"] | None = None,
        output_schema: Mapping[str, Any] | type[BaseModel] | str | None = None,
        on_invalid: Literal["fail", "raw"] = "fail",
        result_path: str | None = None,
        max_xcom_bytes: int | None = None,
        on_paused: Literal["wait", "fail"] = "wait",
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.xpander_task_id = xpander_task_id
        self.xpander_conn_id = xpander_conn_id
        self.thread_turn = thread_turn
        self.output_format = output_format
        with naming(self):
            self.answers = AnswerArguments(output_schema)
            self.output_schema = as_field(output_schema)
            self.on_invalid: OnInvalid = check_choice("on_invalid", on_invalid, ("fail", "raw"))
            self.result_path = result_path
            self.max_xcom_bytes = (
                None if max_xcom_bytes is None else check_count("max_xcom_bytes", max_xcom_bytes)
            )
            check_result_path(result_path)
            self.on_paused = check_choice("on_paused", on_paused, ("wait", "fail"))
            self.deferrable = default_deferrable() if deferrable is None else deferrable
            if output_format is not None:
                check_choice("output_format", output_format, ("text", "markdown", "json", "voice"))
            check_id("xpander_task_id", xpander_task_id)

    def execute(self, context: Context) -> Any:
        """
        Look once and defer, or poke as any sensor.

        :param context: that of the task instance.
        """
        from airflow_provider_xpander.hooks.xpander import XpanderHook

        self.operator_extra_links = ()  # the link is stored once the run is known, see operators/links.py
        with self._forgiving(), self._failing():
            check_rendered_result_path(self.result_path)
            self._given_turn()
        if not self.deferrable:
            # Without Airflow 2's guard, which warns of any sensor that calls what its class inherits.
            return unwrap(BaseSensorOperator.execute)(self, context)
        with self._forgiving(), XpanderHook(self.xpander_conn_id) as hook:
            found = self.poke(context)
            if isinstance(found, PokeReturnValue):
                return found.xcom_value
            seen = self._looked or Task(id=self.xpander_task_id)
            attempt = self._attempt_at(context, hook)
            newer_than = self._expect_turn(context, attempt)
            wait = Wait(self.xpander_task_id, seen.agent_id, time.time() + self.timeout, newer_than)
            return attempt.defer(wait, seen)

    def poke(self, context: Context) -> PokeReturnValue | bool:
        """
        Look at the run: False while it goes on or cannot be read for the moment.

        :param context: that of the task instance.
        """
        from airflow_provider_xpander.hooks.xpander import XpanderHook

        with XpanderHook(self.xpander_conn_id) as hook, self._failing():
            check_id("xpander_task_id", self.xpander_task_id)
            attempt = self._attempt_at(context, hook)
            self._report = report = self._report or attempt.report
            looked = self._looked is not None
            try:
                task = self._looked = hook.get_task_patiently(self.xpander_task_id, poll=looked)
            except PASSING as error:
                self.log.warning("%s The sensor looks again.", error)
                return False
            newer_than = self._expect_turn(context, attempt) if task.status.is_terminal else None
            if task.status.is_terminal and not Watch(task.id, newer_than=newer_than).has_ended(task):
                self.log.info("The service still shows the turn before. The sensor looks again.")
                return False
            report(task)
            self._link(attempt, task)
            if task.status is TaskStatus.PAUSED and self.on_paused == "fail":
                attempt.publish_summary(task)
                raise paused(task)
            if not task.status.is_terminal:
                report.waiting(self.poke_interval)
                return False
            return PokeReturnValue(is_done=True, xcom_value=attempt.answer(task))

    def _get_next_poke_interval(
        self, started_at: Any, run_duration: Callable[[], float], poke_count: int
    ) -> float:
        """Poke a young run more often where a worker waits anyway, by the rule of all waits."""
        seconds = float(super()._get_next_poke_interval(started_at, run_duration, poke_count))
        if self.reschedule or self.exponential_backoff:
            return seconds
        return jittered(look_interval(run_duration(), seconds))

    def execute_complete(
        self, context: Context, event: Any, deadline: float | None = None, newer_than: float | None = None
    ) -> Any:
        """
        Take up the task again when the trigger has fired.

        :param context: that of the task instance.
        :param event: that of the trigger.
        :param newer_than: Unix seconds; an end as old as that is of an earlier turn of the thread.
        :param deadline: Unix seconds at which the sensor times out.
        """
        from airflow_provider_xpander.hooks.xpander import XpanderHook

        found = read_event(event)
        wait = wait_of(event, deadline=deadline, newer_than=newer_than)
        with self._forgiving():
            if found.end is End.TIMEOUT:
                raise AirflowSensorTimeout(
                    f"xpander task {wait.task_id} did not end within {self.timeout:.0f} s (last status: "
                    f"{found.status}). The run goes on: a sensor never stops it."
                )
            if found.end is End.ERROR:
                raise AirflowFailException(
                    f"The wait for xpander task {wait.task_id} failed: {found.message}"
                )
            with XpanderHook(self.xpander_conn_id) as hook, self._failing():
                attempt = self._attempt_at(context, hook)
                self._expect_turn(context, attempt)
                over = attempt.resume(wait, found)
                self._link(attempt, over.task)
                return attempt.finish(wait, over)

    def _failing(self) -> failing_at_once:
        return failing_at_once(FINAL_FOR_SENSORS, log=self.log, link=lambda: self._address)

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        """Skip where the author wants no failure, as the base class does around a poke."""
        try:
            yield
        except AirflowSkipException:
            raise
        except (AirflowFailException, AirflowSensorTimeout) as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise
        except Exception as error:  # never_fail means just that
            if self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise

    def _attempt_at(self, context: Context, hook: XpanderHook) -> Attempt:
        """Return what waits for the run and answers; it never stops it."""
        if isinstance(self.output_schema, str):
            check_schema_path(context, self.task_id, self.output_schema)
        options = Options(
            xpander_conn_id=self.xpander_conn_id,
            invocation=lambda task: Invocation("workflow" if task.is_orchestration else "agent"),
            rules=self._rules_for,
            poll_interval=self.poke_interval,
            deferrable=self.deferrable,
            on_paused=self.on_paused,
        )
        attempt = Attempt(context["ti"], hook, self.log, options, RunGuard(hook, KillState(), self.log))
        attempt.connect()
        return attempt

    def _expect_turn(self, context: Context, attempt: Attempt) -> float | None:
        """Expect the turn of a thread that is meant, if it is known; return when the one before it ended."""
        turn = self._given_turn() or self._noted_turn(context)
        if turn is None:
            return None
        attempt.guard.expect(turn.digests)
        return turn.newer_than

    def _noted_turn(self, context: Context) -> Turn | None:
        from airflow_provider_xpander.operators.invoke import XpanderInvokeOperator

        before = tasks_before(self, context, XpanderInvokeOperator)
        return noted_turn(context["ti"], before, self.xpander_task_id)

    def _given_turn(self) -> Turn | None:
        if self.thread_turn is None:
            return None
        turn = read_turn(self.thread_turn)
        if turn is None or turn.xpander_task_id != self.xpander_task_id:
            raise XpanderValidationError(
                f"thread_turn: {printable(self.thread_turn, 200)} is no turn of thread "
                f"{self.xpander_task_id}; hand on the XCom {TURN_KEY} of the task that has started it"
            )
        return turn

    def _rules_for(self, task: Task) -> AnswerRules:
        rules = answer_rules(self, on_invalid=self.on_invalid)
        as_task_says = self.output_format is None and task.output_format == "json"
        return replace(rules, wants_json=True) if as_task_says else rules

    def _link(self, attempt: Attempt, task: Task | None) -> None:
        """Push the link once for each process: a reschedule empties XCom."""
        if task is not None and self._address is None:
            self._address = attempt.hook.settings.task_link(task_id=task.id, agent_id=task.agent_id)
            push_link(attempt.ti, self._address)
