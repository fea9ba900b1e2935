"""The operator that lets an agent choose how a DAG run goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_xpander._compat import (
    AIRFLOW_VERSION,
    HAS_HUMAN_IN_THE_LOOP,
    AirflowFailException,
    Context,
)
from airflow_provider_xpander._compat_taskflow import BranchMixIn
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.models import InvokeRequest
from airflow_provider_xpander.connection import DEFAULT_CONN_ID
from airflow_provider_xpander.operators.arguments import Options, check_choice, naming
from airflow_provider_xpander.operators.base import RUN_PARAMETERS
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator
from airflow_provider_xpander.runs.adopt import Reattach
from airflow_provider_xpander.runs.answer import XpanderAnswerInvalid
from airflow_provider_xpander.runs.branching import Branches, Chosen
from airflow_provider_xpander.runs.deferral import Decision, decision_of
from airflow_provider_xpander.runs.stop_policy import OnKill, OnTimeout
from airflow_provider_xpander.runs.watch import OnPaused
from airflow_provider_xpander.xcom import add_to_summary

if TYPE_CHECKING:
    from airflow_provider_xpander.operators.attempt import Attempt
    from airflow_provider_xpander.runs.deferral import Wait
    from airflow_provider_xpander.runs.watch import Over

OnUnsure = Literal["default", "ask"]
# What makes no sense of an answer that is a choice.
NOT_TAKEN = {
    "output_schema": None, "output_format": None, "result_path": None, "max_xcom_bytes": None,
    "multiple_outputs": False, "wait_for_completion": True, "require_approval": False, "approvers": None,
    "approval_timeout": None, "on_approval_timeout": "fail",
}  # fmt: skip


def _check_branches(branches: Any) -> None:
    """
    Refuse what are no branches.

    :param branches: what the author gave.
    :raises XpanderValidationError: says what is allowed.
    """
    texts = isinstance(branches, Mapping) and all(
        isinstance(part, str) and part.strip() for pair in branches.items() for part in pair
    )
    if not texts or len(branches) < 2:
        raise XpanderValidationError(
            f"branches must map at least two ids of tasks to what each is for, got {branches!r}"
        )


class XpanderBranchOperator(XpanderInvokeAgentOperator, BranchMixIn):
    """
    Let an agent choose among the tasks downstream; the others are skipped, as by Airflow's branch operators.

    The return value is the chosen id, or with ``multiple=True`` the list of ids. Who has chosen, when and why
    is in XCom ``xpander_task``, under ``choice``. The other parameters are those of
    :class:`~airflow_provider_xpander.operators.xpander.XpanderInvokeAgentOperator`, except for those about
    the form of the answer.

    :param branches: what each branch is for, by the id of its task or task group; the agent is told.
    :param multiple: let the agent choose several.
    :param min_confidence: how sure the agent has to be, from 0 to 1; None takes any choice.
    :param default: the id, or with ``multiple=True`` the ids, of what is taken if the agent is less sure, or
        if its answer is invalid after ``repair_attempts`` repair turns. Without it the task fails then.
    :param on_unsure: ``default`` takes the default then; ``ask`` asks a person in Airflow (3.1 and newer),
        and takes the default only when the time is up in which the run has to end (``timeout``).
    :param kwargs: those of the operator.
    :raises XpanderValidationError: an argument is wrong, when the DAG is parsed.
    """

    inherits_from_skipmixin = True
    _can_skip_downstream = True

    def __init__(
        self,
        *,
        branches: Mapping[str, str],
        multiple: bool = False,
        min_confidence: float | None = None,
        default: str | Sequence[str] | None = None,
        on_unsure: OnUnsure = "default",
        agent_id: str | None = None,
        input: str | Mapping[str, Any] | None = None,
        files: Sequence[str] | str | None = None,
        user: Mapping[str, Any] | None = None,
        version: str | None = None,
        thread_id: str | None = None,
        expected_output: str | None = None,
        instructions_override: str | None = None,
        additional_context: str | None = None,
        think_mode: str | None = None,
        llm_model_provider: str | None = None,
        llm_model_name: str | None = None,
        llm_reasoning_effort: str | None = None,
        mcp_servers: Sequence[Mapping[str, Any]] | None = None,
        user_tokens: Mapping[str, Any] | None = None,
        user_oidc_token: str | None = None,
        title: str | None = None,
        payload_extension: Mapping[str, Any] | None = None,
        disable_attachment_injection: bool | None = None,
        return_metrics: bool | None = None,
        extra_body: Mapping[str, Any] | None = None,
        xpander_conn_id: str = DEFAULT_CONN_ID,
        mode: Literal["async", "sync", "stream"] = "async",
        deferrable: bool | None = None,
        poll_interval: float = 30.0,
        timeout: float | timedelta | None = None,
        on_timeout: OnTimeout = "stop",
        on_kill_action: OnKill = "stop",
        on_paused: OnPaused = "wait",
        on_stopped: Literal["fail", "skip"] = "fail",
        on_invalid: Literal["repair", "fail"] = "repair",
        repair_attempts: int = 1,
        reattach: Reattach = True,
        **kwargs: Any,
    ) -> None:
        asked = {name: value for name, value in locals().items() if name in RUN_PARAMETERS}
        known = isinstance(branches, Mapping)
        self.choice = Branches(dict(branches) if known else {}, multiple, min_confidence)
        super().__init__(**asked | kwargs | {"output_schema": self.choice.schema()})
        self.branches = branches
        self.multiple = multiple
        self.min_confidence = min_confidence
        self.default = default
        self.on_unsure = on_unsure
        with naming(self):
            self._check(kwargs)

    def _check(self, given: Mapping[str, Any]) -> None:
        for name, allowed in NOT_TAKEN.items():
            if given.get(name, allowed) != allowed:
                raise XpanderValidationError(
                    f"{name} is not taken here, got {given[name]!r}: the answer is the choice of a branch"
                )
        _check_branches(self.branches)
        check_choice("on_unsure", self.on_unsure, ("default", "ask"))
        check_choice("on_invalid", self.on_invalid, ("repair", "fail"))
        least = self.min_confidence
        is_number = isinstance(least, int | float) and not isinstance(least, bool)
        if least is not None and not (is_number and 0 <= least <= 1):
            raise XpanderValidationError(f"min_confidence must be a number from 0 to 1, got {least!r}")
        if self.default is not None and isinstance(self.default, str) is self.multiple:
            what = "a list of ids of tasks" if self.multiple else "the id of a task"
            raise XpanderValidationError(f"default must be {what}, got {self.default!r}")
        if self.on_unsure == "ask" and not HAS_HUMAN_IN_THE_LOOP:
            raise XpanderValidationError(
                f"on_unsure='ask' needs Airflow 3.1 or newer, which can ask a person; this is "
                f"{AIRFLOW_VERSION}, where on_unsure must be 'default'"
            )
        if self.on_unsure == self.on_paused == "ask":
            raise XpanderValidationError(
                "on_unsure='ask' and on_paused='ask' exclude each other: Airflow keeps one question of a task"
            )
        if least is not None and self.default is None and self.on_unsure == "default":
            raise XpanderValidationError(f"min_confidence={least} needs a default, or on_unsure='ask'")

    @property
    def _default(self) -> list[str]:
        return [self.default] if isinstance(self.default, str) else list(self.default or ())

    def resolve_template_files(self) -> None:
        """Check the ids, too: Airflow calls this when the DAG is complete; an error is an import error."""
        super().resolve_template_files()
        with naming(self):
            self._check_ids()

    def _check_ids(self) -> None:
        if not self.has_dag():  # type: ignore[no-untyped-call]
            return
        groups, below = self.dag.task_group_dict, self.get_flat_relative_ids(upstream=False)
        for name in [*self.branches, *self._default]:
            roots = {root.task_id for root in groups[name].roots} if name in groups else {name}
            if not roots <= set(below):
                known = ", ".join(sorted(self.downstream_task_ids)) or "none"
                raise XpanderValidationError(
                    f"branch {name!r} is no task and no task group downstream; right downstream: {known}"
                )

    def _options(self) -> Options:
        options = super()._options()
        may_ask = options.may_ask or self.on_unsure == "ask"
        return replace(options, may_ask=may_ask, conclude=self._conclude)

    def request(self, context: Context) -> InvokeRequest:
        """
        Return what the agent is asked: the author's request, and the choice.

        :param context: that of the task instance.
        :raises XpanderValidationError: a field is wrong, or a branch is no task downstream.
        """
        with naming(self):
            self._check_ids()  # those of mapped tasks, and in dag.test(), are not checked before
        asked = super().request(context)
        expected = "\n\n".join(filter(None, [asked.expected_output, self.choice.asked()]))
        return asked.model_copy(update={"expected_output": expected})

    def _conclude(self, attempt: Attempt, wait: Wait, over: Over) -> Any:
        """Take the branch that the agent has chosen, or do what is wanted where it is not sure."""
        try:
            chosen = self.choice.read(attempt.valid_answer(wait, over))
        except XpanderAnswerInvalid as invalid:
            return self._unsure(attempt, wait, invalid)
        doubt = self.choice.doubt(chosen)
        if doubt is not None:
            return self._unsure(attempt, wait, AirflowFailException(doubt), chosen)
        return self._follow(attempt.ti, chosen.branches, "agent", chosen)

    def _unsure(self, attempt: Attempt, wait: Wait, doubt: Exception, chosen: Chosen | None = None) -> Any:
        if self.on_unsure == "ask" or self._default:
            attempt.log.warning("%s", doubt)
        if self.on_unsure == "ask" and self._put_question(attempt, str(doubt)):
            from airflow_provider_xpander.triggers.asking import XpanderChoiceTrigger

            self._note(attempt.ti, [], "nobody yet", chosen)
            trigger = XpanderChoiceTrigger(str(attempt.ti.id), wait.run_deadline, time.time())
            attempt.defer_on(trigger, "execute_chosen", wait)
        if not self._default:
            raise doubt
        return self._follow(attempt.ti, self._default, "default", chosen)

    def _put_question(self, attempt: Attempt, doubt: str) -> bool:
        """Ask where Airflow shows what it needs from people; False if it does not take the question."""
        from airflow_provider_xpander.required_actions import ask_person

        question = self.choice.question(doubt, attempt.link)
        try:
            ask_person(
                attempt.ti.id,
                subject=question.subject,
                body=question.body,
                options=list(self.choice.descriptions),
                multiple=self.multiple,
            )
        except Exception as error:  # whatever Airflow's API dies of
            attempt.log.warning("Nobody could be asked which branch is to be taken: %s", error)
            return False
        attempt.log.info("Asked in Airflow which branch is to be taken")
        return True

    def execute_chosen(
        self, context: Context, event: Any, newer_than: float | None = None, deadline: float | None = None
    ) -> Any:
        """
        Take the branch that a person has chosen, or the default if nobody has in time.

        :param context: that of the task instance.
        :param event: what was chosen, or that the time is up.
        :param newer_than: not used.
        :param deadline: not used.
        """
        self.operator_extra_links = ()
        decision = decision_of(event)
        if decision is not None:
            return self._follow(context["ti"], decision.options, decision.by or "somebody", None, decision)
        if not self._default:
            raise AirflowFailException("Nobody has chosen a branch in time, and there is no default")
        self.log.warning("Nobody has chosen a branch in time; the default is taken")
        return self._follow(context["ti"], self._default, "default", None)

    def _follow(
        self, ti: Any, ids: Sequence[str], by: str, chosen: Chosen | None, decision: Decision | None = None
    ) -> Any:
        """Skip what was not chosen, and return what was."""
        branches = list(ids) if self.multiple else ids[0]
        self.log.info("Chosen by %s: %s", by, ", ".join(ids))
        self._note(ti, ids, by, chosen, decision)
        if self.do_xcom_push:
            # On Airflow 3, the return value of a task that skips others gets lost.
            ti.xcom_push("return_value", branches)
        self.do_branch({"ti": ti}, branches)
        return branches

    def _note(
        self, ti: Any, ids: Sequence[str], by: str, chosen: Chosen | None, decision: Decision | None = None
    ) -> None:
        of_agent = {"confidence": chosen.confidence, "reason": chosen.reason} if chosen else {}
        at = decision.at if decision and decision.at else datetime.now(UTC).isoformat()
        add_to_summary(ti, choice={"branches": list(ids), "by": by, "at": at, **of_agent})
