"""``on_invalid="repair"``: the agent repairs an invalid answer in one more turn of the same thread."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander._compat import Context
from airflow_provider_xpander.api.errors import XpanderAmbiguousSubmitError, XpanderError
from airflow_provider_xpander.api.models import InvokeInput, InvokeRequest, Target, Task
from airflow_provider_xpander.operators.asking import XpanderAskingOperator
from airflow_provider_xpander.operators.custody import Custody
from airflow_provider_xpander.operators.stopping import Held
from airflow_provider_xpander.runs.answer import XpanderAnswerInvalid, summarize_turn
from airflow_provider_xpander.runs.identity import Identity, Mark, fingerprint, mark_of, marked
from airflow_provider_xpander.runs.log.status_log import StatusReport
from airflow_provider_xpander.runs.lookup import LAG, find_by_id
from airflow_provider_xpander.runs.repair import (
    Repair,
    decide_repair,
    is_after,
    is_same_owner,
    repair_text,
)
from airflow_provider_xpander.runs.watch import end_of
from airflow_provider_xpander.task_instance import identity_of, note_run, retries_left
from airflow_provider_xpander.xcom import TASK_ID_KEY, TURNS_KEY, earlier_turns

if TYPE_CHECKING:
    from airflow_provider_xpander.hooks.xpander import XpanderHook


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
    :param held: tells whether a kill has come.
    """

    hook: XpanderHook
    log: Any
    target: Target
    request: InvokeRequest
    identity: Identity
    number: int
    retried: bool
    held: Held

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
        found = self._find(invalid, ended, lag=LAG if self.retried else LAG[:1])
        if found is None and self.held.killed:
            raise error.but("It was not repaired, because the task was killed.")
        if found is None:
            self.log.info("Asking for a repaired answer in the same thread (repair turn %d)", self.number)
            try:
                return self.hook.invoke_async(self.target, self._request(invalid, error))
            except XpanderAmbiguousSubmitError as lost:
                self.log.warning("%s Looking for it.", lost)
                found = self._find(invalid, ended, lag=LAG)
                if found is None:
                    raise
        if not is_same_owner(found, self.identity, invalid):
            raise error.but("It was not repaired, because somebody else has continued its thread.")
        self.log.info("Repair turn %d was started: xpander task %s", self.number, found.id)
        return found

    def _find(self, invalid: Task, ended: float, *, lag: tuple[float, ...]) -> Task | None:
        found = self.hook.run(find_by_id(invalid.id, lambda task: is_after(task, ended), lag=lag))
        return found[0] if found else None

    def _request(self, invalid: Task, error: XpanderAnswerInvalid) -> InvokeRequest:
        written = mark_of(invalid)
        # Of the run, so that a retry compares its own request with what the run was asked.
        asked = written.fingerprint if written else fingerprint(str(self.target), self.request.body())
        mark = Mark(self.identity.digest, asked, self.number)
        text = InvokeInput(text=repair_text(error.problems), user=self.request.input.user)
        return marked(self.request, self.identity, mark, id=invalid.id, input=text)


class XpanderRepairingOperator(XpanderAskingOperator):
    """
    Base of the operators, with what ``on_invalid="repair"`` adds.

    All that holds for a run holds for a repair turn: it is of the same thread, id and deadline, it is waited
    for in the same way, and it is stopped or kept in the same cases.
    """

    def _invalid(
        self,
        context: Context,
        task: Task,
        error: XpanderAnswerInvalid,
        custody: Custody | None,
        deadline: float | None,
    ) -> Any:
        if self.on_invalid != "repair":
            raise error
        ti, mark = context["ti"], mark_of(task)
        identity = identity_of(ti, retries=self.retries, anew=self.reattach is False)
        earlier = earlier_turns(ti, task)
        turns = max(len(earlier), mark.turn if mark and mark.digest == identity.digest else 0)
        decision = decide_repair(
            turns=turns,
            attempts=self.repair_attempts,
            now=time.time(),
            deadline=deadline,
            possible=custody is not None,
            retried=retries_left(ti) and self.reattach is not False,
        )
        if decision is Repair.LATER:
            raise XpanderError(str(error.but("The next attempt takes the run over and has it repaired.")))
        if decision is Repair.NEVER or custody is None:
            raise error.but(f"Repair turns: {turns} of {self.repair_attempts}.")
        self.log.warning("%s", error)
        ti.xcom_push(TURNS_KEY, [*earlier, summarize_turn(task)])
        repair = RepairTurn(
            hook=custody.hook,
            log=self.log,
            target=self.target(),
            request=custody.hook.prepare(self._request(context)),
            identity=identity,
            number=turns + 1,
            retried=ti.try_number > identity.first_try,
            held=custody.held,
        )
        turn = self._start_turn(custody, repair, task, error)
        with custody.while_going_on(turn.id):
            if turn.id != task.id:
                ti.xcom_push(TASK_ID_KEY, turn.id)
                note_run(context, identity, turn.id)
            return self._wait(context, custody, turn, deadline, end_of(task) if turn.id == task.id else None)

    def _start_turn(
        self, custody: Custody, repair: RepairTurn, task: Task, error: XpanderAnswerInvalid
    ) -> Task:
        """Start the turn; from here on the thread is a run that goes on, to be stopped or kept."""
        held = custody.held
        held.settled = False
        try:
            turn = repair.obtain(task, error)
        except XpanderAmbiguousSubmitError:
            raise  # the turn may go on
        except XpanderError:
            held.settled = True
            raise
        held.task_id, self._seen = turn.id, turn
        # A wait of its own: what the log told of the turn before is not what this one begins with.
        self._report = StatusReport(self.log, custody.hook.settings)
        if held.killed:
            # That the turn before was stopped, which had ended, settles nothing.
            held.settled = False
            self.on_kill()
        return turn
