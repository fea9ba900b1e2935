"""The event trigger: one poll for all of a connection, each end told once, over restarts too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow_side import RUN_SECONDS, Service, eventually

from airflow_provider_xpander._compat import HAS_EVENT_TRIGGERS
from airflow_provider_xpander.api import clock as clock_module
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.emulator import Fault, Settings
from airflow_provider_xpander.triggers import event_poll, events
from airflow_provider_xpander.triggers.events import XpanderTaskEventTrigger

has_events = pytest.mark.skipif(not HAS_EVENT_TRIGGERS, reason="this Airflow has no event triggers")
old_airflow = pytest.mark.skipif(HAS_EVENT_TRIGGERS, reason="this Airflow has event triggers")
MARK = "[airflow 0123456789abcdef0123 0123456789ab]"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_poll, "GATHER", 0.02)
    monkeypatch.setattr(event_poll, "_polls", {})
    # An interval of a second passes in a hundredth, and what the emulator says of times stays as it is.
    fast = clock_module.Clock()
    monkeypatch.setattr(clock_module.Clock, "real", lambda self, seconds: seconds / 100)
    monkeypatch.setattr(clock_module, "CLOCK", fast)


@dataclass
class Store:
    """The state store of one asset, as Airflow 3.3 gives it to a trigger."""

    values: dict[str, str] = field(default_factory=dict)
    fails: int = 0

    @property
    def ends(self) -> int:
        """How many ends the kept cursors know of."""
        return sum(len(json.loads(value)["told"]) for value in self.values.values())

    async def aget(self, key: str, default: Any = None) -> Any:
        return json.loads(self.values[key]) if key in self.values else default

    async def aset(self, key: str, value: Any) -> None:
        if self.fails:
            self.fails -= 1
            raise RuntimeError("the database is away")
        self.values[key] = json.dumps(value)


class Stores:
    """What a trigger has as ``asset_state_store``: with two assets, its own methods refuse to work."""

    def __init__(self, *stores: Store) -> None:
        self._by_name = {f"asset-{number}": store for number, store in enumerate(stores)}
        self._by_uri: dict[str, Store] = {}


def watch(*stores: Store, **fields: Any) -> XpanderTaskEventTrigger:
    path, kwargs = XpanderTaskEventTrigger(**{"agent_id": "echo", "poll_interval": 1} | fields).serialize()
    assert path.rpartition(".")[2] == "XpanderTaskEventTrigger"
    trigger = XpanderTaskEventTrigger(**json.loads(json.dumps(kwargs)))
    trigger.asset_state_store = Stores(*stores) if stores else None  # type: ignore[assignment]
    return trigger


@dataclass
class Triggerer:
    """Runs event triggers as Airflow's triggerer does, with shared streams or without."""

    shares: bool
    fired: dict[XpanderTaskEventTrigger, list[str]] = field(default_factory=dict)
    payloads: list[Any] = field(default_factory=list)
    stores_events: bool = True

    def __post_init__(self) -> None:
        if self.shares:
            shared_stream = pytest.importorskip("airflow.triggers.shared_stream")
            if not events.HAS_SHARED_STREAM:
                pytest.skip("this Airflow shares no streams")
            self.manager = shared_stream.SharedStreamManager()
        self.tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def running(self, *triggers: XpanderTaskEventTrigger) -> AsyncIterator[None]:
        for trigger in triggers:
            self.add(trigger)
        await self.begun()
        try:
            yield
        finally:
            for task in self.tasks:
                task.cancel()
            for task in self.tasks:
                with suppress(asyncio.CancelledError):
                    await task
            if self.shares:
                await self.manager.stop_all()

    async def begun(self) -> None:
        """Wait until each trigger has had the round that tells where to begin."""
        readers = event_poll.poll_of("xpander_default").readers
        await asyncio.to_thread(
            eventually,
            lambda: len(readers) == len(self.tasks) and all(one.cursor.since is not None for one in readers),
            f"the beginning of {len(self.tasks)} triggers",
        )

    def add(self, trigger: XpanderTaskEventTrigger) -> None:
        self.fired[trigger] = []
        self.tasks.append(asyncio.create_task(self._run(trigger, len(self.tasks))))

    async def _run(self, trigger: XpanderTaskEventTrigger, number: int) -> None:
        if not self.shares:
            async for event in trigger.run():
                self._note(trigger, event)
            return
        key = trigger.shared_stream_key()
        stream = self.manager.subscribe(trigger_id=number, trigger=trigger, key=key)
        async for event in trigger.filter_shared_stream(stream):
            self._note(trigger, event)
            sequence = self.manager.bind_pending_event(trigger_id=number, key=key)
            if self.stores_events:
                asyncio.get_running_loop().call_later(0.01, self.manager.confirm_persisted, [sequence])

    def _note(self, trigger: XpanderTaskEventTrigger, event: Any) -> None:
        self.payloads.append(event.payload)
        self.fired[trigger].append(event.payload["xpander_task_id"])

    async def told(self, trigger: XpanderTaskEventTrigger, *task_ids: str) -> None:
        """Wait until a trigger has told these ends, and see that it tells no others and none twice."""
        await asyncio.to_thread(
            eventually, lambda: set(task_ids) <= set(self.fired[trigger]), f"events of {len(task_ids)} runs"
        )
        await asyncio.sleep(0.1)
        assert sorted(self.fired[trigger]) == sorted(task_ids)


@pytest.fixture(params=[False, True], ids=["before 3.3", "shared stream"])
def triggerer(request: pytest.FixtureRequest) -> Triggerer:
    return Triggerer(request.param)


@pytest.fixture
def restarting() -> Callable[[], Triggerer]:
    return lambda: Triggerer(True)


@has_events
async def test_each_end_is_told_once_with_ids_and_status_only(service: Service, triggerer: Triggerer) -> None:
    before = service.start()
    await asyncio.sleep(0.2)
    trigger = watch()
    async with triggerer.running(trigger):
        ids = [service.start(text=text) for text in ("one", "two")]
        failed = service.start("failing")
        await triggerer.told(trigger, *ids)
    assert before not in triggerer.fired[trigger]
    assert failed not in triggerer.fired[trigger]
    assert triggerer.payloads[0] == {
        "xpander_task_id": triggerer.payloads[0]["xpander_task_id"],
        "agent_id": "echo",
        "status": "completed",
    }


@has_events
async def test_a_run_of_this_provider_is_left_out_unless_it_is_asked_for(
    service: Service, triggerer: Triggerer
) -> None:
    others, all_ = watch(), watch(include_own=True)
    async with triggerer.running(others, all_):
        own = service.start(title=f"nightly.ask {MARK}")
        other = service.start(title="somebody's")
        await triggerer.told(others, other)
        await triggerer.told(all_, own, other)


@has_events
async def test_status_and_title_choose(service: Service, triggerer: Triggerer) -> None:
    triggers = [
        watch(agent_id="failing", statuses=["failed"]),
        watch(agent_id="failing", statuses="error"),
        watch(title_contains="report"),
    ]
    async with triggerer.running(*triggers):
        failed, broken = service.start("failing", "x"), service.start("failing", "error")
        report = service.start(title="The daily Report")
        service.start(title="Something else")
        for trigger, expected in zip(triggers, (failed, broken, report), strict=True):
            await triggerer.told(trigger, expected)


@has_events
async def test_a_hundred_triggers_take_one_poll(
    service: Service, triggerer: Triggerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    polls: list[str] = []
    rounds = event_poll.EventPoll.rounds

    def noted(self: event_poll.EventPoll) -> AsyncIterator[Any]:
        polls.append(self.conn_id)
        return rounds(self)

    monkeypatch.setattr(event_poll.EventPoll, "rounds", noted)
    triggers = [watch(agent_id=f"agent-{number}") for number in range(99)] + [watch()]
    async with triggerer.running(*triggers):
        service.calls.clear()
        await triggerer.told(triggers[-1], service.start())
        asked = service.requests()
    assert {(call.path, call.query.get("agent_id")) for call in asked} == {("/v1/tasks", None)}
    assert polls == ["xpander_default"]


@has_events
async def test_a_thousand_ends_at_once_are_each_told_once(service: Service, triggerer: Triggerer) -> None:
    trigger = watch()
    async with triggerer.running(trigger):
        ids = [service.start() for _ in range(1000)]
        await triggerer.told(trigger, *ids)


@has_events
@pytest.mark.parametrize("order", ["updated", "created", "none"])
async def test_in_whatever_order_the_list_is(order: str, service: Service, triggerer: Triggerer) -> None:
    service.reset(Settings(run_seconds=RUN_SECONDS, list_order=order))
    for _ in range(120):
        service.start()
    await asyncio.sleep(0.2)
    trigger = watch()
    async with triggerer.running(trigger):
        ids = [service.start() for _ in range(70)]
        await triggerer.told(trigger, *ids)


@has_events
async def test_an_outage_and_a_wrong_key_are_waited_out(service: Service, triggerer: Triggerer) -> None:
    trigger = watch()
    async with triggerer.running(trigger):
        service.add_fault(Fault(status=503, method="GET", times=3))
        service.add_fault(Fault(status=401, method="GET", times=3))
        service.add_fault(Fault(status=422, method="GET", times=3))
        await triggerer.told(trigger, service.start())


@has_events
async def test_what_ends_while_no_triggerer_runs_is_told_by_the_next_one(
    service: Service, restarting: Callable[[], Triggerer]
) -> None:
    store = Store()
    first, second = restarting(), restarting()
    one, two = watch(store), watch(store)
    async with first.running(one):
        before = service.start()
        await first.told(one, before)
        await asyncio.to_thread(eventually, lambda: store.ends == 1, "the cursor")
    event_poll._polls.clear()  # of the process that is gone
    meanwhile = [service.start() for _ in range(3)]
    await asyncio.sleep(0.2)
    async with second.running(two):
        after = service.start()
        await second.told(two, *meanwhile, after)


@has_events
async def test_what_airflow_has_not_stored_is_told_again(
    service: Service, restarting: Callable[[], Triggerer]
) -> None:
    store = Store()
    first, second = restarting(), restarting()
    first.stores_events = False
    one, two = watch(store), watch(store)
    async with first.running(one):
        run = service.start()
        await first.told(one, run)
    event_poll._polls.clear()
    async with second.running(two):
        await second.told(two, run)


@has_events
async def test_two_assets_on_one_trigger_have_one_cursor(
    service: Service, restarting: Callable[[], Triggerer]
) -> None:
    gone, stays = Store(), Store()
    first, second = restarting(), restarting()
    one, two = watch(gone, stays), watch(stays, gone)
    async with first.running(one):
        await first.told(one, service.start())
        await asyncio.to_thread(eventually, lambda: gone.ends == 1, "the cursor")
    event_poll._polls.clear()
    meanwhile = service.start()
    await asyncio.sleep(0.2)
    async with second.running(two):
        await second.told(two, meanwhile)


@has_events
async def test_a_cursor_that_cannot_be_stored_ends_nothing(
    service: Service, restarting: Callable[[], Triggerer]
) -> None:
    store = Store(fails=2)
    triggerer = restarting()
    trigger = watch(store)
    async with triggerer.running(trigger):
        ids = [service.start() for _ in range(3)]
        await triggerer.told(trigger, *ids)
        later = service.start()
        await triggerer.told(trigger, *ids, later)
    assert store.values, "a later one was stored"


@has_events
async def test_a_trigger_that_comes_later_tells_what_ends_from_then_on(
    service: Service, triggerer: Triggerer
) -> None:
    first, late = watch(), watch(title_contains="x")
    async with triggerer.running(first):
        early = service.start(title="x 1")
        await triggerer.told(first, early)
        triggerer.add(late)
        await triggerer.begun()
        later = service.start(title="x 2")
        await triggerer.told(late, later)


@has_events
def test_equal_triggers_are_one_to_airflow_and_different_ones_have_different_cursors() -> None:
    same = watch(statuses=["failed", "error"]), watch(statuses={"error", "failed"})
    assert same[0].serialize() == same[1].serialize()
    assert (
        same[0]._cursor_key()
        == same[1]._cursor_key()
        == watch(statuses=["failed", "error"], poll_interval=9)._cursor_key()
    )
    keys = {one._cursor_key() for one in (watch(), watch(agent_id="x"), watch(include_own=True), same[0])}
    assert len(keys) == 4


@has_events
@pytest.mark.parametrize(
    "fields",
    [
        {"agent_id": " "},
        {"statuses": ["paused"]},
        {"statuses": []},
        {"poll_interval": 0.5},
        {"statuses": "x"},
        {"title_contains": 7},
        {"include_own": "no"},
    ],
)
def test_a_wrong_value_is_refused_when_the_dag_is_parsed(fields: dict[str, Any]) -> None:
    with pytest.raises(XpanderValidationError, match=next(iter(fields))):
        watch(**fields)


@old_airflow
def test_an_older_airflow_refuses_it_when_the_dag_is_parsed() -> None:
    with pytest.raises(XpanderValidationError, match="needs Airflow 3.0 or later, and this is 2"):
        XpanderTaskEventTrigger("echo")
