"""The Airflow task instance: the identity of its run, its retries, and the note that an attempt leaves."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_xpander._compat import (
    AirflowFailException,
    AirflowNotFoundException,
    Context,
    deployment_name,
)
from airflow_provider_xpander.api.errors import XpanderError, XpanderValidationError
from airflow_provider_xpander.api.settings import UnusableConnectionError
from airflow_provider_xpander.runs.adopt import Note
from airflow_provider_xpander.runs.error_policy import FINAL
from airflow_provider_xpander.runs.identity import Identity
from airflow_provider_xpander.runs.task_errors import headline
from airflow_provider_xpander.runs.thread import Turn, read_turn
from airflow_provider_xpander.runs.timing import deadline_of

log = logging.getLogger(__name__)

_PACKAGE = f"{__name__.partition('.')[0]}."
STORE_KEY = "xpander_run"
TURN_KEY = "xpander_thread_turn"
"""XCom key of the turn of a thread that was started and not waited for."""


def identity_of(ti: Any, *, retries: int | None, anew: bool = False) -> Identity:
    """
    Return whose run an attempt starts.

    :param ti: the task instance.
    :param retries: the task's ``retries``.
    :param anew: give each attempt an identity of its own.
    """
    first_try = ti.try_number if anew else (ti.max_tries or 0) - (retries or 0) + 1
    return Identity(
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        # Out of these bounds only where the DAG's retries were changed between two attempts.
        first_try=min(max(first_try, 1), ti.try_number),
        began=_start_of_dag_run(ti),
        region=region_of(ti),
        deployment=deployment_name(),
    )


def _start_of_dag_run(ti: Any) -> datetime | None:
    """Return what the context of a task instance tells of it; a stand-in for one may have no context."""
    context: Any = getattr(ti, "get_template_context", dict)()
    return getattr(context.get("dag_run"), "start_date", None)


def region_of(ti: Any) -> str:
    """
    Return the loop of tasks (Airflow 3.4) and the iteration of a task instance, empty if it has none.

    :param ti: the task instance.
    """
    region = getattr(ti, "region_id", None)
    return f"{region}/{ti.region_index}" if region is not None and region.int else ""


def check_own_task(ti: Any, task_id: str) -> None:
    """
    Refuse an operator that is called inside the function of another task.

    Its run could not be told from those of that task: a retry would not find it, or find another. What it
    leaves in XCom would be that task's too, and a deferral would resume that task.

    :param ti: the task instance that runs.
    :param task_id: the operator's own task id.
    :raises XpanderValidationError: they are not the same task.
    """
    if ti.task_id != task_id:
        raise XpanderValidationError(
            f"The operator {task_id!r} is called inside the task {ti.task_id!r}, so a retry could not find "
            f"its run again. Make it a task of its own in the DAG, or call the service with XpanderHook."
        )


def retries_left(ti: Any) -> bool:
    """
    Whether Airflow tries the task again when this attempt fails.

    :param ti: the task instance.
    """
    return bool(ti.try_number <= (ti.max_tries or 0))


def attempt_deadline(ti: Any, execution_timeout: timedelta | None) -> float | None:
    """
    Return the Unix seconds at which Airflow ends the attempt, or None if it does not.

    :param ti: the task instance.
    :param execution_timeout: that of the task.
    """
    if execution_timeout is None:
        return None
    started = getattr(ti, "start_date", None)
    return deadline_of(
        time.time(),
        timeout=None,
        execution_timeout=execution_timeout.total_seconds(),
        started=started.timestamp() if started else None,
    )


def was_tried(ti: Any, identity: Identity) -> bool:
    """
    Whether an earlier attempt of the same identity may have started a run.

    That is one of an earlier try, or on Airflow 3.4 one of the same try that was rescheduled after an error.

    :param ti: the task instance.
    :param identity: whose run it is.
    """
    return ti.try_number > identity.first_try or is_rescheduled(ti)


def is_rescheduled(ti: Any) -> bool:
    """
    Whether this try was begun before, and rescheduled.

    :param ti: the task instance.
    """
    return bool(_reschedules(ti))


def _reschedules(ti: Any) -> int:
    """Return how often this try was rescheduled; a stand-in for a task instance may have no context."""
    context: Any = getattr(ti, "get_template_context", dict)()
    return int(context.get("task_reschedule_count") or 0)


def is_tried_again(task: Any, context: Context, error: Exception) -> bool:
    """
    Whether Airflow tries a task again after an error: by its retries and its retry policy (Airflow 3.3).

    Airflow asks it too, in a moment, and is told the same: another answer, as a model may give, would have
    the run kept for nobody, or stopped before it is taken over.

    :param task: the operator.
    :param context: that of the task instance.
    :param error: what the task fails with.
    """
    policy, ti = getattr(task, "retry_policy", None), context["ti"]
    if policy is None:
        return retries_left(ti)
    from airflow_provider_xpander.retry_policy import AskedPolicy

    asked = AskedPolicy(policy, error)
    object.__setattr__(task, "retry_policy", asked)
    try:
        decision = asked.evaluate(
            exception=error, try_number=ti.try_number, max_tries=ti.max_tries or 0, context=context
        )
    except Exception:  # a policy of whoever wrote the DAG; Airflow goes by the retries then
        log.warning("The retry policy could not be asked", exc_info=True)
        return retries_left(ti)
    if decision.action.value == "reschedule" and _may_reschedule(decision, ti, context):
        return True
    return retries_left(ti) and decision.action.value != "fail"


def _may_reschedule(decision: Any, ti: Any, context: Context) -> bool:
    """Whether a try is within the bounds that a decision to reschedule it sets (Airflow 3.4)."""
    count, most, longest = _reschedules(ti), decision.max_reschedules, decision.reschedule_timeout
    if most is not None and count >= most:
        return False
    first = ti.get_first_reschedule_date(context) if count and longest is not None else None
    return first is None or datetime.now(UTC) < first + longest


class failing_at_once:
    """
    Let errors of this provider fail a task in few words, and with no retry if it would only repeat them.

    The log gets one short line, the reason first, and the link to the run. The error comes without the frames
    of this package and without what led to it, which say nothing to whoever wrote the DAG; they are in the
    log at level DEBUG. So does what this package raises of Airflow's own, and a connection that is missing or
    cannot be used.

    :param final: errors that no retry mends (``runs/error_policy.py``); by default those of operators.
    :param log: where the lines go; None for no lines.
    :param link: gives the address of the run in the console, None if there is none.
    """

    def __init__(
        self,
        final: tuple[type[XpanderError], ...] = FINAL,
        *,
        log: Any = None,
        link: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._final, self._log, self._link = final, log, link

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        told = (XpanderError, AirflowFailException, AirflowNotFoundException, UnusableConnectionError)
        if not isinstance(error, told) or not _is_ours(error):
            return
        if self._log is not None:
            log.debug("The error came from here", exc_info=error)
            self._log.error("%s", headline(error))
            link = self._link()
            if link:
                self._log.error("The run in the console: %s", link)
        if isinstance(error, self._final):
            raise AirflowFailException(str(error)) from None
        raise error.with_traceback(None) from None


def _is_ours(error: BaseException) -> bool:
    """Tell whether an error was raised in this package, and not by a function of the DAG's author."""
    if isinstance(error, XpanderError):
        return True
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and str(place.tb_frame.f_globals.get("__name__")).startswith(_PACKAGE)


def note_run(context: Context, identity: Identity, task_id: str) -> None:
    """
    Note the run in Airflow's task state store (3.3), which saves the next attempt a look-up.

    :param context: that of the task instance.
    :param identity: whose run it is.
    :param task_id: the remote task.
    """
    store = context.get("task_state_store")
    if store is None:
        return
    try:
        store.set(STORE_KEY, {"task_id": task_id, "digest": identity.digest, "place": identity.place})
    except Exception:  # only a short cut: whatever goes wrong there may not cost the run
        log.warning("The run could not be noted in the task state store", exc_info=True)


def noted_run(context: Context, identity: Identity) -> Note | None:
    """
    Return what an earlier attempt of the same identity has noted, or None.

    At the first try after a clear, there is none yet; then it is that of an attempt before the clear. The
    start of the DAG run does not count here: Airflow keeps the note with the DAG run, which may begin anew.

    :param context: that of the task instance.
    :param identity: whose run it is.
    """
    store = context.get("task_state_store")
    if store is None:
        return None
    try:
        note = store.get(STORE_KEY)
    except Exception:  # as above: the look-up finds the run
        log.warning("The task state store could not be read", exc_info=True)
        return None
    if not isinstance(note, dict) or not note.get("task_id"):
        return None
    meant = [identity] if was_tried(context["ti"], identity) else identity.earlier
    if note.get("place") in {one.place for one in meant} or note.get("digest") in {
        one.digest for one in meant
    }:
        return Note(str(note["task_id"]), str(note.get("digest")))
    return None


def tell_outlets(context: Context, outlets: Iterable[Any], data: Mapping[str, Any], log: Any) -> None:
    """
    Put data into the events of the assets that a task updates (``extra``, under ``xpander``).

    :param context: that of the task instance.
    :param outlets: the task's assets.
    :param data: small JSON data.
    :param log: where to say what could not be told.
    """
    for outlet in outlets or ():
        try:
            context["outlet_events"][outlet].extra["xpander"] = dict(data)
        except Exception as error:  # of an outlet that is no asset, say; the task has done its work
            log.warning("The event of %r could not be told of the result: %s", outlet, error)


def note_turn(ti: Any, turn: Turn) -> None:
    """
    Push a turn that was started and is not waited for, so that a sensor does not take another for it.

    :param ti: the task instance that has started it.
    :param turn: the turn.
    """
    ti.xcom_push(TURN_KEY, turn.data())


def noted_turn(ti: Any, before: Iterable[Iterable[str]], xpander_task_id: str) -> Turn | None:
    """
    Return the turn of a thread that a task before this one has started and not waited for, or None.

    :param ti: the task instance that waits for its end.
    :param before: ids of the tasks before it, the nearest first; the turn of the nearest is meant.
    :param xpander_task_id: the thread.
    """
    for level in before:
        turns: list[Turn] = []
        for task_id in level:
            pulled = ti.xcom_pull(task_ids=task_id, key=TURN_KEY)
            # Of a mapped task all values come, in a sequence.
            values = [pulled] if pulled is None or isinstance(pulled, Mapping) else pulled
            turns += filter(None, map(read_turn, values))
        started = [turn for turn in turns if turn.xpander_task_id == xpander_task_id]
        if started:
            return max(started, key=lambda turn: turn.newer_than or 0.0)
    return None


def tasks_before(task: Any, context: Context, kind: type) -> Iterator[list[str]]:
    """
    Give the ids of the tasks of a kind that lie before a task, those right before it first, level by level.

    :param task: the task.
    :param context: that of its task instance.
    :param kind: class of the operators that are meant, mapped ones too.
    """
    known: Mapping[str, Any] = getattr(context.get("dag"), "task_dict", {})
    level, seen = set(task.upstream_task_ids), set[str]()
    while level:
        seen |= level
        tasks = {task_id: known[task_id] for task_id in sorted(level) if task_id in known}
        yield [
            name for name, one in tasks.items() if issubclass(getattr(one, "operator_class", type(one)), kind)
        ]
        level = {task_id for one in tasks.values() for task_id in one.upstream_task_ids} - seen
