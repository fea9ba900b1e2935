"""Repair turns (``on_invalid="repair"``): an invalid answer is asked for again, in the same thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.errors import XpanderAmbiguousSubmitError, XpanderError
from airflow_provider_xpander.api.models import InvokeInput, InvokeRequest, Target, Task
from airflow_provider_xpander.operators.run_guard import KillState
from airflow_provider_xpander.runs.answer import XpanderAnswerInvalid, XpanderAskedAgain, summarize_turn
from airflow_provider_xpander.runs.identity import Identity, Mark, fingerprint, mark_of, marked
from airflow_provider_xpander.runs.log.status_log import StatusReport
from airflow_provider_xpander.runs.lookup import LAG, find_by_id
from airflow_provider_xpander.runs.repair import Repair, decide_repair, is_after, is_same_owner, repair_text
from airflow_provider_xpander.runs.watch import end_of
from airflow_provider_xpander.task_instance import note_run, was_tried
from airflow_provider_xpander.xcom import TASK_ID_KEY, pull_turns, push_turns, turns_before

if TYPE_CHECKING:
    from airflow_provider_xpander._compat import Context
    from airflow_provider_xpander.hooks.xpander import XpanderHook
    from airflow_provider_xpander.operators.attempt import Attempt
    from airflow_provider_xpander.operators.base import XpanderRequestOperator


@dataclass
class Repairs:
    """
    The repair turns of one attempt.

    All that holds for a run holds for a repair turn: it is of the same thread, id and deadline, it is waited
    for in the same way, and it is stopped or kept in the same cases.

    :param ti: the task instance.
    :param target: what runs.
    :param identity: whose run it is.
    :param request: makes the request that the run was asked with.
    :param attempts: how many turns a run gets at the most.
    :param retried: whether an earlier attempt may have started one.
    :param note: notes the id of a turn that has one of its own.
    """

    ti: Any
    target: Target
    identity: Identity
    request: Callable[[], InvokeRequest]
    attempts: int
    retried: bool
    note: Callable[[str], None]
    repaired: list[dict[str, Any]] | None = field(default=None, init=False)
    """The turns that were repaired in this try; None where an earlier process of it may know of some."""

    @classmethod
    def of(
        cls, task: XpanderRequestOperator, context: Context, hook: XpanderHook, identity: Identity
    ) -> Repairs:
        """
        Return the repair turns of an attempt of a task.

        :param task: the operator, with its parameters.
        :param context: that of the task instance.
        :param hook: where to start them.
        :param identity: whose run it is.
        """
        return cls(
            ti=context["ti"],
            target=task.target(),
            identity=identity,
            request=lambda: hook.prepare(task.request(context)),
            attempts=task.repair_attempts if task.on_invalid == "repair" else 0,
            retried=was_tried(context["ti"], identity),
            note=lambda task_id: note_run(context, identity, task_id),
        )

    def hand_over(self) -> None:
        """Let the process that resumes find which turns were repaired, also if none was."""
        if self.repaired == []:
            push_turns(self.ti, [])

    def before(self, task: Task) -> list[dict[str, Any]]:
        """
        Return the turns of a run before the one that its record shows, as far as this try has seen them.

        :param task: the run as it was read now.
        """
        if self.repaired is None:
            self.repaired = pull_turns(self.ti)
        return turns_before(task, self.repaired)

    def count(self, task: Task) -> int:
        """
        Return how many repair turns a run has had, the one that is read now among them.

        :param task: the run as it was read now.
        """
        mark = mark_of(task)
        # This attempt has not seen the turns before a retry; the mark tells them.
        told = mark.turn if mark and mark.digest in self.identity.digests else 0
        return max(len(self.before(task)), told)

    def start(
        self,
        attempt: Attempt,
        task: Task,
        invalid: XpanderAnswerInvalid,
        *,
        deadline: float | None,
        possible: bool,
    ) -> Task:
        """
        Start a turn that repairs an answer, and take responsibility for it.

        :param attempt: the attempt at the run.
        :param task: the run, with the invalid answer.
        :param invalid: what is wrong with it.
        :param deadline: Unix seconds at which the run has to have ended, or None.
        :param possible: whether this process can wait for a turn.
        :return: the turn.
        :raises XpanderAnswerInvalid: the answer is not repaired.
        :raises XpanderError: the next attempt has it repaired; or the turn could not be started.
        """
        guard, turns = attempt.guard, self.count(task)
        asked_again = 0 if attempt.approval is None else attempt.approval.asked_again
        decision = decide_repair(
            turns=turns,
            attempts=self.attempts + asked_again,
            now=time.time(),
            deadline=deadline,
            possible=possible,
            retried=guard.retries_left and guard.reattach is not False,
        )
        if isinstance(invalid, XpanderAskedAgain):
            decision = Repair.NOW
        if decision is Repair.LATER:
            raise XpanderError(str(invalid.but("The next attempt takes the run over and has it repaired.")))
        if decision is Repair.NEVER and not self.attempts:
            raise invalid
        if decision is Repair.NEVER:
            raise invalid.but(f"Repair turns: {turns - asked_again} of {self.attempts}.")
        attempt.log.warning("%s", invalid)
        self.repaired = [*self.before(task), summarize_turn(task)]
        push_turns(self.ti, self.repaired)
        turn = RepairTurn(
            hook=attempt.hook,
            log=attempt.log,
            target=self.target,
            request=self.request(),
            identity=self.identity,
            number=turns + 1,
            retried=self.retried,
            state=guard.state,
        )
        return self._started(attempt, task, self._obtain(turn, task, invalid))

    def _obtain(self, turn: RepairTurn, task: Task, invalid: XpanderAnswerInvalid) -> Task:
        """Start the turn; from here on the thread is a run that goes on, to be stopped or kept."""
        turn.state.next_turn()
        try:
            return turn.obtain(task, invalid)
        except XpanderAmbiguousSubmitError:
            raise  # the turn may go on
        except XpanderError:
            turn.state.handle()
            raise

    def _started(self, attempt: Attempt, task: Task, turn: Task) -> Task:
        # A wait of its own: what the log told of the turn before is not what this one begins with.
        attempt.report = StatusReport(attempt.log, attempt.state.settings)
        if attempt.state.killed:
            attempt.state.next_turn()  # that the turn before was stopped, which had ended, settles nothing
        attempt.started(turn, end_of(task) if turn.id == task.id else None)
        if turn.id != task.id:
            self.ti.xcom_push(TASK_ID_KEY, turn.id)
            self.note(turn.id)
        return turn


@dataclass
class RepairTurn:
    """
    The turn that repairs an answer: found if an earlier attempt has started it, or else started, once.

    It carries the mark of the run and its own number, so that a retry finds it as it finds the run.

    :param hook: where to ask and start.
    :param log: where to say what was done.
    :param target: what runs.
    :param request: what the run was asked.
    :param identity: whose run it is.
    :param number: which repair turn of the run it is, from 1.
    :param retried: whether an earlier attempt may have started it.
    :param state: tells whether a kill has come.
    :param lag: seconds before each look for a turn whose submit was lost.
    """

    hook: XpanderHook
    log: Any
    target: Target
    request: InvokeRequest
    identity: Identity
    number: int
    retried: bool
    state: KillState
    lag: Sequence[float] = LAG

    def obtain(self, invalid: Task, error: XpanderAnswerInvalid) -> Task:
        """
        Return the turn.

        :param invalid: the thread with the invalid answer as its latest turn.
        :param error: what is wrong with it.
        :raises XpanderAnswerInvalid: the thread cannot be continued.
        :raises XpanderAmbiguousSubmitError: the turn may have been started, and does not show.
        :raises XpanderError: it was not started.
        """
        ended = end_of(invalid)
        if ended is None:
            raise error.but(
                "It was not repaired, because the service does not tell when the turn ended, by which the "
                "next is told from it."
            )
        # Never two turns at once (contract C4). A read may lag behind what an earlier attempt has started.
        found = self._find(invalid, ended, lag=self.lag if self.retried else (0.0,))
        if found is None and self.state.killed:
            raise error.but("It was not repaired, because the task was killed.")
        if found is None:
            self.log.info("Asking for another answer in the same thread (repair turn %d)", self.number)
            try:
                return self.hook.call(routes.invoke_async(self.target, self._request(invalid, error)))
            except XpanderAmbiguousSubmitError as lost:
                self.log.warning("%s Looking for it.", lost)
                try:
                    found = self._find(invalid, ended, lag=self.lag)
                except XpanderError:
                    raise lost from None  # it may have been started all the same
                if found is None:
                    raise
        if not is_same_owner(found, self.identity, invalid):
            raise error.but("It was not repaired, because somebody else has continued its thread.")
        self.log.info("Repair turn %d was started: xpander task %s", self.number, found.id)
        return found

    def _find(self, invalid: Task, ended: float, *, lag: Sequence[float]) -> Task | None:
        found = self.hook.run(find_by_id(invalid.id, lambda task: is_after(task, ended), lag=lag))
        return found[0] if found else None

    def _request(self, invalid: Task, error: XpanderAnswerInvalid) -> InvokeRequest:
        written = mark_of(invalid)
        # Of the run, so that a retry compares its own request with what the run was asked.
        asked = written.fingerprint if written else fingerprint(str(self.target), self.request.body())
        mark = Mark(self.identity.digest, asked, self.number, self.identity.pack)
        by_person = isinstance(error, XpanderAskedAgain)
        said = error.problems[0] if by_person else repair_text(error.problems)
        text = InvokeInput(text=said, user=self.request.input.user)
        return marked(self.request, self.identity, mark, id=invalid.id, input=text)
