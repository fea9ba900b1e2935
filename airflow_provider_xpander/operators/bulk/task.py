"""The course of a bulk task: collect, ask, wait, until each row is settled; then the manifest."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
import time
from collections.abc import Collection, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_xpander._compat import AirflowFailException, TaskDeferred
from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api.client import sleep
from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.exchange import TooLong
from airflow_provider_xpander.bulk.ledger import MANIFEST
from airflow_provider_xpander.bulk.manifest import estimate, first_reason, manifest_of, too_many_failed
from airflow_provider_xpander.bulk.progress import progress
from airflow_provider_xpander.bulk.waves import VAIN, enough, lost_until
from airflow_provider_xpander.operators.bulk.ask import Asker
from airflow_provider_xpander.operators.bulk.collect import Collector
from airflow_provider_xpander.runs.adopt import Reattach
from airflow_provider_xpander.runs.lookup import find_all, wanted_of
from airflow_provider_xpander.runs.timing import backstop
from airflow_provider_xpander.xcom import WAVE_KEY, push_link

if TYPE_CHECKING:
    from airflow_provider_xpander.bulk.ledger import Ledger
    from airflow_provider_xpander.operators.bulk.book import Book
    from airflow_provider_xpander.operators.bulk.wave_guard import WaveGuard
    from airflow_provider_xpander.runs.stop_policy import OnKill
    from airflow_provider_xpander.triggers.enrich import WaveWait

OnLimit = Literal["fail", "partial"]

END_PATIENCE = 1.0
"""Seconds that the end of a wait is waited for when the worker is being ended."""


def _wait_here(waiting: Coroutine[Any, Any, list[int]]) -> list[int]:
    """Wait in a thread: what Airflow's signal handlers raise would be lost in an event loop."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(waiting)

    def drive() -> None:
        with suppress(asyncio.CancelledError, Exception):  # the task has it
            loop.run_until_complete(task)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(drive,), daemon=True)
    try:
        thread.start()
        while thread.is_alive():
            thread.join(0.2)
    except BaseException:  # the worker is being ended
        with suppress(RuntimeError):  # it has just ended, or not begun
            loop.call_soon_threadsafe(task.cancel)
            thread.join(END_PATIENCE)
        raise
    return task.result()


def deferral(wait: WaveWait, ledger: Ledger, ti: Any, on_kill_action: OnKill, now: float) -> TaskDeferred:
    """
    Return what has the triggerer wait.

    :param wait: what is waited for.
    :param ledger: its newest state has the runs.
    :param ti: the task instance.
    :param on_kill_action: what becomes of the runs when somebody ends the task meanwhile.
    :param now: Unix seconds.
    """
    from airflow_provider_xpander.triggers.enrich import XpanderWaveTrigger

    ti.xcom_push(WAVE_KEY, ledger.name)
    return TaskDeferred(
        trigger=XpanderWaveTrigger(
            result_path=ledger.folder.url,
            wave=ledger.name,
            agent_id=wait.agent_id,
            xpander_conn_id=wait.conn_id,
            poll_interval=wait.poll_interval,
            enough=wait.enough,
            until=wait.until,
            deadline=wait.deadline,
            on_paused=wait.on_paused,
            on_kill_action=on_kill_action,
            deferred_at=now,
        ),
        method_name="execute_complete",
        timeout=backstop(wait.deadline, now),
    )


@dataclass
class BulkTask:
    """
    One attempt at a bulk task.

    :param asker: starts runs.
    :param collector: takes up what has ended.
    :param ti: the task instance.
    :param conn_id: id of the Airflow connection.
    :param poll_interval: seconds between two looks at a run.
    :param deferrable: whether to wait in the triggerer.
    :param reattach: whether a retry takes over the runs of earlier attempts.
    :param retried: whether an earlier attempt may have started runs.
    :param deadline: Unix seconds at which the task ends, or None.
    :param on_limit: what becomes of the task at ``max_runs`` or ``max_total_tokens``.
    :param max_failed: how many rows may fail.
    :param has_begun: whether there is a state of an earlier process.
    """

    asker: Asker
    collector: Collector
    ti: Any
    conn_id: str
    poll_interval: float
    deferrable: bool
    reattach: Reattach = True
    retried: bool = False
    deadline: float | None = None
    on_limit: OnLimit = "fail"
    max_failed: float = 0.1
    has_begun: bool = False

    @property
    def book(self) -> Book:
        """The book of the task."""
        return self.asker.book

    @property
    def guard(self) -> WaveGuard:
        """What sees to the runs in flight."""
        return self.asker.guard

    def take_over(self) -> None:
        """Take over what earlier attempts have in flight, or stop it, as the author wants."""
        flight = self.book.state.flight
        unwanted = [] if self.reattach is True else list(flight)
        if self.reattach == "same_request":
            unwanted = [
                one
                for one in flight
                if self.asker.starter(one.number, one.pack).mark.fingerprint != one.asked
            ]
        if unwanted:
            self.collector.stopper.abandon(unwanted)
        self.asker.log.info(
            "An earlier attempt has begun: %d of its runs are taken over, %d are not wanted any more",
            len(flight) - len(unwanted),
            len(unwanted),
        )
        # A state of this attempt's own: whatever the earlier one still writes does not count any more.
        kept = tuple(replace(one, inherited=True) for one in self.book.state.flight)
        self.book.state = replace(self.book.state, flight=kept, vain=0)
        self.book.ledger.done(self.book.state)

    def go_on(self, going: Collection[int] | None = None) -> dict[str, Any]:
        """
        Ask about the rows until all are settled.

        :param going: numbers of packs whose runs go on, as was seen a moment ago; None if that is not known.
        :return: the manifest.
        :raises TaskDeferred: a wave is waited for in the triggerer.
        :raises AirflowFailException: the task ends at a limit of its author's, and no retry mends that.
        :raises XpanderError: the task fails; a retry goes on.
        """
        try:
            while (manifest := self._step(going)) is None:
                going = self._wait()
                self.asker.pace.begin()
        finally:
            self.asker.hook.get_conn().sleep = sleep  # a stop on the way out cannot be put off
        return manifest

    def _step(self, going: Collection[int] | None) -> dict[str, Any] | None:
        """Do all that can be done now; return the manifest if that was the last of it."""
        self.book.ledger.check_attempt()
        self.collector.collect(going)
        if self.deadline is not None and time.time() >= self.deadline:
            self._end_late()
            return None
        self.asker.ask()
        self.book.tell_table()
        self.asker.log.info("%s", progress(self.book.state, time.time()))
        is_done = not self.book.state.flight and not self.asker.may_ask
        if is_done and (not self.retried or self._stop_strays()):
            return self._finish()
        if self.guard.state.killed:
            raise XpanderError("The task was killed; what it has is written down.")
        return None

    def _wait(self) -> Collection[int]:
        from airflow_provider_xpander.triggers.enrich import WaveWait, wait_for_wave

        state = self.book.state
        # The clock of budgets may go faster than that of the wall.
        now, ahead = time.time(), self.asker.pace.until or lost_until(state)
        until = None if ahead is None else now + clock.CLOCK.real(max(1.0, ahead - clock.CLOCK.time()))
        is_late = self.deadline is not None and self.deadline <= now
        wait = WaveWait(
            self.conn_id,
            self.asker.target.id,
            self.poll_interval,
            enough(state, more=self.asker.may_ask),
            until,
            None if is_late else self.deadline,
            self.collector.on_paused,
        )
        if state.task_ids:
            task_id = state.task_ids[0]
            push_link(self.ti, self.asker.hook.settings.task_link(task_id=task_id, agent_id=wait.agent_id))
        if not self.deferrable:
            return _wait_here(wait_for_wave(wait, state, self.asker.log))
        raise deferral(wait, self.book.ledger, self.ti, self.guard.on_kill_action, now)

    def _end_late(self) -> None:
        """Stop what is in flight, or leave it, and fail; a retry goes on. Return if there is more to stop."""
        if self.guard.on_timeout == "stop":
            if not self.collector.stopper.stop_late(self.collector.end):
                self.book.done(self.asker.pace.sent)
                return
        else:
            self.guard.stop_late()
        self.guard.state.handle()
        manifest = self._close()
        raise XpanderError(
            f"The rows were not done in time: {manifest['counts']['skipped']} of "
            f"{manifest['counts']['rows']} are skipped. {self._kept(manifest)} A retry goes on with the rest."
        )

    def _finish(self) -> dict[str, Any]:
        state = self.book.state
        manifest = self._close()
        untold = self.book.tell_table()
        why = self._failure()
        if why:
            raise AirflowFailException(f"{why}. {self._kept(manifest)}")
        if state.vain >= VAIN and state.has_more:
            raise XpanderError(
                f"{state.vain} runs in a row have given no answer that can be used, so {state.skipped} rows "
                f"are not asked about. {self._kept(manifest)} A retry goes on with the rest."
            )
        if untold is not None:
            raise XpanderError(
                f"Some answers could not be written into the table ({type(untold).__name__}). "
                f"{self._kept(manifest)} A retry writes them again and pays for nothing."
            )
        limit = self.asker.limits.exceeded(state)
        if limit:
            self.asker.log.warning("The task ends at %s, with %d rows skipped", limit, state.skipped)
        return manifest

    def _failure(self) -> str | None:
        """Return why the task fails although all that was asked has ended, or None."""
        state, limit = self.book.state, self.asker.limits.exceeded(self.book.state)
        if self.asker.until_failed and state.failed:
            return f'{state.failed} rows failed{first_reason(state)}, and on_row_error="fail"'
        if limit and self.on_limit == "fail":
            return f"The task has reached {limit}, with {state.skipped} of {state.rows} rows to go"
        return too_many_failed(state, self.max_failed)

    def _close(self) -> dict[str, Any]:
        """Write the manifest, last of all."""
        self.book.tell_table()
        self.book.done(self.asker.pace.sent)
        state, ledger = self.book.state, self.book.ledger
        ledger.remove_stray(state.part_names)
        preview = None
        if state.limit < state.rows:
            preview = estimate(
                state,
                max_in_flight=self.asker.limits.max_in_flight,
                requests_per_hour=self.asker.hook.settings.requests_per_hour,
            )
        manifest = manifest_of(state, ledger.folder.url, preview)
        ledger.folder.write(MANIFEST, json.dumps(manifest, ensure_ascii=False).encode())
        return manifest

    def _stop_strays(self) -> bool:
        """
        Stop runs that an attempt has started while it was taken for dead, after this one had looked.

        :return: whether that is done; else there is more to do later.
        """
        wanted = wanted_of([self.asker.identity], self.asker.target.id, self.asker.identity.began, pack=None)
        try:
            found = self.asker.hook.run(find_all(replace(wanted, old_digests=frozenset())))
        except TooLong as error:
            self.collector.stopper.trouble(error)
            self.book.done()
            return False
        except XpanderError as error:
            self.asker.log.warning("%s Runs of an earlier attempt may go on.", error)
            return True
        self.collector.stopper.discard([task.id for task in found if not task.status.is_terminal])
        self.collector.stopper.stop_unwanted()
        self.book.done(self.asker.pace.sent)
        return not self.book.state.flight

    def _kept(self, manifest: dict[str, Any]) -> str:
        counts = manifest["counts"]
        return (
            f"Everything is kept: {counts['answered'] + counts['cached']} answers in "
            f"{manifest['urls']['results']}, {counts['failed']} failed rows in {manifest['urls']['failed']}, "
            f"the manifest in {manifest['urls']['manifest']}."
        )
