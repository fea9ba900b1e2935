"""
The approval of an answer (``require_approval=True``): a person sees it before it goes downstream.

It stands between the answer that was read and checked and the one that is handed on. Where a person asks
again, the answer will not do, as one that does not match the schema: a repair turn follows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_xpander._compat import AirflowFailException, AirflowSkipException, Context
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.runs.answer import XpanderAnswerInvalid, XpanderAskedAgain
from airflow_provider_xpander.runs.approval import (
    OPTIONS,
    ApprovalRules,
    Step,
    Verdict,
    code_of,
    entry_of,
    form_of,
    judge,
    question_of,
)
from airflow_provider_xpander.runs.deferral import Decision, Wait
from airflow_provider_xpander.task_instance import attempt_deadline
from airflow_provider_xpander.xcom import add_to_summary, checked, push_approval

if TYPE_CHECKING:
    from airflow_provider_xpander.operators.attempt import Attempt
    from airflow_provider_xpander.operators.base import XpanderRequestOperator


@dataclass
class Approval:
    """
    The approval of one attempt's answers.

    :param ti: the task instance.
    :param rules: what the author wants of it.
    :param attempt_deadline: Unix seconds at which the attempt has to be over, or None.
    :param decision: what a person has decided since the task was deferred, if it was.
    :param deadline: Unix seconds up to which that could be decided, or None.
    :param late: whether nobody has decided in time.
    """

    ti: Any
    rules: ApprovalRules
    attempt_deadline: float | None
    decision: Decision | None = None
    deadline: float | None = None
    late: bool = False
    kept: dict[str, Any] = field(default_factory=dict)
    """What this try of the task knows: the answer that a person was asked about, and the decisions."""

    @classmethod
    def of(cls, rules: ApprovalRules, task: XpanderRequestOperator, context: Context) -> Approval:
        """
        Return the approval of a task's answers.

        :param rules: what the author wants of it.
        :param task: the operator, with its parameters.
        :param context: that of the task instance.
        """
        return cls(context["ti"], rules, attempt_deadline(context["ti"], task.execution_timeout))

    def hand_over(self) -> None:
        """Let the process that resumes find what is known, also if that is nothing."""
        if not self.kept:
            push_approval(self.ti, {})

    def take(self, decision: Decision | None, deadline: float | None) -> None:
        """
        Take note of what has ended the wait for a person.

        :param decision: what the person has decided; None if nobody has in time.
        :param deadline: Unix seconds up to which it could be decided, or None.
        """
        self.decision, self.late, self.deadline = decision, decision is None, deadline

    @property
    def asked_again(self) -> int:
        """How many turns of the run a person has asked for in this try; they are no repairs."""
        return sum(entry["decision"] == Step.ASKED_AGAIN for entry in self.kept.get("decisions", []))

    def __call__(self, attempt: Attempt, task: Task, answer: Any) -> Any:
        """
        Return the answer that is handed on, once a person has decided.

        :param attempt: the attempt at the run.
        :param task: the run.
        :param answer: its answer, checked.
        :raises TaskDeferred: a person is asked.
        :raises XpanderAskedAgain: a person wants another answer.
        :raises AirflowFailException: it was rejected, or nobody has decided in time.
        :raises AirflowSkipException: nobody has decided in time, and ``on_approval_timeout`` says so.
        """
        kept, decisions = self.kept, list(self.kept.get("decisions", []))
        # Each decision and each end of the time is about one answer.
        decision, late, self.decision, self.late = self.decision, self.late, None, False
        code = code_of(answer)
        # Somebody may have continued the thread, so that it shows an answer that nobody was asked about.
        if late and kept.get("code", code) == code:
            return self._late(attempt, decisions, answer)
        if decision is None:
            self.deadline = None
            self._ask(attempt, task, answer, decisions)
        verdict = judge(decision, code=code, shown=kept.get("shown") or code)
        edited: Any = None
        if verdict.step is Step.EDITED:
            try:
                edited = checked(
                    task.model_copy(update={"result": verdict.text}), attempt.options.rules(task)
                )
            except XpanderAnswerInvalid as invalid:
                problems = "; ".join(invalid.problems)
                verdict = Verdict(Step.UNCLEAR, f"The edited answer does not fit: {problems}")
        comment = "" if verdict.step is Step.EDITED else verdict.text
        decisions.append(entry_of(verdict.step, decision, _now(), comment))
        by = decision.by or "Somebody"
        attempt.log.info("%s has decided about the answer: %s %s", by, verdict.step, comment)
        if verdict.step is Step.UNCLEAR:
            self._ask(attempt, task, answer, decisions, problem=verdict.text)
        self._keep(decisions=decisions)
        add_to_summary(self.ti, approval=decisions)
        if verdict.step is Step.REJECTED:
            said = f": {verdict.text}" if verdict.text else ""
            raise AirflowFailException(f"{by} has rejected the answer{said}")
        if verdict.step is Step.ASKED_AGAIN:
            raise XpanderAskedAgain(
                f"{by} wants another answer of xpander task {task.id}",
                task_id=task.id,
                answer=answer,
                problems=[verdict.text],
            )
        return edited if verdict.step is Step.EDITED else answer

    def _late(self, attempt: Attempt, decisions: list[Any], answer: Any) -> Any:
        said = "Nobody has decided in time whether the answer may be handed on"
        out_of_time = self.attempt_deadline is not None and time.time() >= self.attempt_deadline
        how = "fail" if out_of_time else self.rules.on_timeout
        done = Step.APPROVED if how == "approve" else Step.REJECTED
        decisions.append({"decision": done, "by": "nobody in time", "at": _now()})
        add_to_summary(self.ti, approval=decisions)
        limit = "execution_timeout" if out_of_time else f"approval_timeout={self.rules.timeout} s"
        if how == "fail":
            raise AirflowFailException(f"{said} ({limit})")
        attempt.log.warning("%s (%s, %s)", said, limit, how)
        if how == "skip":
            raise AirflowSkipException(said)
        return answer

    def _keep(self, **more: Any) -> None:
        self.kept = {**self.kept, **more}
        push_approval(self.ti, self.kept)

    def _ask(
        self, attempt: Attempt, task: Task, answer: Any, decisions: list[Any], problem: str | None = None
    ) -> NoReturn:
        from airflow_provider_xpander.required_actions import ask_person
        from airflow_provider_xpander.triggers.asking import XpanderChoiceTrigger

        code = code_of(answer)
        link = attempt.hook.settings.task_link(task_id=task.id, agent_id=task.agent_id)
        question = question_of(answer, agent_id=task.agent_id, task_id=task.id, link=link)
        try:
            ask_person(
                self.ti.id,
                subject=question.subject,
                body=question.body,
                options=OPTIONS,
                fields=form_of(answer),
                users=self.rules.approvers,
            )
        except Exception as error:  # whatever Airflow's API dies of
            raise XpanderError(
                f"Nobody could be asked about the answer of xpander task {task.id}: {error}"
            ) from error
        now = time.time()
        own = None if self.rules.timeout is None else now + self.rules.timeout
        limits = [limit for limit in (self.deadline or own, self.attempt_deadline) if limit is not None]
        wait = Wait(task.id, task.agent_id, min(limits, default=None))
        shown = self.kept.get("shown") or code
        self._keep(code=code, shown=shown, answer=answer, problem=problem, decisions=decisions)
        add_to_summary(self.ti, approval=decisions)
        attempt.hand_over()
        attempt.log.info("Asked in Airflow whether the answer may be handed on (code %s)", code)
        if problem:
            attempt.log.warning("%s It is asked once more.", problem)
        trigger = XpanderChoiceTrigger(str(self.ti.id), wait.run_deadline, now)
        attempt.defer_on(
            trigger,
            "execute_decided",
            replace(wait, newer_than=attempt.state.newer_than),
            xpander_task_id=task.id,
            agent_id=task.agent_id,
        )


def deadline_of_next_turn(task: XpanderRequestOperator, context: Context) -> float | None:
    """
    Return the Unix seconds at which a turn that a person asks for has to have ended, or None.

    It is a submit of its own, from which its time counts.

    :param task: the operator, with its parameters.
    :param context: that of the task instance.
    """
    own = None if task.timeout is None else time.time() + task.timeout
    limits = (own, attempt_deadline(context["ti"], task.execution_timeout))
    return min((limit for limit in limits if limit is not None), default=None)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
