"""The stream of a run (``mode="stream"``): it starts the run, and tells it in the task log until its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.errors import XpanderAmbiguousSubmitError
from airflow_provider_xpander.api.exchange import ambiguous
from airflow_provider_xpander.api.models import InvokeRequest, StreamEvent, Target, Task
from airflow_provider_xpander.api.sse import FINISHED
from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.api.stream import with_ticks
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.runs.log.size_limit import Line
from airflow_provider_xpander.runs.log.stream_log import Narrator
from airflow_provider_xpander.runs.watch import Again, Over, Watch, poll_once

if TYPE_CHECKING:
    from airflow_provider_xpander.operators.attempt import Attempt

TICK = 0.5
"""Seconds between two looks at the clock while no event comes."""
CHATTER = 5
"""Poll intervals after which the run is looked at although events come: they may be anybody's."""
TOLD = 1000
"""Events about the status and progress of the run that are taken from the stream; looks tell the rest."""
SETTLING = 2.0
"""Seconds to the second look at a run whose end the stream has told and Get Task does not show yet."""

Events = Generator[StreamEvent | None, None, None]


@dataclass
class Streaming:
    """
    Follows a run by its stream, as long as that goes well.

    :param attempt: the attempt at the run: where to start it, to look at it, and to tell of it.
    :param mask: hides what is known to be secret.
    """

    attempt: Attempt
    mask: Callable[[str], str]
    _events: Events | None = field(default=None, init=False)
    _first: StreamEvent | None = field(default=None, init=False)
    _task_id: str | None = field(default=None, init=False)
    _narrator: Narrator | None = field(default=None, init=False)
    _told: int = field(default=0, init=False)

    def submit(self, target: Target, request: InvokeRequest) -> Task:
        """
        Start a run and read its stream up to the first event that names it.

        :param target: what to run.
        :param request: the request.
        :raises XpanderAmbiguousSubmitError: no such event came; the run may have been started.
        :raises XpanderError: no run was started.
        """
        self.close()
        # Posted by this thread: the one that reads may be left alone, and must never start anything.
        call = routes.invoke_stream(target, request)
        self._events = with_ticks(self.attempt.hook.get_conn().open_stream(call), TICK)
        named_until = time.monotonic() + self.attempt.hook.settings.timeout
        problem = "the stream ended before it named its run"
        try:
            for event in self._events:
                task = None if event is None else _first_of(event)
                if event is not None and event.type == "error":
                    problem = f"the stream told an error: {printable(event.data, 300)}"
                if event is not None and task is not None:
                    self._first, self._task_id = event, task.id
                    self._narrator = Narrator(task.id, self.mask)
                    return task
                if self.attempt.state.killed or time.monotonic() >= named_until:
                    problem = "the stream did not name its run in time"
                    break
        except XpanderAmbiguousSubmitError:
            raise
        except Exception as error:  # whatever becomes of the stream, the run may have been started
            problem = printable(error).rstrip(".")
        self.close()
        raise ambiguous(call, problem)

    def follow(self, watch: Watch) -> Again | Over:
        """
        Tell the run's events until it has ended, by Get Task.

        A run that is quiet is looked at every ``poll_interval``, so that the wait ends even if the stream
        does not tell.

        :param watch: the wait; it is for another run than the stream's if that was taken over.
        :return: ``Again`` if the stream tells no more and the run goes on.
        """
        if self._task_id != watch.task_id or self._events is None:
            self.close()
            text = "xpander task %s has no stream that can be read; it is looked at"
            self.attempt.log.info(text, watch.task_id)
            return Again(0.0)
        over: Again | Over | None = None
        try:
            over = self._read(watch, self._events)
        except Exception as error:  # whatever becomes of a stream, the run can be looked at
            self.attempt.log.warning("%s Going on by looking at it.", error)
        finally:
            self._end_text()
            self.close()
        over = over or self._look(watch)
        if isinstance(over, Again) and self.attempt.state.killed:
            return self.attempt.hook.poll_until_done(watch, self.attempt.report)
        return over

    def leave(self, over: Over) -> Over:
        """
        Close the stream of a run that is not waited for.

        :param over: why.
        """
        self.close()
        return over

    def close(self) -> None:
        """Leave the stream; the run goes on."""
        events, self._events = self._events, None
        if events is not None:
            events.close()

    def _read(self, watch: Watch, events: Events) -> Again | Over | None:
        """Read to the end of the run, or return None where the stream tells no more."""
        next_look = time.time() + watch.poll_interval
        latest = time.time() + CHATTER * watch.poll_interval
        for event in chain([self._first], events):
            now = time.time()
            if self.attempt.state.killed:
                return None
            if event is not None:
                self._tell(event)
                next_look = min(max(next_look, now + watch.poll_interval), latest)
            late = watch.deadline is not None and now >= watch.deadline
            if event is not None and self._is_end(event):
                return self._settle(watch)
            if late or now >= next_look or (event is not None and self._is_pause(event)):
                verdict = self._look(watch)
                if isinstance(verdict, Over):
                    return verdict
                quiet = max(verdict.seconds, watch.poll_interval)
                self.attempt.report.waiting(quiet)
                next_look = time.time() + quiet
                latest = time.time() + CHATTER * quiet
        self._end_text()
        self.attempt.log.info("The stream has ended before its run; going on by looking at it")
        return None

    def _settle(self, watch: Watch) -> Again | Over:
        """Read the task whose end the stream has told; the answer of Get Task counts."""
        self._end_text()
        verdict = self._look(watch)
        if isinstance(verdict, Again):
            time.sleep(min(SETTLING, verdict.seconds))
            verdict = self._look(watch)
        return verdict

    def _look(self, watch: Watch) -> Again | Over:
        return self.attempt.hook.run(poll_once(watch, report=self.attempt.report))

    def _tell(self, event: StreamEvent) -> None:
        if self._narrator is not None:
            self._say(self._narrator.feed(event))
        task = event.task() if self._is_own(event) and event.type.startswith("task_") else None
        if task is not None and task.raw_status is not None and not task.status.is_terminal:
            self._told += 1
            if self._told <= TOLD:
                self.attempt.report(task)  # an end is reported as Get Task shows it

    def _end_text(self) -> None:
        self._say(self._narrator.close() if self._narrator else [])

    def _say(self, lines: list[Line]) -> None:
        for line in lines:
            (self.attempt.log.warning if line.warning else self.attempt.log.info)("%s", line.text)

    def _is_own(self, event: StreamEvent) -> bool:
        return event.task_id in (None, self._task_id)

    def _is_end(self, event: StreamEvent) -> bool:
        """Whether the own run is over: sub-agents' tasks finish on the same stream (contract 6.3)."""
        return self._is_own(event) and event.type in (FINISHED, "error")

    def _is_pause(self, event: StreamEvent) -> bool:
        task = event.task() if self._is_own(event) and event.type == "task_updated" else None
        return task is not None and task.status is TaskStatus.PAUSED


def _first_of(event: StreamEvent) -> Task | None:
    """Return the run that an event names; the handshake comes before anything is kept (contract 6.3)."""
    if not event.task_id or event.type == "connected":
        return None
    task = event.task()
    if task is None or task.id != event.task_id or task.status.is_terminal:
        # How it ended is read through Get Task: events may be trimmed.
        return Task(id=event.task_id, status=TaskStatus.EXECUTING)
    return task
