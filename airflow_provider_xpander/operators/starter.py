"""The start of a run: take over the one that an earlier attempt has started, or start one, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.errors import (
    XpanderAmbiguousSubmitError,
    XpanderError,
    XpanderNotFoundError,
    XpanderValidationError,
)
from airflow_provider_xpander.api.exchange import Steps
from airflow_provider_xpander.api.models import InvokeRequest, Target, Task
from airflow_provider_xpander.operators.left_over import left_over
from airflow_provider_xpander.operators.shared_lists import find_together
from airflow_provider_xpander.runs.adopt import (
    LONG_AGO,
    Adopt,
    Note,
    Reattach,
    Start,
    decide,
    goes_on,
)
from airflow_provider_xpander.runs.error_policy import FINAL
from airflow_provider_xpander.runs.identity import Identity, Mark, fingerprint, marked
from airflow_provider_xpander.runs.lookup import (
    LAG,
    Wanted,
    find_by_id,
    find_runs,
    get_known,
    wanted_of,
)
from airflow_provider_xpander.runs.thread import (
    THREAD_POLL,
    ThreadBusy,
    Turn,
    thread_deadline,
    thread_error,
)
from airflow_provider_xpander.runs.watch import Again, End, OnPaused, Watch, end_of
from airflow_provider_xpander.task_instance import attempt_deadline, is_rescheduled, noted_run

if TYPE_CHECKING:
    from airflow_provider_xpander._compat import Context
    from airflow_provider_xpander.hooks.xpander import XpanderHook
    from airflow_provider_xpander.operators.attempt import Attempt
    from airflow_provider_xpander.operators.base import XpanderRequestOperator


@dataclass
class RunStarter:
    """
    Finds or starts the one run of a task instance.

    :param hook: where to ask and start.
    :param log: where to say what was done.
    :param target: what to run.
    :param request: what to ask; its title and source get the mark.
    :param identity: whose run it is.
    :param try_number: Airflow's number of this attempt.
    :param rescheduled: whether the same try was begun before (Airflow 3.4), and may have started the run.
    :param reattach: whether a run of an earlier attempt is taken over.
    :param stop_unwanted: what to do with runs that go on although nobody waits for them any more.
    :param noted: what an earlier attempt has noted down of its run, if there is such a note; at the first try
        after a clear, that of an attempt before the clear.
    :param deadline: Unix seconds at which the attempt has to be over, or None: nothing is started after that.
    :param timeout: seconds from the submit within which the run has to end, or None.
    :param on_paused: whether a paused turn of a thread that is to be continued is waited for.
    :param deferrable: raise :class:`~airflow_provider_xpander.runs.thread.ThreadBusy` instead of waiting here
        for the end of a thread's turn.
    :param busy_until: Unix seconds up to which a busy thread is waited for, where that wait has begun before.
    :param sync: whether the submit waits for the end of the run, on the open connection.
    :param lag: seconds before each look for a run whose submit was lost.
    :param killed: whether the task was killed meanwhile: then nothing is started any more.
    """

    hook: XpanderHook
    log: Any
    target: Target
    request: InvokeRequest
    identity: Identity
    try_number: int
    reattach: Reattach
    stop_unwanted: Callable[[Sequence[str], Collection[str] | None], object]
    rescheduled: bool = False
    noted: Note | None = None
    deadline: float | None = None
    timeout: float | None = None
    on_paused: OnPaused = "wait"
    deferrable: bool = False
    busy_until: float | None = None
    sync: bool = False
    lag: Sequence[float] = LAG
    killed: Callable[[], bool] = lambda: False

    newer_than: float | None = None
    """Unix seconds at which the thread's previous turn ended: an end as old as that is not this run's."""
    run_deadline: float | None = None
    """Unix seconds at which the run has to end, or None; counted from the submit, and so known after it."""

    @classmethod
    def of(
        cls, task: XpanderRequestOperator, context: Context, attempt: Attempt, busy_until: float | None
    ) -> RunStarter:
        """
        Return what starts the run of a task.

        :param task: the operator, with its parameters.
        :param context: that of the task instance.
        :param attempt: the attempt.
        :param busy_until: Unix seconds up to which a busy thread is waited for, if that has begun before.
        """
        ti, identity = context["ti"], cast("Identity", attempt.identity)
        return cls(
            hook=attempt.hook,
            log=task.log,
            target=task.target(),
            request=attempt.hook.prepare(task.request(context)),
            identity=identity,
            try_number=ti.try_number,
            reattach=task.reattach,
            stop_unwanted=attempt.guard.stop_unwanted,
            rescheduled=is_rescheduled(ti),
            noted=noted_run(context, identity),
            deadline=attempt_deadline(ti, task.execution_timeout),
            timeout=task.timeout,
            on_paused=task.on_paused,
            deferrable=task.deferrable,
            busy_until=busy_until,
            sync=task.mode == "sync",
            killed=lambda: attempt.state.killed,
        )

    def __post_init__(self) -> None:
        asked = fingerprint(str(self.target), self.request.body())
        self.mark = Mark(self.identity.digest, asked, pack=self.identity.pack)
        self.request = marked(self.request, self.identity, self.mark)

    @cached_property
    def _wanted(self) -> Wanted:
        # After a clear, an older run of the same task may have the same input.
        asked = self.request.body()["input"] if self.identity.first_try == 1 else None
        return replace(self._wanted_of([self.identity]), input=asked)

    def _wanted_of(self, identities: Iterable[Identity]) -> Wanted:
        return wanted_of(identities, self.target.id, self.identity.began, self.identity.pack)

    def invoke(self, target: Target, request: InvokeRequest) -> Task:
        """
        Submit a run.

        :param target: what to run.
        :param request: what to ask, prepared: it is sent as it is.
        :raises XpanderError: it was not started, or may have been.
        """
        if not self.sync:
            return self.hook.call(routes.invoke_async(target, request))
        left = float("inf") if self.run_deadline is None else self.run_deadline - time.time()
        timeout = min(self.hook.settings.timeout, max(1.0, left))
        return self.hook.call(routes.invoke_sync(target, request), timeout=timeout)

    def obtain(self, submit: Callable[[Target, InvokeRequest], Task]) -> Task:
        """
        Return the run, adopted or new.

        :param submit: starts a run and returns it.
        :raises ThreadBusy: the thread's turn goes on, and this process is not to wait for its end.
        :raises XpanderAmbiguousSubmitError: a run may have been started and cannot be found.
        :raises XpanderError: nothing was started by this attempt.
        """
        decision = self._look_back()
        if decision.spare:
            marks = self.identity.digests_ever | ({self.noted.digest} if self.noted else set())
            self.stop_unwanted([task.id for task in decision.spare], marks if self.request.id else None)
        if isinstance(decision, Adopt):
            self.log.info("Taking over xpander task %s of an earlier attempt", decision.task.id)
            if decision.warning:
                self.log.warning(decision.warning)
            self._count_from(time.time())
            return decision.task
        if decision.why:
            self.log.warning(decision.why)
        if self.request.id is not None:
            self._wait_for_thread(self.request.id)
        return self._start(submit)

    def going_on(self, *, lag: Sequence[float] = (0.0,)) -> Steps[list[str]]:
        """
        Look for the runs of this identity that go on, for an attempt that is being ended.

        :param lag: seconds before each look.
        :return: their ids.
        """
        known = yield from get_known(self._known_ids())
        # Without the mark of this identity it could be a stranger's: that is too little to stop it.
        sure = replace(self._wanted, input=None, old_digests=frozenset())
        listed = yield from find_runs(sure, lag=lag, alive=True)
        found = {task.id: task for task in [*self._known_ours(known), *listed]}
        return [task.id for task in found.values() if goes_on(task)]

    def turn(self, task: Task) -> Turn:
        """
        Return what a sensor needs to wait for the end of this turn of a thread, and of no other.

        :param task: the thread.
        """
        return Turn(task.id, tuple(sorted(self.identity.digests)), self.newer_than)

    def _look_back(self) -> Start | Adopt:
        if self.reattach is False:
            return Start()
        if self.try_number <= self.identity.first_try and not self.rescheduled:
            if not self.identity.earlier:
                return Start()
            wanted = self._wanted_of(self.identity.earlier)
            return Start(spare=left_over(self.hook, self.log, wanted, self.request.id, self.noted))
        self.log.info("Looking for a run that an earlier attempt has started (%s)", self.mark)
        try:
            found = self._known_runs()
            if not self._is_to_be_adopted(found):
                # What is known may not be all: an attempt that died can have started another.
                listed = find_together(self.hook, self._wanted, self._is_to_be_adopted)
                found = list({task.id: task for task in [*found, *listed]}.values())
        except FINAL:
            raise
        except XpanderError as error:
            raise XpanderError(
                f"{error} An earlier attempt may have started a run, and it could not be looked for, so none "
                f"is started. Look for {self.mark} in the titles of the tasks of {self.target.id}."
            ) from error
        self._wanted = replace(self._wanted, known=frozenset(task.id for task in found))
        return decide(found, self.mark, self.reattach)

    def _is_to_be_adopted(self, found: Sequence[Task]) -> bool:
        return isinstance(decide(found, self.mark, self.reattach), Adopt)

    def _known_runs(self) -> list[Task]:
        return self._known_ours(self.hook.run(get_known(self._known_ids())))

    def _known_ids(self) -> list[str]:
        """Return the ids that runs of earlier attempts have: noted down, chosen by us, or the thread's."""
        ids = [self.noted.task_id] if self.noted else []
        if self.request.id is not None:
            ids.append(self.request.id)
        elif self.hook.settings.client_task_ids:
            ids += map(self.identity.client_id, range(self.identity.first_try, self.try_number + 1))
        return ids

    def _known_ours(self, found: Sequence[Task]) -> list[Task]:
        # A thread belongs to whoever had its last turn.
        return [task for task in found if task.id != self.request.id or self._wanted.is_marked(task)]

    def _wait_for_thread(self, thread_id: str) -> None:
        """Wait until the thread's turn is over: a turn must not be posted while another runs (C4)."""
        found = self.hook.run(get_known([thread_id]))
        if not found:
            return
        now = time.time()
        until = self.busy_until or thread_deadline(now, timeout=self.timeout, deadline=self.deadline)
        # Of a pause in somebody else's turn nobody is asked here: that turn is not ours to stop.
        watch = Watch(thread_id, THREAD_POLL, until, "fail" if self.on_paused == "fail" else "wait")
        over = watch.after_task(found[0], now)
        if isinstance(over, Again):
            if self.deferrable:
                raise ThreadBusy(found[0], until)
            self.log.info("Thread %s is busy; waiting for the end of its turn", thread_id)
            over = self.hook.poll_until_done(watch)
        if over.end is not End.FINISHED or over.task is None:
            raise thread_error(thread_id, over)
        self.newer_than = end_of(over.task)

    def _start(self, submit: Callable[[Target, InvokeRequest], Task]) -> Task:
        if self.request.id is None and self.hook.settings.client_task_ids:
            own = self.request.model_copy(update={"id": self.identity.client_id(self.try_number)})
            try:
                return self._submit(submit, own)
            except (XpanderNotFoundError, XpanderValidationError) as refused:
                self.log.warning("%s Trying without an id of our own (client_task_ids).", refused)
        return self._submit(submit, self.request)

    def _submit(self, submit: Callable[[Target, InvokeRequest], Task], request: InvokeRequest) -> Task:
        now = time.time()
        if self.killed():
            raise XpanderError(f"{self.target} was not started: the task was killed before.")
        if self.deadline is not None and now >= self.deadline:
            what = (
                "the attempt has to be over by now. What came before has taken all of its execution_timeout"
            )
            raise XpanderError(f"{self.target} was not started: {what}.")
        self._count_from(now)
        try:
            return submit(self.target, request)
        except XpanderAmbiguousSubmitError as lost:
            return self._find_lost(lost, request.id)

    def _count_from(self, now: float) -> None:
        own = None if self.timeout is None else now + self.timeout
        self.run_deadline = min((limit for limit in (own, self.deadline) if limit is not None), default=None)

    def _find_lost(self, lost: XpanderAmbiguousSubmitError, chosen_id: str | None) -> Task:
        self.log.warning("%s Looking for it.", lost)
        mine = replace(self._wanted, old_digests=frozenset())  # it was sent with the mark of this release
        try:
            found: Sequence[Task] = []
            if chosen_id is not None:
                found = self.hook.run(find_by_id(chosen_id, self._is_new, lag=self.lag))
            found = found or self.hook.run(find_runs(mine, lag=self.lag))
        except XpanderError as error:
            raise XpanderAmbiguousSubmitError(
                f"{lost} The look-up failed: {error}",
                target_id=lost.target_id,
                title=lost.title,
                thread_id=lost.thread_id,
                status_code=lost.status_code,
            ) from error
        if not found:
            raise lost
        task = max(found, key=lambda task: task.created_at or LONG_AGO)
        self.log.info("The run was started: xpander task %s", task.id)
        return task

    def _is_new(self, task: Task) -> bool:
        """Whether a task with the id that was sent is this attempt's turn rather than the one before."""
        if task.id != self.request.id:
            return True  # an id of our own choice, which nobody else uses
        if self.newer_than is None or not self._wanted.is_marked(task):
            return self._wanted.is_marked(task)
        ended = end_of(task)
        return not task.status.is_terminal or ended is None or ended > self.newer_than
