"""The event trigger: Airflow starts DAGs when runs on xpander.ai have ended, whoever has started them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Collection, Hashable
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import TriggerEvent

from airflow_provider_xpander._compat import AIRFLOW_VERSION, HAS_EVENT_TRIGGERS
from airflow_provider_xpander.api import clock
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.request import check_id
from airflow_provider_xpander.api.status import TERMINAL_STATUSES, TaskStatus
from airflow_provider_xpander.connection import DEFAULT_CONN_ID
from airflow_provider_xpander.runs.ended_runs import Cursor, Ended, Round, Wanted

if TYPE_CHECKING or HAS_EVENT_TRIGGERS:
    from airflow.triggers.base import BaseEventTrigger
else:
    from airflow.triggers.base import BaseTrigger as BaseEventTrigger

if TYPE_CHECKING:
    from airflow_provider_xpander.triggers.event_poll import EventPoll, EventProducer, Reader

# Airflow 3.3 shares one stream among triggers, tells when their events were stored, and keeps cursors.
HAS_SHARED_STREAM = hasattr(BaseEventTrigger, "create_shared_stream_producer")
SHORTEST_INTERVAL = 1.0


class XpanderTaskEventTrigger(BaseEventTrigger):
    """
    Fire an event for each run of an agent that has ended, for an ``AssetWatcher`` (Airflow 3.0 and later).

    All such triggers of a connection share one poll. The event carries ids and the status; the DAG fetches
    the answer. Runs that ended before the watch began are no events. On Airflow 3.3 and later a cursor in the
    asset's state store lets a restarted trigger go on where it was.

    :param agent_id: the agent or workflow.
    :param statuses: how the runs have to have ended: ``completed``, ``failed``, ``error``, ``stopped``; all
        by default.
    :param title_contains: a part of their title, in any case; None for all.
    :param include_own: whether runs count that this provider has started, in this Airflow or another. Then
        a DAG that runs the agent it watches starts itself again.
    :param xpander_conn_id: id of a connection of type ``xpander``.
    :param poll_interval: seconds between two looks.
    :raises XpanderValidationError: a parameter cannot be right, or Airflow is older than 3.0, when the DAG is
        parsed.
    """

    def __init__(
        self,
        agent_id: str,
        statuses: Collection[str] | None = None,
        title_contains: str | None = None,
        include_own: bool = False,
        xpander_conn_id: str = DEFAULT_CONN_ID,
        poll_interval: float = 30.0,
    ) -> None:
        if not HAS_EVENT_TRIGGERS:
            raise XpanderValidationError(
                f"XpanderTaskEventTrigger needs Airflow 3.0 or later, and this is {AIRFLOW_VERSION}: let a "
                f"DAG wait for a run with XpanderTaskSensor"
            )
        super().__init__()  # type: ignore[no-untyped-call]
        self.agent_id = check_id("agent_id", agent_id)
        self.statuses = _checked(statuses)
        if title_contains is not None and not isinstance(title_contains, str):
            raise XpanderValidationError(f"title_contains must be a text, got {title_contains!r}")
        self.title_contains = title_contains
        if not isinstance(include_own, bool):
            raise XpanderValidationError(f"include_own must be True or False, got {include_own!r}")
        self.include_own = include_own
        self.xpander_conn_id = xpander_conn_id
        if not isinstance(poll_interval, int | float) or not poll_interval >= SHORTEST_INTERVAL:
            raise XpanderValidationError(
                f"poll_interval must be at least {SHORTEST_INTERVAL:g} second, got {poll_interval!r}"
            )
        self.poll_interval = float(poll_interval)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the parameters, plain JSON; what is equal is one trigger to Airflow."""
        return (
            "airflow_provider_xpander.triggers.events.XpanderTaskEventTrigger",
            {
                "agent_id": self.agent_id,
                "statuses": self.statuses,
                "title_contains": self.title_contains,
                "include_own": self.include_own,
                "xpander_conn_id": self.xpander_conn_id,
                "poll_interval": self.poll_interval,
            },
        )

    def shared_stream_key(self) -> Hashable | None:
        """Return what stands for the poll of the connection; None where Airflow shares no streams."""
        return ("airflow_provider_xpander", self.xpander_conn_id) if HAS_SHARED_STREAM else None

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> EventProducer:  # type: ignore[override]
        """
        Return the poll of the connection, as Airflow shares it.

        :param kwargs: of one of the triggers.
        """
        from airflow_provider_xpander.triggers.event_poll import EventProducer, poll_of

        return EventProducer(poll_of(kwargs["xpander_conn_id"]))

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Round]) -> AsyncIterator[TriggerEvent]:
        """
        Fire for what is news in the rounds of the poll; Airflow 3.3 and later run this.

        :param shared_stream: the rounds.
        """
        poll = self._poll()
        reader = await self._reader()
        async with poll.reading(reader):
            async for found in shared_stream:
                for run in reader.take(found):
                    yield _event_of(run)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire for what is news in the rounds of the poll; Airflow 3.0 to 3.2 run this."""
        poll = self._poll()
        reader = await self._reader()
        async with poll.reading(reader):
            async for found in poll.shared_rounds():
                for run in reader.take(found):
                    yield _event_of(run)

    def _poll(self) -> EventPoll:
        from airflow_provider_xpander.triggers.event_poll import poll_of

        return poll_of(self.xpander_conn_id)

    async def _reader(self) -> Reader:
        from airflow_provider_xpander.triggers.event_poll import Reader

        wanted = Wanted(
            self.agent_id, frozenset(map(TaskStatus, self.statuses)), self.title_contains, self.include_own
        )
        # One trigger may be watched for many assets: the cursor is kept in the first, and found in any.
        stores = _stores(self)
        key = self._cursor_key()
        now = clock.CLOCK.time()
        kept = [Cursor.of(await store.aget(key), now) for store in stores]
        cursor = max(kept, key=lambda one: one.since or 0.0, default=Cursor())

        async def keep(data: dict[str, Any]) -> None:
            await stores[0].aset(key, data)

        return Reader(wanted, cursor, self.poll_interval, keep if stores else None)

    def _cursor_key(self) -> str:
        """Return a name that no other trigger of the asset has."""
        asked = {name: value for name, value in self.serialize()[1].items() if name != "poll_interval"}
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        return f"xpander_cursor_{digest[:12]}"


def _checked(statuses: Collection[str] | None) -> list[str]:
    known = sorted(status.value for status in TERMINAL_STATUSES)
    if statuses is None:
        return known
    given = {statuses} if isinstance(statuses, str) else {str(getattr(one, "value", one)) for one in statuses}
    if not given or not given <= set(known):
        raise XpanderValidationError(f"statuses must be some of {', '.join(known)}, got {statuses!r}")
    return sorted(given)


def _event_of(run: Ended) -> TriggerEvent:
    return TriggerEvent({"xpander_task_id": run.id, "agent_id": run.agent_id, "status": run.status.value})  # type: ignore[no-untyped-call]


def _stores(trigger: Any) -> list[Any]:
    """Return the state stores of the assets that a trigger is watched for; none before Airflow 3.3."""
    # Not by its own methods: those for one asset refuse to work where there are two.
    found = getattr(trigger, "asset_state_store", None)
    return [store for name in ("_by_name", "_by_uri") for store in getattr(found, name, {}).values()]
