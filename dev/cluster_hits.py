"""Blows to a cluster: one of two components dies or hangs, the broker or the database goes away."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.cluster import Cluster
from dev.soak_hits import ON_ALL, Hits

Hit = Callable[[Cluster, EmulatorServer], None]

DOWN = 45.0
"""Seconds for which a component is away: longer than Airflow waits for a heartbeat of a triggerer, 30 s."""


def _killed(name: str) -> Hit:
    def hit(cluster: Cluster, _: EmulatorServer) -> None:
        cluster.kill(name)
        time.sleep(DOWN)
        cluster.start(name)

    return hit


def _hangs(name: str, seconds: float) -> Hit:
    """Let a component hang, so that two believe that they own what it has."""

    def hit(cluster: Cluster, _: EmulatorServer) -> None:
        cluster.components[name].send_all(signal.SIGSTOP)
        time.sleep(seconds)
        cluster.components[name].send_all(signal.SIGCONT)

    return hit


def ended_as_a_pod(cluster: Cluster, _: EmulatorServer) -> None:
    """
    End a worker with its tasks as Kubernetes ends a pod, SIGTERM and 30 s later SIGKILL; then start another.

    :param cluster: the cluster.
    """
    worker = cluster.components["worker-2"]
    worker.send_all(signal.SIGTERM)
    worker.wait_gone(30)
    cluster.start("worker-2")


def _broker_away(cluster: Cluster, _: EmulatorServer) -> None:
    cluster.redis.stop()
    time.sleep(30)
    cluster.redis.start()


def _database_away(cluster: Cluster, _: EmulatorServer) -> None:
    cluster.postgres.stop()
    time.sleep(30)
    cluster.postgres.start()
    # Schedulers and others end without a database; whatever runs them in production starts them again.
    for name, component in cluster.components.items():
        if not component.is_running:
            cluster.start(name)


ON_CLUSTER: dict[str, Hit] = {
    "one of two triggerers killed": _killed("triggerer-2"),
    "a triggerer hangs for 60 s": _hangs("triggerer-2", 60),
    "one of two schedulers killed": _killed("scheduler-2"),
    "a Celery worker lost": _killed("worker-2"),
    "broker away for 30 s": _broker_away,
    "database away for 30 s": _database_away,
}
"""What hits a whole wave at once, on top of what each run has."""
ON_SOAK: Hits = {**ON_CLUSTER, **{name: hit for name, hit in ON_ALL.items() if "triggerer" not in name}}
"""The same in a soak, and what hits the service."""
