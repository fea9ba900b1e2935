"""Attempts of one Airflow task at one run: what a worker process does, without Airflow's processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from traceback import walk_stack
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow_side import LIMIT, POLL, FakeTaskInstance, Service, eventually, resume

from airflow_provider_xpander.api import client as client_module
from airflow_provider_xpander.operators import ending as ending_module
from airflow_provider_xpander.operators.invoke import XpanderInvokeOperator
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator
from airflow_provider_xpander.runs.identity import Mark, read_mark

BEGAN = datetime.now(UTC) - timedelta(minutes=1)
"""The start of the DAG run, which is that of all its attempts."""
LONG = "take 600"
"""What the agent ``slow`` is asked for a run that does not end by itself."""


@dataclass
class Attempt(FakeTaskInstance):
    """
    One try of a task instance: XCom is empty, as Airflow empties it.

    :param store: Airflow 3.3's task state store, which outlives tries.
    """

    store: Any = None
    next_method: str | None = None
    fails_at: str | None = None
    """A key whose push to XCom is refused."""
    began: datetime | None = BEGAN

    def xcom_push(self, key: str, value: Any) -> None:
        if key == self.fails_at:
            raise RuntimeError("XCom refuses the value")
        super().xcom_push(key, value)

    def xcom_pull(self, task_ids: Any = None, key: str = "return_value", map_indexes: Any = None) -> Any:
        assert (task_ids, map_indexes) == (self.task_id, self.map_index)
        return self.xcom.get(key)

    def context(self) -> Any:
        more = {} if self.store is None else {"task_state_store": self.store}
        return super().context() | {"dag_run": SimpleNamespace(start_date=self.began)} | more


class Lines(list[tuple[str, str]]):
    """A logger that keeps level and text of its lines: Airflow 2 and 3 do not log the same way."""

    def __getattr__(self, level: str) -> Any:
        if level not in ("debug", "info", "warning", "error"):
            raise AttributeError(level)
        return lambda text, *args, **kwargs: self.append((level, text % args if args else text))

    def at(self, level: str) -> str:
        """Return the lines of a level."""
        return "\n".join(text for its_level, text in self if its_level == level)

    @property
    def text(self) -> str:
        return "\n".join(text for _, text in self)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    """What operators log."""
    lines = Lines()
    monkeypatch.setattr(XpanderInvokeOperator, "log", lines, raising=False)
    return lines


def attempt(number: int, *, retries: int = 2, cleared_at: int = 1, **fields: Any) -> Attempt:
    """
    Return a try of a task.

    :param number: Airflow's number of it.
    :param retries: those of the task.
    :param cleared_at: number of the first try since the last clear: Airflow moves max_tries then.
    """
    return Attempt(try_number=number, max_tries=cleared_at - 1 + retries, **fields)


def operator(*, retries: int = 2, **kwargs: Any) -> XpanderInvokeAgentOperator:
    defaults = {"task_id": "ask", "agent_id": "echo", "input": "hello", "poll_interval": POLL}
    return XpanderInvokeAgentOperator(retries=retries, **defaults | kwargs)


def slow_operator(**kwargs: Any) -> XpanderInvokeAgentOperator:
    return operator(**{"agent_id": "slow", "input": LONG} | kwargs)


def go(task: XpanderInvokeAgentOperator, ti: FakeTaskInstance) -> Any:
    """Render and execute, through the trigger if it defers."""
    context = ti.context()
    task.render_template_fields(context)
    try:
        return task.execute(context)
    except TaskDeferred as deferred:
        return resume(task, deferred, context)


def submit(ti: FakeTaskInstance, task: XpanderInvokeAgentOperator | None = None) -> str:
    """Let a try start its run and die right after: nothing of it but the run is left."""
    with pytest.raises(TaskDeferred):
        (task or slow_operator(deferrable=True)).execute(ti.context())
    return str(ti.xcom["xpander_task_id"])


def mark_of(service: Service, number: int = -1) -> Mark:
    mark = read_mark(service.runs()[number].body["title"])
    assert mark is not None
    return mark


def lists(service: Service) -> int:
    """How often tasks were listed."""
    return len(service.requests("GET", "/v1/tasks"))


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the worker's sleeps be short; what they would have been is recorded."""
    seconds: list[float] = []

    def sleep(asked: float) -> None:
        seconds.append(asked)
        time.sleep(min(asked, 0.02))

    monkeypatch.setattr(client_module, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    monkeypatch.setattr(ending_module, "STOP_PATIENCE", 1.0)
    return seconds


@contextmanager
def signalled(when: Callable[[], bool], handler: Callable[[], Any]) -> Iterator[None]:
    """
    Call a handler in this thread, in the middle of the provider's code, as Airflow does at a kill.

    Only there: before the provider is called, what a handler raises would miss the test's ``pytest.raises``.
    And not in the middle of logging: what a handler raises there may leave the lock of a log handler
    taken, and the emulator's thread would wait for it at its next line, in this test and all later ones.

    :param when: the moment; the next one in the provider's code is taken.
    :param handler: may raise.
    """
    called = threading.Event()

    def deliver(_number: int, frame: FrameType | None) -> None:
        if not called.is_set() and _may_be_interrupted(frame):
            called.set()
            handler()

    def strike() -> bool:
        os.kill(os.getpid(), signal.SIGUSR1)
        return called.wait(0.001)

    def wait() -> None:
        eventually(when, "the moment of the signal")
        eventually(strike, "a moment in the provider's code, outside logging")

    before = signal.signal(signal.SIGUSR1, deliver)
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(LIMIT)
        signal.signal(signal.SIGUSR1, before)


def _may_be_interrupted(frame: FrameType | None) -> bool:
    """Whether the provider's code is under way, and no call of logging."""
    modules = {str(outer.f_globals.get("__name__")) for outer, _ in walk_stack(frame)}
    return "logging" not in modules and any(name.startswith("airflow_provider_xpander.") for name in modules)
