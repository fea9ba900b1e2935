"""The asking half of a bulk task: which rows a run is asked about next, and its start, once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander._compat import AirflowTaskTimeout
from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.client import sleep
from airflow_provider_xpander.api.errors import (
    XpanderAmbiguousSubmitError,
    XpanderValidationError,
)
from airflow_provider_xpander.api.models import InvokeRequest, Target, Task
from airflow_provider_xpander.api.retry import RetryPolicy
from airflow_provider_xpander.api.routes import Priority
from airflow_provider_xpander.bulk.packs import Pack, after_failure, schema_for, text_of
from airflow_provider_xpander.bulk.row_input import RowInput
from airflow_provider_xpander.bulk.rows import BulkInputError
from airflow_provider_xpander.bulk.state import Flight
from airflow_provider_xpander.bulk.waves import VAIN, Limits
from airflow_provider_xpander.operators.bulk.book import Book
from airflow_provider_xpander.operators.bulk.pace import Pace
from airflow_provider_xpander.operators.bulk.wave_guard import WaveGuard
from airflow_provider_xpander.operators.starter import RunStarter
from airflow_provider_xpander.runs.error_policy import PASSING
from airflow_provider_xpander.runs.identity import Identity
from airflow_provider_xpander.runs.schema import AnswerSchema

if TYPE_CHECKING:
    from airflow_provider_xpander.bulk.cache import AnswerCache
    from airflow_provider_xpander.hooks.xpander import XpanderHook

LOOKED_UP = 200
"""Rows that are looked up in the cache at a time, at the least."""
QUICK = RetryPolicy(attempts=2, patience=5.0)
"""How a request is repeated by a worker that may defer instead."""


@dataclass
class Asker:
    """
    Starts the runs of a bulk task.

    :param hook: where to start them.
    :param log: where to say what was done; no content of rows.
    :param book: has the state.
    :param guard: sees to what is in flight.
    :param pace: tells when a request may be sent.
    :param target: what to run.
    :param request: what all runs are asked, without their rows.
    :param identity: whose runs they are.
    :param try_number: Airflow's number of this attempt.
    :param schema: what the answer to one row looks like.
    :param row_input: what is sent of a row.
    :param rows_per_run: rows that one run is asked about.
    :param limits: what may be under way, and spent.
    :param cache: answers that were paid for earlier, or None.
    :param deadline: Unix seconds after which nothing is started, or None.
    :param until_failed: whether the first failed row ends the asking.
    """

    hook: XpanderHook
    log: Any
    book: Book
    guard: WaveGuard
    pace: Pace
    target: Target
    request: InvokeRequest
    identity: Identity
    try_number: int
    schema: AnswerSchema
    row_input: RowInput
    rows_per_run: int
    limits: Limits
    cache: AnswerCache | None = None
    deadline: float | None = None
    until_failed: bool = False

    @property
    def may_ask(self) -> bool:
        """Whether there is anything left to ask, and nothing forbids it."""
        state = self.book.state
        stopped = (self.until_failed and state.failed > 0) or state.vain >= VAIN
        return state.has_more and not stopped and self.limits.runs_left(state) >= 1

    def ask(self) -> None:
        """
        Start as many runs as there is room for, now, or as a few seconds of waiting allow.

        :raises XpanderError: no run can be started, and none could be later.
        """
        while self.may_ask and self.pace.until is None and not self.guard.state.killed:
            if self.deadline is not None and time.time() >= self.deadline:
                return
            packs = self._take(self.limits.room(self.book.state))
            if packs:
                self._submit(packs)
            elif self.book.is_full or not self.may_ask:
                self.book.done()
            elif not self.limits.room(self.book.state):
                return

    def _take(self, room: int) -> list[Pack]:
        """Take packs for so many runs: what waits first, then rows that were not reached yet."""
        state, size = self.book.state, self.rows_per_run
        short = [pack for pack in state.waiting if not pack.again and len(pack.rows) < size]
        full = [pack for pack in state.waiting if pack not in short]
        packs, left = full[:room], full[room:]
        self.book.state = replace(state, waiting=tuple(left))
        rows = [row for pack in short for row in pack.rows]
        rows += self._fresh_rows((room - len(packs)) * size - len(rows))
        fresh = [Pack(tuple(rows[at : at + size])) for at in range(0, len(rows), size)]
        later = fresh[room - len(packs) :]
        packs += fresh[: room - len(packs)]
        state = self.book.state
        if packs and not packs[-1].again and len(packs[-1].rows) < size and state.cursor < state.limit:
            later.append(packs.pop())  # it is filled up first
        self.book.state = replace(state, waiting=(*state.waiting, *later))
        return packs

    def _fresh_rows(self, count: int) -> list[int]:
        """Take rows that were not reached yet, at least so many of those that the cache does not have."""
        rows: list[int] = []
        while len(rows) < count and not self.book.is_full:
            state = self.book.state
            most = count - len(rows) if self.cache is None else max(count - len(rows), LOOKED_UP)
            batch = range(state.cursor, min(state.limit, state.cursor + most))
            if not batch:
                break
            self.book.state = replace(state, cursor=batch.stop)
            rows += self._not_cached(batch)
        return rows

    def _not_cached(self, places: Sequence[int]) -> list[int]:
        """Settle the rows that the cache has, and return the others."""
        if self.cache is None:
            return list(places)
        contents = {place: content for place in places if (content := self.content(place)) is not None}
        hits = dict(zip(contents, self.cache.get(list(contents.values())), strict=True))
        for place, hit in hits.items():
            if hit is not None:
                self.book.settle(place, hit.answer, hit.xpander_task_id, cached=True)
        return [place for place in places if hits.get(place) is None]

    def keep(self, answers: Sequence[tuple[int, dict[str, Any]]], task_id: str) -> None:
        """
        Keep good answers in the cache, if there is one.

        :param answers: each with the place of its row in the snapshot.
        :param task_id: the run that gave them.
        """
        if self.cache is None:
            return
        known = ((self.content(place), answer) for place, answer in answers)
        self.cache.put([(content, answer, task_id) for content, answer in known if content is not None])

    def content(self, place: int) -> dict[str, Any] | None:
        """
        Return all that the answer to a row depends on, as far as it is asked; None if it cannot be asked.

        :param place: of the row in the snapshot.
        """
        try:
            sent = self.row_input.sent(self.book.row(place))
        except BulkInputError:
            return None
        # The service too: what an emulator has answered is no answer of the agent.
        service = self.hook.settings.base_url
        return {"service": service, "target": str(self.target), "request": self._common, "row": sent}

    @property
    def _common(self) -> dict[str, Any]:
        """What is asked besides the row, without names, marks and credentials."""
        others = ("title", "source", "id", "user_tokens", "user_oidc_token", "mcp_servers")
        body = {name: value for name, value in self.request.body().items() if name not in others}
        return body | {"output_schema": self.schema.body}

    def starter(self, number: int, pack: Pack) -> RunStarter:
        """
        Return what starts the run of a pack, and finds it.

        :param number: of the pack.
        :param pack: its rows.
        :raises BulkInputError: a row cannot be rendered.
        """
        return RunStarter(
            hook=self.hook,
            log=self.log,
            target=self.target,
            request=self.request_for(pack),
            identity=replace(self.identity, pack=number),
            try_number=self.try_number,
            reattach=False,  # what an earlier attempt has started is in the ledger
            stop_unwanted=self.guard.stop_unwanted,
            deadline=self.deadline,
            lag=(0.0,),
        )

    def request_for(self, pack: Pack) -> InvokeRequest:
        """
        Return what a run is asked about a pack.

        :param pack: its rows.
        :raises BulkInputError: a row cannot be rendered.
        """
        sent = [self.row_input.sent(self.book.row(place)) for place in pack.rows]
        asked = self.request.input.model_copy(update={"text": text_of(self.request.input.text or "", sent)})
        schema = schema_for(len(pack.rows), self.schema.body)
        return self.request.model_copy(update={"input": asked, "output_schema": schema})

    def _submit(self, packs: list[Pack]) -> None:
        starters: list[tuple[Flight, RunStarter]] = []
        for pack in packs:
            self._prepare(pack, starters)
        state = self.book.state
        self.book.state = replace(
            state,
            packs=state.packs + len(starters),
            flight=(*state.flight, *(flight for flight, _ in starters)),
        )
        self.book.intend()
        try:
            self._start_all(starters)
        finally:
            self.book.done(self.pace.sent)

    def _prepare(self, pack: Pack, starters: list[tuple[Flight, RunStarter]]) -> None:
        number = self.book.state.packs + len(starters) + 1
        try:
            starter = self.starter(number, pack)
        except BulkInputError as error:
            # Of a template that does not fit one row; the others are asked about.
            if len(pack.rows) == 1:
                self.book.fail(pack.rows[0], str(error), None)
            for place in pack.rows if len(pack.rows) > 1 else ():
                self._prepare(Pack((place,), again=pack.again), starters)
            return
        asked = starter.mark.fingerprint or ""
        starters.append((Flight(number, pack, asked, time.time()), starter))

    def _start_all(self, starters: list[tuple[Flight, RunStarter]]) -> None:
        for at, (flight, starter) in enumerate(starters):
            late = self.deadline is not None and time.time() >= self.deadline
            if late or self.guard.state.killed or not self.pace.may(Priority.SUBMIT):
                self._put_back([flight for flight, _ in starters[at:]])
                return
            if not self._start(flight, starter):
                self._put_back([flight for flight, _ in starters[at:]])
                return

    def _start(self, flight: Flight, starter: RunStarter) -> bool:
        """Start one run; False if the service is away, so that it surely was not started."""
        self.guard.starting = starter
        try:
            task = starter.obtain(self._invoke)
        except XpanderAmbiguousSubmitError as lost:
            self.log.warning("%s It is looked for again later; its rows are not asked about meanwhile.", lost)
            return True
        except PASSING as error:
            self.log.warning("%s", error)
            self.book.state = replace(self.book.state, trouble=self.pace.trouble(error, self.book.state))
            return False
        except XpanderValidationError as error:
            self._refused(flight, error)
            return True
        except BaseException as error:  # Airflow 2 ends a killed task with one that is no Exception
            self.hook.get_conn().sleep = sleep  # the look for it cannot be put off
            if isinstance(error, AirflowTaskTimeout) or self.guard.state.killed:
                for task_id in self.guard.find_started():
                    self._started(flight, task_id)
            raise
        finally:
            self.guard.starting = None
        self._started(flight, task.id)
        if self.guard.state.killed:
            self.guard.stop_unwanted([task.id])
        return True

    def _invoke(self, target: Target, request: InvokeRequest) -> Task:
        return self.hook.get_conn().call(routes.invoke_async(target, request), policy=QUICK)

    def _started(self, flight: Flight, task_id: str) -> None:
        state = self.book.state.with_flight(replace(flight, task_id=task_id))
        spent = state.spent.start(again=flight.pack.again)
        self.book.state = replace(state, spent=spent, trouble=None)

    def _refused(self, flight: Flight, error: XpanderValidationError) -> None:
        """See to a pack that the service does not take: too large, say. Before any has run, none would."""
        state = self.book.state
        if not state.spent.started:
            raise error
        then = after_failure(flight.pack)
        self.book.state = state.without([flight.number], *then)
        if not then:
            self.book.fail(flight.pack.rows[0], f"the service refused it: {error}", None)

    def _put_back(self, flights: list[Flight]) -> None:
        state = self.book.state.without([flight.number for flight in flights])
        waiting = (*(flight.pack for flight in flights), *state.waiting)
        self.book.state = replace(state, waiting=waiting)
