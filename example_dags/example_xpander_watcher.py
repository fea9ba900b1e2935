"""
Start when somebody else's runs of an agent have ended, and fetch their answers.

On Airflow 3 a watcher asks the service every few seconds which runs have ended, and the DAG runs for them;
several that end together may come in one DAG run. Unpause it, then start a run of the agent in the console,
or in the emulator with `curl`. Runs that Airflow has started are left out, so that no DAG starts itself.

On Airflow 2.11, which has no watchers, trigger it by hand or give it a schedule: it takes the runs of the
last hour.

Needs the connection ``xpander_default``. The agent's id is taken from the environment variable
``XPANDER_AGENT_ID``; without it the DAG watches ``echo``, an agent of the local emulator.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow import __version__ as airflow_version

try:
    from airflow.sdk import DAG, Asset, AssetWatcher, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor

AGENT = os.environ.get("XPANDER_AGENT_ID") or "echo"
schedule: Any = None

if not airflow_version.startswith("2."):
    from airflow_provider_xpander.triggers.events import XpanderTaskEventTrigger

    trigger = XpanderTaskEventTrigger(agent_id=AGENT, statuses=["completed"], poll_interval=5)
    schedule = [Asset("xpander_answers", watchers=[AssetWatcher(name="xpander_ended_runs", trigger=trigger)])]

with DAG(
    dag_id="xpander_watcher",
    schedule=schedule,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["xpander", "example"],
    doc_md=__doc__,
) as dag:

    @task
    def ended(triggering_asset_events: Any = None) -> list[str]:
        """Return the ids of the runs that this DAG run is for."""
        if not airflow_version.startswith("2."):
            events = [event for found in triggering_asset_events.values() for event in found]
            return sorted({event.extra["payload"]["xpander_task_id"] for event in events})
        from airflow_provider_xpander.hooks.xpander import XpanderHook

        with XpanderHook() as hook:
            listed = hook.list_tasks(agent_id=AGENT, from_date=datetime.now(UTC) - timedelta(hours=1))
            return [run.id for run in listed if "[airflow " not in (run.title or "")]

    XpanderTaskSensor.partial(task_id="answer", deferrable=True, poke_interval=2).expand(
        xpander_task_id=ended()
    )
