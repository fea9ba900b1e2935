"""The arguments about the approval of an answer, checked when the DAG is parsed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander._compat import AIRFLOW_VERSION, HAS_HUMAN_IN_THE_LOOP
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.operators.arguments import check_choice, check_seconds

if TYPE_CHECKING:
    from airflow_provider_xpander.runs.approval import ApprovalRules

ON_APPROVAL_TIMEOUT = ("fail", "skip", "approve")


def check_approval(operator: Any, approvers: Any, timeout: Any, on_timeout: Any) -> ApprovalRules | None:
    """
    Return what is wanted of the approval, or None if none is required.

    :param operator: the operator, with its other arguments.
    :param approvers: what the author gave.
    :param timeout: what the author gave.
    :param on_timeout: what the author gave.
    :raises XpanderValidationError: names the parameter, the value and what is allowed.
    """
    check_choice("on_approval_timeout", on_timeout, ON_APPROVAL_TIMEOUT)
    if not operator.require_approval:
        given = {"approvers": approvers, "approval_timeout": timeout}
        for name, value in given.items():
            if value is not None:
                raise XpanderValidationError(f"{name}={value!r} needs require_approval=True")
        return None
    if not HAS_HUMAN_IN_THE_LOOP:
        raise XpanderValidationError(
            f"require_approval=True needs Airflow 3.1 or newer, which can ask a person; this is "
            f"{AIRFLOW_VERSION}"
        )
    if operator.on_paused == "ask":
        raise XpanderValidationError(
            "require_approval=True and on_paused='ask' exclude each other: Airflow keeps one question of a "
            "task"
        )
    if not operator.wait_for_completion:
        raise XpanderValidationError(
            "require_approval=True needs wait_for_completion=True: there is no answer"
        )
    from airflow_provider_xpander.runs.approval import ApprovalRules

    seconds = None if timeout is None else check_seconds("approval_timeout", timeout)
    return ApprovalRules(_users(approvers), seconds, on_timeout)


def _users(approvers: Any) -> tuple[str, ...]:
    is_list = isinstance(approvers, Sequence) and not isinstance(approvers, str)
    if approvers is None:
        return ()
    if not is_list or not approvers or not all(isinstance(user, str) and user for user in approvers):
        raise XpanderValidationError(f"approvers must be a list of ids of users, got {approvers!r}")
    return tuple(approvers)
