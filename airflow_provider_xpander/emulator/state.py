"""The emulated service without HTTP: its tasks, and what happens to each of them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator.acting import act, timed
from airflow_provider_xpander.emulator.agents import Prompt
from airflow_provider_xpander.emulator.arrangement import Arrangement
from airflow_provider_xpander.emulator.bodies import Body, end_fields, page_body, task_body, thread_body
from airflow_provider_xpander.emulator.clock import Clock
from airflow_provider_xpander.emulator.lists import listed
from airflow_provider_xpander.emulator.schedule import ended, plan_run, reached, resumed
from airflow_provider_xpander.emulator.settings import Settings
from airflow_provider_xpander.emulator.tasks import EmulatedTask, Kind, Runs, Turn


class NotFoundError(LookupError):
    """What was asked for does not exist; the text is what the service answers as ``detail``."""


class Emulator(Arrangement):
    """
    State of one emulated xpander.ai; thread-safe, so that a test may use it while the server runs.

    :param settings: switches; replace or change them at any time.
    :param clock: function that gives epoch seconds.
    """

    def __init__(self, settings: Settings | None = None, clock: Clock = time.time) -> None:
        super().__init__(settings, clock)
        self.tasks: dict[str, EmulatedTask] = {}
        self.closing = False
        self._runs = Runs(self.tasks)

    def close(self) -> None:
        """End all waits, because the server stops."""
        self.closing = True
        self.waiters.notify_all()

    def reset(self, settings: Settings | None = None) -> None:
        """
        Forget tasks, calls, runs, faults and scripted agents, and start over; time that was skipped, too.

        :param settings: from now on; None for the default ones.
        """
        with self._lock:
            self.tasks.clear()
            self.calls.clear()
            self.limits.clear()
            self.faults.clear()
            self.run_faults.clear()
            self._runs.clear()
            self.agents.clear()
            self._skipped = 0.0
            self.settings = settings or Settings()
        self.waiters.notify_all()

    def runs(self, target_id: str | None = None) -> list[Turn]:
        """
        Return every run that was started (and billed), oldest first.

        :param target_id: only runs of this agent or workflow; None for all.
        """
        with self._lock:
            return [run for run in self._runs if target_id in (None, run.target_id)]

    def stops(self, task_id: str) -> int:
        """
        Return how often a stop request for a task was carried out.

        :param task_id: id of the task.
        """
        task = self.tasks.get(task_id)
        return task.stops if task else 0

    def begin(
        self, kind: Kind, target_id: str, body: Body, version: str | None = None, size: int = 0
    ) -> tuple[EmulatedTask, Turn]:
        """
        Start a run, and return its task and the turn of it that the run is.

        It is a new task, or the next turn of the task whose id the request gives.

        :param kind: ``agent`` or ``workflow``.
        :param target_id: id of the agent or workflow.
        :param body: the request as the service read it, with every field.
        :param version: version to run; None is the latest.
        :param size: bytes of the request.
        :raises NotFoundError: unknown agent or workflow, or an unknown id while the settings refuse those.
        """
        agent = self.agents.find(kind, target_id)
        if agent is None:
            known = ", ".join(self.agents.ids(kind))
            raise NotFoundError(f"{kind.title()} {target_id} not found; the emulator has {known}")
        with self._lock:
            before = self.tasks.get(body["id"] or "")
            earlier = [turn.text for turn in before.turns] if before else []
            prompt = Prompt.of(body, earlier, target_id)
            fault = next((fault for fault in self.run_faults if fault.take(prompt)), None)
        # Not under the lock: it may call a function of somebody else, which takes its time.
        whole_packs = self.agents.takes_packs(target_id)
        behaviour = timed(act(agent, prompt, self.settings, fault, whole_packs=whole_packs), self.settings)
        with self._lock:
            settings, now = self.settings, self.now()
            task = self.tasks.get(body["id"] or "")
            if task is None:
                if body["id"] and settings.unknown_ids == "not_found":
                    raise NotFoundError(f"Task {body['id']} not found")
                task = EmulatedTask(id=body["id"] or str(uuid.uuid4()), created=now)
            elif settings.busy_thread == "steer" and not task.status(now).is_terminal:
                task.last.steered.append((now, prompt.text))
                return task, task.last
            elif settings.busy_thread == "cancel":
                task.last.plan = ended(task.last.plan, now, TaskStatus.STOPPED, {"is_manually_stopped": True})
                self.waiters.notify(task.id)
            result = behaviour.ending.result
            end = end_fields(prompt.text, result, prompt.wants_json, settings.json_results)
            pending = settings.scaled(settings.run_seconds * settings.pending_share)
            turn = Turn(
                task_id=task.id,
                kind=kind,
                target_id=target_id,
                version=version,
                body=body,
                behaviour=behaviour,
                end=end,
                started=now,
                plan=plan_run(now, behaviour, end, pending=pending),
                size=size + len(str(result or "")),
            )
            task.turns.append(turn)
            self.tasks[task.id] = task
            self._runs.keep(turn, now, settings.keep_runs, settings.keep_bytes)
            return task, turn

    def invoke(self, kind: Kind, target_id: str, body: Body, version: str | None = None) -> EmulatedTask:
        """
        Start a run as :meth:`begin` does, and return its task.

        :param kind: ``agent`` or ``workflow``.
        :param target_id: id of the agent or workflow.
        :param body: the request as the service read it, with every field.
        :param version: version to run; None is the latest.
        """
        return self.begin(kind, target_id, body, version)[0]

    def task(self, task_id: str) -> EmulatedTask:
        """
        Return a task.

        :param task_id: id of the task.
        :raises NotFoundError: unknown id.
        """
        task = self.tasks.get(task_id)
        if task is None:
            raise NotFoundError(f"Task {task_id} not found")
        return task

    def visible_task(self, task_id: str) -> EmulatedTask:
        """
        Return a task to a reader, who may come too early to see it.

        :param task_id: id of the task.
        :raises NotFoundError: unknown id, or one that is younger than ``not_found_lag_seconds``.
        """
        task = self.task(task_id)
        if self.now() - task.created < self.settings.scaled(self.settings.not_found_lag_seconds):
            raise NotFoundError(f"Task {task_id} not found")
        return task

    def status(self, task_id: str) -> TaskStatus:
        """
        Return the status of a task now.

        :param task_id: id of the task.
        """
        return self.task(task_id).status(self.now())

    def body(self, task: EmulatedTask, *, turn: Turn | None = None, at: float | None = None) -> Body:
        """
        Return a task's JSON.

        :param task: the task.
        :param turn: the turn to show; None for the one that is visible.
        :param at: epoch seconds; None for now.
        """
        now = self.now() if at is None else at
        turn = turn or task.visible(now, self.settings.scaled(self.settings.stale_turn_seconds))
        return task_body(task, turn, now, self.settings)

    def thread(self, task_id: str) -> list[Body]:
        """
        Return the messages of a task.

        :param task_id: id of the task.
        """
        return thread_body(self.visible_task(task_id), self.now())

    def list_tasks(
        self,
        equal: Mapping[str, str | None],
        from_date: datetime | None = None,
        to_date: datetime | None = None,
        *,
        page: int = 1,
        per_page: int = 50,
    ) -> Body:
        """
        Return one page of the list of tasks.

        :param equal: fields of the task and the value they must have; None is no condition.
        :param from_date: earliest creation, inclusive; with a time zone.
        :param to_date: latest creation, inclusive; with a time zone.
        :param page: from 1.
        :param per_page: items on a page.
        """
        with self._lock:
            shown = listed(
                self.tasks.values(),
                self.now(),
                self.settings,
                equal,
                from_date.timestamp() if from_date else 0.0,
                to_date.timestamp() if to_date else float("inf"),
            )
        return page_body(shown, page, per_page)

    def stop(self, task_id: str) -> EmulatedTask:
        """
        Stop a task; one that is over, or is being stopped, is left as it is (contract 2.6).

        :param task_id: id of the task.
        """
        with self._lock:
            task, now = self.task(task_id), self.now()
            task.stops += 1
            at = now + self.settings.scaled(self.settings.stop_delay_seconds)
            task.last.plan = ended(task.last.plan, at, TaskStatus.STOPPED, {"is_manually_stopped": True})
            self.waiters.notify(task_id)
            return task

    def delete(self, task_id: str) -> None:
        """
        Erase a task; the record of its runs stays.

        :param task_id: id of the task.
        """
        with self._lock:
            self.task(task_id)
            del self.tasks[task_id]

    def resume(self, task_id: str) -> EmulatedTask:
        """
        Let a paused task execute again, as its agent goes on; others are left as they are.

        :param task_id: id of the task.
        """
        with self._lock:
            task, now = self.task(task_id), self.now()
            turn = task.last
            then = reached(turn.plan, now)[-1].then
            if then is not None:
                turn.plan = resumed(turn.plan, now, then, turn.end)
                self.waiters.notify(task_id)
            return task

    def finish(self, task_id: str, status: str | None = None, result: Any = None) -> EmulatedTask:
        """
        Let a task end now, unless it is over.

        :param task_id: id of the task.
        :param status: how it ends; default: as its agent would end it.
        :param result: its result; default: its agent's.
        """
        with self._lock:
            task, now = self.task(task_id), self.now()
            turn = task.last
            end = turn.end if result is None else {**turn.end, "result": result}
            turn.plan = ended(turn.plan, now, TaskStatus(status or turn.behaviour.ending.status), end)
            self.waiters.notify(task_id)
            return task

    def override(self, task_id: str, fields: Mapping[str, Any]) -> EmulatedTask:
        """
        Answer these fields of a task instead of what they would be, whatever they are.

        :param task_id: id of the task.
        :param fields: fields of the task with their values.
        """
        with self._lock:
            task = self.task(task_id)
            task.overrides |= fields
            return task
