"""A DAG that starts when runs of an agent have ended; one trigger for two assets. Airflow 3 only."""

from __future__ import annotations

from airflow_provider_xpander._compat import HAS_EVENT_TRIGGERS

if HAS_EVENT_TRIGGERS:
    from airflow.sdk import DAG, Asset, AssetWatcher, task

    from airflow_provider_xpander.triggers.events import XpanderTaskEventTrigger

    def watched(name: str) -> Asset:
        trigger = XpanderTaskEventTrigger(agent_id="echo", title_contains="watched", poll_interval=1)
        return Asset(name, watchers=[AssetWatcher(name=f"{name}_watcher", trigger=trigger)])

    with DAG("watcher", schedule=(watched("e2e_answers") | watched("e2e_bills")), catchup=False) as dag:

        @task
        def ended(triggering_asset_events: object = None) -> list[str]:
            """Return the ids of the runs that have ended."""
            events = [event for found in triggering_asset_events.values() for event in found]
            return sorted({event.extra["payload"]["xpander_task_id"] for event in events})

        ended()
