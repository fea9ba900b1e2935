"""The collecting half of a bulk task: the runs that have ended, and what follows for each of their rows."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander.api.errors import (
    XpanderAmbiguousSubmitError,
    XpanderError,
    XpanderNotFoundError,
    XpanderValidationError,
)
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.api.routes import Priority, get_task
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.bulk import waves
from airflow_provider_xpander.bulk.packs import (
    NotAPack,
    Pack,
    Verdict,
    after_answer,
    after_failure,
    judge,
)
from airflow_provider_xpander.bulk.state import Flight
from airflow_provider_xpander.operators.bulk.ask import QUICK, Asker
from airflow_provider_xpander.operators.bulk.stop import Stopper
from airflow_provider_xpander.operators.repair import RepairTurn
from airflow_provider_xpander.runs.adopt import LONG_AGO, Adopt, decide
from airflow_provider_xpander.runs.answer import (
    AnswerRules,
    XpanderAnswerError,
    XpanderAnswerInvalid,
    read_answer,
)
from airflow_provider_xpander.runs.error_policy import PASSING
from airflow_provider_xpander.runs.identity import Mark, mark_of
from airflow_provider_xpander.runs.lookup import find_all, wanted_of
from airflow_provider_xpander.runs.repair import is_after
from airflow_provider_xpander.runs.schema import NotConforming
from airflow_provider_xpander.runs.task_errors import failure, pause_reason
from airflow_provider_xpander.runs.watch import NOT_FOUND_GRACE, OnPaused, Watch, end_of
from airflow_provider_xpander.telemetry import Invocation, record_end

if TYPE_CHECKING:
    from airflow_provider_xpander.operators.bulk.book import Book

GONE = "the service does not know the run any more"
NO_JSON = "the answer is not the JSON that was asked for"


@dataclass
class Collector:
    """
    Takes up the runs of a bulk task that have ended.

    :param asker: has started them, and knows what they were asked.
    :param stopper: stops those whose answers are not wanted.
    :param ti: the task instance, for traces.
    :param on_paused: ``fail`` for a paused run to be stopped, and its rows asked about again.
    :param on_stopped: ``skip`` for the rows of a run that somebody has stopped not to be asked about again.
    """

    asker: Asker
    stopper: Stopper
    ti: Any
    on_paused: OnPaused = "wait"
    on_stopped: str = "fail"

    @property
    def book(self) -> Book:
        """The book of the task."""
        return self.asker.book

    def collect(self, going: Collection[int] | None = None) -> None:
        """
        Take up the runs that have ended.

        :param going: numbers of packs whose runs go on, as was seen a moment ago; None if that is not known.
        :raises XpanderError: no run can be read, and none could be later.
        """
        if going is not None:
            for flight in self.book.state.flight:
                if flight.goes_on and flight.number not in going:
                    self.book.state = self.book.state.with_flight(replace(flight, ended=True))
        try:
            self.find_lost()
            self.stopper.stop_unwanted()
            self._read(going or ())
            self.stopper.stop_unwanted()
        finally:
            self.book.done(self.asker.pace.sent)

    def _read(self, going: Collection[int]) -> None:
        for flight in self.book.state.flight:
            if flight.task_id is None or flight.unwanted:
                continue
            if flight.number in going and not flight.unsure:
                continue
            if not self.asker.pace.may(Priority.READ) or not self._look(flight, flight.task_id):
                break
            if self.book.is_full:
                self.book.done()

    def find_lost(self) -> None:
        """Look for the runs whose id is not known; what does not show for a minute is asked about again."""
        lost = [flight for flight in self.book.state.flight if flight.task_id is None]
        if not lost:
            return
        try:
            runs = self._find(lost)
        except PASSING as error:
            self.stopper.trouble(error)
            return
        self.book.state = replace(self.book.state, trouble=None)
        for flight, found in zip(lost, runs, strict=True):
            if found is not None:
                self.asker.log.info("Pack %d was started: xpander task %s", flight.number, found.id)
                state = self.book.state.with_flight(replace(flight, task_id=found.id))
                spent = state.spent.start(again=flight.pack.again)
                self.book.state = replace(state, spent=spent)
            elif time.time() - flight.at < waves.LOST_GRACE:
                continue
            elif flight.unwanted:
                self.book.state = self.book.state.without([flight.number])
            else:
                self.asker.log.warning(
                    "No run of pack %d is in sight; its %d rows are asked about again",
                    flight.number,
                    len(flight.pack.rows),
                )
                again = replace(flight.pack, again=True)
                self.book.state = self.book.state.without([flight.number], again)

    def _find(self, lost: Sequence[Flight]) -> list[Task | None]:
        asker = self.asker
        since = datetime.fromtimestamp(min(flight.at for flight in lost), UTC)
        wanted = replace(
            wanted_of([asker.identity], asker.target.id, since, pack=None), old_digests=frozenset()
        )
        marked = [(mark_of(task), task) for task in asker.hook.run(find_all(wanted))]
        found: list[Task | None] = []
        for flight in lost:
            mine = [
                task
                for mark, task in marked
                if mark and (mark.pack, mark.fingerprint) == (flight.number, flight.asked)
            ]
            decision = decide(mine, Mark(asker.identity.digest, flight.asked, pack=flight.number), True)
            if isinstance(decision, Adopt):
                self.stopper.discard([task.id for task in decision.spare])
                found.append(decision.task)
            else:
                found.append(max(mine, key=lambda task: task.created_at or LONG_AGO, default=None))
        return found

    def _look(self, flight: Flight, task_id: str) -> bool:
        """Look at a run; False if the service is away."""
        asker = self.asker
        try:
            task = asker.hook.get_conn().call(get_task(task_id), policy=QUICK)
        except XpanderNotFoundError:
            self._missing(flight, task_id, time.time())
            return True
        except PASSING as error:
            self.stopper.trouble(error)
            return False
        flight = replace(flight, missing=None)
        self.book.state = replace(self.book.state.with_flight(flight), trouble=None)
        if flight.unsure and is_after(task, flight.newer_than or 0.0):
            flight = self._sure(flight)
        watch = Watch(task_id, newer_than=flight.newer_than)
        if watch.has_ended(task):
            self.end(flight, task)
        elif task.status is TaskStatus.PAUSED and self.on_paused == "fail":
            self._failed(flight, f"the run is paused: {pause_reason(task)}", task_id)
            self.stopper.discard([task_id])
        elif flight.unsure and time.time() - flight.at >= waves.LOST_GRACE:
            asker.log.warning("No repair turn of pack %d is in sight", flight.number)
            self._failed(flight, f"{NO_JSON}, and its repair turn was lost", task_id)
            self.stopper.discard([task_id])
        elif flight.ended:  # the list was wrong
            self.book.state = self.book.state.with_flight(replace(flight, ended=False))
        return True

    def _sure(self, flight: Flight) -> Flight:
        """Note that a repair turn was started although its submit was lost."""
        flight = replace(flight, unsure=False)
        state = self.book.state.with_flight(flight)
        self.book.state = replace(state, spent=state.spent.start(again=True))
        return flight

    def _missing(self, flight: Flight, task_id: str, now: float) -> None:
        """Give up a run that the service has not known for some time; once says nothing."""
        since = now if flight.missing is None else flight.missing
        if now - since >= NOT_FOUND_GRACE:
            self._failed(flight, GONE, task_id)
        else:
            self.book.state = self.book.state.with_flight(replace(flight, missing=since, ended=False))

    def end(self, flight: Flight, task: Task) -> None:
        """
        Take up a run that has ended.

        :param flight: the run.
        :param task: as it was read.
        """
        asker, state = self.asker, self.book.state
        record_end(
            task,
            self.ti,
            Invocation(asker.target.kind, asker.target.id, asker.request.llm_model_name),
            asker.hook.settings,
            asker.log,
        )
        spent = state.spent.end(task)
        self.book.state = state = replace(state, vain=state.vain + 1)
        if task.status is TaskStatus.COMPLETED:
            self._completed(flight, task, spent)
            return
        self.book.state = replace(state, spent=spent)
        if task.status is TaskStatus.STOPPED and flight.inherited:
            # With the attempt before, most likely: that says nothing about its rows.
            again = replace(flight.pack, again=True)
            self.book.state = self.book.state.without([flight.number], again)
            return
        if task.status is TaskStatus.STOPPED and self.on_stopped == "skip":
            left = self.book.state.left + len(flight.pack.rows)
            self.book.state = replace(self.book.state.without([flight.number]), left=left)
            return
        self._failed(flight, str(failure(task)), task.id)

    def _completed(self, flight: Flight, task: Task, spent: Any) -> None:
        before = self.book.state
        self.book.state = replace(before, spent=spent)
        try:
            verdicts = judge(
                read_answer(task, AnswerRules(wants_json=True)), len(flight.pack.rows), self._check
            )
        except XpanderAnswerInvalid as invalid:
            mark = mark_of(task)
            turn = max(flight.turn, mark.turn if mark else 0)
            if turn == 0 and self._repair(flight, task, invalid):
                return
            after = ", after a repair turn too" if turn else ""
            self._failed(flight, f"{NO_JSON}{after}", task.id)
            return
        except (NotAPack, XpanderAnswerError) as error:
            self._failed(flight, str(error), task.id)
            return
        self._judged(flight, task.id, verdicts)

    def _judged(self, flight: Flight, task_id: str, verdicts: Sequence[Verdict]) -> None:
        good = [
            (place, verdict.answer)
            for place, verdict in zip(flight.pack.rows, verdicts, strict=True)
            if verdict.problem is None
        ]
        for place, answer in good:
            self.book.settle(place, answer, task_id)
        if good:
            self.book.state = replace(self.book.state, vain=0)
        self.asker.keep(good, task_id)
        then = after_answer(flight.pack, verdicts)
        self.book.state = self.book.state.without([flight.number], *then)
        if not then and verdicts[0].problem is not None:
            self._give_up(flight.pack, verdicts[0].problem, task_id)

    def _failed(self, flight: Flight, reason: str, task_id: str) -> None:
        """See to the rows of a run that has told nothing of any of them."""
        then = after_failure(flight.pack)
        self.book.state = self.book.state.without([flight.number], *then)
        if not then:
            self._give_up(flight.pack, reason, task_id)

    def _give_up(self, pack: Pack, reason: str, task_id: str) -> None:
        for place in pack.rows:
            self.book.fail(place, reason, task_id)

    def _check(self, answer: Any) -> Any:
        try:
            found = self.asker.schema.conform(answer)
        except XpanderValidationError as error:  # the model reads back nothing that JSON can carry
            raise NotConforming([str(error)]) from None
        if not isinstance(found, dict):
            raise NotConforming(["$: expected an object"])
        return found

    def _repair(self, flight: Flight, task: Task, invalid: XpanderAnswerInvalid) -> bool:
        """Start the turn that makes JSON of an answer that is none; False if that cannot be."""
        asker = self.asker
        if asker.limits.runs_left(self.book.state) < 1 or not asker.pace.may(Priority.SUBMIT):
            return False
        turn = RepairTurn(
            hook=asker.hook,
            log=asker.log,
            target=asker.target,
            request=asker.request_for(flight.pack),
            identity=replace(asker.identity, pack=flight.number),
            number=1,
            retried=False,
            state=asker.guard.state,
            lag=(0.0,),
        )
        again = replace(flight, turn=1, at=time.time(), newer_than=end_of(task), ended=False)
        try:
            started = turn.obtain(task, invalid)
        except XpanderAmbiguousSubmitError as lost:
            asker.log.warning("%s It is looked for again later.", lost)
            self.book.state = self.book.state.with_flight(replace(again, unsure=True))
            return True
        except XpanderError as error:
            asker.log.warning("%s", type(error).__name__)
            return False
        newer_than = again.newer_than if started.id == task.id else None
        state = self.book.state.with_flight(replace(again, task_id=started.id, newer_than=newer_than))
        self.book.state = replace(state, spent=state.spent.start(again=True))
        return True
