"""The kinds of kills and faults that the soak draws from."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from pydantic import PrivateAttr

from airflow_provider_xpander.emulator import Emulator, Fault, Prompt
from airflow_provider_xpander.emulator.schedule import Behaviour
from dev.local_airflow import AIRFLOW_VERSION, MAJOR
from dev.scenario import Scenario

INVOKE = "/invoke(/async|/stream)?$"
SHORT, ENDLESS = (5, 12), (600, 600)
"""Seconds that a run takes, from and to: it ends by itself, or only when somebody ends it."""


def _let_be(scenario: Scenario) -> None:
    """Let the run be."""


@dataclass(frozen=True)
class Kind:
    """
    One kind of kill or fault.

    :param dag: the DAG of ``e2e_kills``, without its prefix.
    :param act: what happens to the run, once it is under way.
    :param fault: a fault for the run's first submit.
    :param seconds: how long the remote run takes, from and to.
    :param stops: 1 for each remote run that is to be stopped, else 0; as many runs are right.
    :param answer: whether the last run's answer has to arrive.
    :param tries: of the Airflow task; None where a clear counts some, too.
    :param rows: of a bulk task, each of which has to be answered once; 0 for a task with one run.
    :param table: whether each answer has to be in the bulk task's table, once.
    """

    dag: str
    act: Callable[[Scenario], None] = _let_be
    fault: Fault | None = None
    seconds: tuple[int, int] = SHORT
    stops: tuple[int, ...] = (0,)
    answer: bool = True
    tries: int | None = 1
    rows: int = 0
    table: bool = False

    @property
    def is_hit(self) -> bool:
        """Whether something happens to the run by itself."""
        return bool(self.fault or self.act is not _let_be or self.dag.endswith("_timeout"))

    @property
    def bears_more(self) -> bool:
        """Whether the triggerer or the service may go away too: a stop would be left to nobody."""
        return self.stops == (0,) or (self.rows > 0 and not any(self.stops))


class FaultOfRun(Fault):
    """A fault for the requests that have the id of one DAG run in the title."""

    _emulator: Emulator = PrivateAttr()
    _run_id: str = PrivateAttr()

    def take(self, method: str, path: str) -> bool:
        """
        Count a request and tell whether the fault hits it.

        :param method: HTTP method, in capitals.
        :param path: path of the request.
        """
        # The request that is asked about is the one that was noted last.
        body = self._emulator.calls[-1].body or {}
        return f" {self._run_id} [" in str(body.get("title")) and super().take(method, path)


def slow_rows(prompt: Prompt) -> Behaviour:
    """
    Answer one row after the seconds that the text gives (``take 7``).

    :param prompt: what the agent is asked.
    """
    seconds = int(prompt.text.split()[1])
    return Behaviour(json.dumps({"seconds": seconds}), seconds=seconds)


def add_fault(scenario: Scenario, fault: Fault) -> None:
    """
    Let a run's next request that fits go wrong, and nobody else's.

    :param scenario: whose run it is.
    :param fault: what goes wrong.
    """
    one = FaultOfRun(**fault.model_dump())
    one._emulator, one._run_id = scenario.emulator, scenario.run_id
    scenario.emulator.add_fault(one)


def _kill_starter(scenario: Scenario) -> None:
    # The run goes on until the retry is there, however late that or the kill comes.
    scenario.kill_worker(1)
    scenario.wait_until_tried_again()
    scenario.pause(2)
    scenario.emulator.finish(scenario.runs()[0])


def _kill_worker(scenario: Scenario) -> None:
    scenario.kill_worker(1)


def _kill_beginning(scenario: Scenario) -> None:
    scenario.wait_until_it_dawdles()
    scenario.kill_process(1)


def _storage_away(scenario: Scenario) -> None:
    DEFERRED(scenario)
    folder = scenario.bulk_folder
    away = folder.with_name(f"{folder.name}.away")
    # A link to itself: neither there nor missing, so what reads it gets an error of the system.
    folder.rename(away)
    folder.symlink_to(folder)
    scenario.wait_until_gone_on()
    scenario.pause(14)  # longer than one operation is repeated, so that an attempt may fail
    folder.unlink()
    away.rename(folder)


def _clear_bulk(scenario: Scenario) -> None:
    DEFERRED(scenario)
    scenario.clear()
    scenario.wait_for(lambda: len(scenario.runs()) >= 6, limit=90, what="the runs of the new attempt")
    scenario.pause(4)
    for run in scenario.runs()[3:]:
        scenario.emulator.finish(run)


def _kill_dawdling(scenario: Scenario) -> None:
    scenario.wait_until_it_dawdles()
    scenario.kill_worker(2)


def _kill_resumed(scenario: Scenario) -> None:
    scenario.kill_worker(2)


def _mark_when(ready: Callable[[Scenario], None], state: str) -> Callable[[Scenario], None]:
    def act(scenario: Scenario) -> None:
        ready(scenario)
        scenario.client.set_task_state(scenario.dag_id, scenario.run_id, "run", state)

    return act


def _mark_run_when(ready: Callable[[Scenario], None]) -> Callable[[Scenario], None]:
    def act(scenario: Scenario) -> None:
        ready(scenario)
        scenario.client.set_run_state(scenario.dag_id, scenario.run_id, "failed")

    return act


def _fail_when(ready: Callable[[Scenario], None]) -> Callable[[Scenario], None]:
    def act(scenario: Scenario) -> None:
        ready(scenario)
        scenario.emulator.finish(scenario.runs()[0], "failed")

    return act


def _try_again_when(step: Callable[[Scenario], None]) -> Callable[[Scenario], None]:
    def act(scenario: Scenario) -> None:
        step(scenario)
        _finish_second(scenario)

    return act


def _clear_when(*steps: Callable[[Scenario], None]) -> Callable[[Scenario], None]:
    def act(scenario: Scenario) -> None:
        for step in steps:
            step(scenario)
        scenario.clear()
        _finish_second(scenario)

    return act


def _over(scenario: Scenario) -> None:
    scenario.client.wait_for_run(scenario.dag_id, scenario.run_id, limit=120 + scenario.airflow.late)


def _finish_first(scenario: Scenario) -> None:
    scenario.wait_until_started()
    scenario.emulator.finish(scenario.runs()[0])


def _finish_second(scenario: Scenario) -> None:
    scenario.wait_for(lambda: len(scenario.runs()) >= 2, limit=90, what="the second remote run")
    # A moment of life: what follows a run that is over at once is another matter.
    scenario.pause(4)
    scenario.emulator.finish(scenario.runs()[1])


def _leave_and_clear(scenario: Scenario) -> None:
    _clear_when(_mark_when(DEFERRED, "failed"), _over)(scenario)
    _finish_first(scenario)


DEFERRED, STARTED = Scenario.wait_until_deferred, Scenario.wait_until_started
_504 = Fault.html(504, path=INVOKE, act_first=True)
_BROKEN = Fault.dropped(path=INVOKE, act_first=True)
_CUT_OFF = Fault.truncated(path=INVOKE)
_SLOW = Fault.slow(20, path=INVOKE, act_first=True)

KEPT: dict[str, Kind] = {
    "nothing": Kind("deferred"),
    "submit answered 504": Kind("deferred", fault=_504),
    "submit's connection broken": Kind("worker", fault=_BROKEN),
    "submit's answer cut off": Kind("deferred", fault=_CUT_OFF),
    "submit refused 503": Kind("deferred", fault=Fault.html(503, path=INVOKE), tries=2),
    "sync answered 504": Kind("sync", fault=_504),
    "sync's connection broken": Kind("sync", fault=_BROKEN),
    "sync's answer cut off": Kind("sync", fault=_CUT_OFF),
    "stream's connection broken": Kind("stream", fault=_BROKEN),
    "worker killed in the submit": Kind("deferred", _kill_starter, _SLOW, seconds=ENDLESS, tries=2),
    "worker killed before deferral": Kind("slow_to_defer", _kill_starter, seconds=ENDLESS, tries=2),
    "worker killed in its wait": Kind("worker", _kill_starter, seconds=ENDLESS, tries=2),
    "worker killed in a sync call": Kind("sync", _kill_starter, seconds=ENDLESS, tries=2),
    "worker killed in a stream": Kind("stream", _kill_starter, seconds=ENDLESS, tries=2),
    "worker killed at the resume": Kind("slow_to_resume", _kill_resumed, tries=2),
}
"""One run, whose answer arrives."""

_BULK = Kind("bulk", stops=(0, 0, 0), rows=6)

BULK: dict[str, Kind] = {
    "bulk, nothing": replace(_BULK, seconds=(15, 20)),
    "bulk, a submit answered 504": replace(_BULK, fault=_504),
    "bulk, worker killed in the snapshot": replace(
        _BULK, dag="bulk_slow_to_read", act=_kill_beginning, tries=2
    ),
    "bulk, worker killed before a submit": replace(
        _BULK, dag="bulk_slow_after_intent", act=_kill_beginning, tries=2
    ),
    "bulk, worker killed after a submit": replace(
        _BULK, dag="bulk_slow_after_submit", act=_kill_beginning, tries=2
    ),
    "bulk, worker killed in a submit": replace(_BULK, act=_kill_worker, fault=_SLOW, tries=2),
    "bulk, worker killed in its wait": replace(
        _BULK, dag="bulk_worker", act=_kill_worker, seconds=(15, 20), tries=2
    ),
    "bulk, worker killed at a resume": replace(_BULK, dag="bulk_slow_to_resume", act=_kill_resumed, tries=2),
    "bulk, worker killed in a fetch": replace(_BULK, dag="bulk_slow_to_fetch", act=_kill_dawdling, tries=2),
    "bulk, worker killed in the write back": replace(
        _BULK, dag="bulk_slow_to_write", act=_kill_dawdling, tries=2, table=True
    ),
    "bulk, storage away at a resume": replace(_BULK, act=_storage_away, tries=None),
    "bulk, cleared while deferred": replace(
        _BULK, act=_clear_bulk, seconds=ENDLESS, stops=(1, 1, 1, 0, 0, 0), tries=None
    ),
    "bulk, marked failed while deferred": replace(
        _BULK, act=_mark_when(DEFERRED, "failed"), seconds=ENDLESS, stops=(1, 1, 1), answer=False, tries=None
    ),
}
"""Three runs of a bulk task, whose rows are all answered, once."""

ANEW: dict[str, Kind] = {
    "run failed, task tried again": Kind("deferred", _try_again_when(_fail_when(DEFERRED)), stops=(0, 0)),
    "run failed, task cleared": Kind("no_retries", _clear_when(_fail_when(STARTED), _over), stops=(0, 0)),
    "succeeded, cleared": Kind("deferred", _clear_when(_finish_first, _over), stops=(0, 0)),
    # The only way in which a failed task has a run that is alive; it is the author's.
    "failed but left, cleared": Kind("leave", _leave_and_clear, stops=(0, 0)),
    "cleared while deferred": Kind("deferred", _clear_when(DEFERRED), stops=(1, 0)),
    "cleared while running": Kind("worker", _clear_when(STARTED), stops=(1, 0)),
}
"""Another run is right, and its answer arrives."""

STOPPED: dict[str, Kind] = {
    "marked failed while deferred": Kind("deferred", _mark_when(DEFERRED, "failed")),
    "marked failed while running": Kind("worker", _mark_when(STARTED, "failed")),
    "marked failed in a sync call": Kind("sync", _mark_when(STARTED, "failed")),
    "marked failed in a stream": Kind("stream", _mark_when(STARTED, "failed")),
    "marked success while deferred": Kind("deferred", _mark_when(DEFERRED, "success")),
    "marked success while running": Kind("worker", _mark_when(STARTED, "success")),
    "DAG run failed while deferred": Kind("deferred", _mark_run_when(DEFERRED)),
    "DAG run failed while running": Kind("worker", _mark_run_when(STARTED)),
    "timed out while deferred": Kind("deferred_timeout"),
    "timed out while running": Kind("worker_timeout"),
    "timed out in a sync call": Kind("sync_timeout"),
    "timed out in a stream": Kind("stream_timeout"),
}
"""The run is stopped."""

KINDS: dict[str, Kind] = {
    **KEPT,
    **BULK,
    **{name: replace(kind, seconds=ENDLESS, tries=None) for name, kind in ANEW.items()},
    **{
        name: replace(kind, seconds=ENDLESS, stops=(1,), answer=False, tries=None)
        for name, kind in STOPPED.items()
    },
}


if MAJOR == 2:
    # The REST API of 2.11.2 leaves a running task as it is: it changes an object that its session does not
    # know.
    del KINDS["cleared while running"]
if AIRFLOW_VERSION.startswith("3.0."):
    # There a task whose process is killed fails, whatever its retries (apache/airflow#55753).
    KINDS = {name: kind for name, kind in KINDS.items() if "worker killed" not in name}


def deal(
    deck: list[str], wave: int, draw: random.Random, hits: Collection[str]
) -> tuple[list[str], str | None]:
    """
    Take the next wave from the deck, in which each run is hit at least once.

    :param deck: names of kinds, which are removed.
    :param wave: how many to take at the most.
    :param draw: decides what hits the whole wave.
    :param hits: what there is.
    :return: the kinds, and what hits them all or None.
    """
    on_all = draw.choices([None, *hits], weights=[len(hits), *(1 for _ in hits)])[0]
    by_themselves = [name for name in deck if KINDS[name].is_hit]
    hit_more = [name for name in deck if KINDS[name].bears_more]
    if not by_themselves or (on_all and not hit_more):
        on_all = None if by_themselves else draw.choice(list(hits))
    fit = hit_more if on_all else by_themselves
    taken = fit[:wave]
    for name in taken:
        deck.remove(name)
    return taken, on_all
