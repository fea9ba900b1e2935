"""The end of a task by Airflow, which kills it or gives up its deferral: what becomes of its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_xpander._compat import Context, context_of_late_resumption

if TYPE_CHECKING:
    from airflow_provider_xpander.api.models import Task
    from airflow_provider_xpander.operators.enrich import XpanderEnrichOperator
    from airflow_provider_xpander.operators.invoke import XpanderInvokeOperator
    from airflow_provider_xpander.operators.run_guard import RunGuard


def kill(operator: XpanderInvokeOperator | XpanderEnrichOperator, guard: RunGuard | None) -> None:
    """
    See to the runs of a task that is killed; nothing is imported here, because a kill may come at any time.

    :param operator: the operator, with its parameters.
    :param guard: that of the attempt of this process, None if there is no attempt yet.
    """
    if guard is not None:
        guard.on_kill()
        return
    operator.killed = True
    # Where Airflow 2 ends a resumed task for its execution_timeout before it begins.
    context = context_of_late_resumption()
    if context is not None:
        give_up(operator, context, late=True)


def give_up(
    operator: XpanderInvokeOperator | XpanderEnrichOperator, context: Context, *, late: bool
) -> tuple[RunGuard, list[Task]] | None:
    """
    See to the runs of a task whose deferral Airflow has ended, so that no method of ours resumes it.

    :param operator: the operator, with its parameters.
    :param context: that of the task instance.
    :param late: whether the time was up; else the trigger has failed.
    :return: the guard of the runs, and those that were stopped, as they are then; None if there is no run.
    """
    from airflow_provider_xpander.hooks.xpander import XpanderHook

    with XpanderHook(operator.xpander_conn_id) as hook:
        guard = operator.guard_again(context, hook)
        if guard is None:
            return None
        stopped = guard.stop_late() if late else guard.stop_or_keep()
    guard.state.handle()
    return guard, stopped
